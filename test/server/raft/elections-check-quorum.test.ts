/**
 * Elections with check-quorum and with pre-votes: who has heard of a leader just now does not help to depose it, and
 * nobody gets stuck because of that.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import { asV2, type ConfChangeType } from '../../../src/server/raft/conf-change.ts';
import { applyConfChange } from '../../../src/server/raft/membership.ts';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import { NONE, type Role } from '../../../src/server/raft/types.ts';
import {
  bytes,
  DRIVERS,
  type Driver,
  hup,
  id,
  type MemberOptions,
  msg,
  Network,
  newCluster,
  newLeader,
  newMember,
  newRaft,
  propose,
  reconfigure,
  take,
} from './support.ts';

const LEADER: Role = 'StateLeader';
const FOLLOWER: Role = 'StateFollower';
const CANDIDATE: Role = 'StateCandidate';
const PRE_CANDIDATE: Role = 'StatePreCandidate';

function ticks(raft: Raft, count: number): void {
  for (let passed = 0; passed < count; passed += 1) tick(raft);
}

/** Role and term of each member. */
function standing(network: Network): [Role, number][] {
  return [...network.members.keys()].map((member) => {
    const { role, term } = network.raft(Number(member));
    return [role, term];
  });
}

function rolesOf(network: Network): Role[] {
  return standing(network).map(([role]) => role);
}

/** Three members in term 1 who know of no leader. */
function trio(driver: Driver, options: MemberOptions): Network {
  const network = newCluster(driver, 3, options);
  for (const n of [1, 2, 3]) network.raft(n).becomeFollower(1, NONE);
  return network;
}

/** Sets the member's election timeout to more than the one in which it protects its leader. */
function patience(raft: Raft, more: number): void {
  raft.electionTimeout = raft.config.electionTicks + more;
}

function changeAt(raft: Raft, type: ConfChangeType, n: number): void {
  applyConfChange(raft, asV2({ type, nodeId: id(n), id: 0n, context: bytes('') }));
}

describe('A leader with check-quorum', () => {
  const options: MemberOptions = { voters: [1, 2, 3], electionTicks: 5, checkQuorum: true };

  it('stays while it hears of a quorum (LeaderStepdownWhenQuorumActive)', () => {
    const raft = newLeader(1, options);
    for (let passed = 0; passed < 4 * (raft.config.electionTicks + 1); passed += 1) {
      step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: raft.term }));
      tick(raft);
    }
    expect(raft).toMatchObject({ role: LEADER, term: 1 });
  });

  it('steps down when it does not (LeaderStepdownWhenQuorumLost)', () => {
    const raft = newLeader(1, options);
    ticks(raft, raft.config.electionTicks - 1);
    expect(raft.role).toBe(LEADER);
    tick(raft);
    expect(raft).toMatchObject({ role: FOLLOWER, term: 1, lead: NONE });
  });

  it('counts nobody twice: who was heard of has to be heard of again', () => {
    const raft = newLeader(1, options);
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: raft.term }));
    ticks(raft, raft.config.electionTicks);
    expect(raft.role).toBe(LEADER);
    ticks(raft, raft.config.electionTicks);
    expect(raft.role).toBe(FOLLOWER);
  });

  it('does not count learners', () => {
    const raft = newLeader(1, { ...options, learners: [4, 5] });
    for (const from of [4, 5]) step(raft, msg(from, 1, 'MsgHeartbeatResp', { term: raft.term }));
    ticks(raft, raft.config.electionTicks);
    expect(raft.role).toBe(FOLLOWER);
  });
});

describe('A member that is none', () => {
  it('does not become leader because it is asked to (TransferNonMember)', () => {
    const raft = newRaft(1, { voters: [2, 3, 4] });
    step(raft, msg(2, 1, 'MsgTimeoutNow'));
    for (const from of [2, 3]) step(raft, msg(from, 1, 'MsgVoteResp'));
    expect(raft).toMatchObject({ role: FOLLOWER, term: 0 });
    expect(take(raft)).toEqual([]);
  });
});

describe.each(DRIVERS)('Check-quorum, driver %s', (driver) => {
  it('votes go to another only when the leader’s time is over (LeaderSupersedingWithCheckQuorum)', () => {
    const network = newCluster(driver, 3, { checkQuorum: true });
    const b = network.raft(2);
    patience(b, 1);
    ticks(b, b.config.electionTicks);
    network.send(hup(1));
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    network.send(hup(3));
    // 2 has just heard of 1 and does not answer.
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER, CANDIDATE]);
    ticks(b, b.config.electionTicks);
    network.send(hup(3));
    expect(network.raft(3).role).toBe(LEADER);
  });

  it('who knows of no leader votes at any time (LeaderElectionWithCheckQuorum)', () => {
    const network = newCluster(driver, 3, { checkQuorum: true });
    const [a, b] = [network.raft(1), network.raft(2)];
    patience(a, 1);
    patience(b, 2);
    network.send(hup(1));
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    patience(a, 1);
    patience(b, 2);
    for (const raft of [a, b]) ticks(raft, raft.config.electionTicks);
    network.send(hup(3));
    expect(rolesOf(network)).toEqual([FOLLOWER, FOLLOWER, LEADER]);
  });

  it('a candidate of a later term gets free: its answer makes the leader step down (FreeStuckCandidateWithCheckQuorum)', () => {
    const network = newCluster(driver, 3, { checkQuorum: true });
    const [a, b] = [network.raft(1), network.raft(2)];
    patience(b, 1);
    ticks(b, b.config.electionTicks);
    network.send(hup(1));
    network.isolate(1);
    network.send(hup(3));
    expect(standing(network).slice(1)).toEqual([
      [FOLLOWER, 1],
      [CANDIDATE, 2],
    ]);
    network.send(hup(3));
    expect(standing(network).slice(1)).toEqual([
      [FOLLOWER, 1],
      [CANDIDATE, 3],
    ]);
    network.recover();
    network.send(msg(1, 3, 'MsgHeartbeat', { term: a.term }));
    expect(standing(network)[0]).toEqual([FOLLOWER, 3]);
    expect(network.raft(3).term).toBe(3);
    // Whatever 2 thinks of it, 1 votes for it now.
    network.send(hup(3));
    expect(standing(network)[2]).toEqual([LEADER, 4]);
  });

  it('a voter that can’t be elected follows all the same (NonPromotableVoterWithCheckQuorum)', () => {
    const network = new Network([
      newMember(driver, 1, { voters: [1, 2], checkQuorum: true }),
      newMember(driver, 2, { voters: [1], checkQuorum: true }),
    ]);
    const b = network.raft(2);
    patience(b, 1);
    expect(b.promotable).toBe(false);
    ticks(b, b.config.electionTicks);
    network.send(hup(1));
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER]);
    expect(b.lead).toBe(id(1));
  });

  it('a follower that lost patience makes the leader step down (DisruptiveFollower)', () => {
    const network = trio(driver, { checkQuorum: true });
    network.send(hup(1));
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    const [a, c] = [network.raft(1), network.raft(3)];
    patience(c, 2);
    ticks(c, c.electionTimeout - 1);
    expect(c.role).toBe(FOLLOWER);
    tick(c);
    expect(standing(network)).toEqual([
      [LEADER, 2],
      [FOLLOWER, 2],
      [CANDIDATE, 3],
    ]);
    // A late heartbeat reaches it before its requests have left: it answers with its later term.
    network.send(msg(1, 3, 'MsgHeartbeat', { term: a.term }));
    expect(standing(network)).toEqual([
      [FOLLOWER, 3],
      [FOLLOWER, 2],
      [CANDIDATE, 3],
    ]);
  });

  it('with pre-votes it does not (DisruptiveFollowerPreVote)', () => {
    const network = trio(driver, { checkQuorum: true });
    network.send(hup(1));
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    network.isolate(3);
    for (let nth = 0; nth < 3; nth += 1) network.send(propose(1, 'somedata'));
    for (const n of [1, 2, 3]) reconfigure(network.raft(n), { preVote: true });
    network.recover();
    network.send(hup(3));
    const unmoved = [
      [LEADER, 2],
      [FOLLOWER, 2],
      [PRE_CANDIDATE, 2],
    ];
    expect(standing(network)).toEqual(unmoved);
    network.send(msg(1, 3, 'MsgHeartbeat', { term: network.raft(1).term }));
    expect(standing(network).slice(0, 2)).toEqual(unmoved.slice(0, 2));
  });

  it('a learner starts no election, not even when asked to take over (LearnerCampaign)', () => {
    const network = new Network([1, 2].map((n) => newMember(driver, n, { voters: [1] })));
    for (const n of [1, 2]) changeAt(network.raft(n), 'add-learner', 2);
    network.send(hup(2));
    expect(network.raft(2)).toMatchObject({ role: FOLLOWER, isLearner: true, term: 0 });
    network.send(hup(1));
    expect(network.raft(1)).toMatchObject({ role: LEADER, lead: id(1) });
    // It may have become a learner after it was chosen.
    network.send(msg(1, 2, 'MsgTimeoutNow', { term: 1 }));
    expect(standing(network)).toEqual([
      [LEADER, 1],
      [FOLLOWER, 1],
    ]);
  });
});

describe.each(DRIVERS)('Pre-votes, driver %s', (driver) => {
  it('one of an earlier term with a better log can still win (NodeWithSmallerTermCanCompleteElection)', () => {
    const network = trio(driver, { preVote: true });
    network.cut(1, 3);
    network.cut(2, 3);
    network.send(hup(1));
    expect(rolesOf(network).slice(0, 2)).toEqual([LEADER, FOLLOWER]);
    network.send(hup(3));
    expect(network.raft(3).role).toBe(PRE_CANDIDATE);
    network.send(hup(2));
    expect(standing(network)).toEqual([
      [FOLLOWER, 3],
      [LEADER, 3],
      [PRE_CANDIDATE, 1],
    ]);
    // Leader 2 dies.
    network.recover();
    network.cut(2, 1);
    network.cut(2, 3);
    network.send(hup(3));
    // Its log is behind, so 1 refuses, and so tells it the term.
    expect(standing(network)[2]).toEqual([FOLLOWER, 3]);
    network.send(hup(1));
    expect(standing(network)).toEqual([
      [LEADER, 4],
      [LEADER, 3],
      [FOLLOWER, 4],
    ]);
  });

  it('after a split vote the next election decides (PreVoteWithSplitVote)', () => {
    const network = trio(driver, { preVote: true });
    network.send(hup(1));
    network.isolate(1);
    network.send(hup(2), hup(3));
    expect(standing(network).slice(1)).toEqual([
      [CANDIDATE, 3],
      [CANDIDATE, 3],
    ]);
    network.send(hup(2));
    expect(standing(network).slice(1)).toEqual([
      [LEADER, 4],
      [FOLLOWER, 4],
    ]);
  });

  it('with check-quorum, who asks first knows of no leader any more and so helps the other (PreVoteWithCheckQuorum)', () => {
    const network = trio(driver, { preVote: true, checkQuorum: true });
    network.send(hup(1));
    expect(rolesOf(network)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    network.isolate(1);
    // 2 has just heard of 1 and does not answer.
    network.send(hup(3));
    expect(standing(network).slice(1)).toEqual([
      [FOLLOWER, 2],
      [PRE_CANDIDATE, 2],
    ]);
    network.send(hup(2));
    expect(standing(network).slice(1)).toEqual([
      [LEADER, 3],
      [FOLLOWER, 3],
    ]);
  });

  /**
   * While pre-votes are turned on member by member: 1 leads term 2 with 2; 3, the last one without, was cut off and
   * held elections up to term 4, and now has them too.
   */
  function migration(): Network {
    const network = trio(driver, {});
    for (const n of [1, 2]) reconfigure(network.raft(n), { preVote: true });
    network.send(hup(1));
    network.isolate(3);
    network.send(propose(1, 'some data'));
    network.send(hup(3));
    network.send(hup(3));
    expect(standing(network)).toEqual([
      [LEADER, 2],
      [FOLLOWER, 2],
      [CANDIDATE, 4],
    ]);
    reconfigure(network.raft(3), { preVote: true });
    network.recover();
    return network;
  }

  it('turned on one by one, they don’t prevent elections (PreVoteMigrationCanCompleteElection)', () => {
    const network = migration();
    network.isolate(1);
    network.send(hup(3));
    network.send(hup(2));
    // 3 can't win. It refuses 2, whose term is earlier, and so tells it its own.
    expect(standing(network).slice(1)).toEqual([
      [FOLLOWER, 4],
      [PRE_CANDIDATE, 4],
    ]);
    network.send(hup(3));
    network.send(hup(2));
    expect(standing(network).slice(1)).toEqual([
      [LEADER, 5],
      [FOLLOWER, 5],
    ]);
  });

  it('a pre-candidate of a later term gets free (PreVoteMigrationWithFreeStuckPreCandidate)', () => {
    const network = migration();
    for (let nth = 0; nth < 2; nth += 1) {
      network.send(hup(3));
      expect(standing(network)).toEqual([
        [LEADER, 2],
        [FOLLOWER, 2],
        [PRE_CANDIDATE, 4],
      ]);
    }
    network.send(msg(1, 3, 'MsgHeartbeat', { term: 2 }));
    expect(standing(network)[0]).toEqual([FOLLOWER, 4]);
    expect(network.raft(3).term).toBe(4);
  });
});
