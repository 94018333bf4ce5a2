/**
 * Elections among several members, with each way of doing their storage work.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import { asV2 } from '../../../src/server/raft/conf-change.ts';
import { applyConfChange } from '../../../src/server/raft/membership.ts';
import { tick } from '../../../src/server/raft/step.ts';
import { type MessageType, NONE, type Role } from '../../../src/server/raft/types.ts';
import {
  BlackHole,
  beat,
  bytes,
  DRIVERS,
  type Driver,
  entry,
  hup,
  id,
  log,
  logOf,
  type Member,
  type MemberOptions,
  msg,
  Network,
  newCluster,
  newMember,
  propose,
  termsOf,
} from './support.ts';

/** With and without pre-votes: the name of the scenario, and the option. */
function withPreVote(name: string): [string, boolean][] {
  return [
    [name, false],
    [`${name}PreVote`, true],
  ];
}

/** Members 1 to n, each with what its log and term are to be; undefined is one that is dead. */
function network(driver: Driver, members: (MemberOptions | undefined)[], shared: MemberOptions): Network {
  const voters = members.map((_, at) => at + 1);
  return new Network(
    members.map((options, at): Member => {
      if (!options) return new BlackHole(at + 1);
      return newMember(driver, at + 1, { voters, ...shared, ...options });
    }),
  );
}

/** A member that has entries of those terms, and is in the last of them. */
function withLog(...terms: number[]): MemberOptions {
  return { entries: log(...terms), hardState: { term: terms.at(-1) ?? 0, vote: NONE, commit: 0 } };
}

/** A member that voted in a term and got no entry of it. */
function voted(term: number, vote: number): MemberOptions {
  return { hardState: { term, vote: id(vote), commit: 0 } };
}

function rolesOf(network: Network): Role[] {
  return [...network.members.keys()].map((member) => network.raft(Number(member)).role);
}

const LEADER: Role = 'StateLeader';
const FOLLOWER: Role = 'StateFollower';

describe.each(DRIVERS)('Elections, driver %s', (driver) => {
  const fine: MemberOptions = {};
  const dead = undefined;
  describe.each(withPreVote('LeaderElection'))('(%s)', (_, preVote) => {
    // Without a quorum a candidate waits; a pre-candidate has not even changed its term.
    const waits = preVote ? { role: 'StatePreCandidate', term: 0 } : { role: 'StateCandidate', term: 1 };
    it.each([
      { name: 'of three, none dead', members: [fine, fine, fine], end: { role: LEADER, term: 1 } },
      { name: 'of three, one dead', members: [fine, fine, dead], end: { role: LEADER, term: 1 } },
      { name: 'of three, two dead', members: [fine, dead, dead], end: waits },
      { name: 'of four, two dead', members: [fine, dead, dead, fine], end: waits },
      { name: 'of five, two dead', members: [fine, dead, dead, fine, fine], end: { role: LEADER, term: 1 } },
      {
        name: 'of five, three with more in their logs',
        members: [fine, withLog(1), withLog(1), withLog(1, 1), fine],
        end: { role: FOLLOWER, term: 1 },
      },
    ])('$name: $end', ({ members, end }) => {
      const cluster = network(driver, members, { preVote });
      cluster.send(hup(1));
      expect(cluster.raft(1)).toMatchObject(end);
    });
  });

  it.each(withPreVote('LeaderCycle'))('each member in turn can take over (%s)', (_, preVote) => {
    const cluster = newCluster(driver, 3, { preVote });
    for (const campaigner of [1, 2, 3]) {
      cluster.send(hup(campaigner));
      expect(rolesOf(cluster)).toEqual([1, 2, 3].map((n) => (n === campaigner ? LEADER : FOLLOWER)));
      expect(cluster.raft(campaigner).term).toBe(campaigner);
    }
  });

  // Member 3 won term 2 with the votes of 4 and 5, and its entry reached nobody else.
  it.each(withPreVote('LeaderElectionOverwriteNewerLogs'))(
    'an uncommitted entry of a later term is overwritten (%s)',
    (_, preVote) => {
      const members = [withLog(1), withLog(1), withLog(2), voted(2, 3), voted(2, 3)];
      const cluster = network(driver, members, { preVote });
      cluster.send(hup(1));
      // A quorum knows of term 2, in which it has voted.
      expect(cluster.raft(1)).toMatchObject({ role: FOLLOWER, term: 2 });
      cluster.send(hup(1));
      expect(cluster.raft(1)).toMatchObject({ role: LEADER, term: 3 });
      for (const n of [1, 2, 3, 4, 5]) expect(logOf(cluster.raft(n))).toEqual(log(1, 3));
    },
  );

  it('of two candidates one wins; the other, being behind, only makes it step down (DuelingCandidates)', () => {
    const cluster = newCluster(driver, 3);
    cluster.cut(1, 3);
    cluster.send(hup(1));
    cluster.send(hup(3));
    // 2 has voted for 1, and 3 could not hear of it.
    expect(rolesOf(cluster)).toEqual([LEADER, FOLLOWER, 'StateCandidate']);
    cluster.recover();
    // Its term is later, so 1 steps down; its log is shorter, so nobody votes for it.
    cluster.send(hup(3));
    expect(rolesOf(cluster)).toEqual([FOLLOWER, FOLLOWER, FOLLOWER]);
    expect([1, 2, 3].map((n) => cluster.raft(n).term)).toEqual([2, 2, 2]);
    expect([1, 2, 3].map((n) => termsOf(cluster.raft(n)))).toEqual([[1], [1], []]);
    expect([1, 2, 3].map((n) => cluster.raft(n).log.committed)).toEqual([1, 1, 0]);
  });

  it('a pre-candidate that is behind disturbs nobody (DuelingPreCandidates)', () => {
    const cluster = newCluster(driver, 3, { preVote: true });
    cluster.cut(1, 3);
    cluster.send(hup(1));
    cluster.send(hup(3));
    // 2 denied 3, which knows now of its term.
    expect(rolesOf(cluster)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    cluster.recover();
    cluster.send(hup(3));
    expect(rolesOf(cluster)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    expect([1, 2, 3].map((n) => cluster.raft(n).term)).toEqual([1, 1, 1]);
    expect([1, 2, 3].map((n) => termsOf(cluster.raft(n)))).toEqual([[1], [1], []]);
    expect([1, 2, 3].map((n) => cluster.raft(n).log.committed)).toEqual([1, 1, 0]);
  });

  it('a candidate gives up when it hears of the leader, and gets its log (CandidateConcede)', () => {
    const cluster = newCluster(driver, 3);
    cluster.isolate(1);
    cluster.send(hup(1));
    cluster.send(hup(3));
    expect(rolesOf(cluster)).toEqual(['StateCandidate', FOLLOWER, LEADER]);
    cluster.recover();
    cluster.send(beat(3));
    cluster.send(propose(3, 'force follower'));
    cluster.send(beat(3));
    expect(cluster.raft(1)).toMatchObject({ role: FOLLOWER, term: 1, lead: id(3) });
    for (const n of [1, 2, 3]) {
      expect(logOf(cluster.raft(n))).toEqual([entry(1, 1), entry(1, 2, 'force follower')]);
      expect(cluster.raft(n).log.committed).toBe(2);
    }
  });

  it.each([
    ['SingleNodeCandidate', false],
    ['SingleNodePreCandidate', true],
  ])('a single member elects itself (%s)', (_, preVote) => {
    const cluster = newCluster(driver, 1, { preVote });
    cluster.send(hup(1));
    expect(cluster.raft(1)).toMatchObject({ role: LEADER, term: 1, lead: id(1) });
    expect(cluster.raft(1).log.committed).toBe(1);
  });

  it.each([
    ['CampaignWhileLeader', false],
    ['PreCampaignWhileLeader', true],
  ])('a leader that is told to start an election stays what it is (%s)', (_, preVote) => {
    const cluster = newCluster(driver, 1, { preVote });
    expect(cluster.raft(1).role).toBe(FOLLOWER);
    cluster.send(hup(1));
    cluster.send(hup(1));
    expect(cluster.raft(1)).toMatchObject({ role: LEADER, term: 1 });
    expect(termsOf(cluster.raft(1))).toEqual([1]);
  });

  it.each<[string, MessageType]>([
    ['CandidateResetTermMsgHeartbeat', 'MsgHeartbeat'],
    ['CandidateResetTermMsgApp', 'MsgApp'],
  ])('a candidate that was cut off takes over the leader’s term (%s)', (_, type) => {
    const cluster = newCluster(driver, 3);
    const [a, b, c] = [cluster.raft(1), cluster.raft(2), cluster.raft(3)];
    cluster.send(hup(1));
    expect(rolesOf(cluster)).toEqual([LEADER, FOLLOWER, FOLLOWER]);
    cluster.isolate(3);
    cluster.send(hup(2));
    cluster.send(hup(1));
    expect([a.role, b.role]).toEqual([LEADER, FOLLOWER]);
    for (let ticks = c.electionTimeout; ticks > 0; ticks -= 1) tick(c);
    cluster.member(3).work();
    expect(c).toMatchObject({ role: 'StateCandidate', term: 2 });
    cluster.recover();
    cluster.send(msg(1, 3, type, { term: a.term }));
    expect(c).toMatchObject({ role: FOLLOWER, term: 3, lead: id(1) });
    expect(a).toMatchObject({ role: LEADER, term: 3 });
  });
});

describe.each(DRIVERS)('Learners in elections, driver %s', (driver) => {
  const members: MemberOptions = { voters: [1], learners: [2] };

  function pair(): Network {
    const cluster = new Network([1, 2].map((n) => newMember(driver, n, members)));
    for (const n of [1, 2]) cluster.raft(n).becomeFollower(1, NONE);
    return cluster;
  }

  it('a learner never starts an election (LearnerElectionTimeout)', () => {
    const cluster = pair();
    const learner = cluster.raft(2);
    learner.electionTimeout = learner.config.electionTicks;
    for (let ticks = 3 * learner.electionTimeout; ticks > 0; ticks -= 1) tick(learner);
    cluster.settle();
    expect(learner).toMatchObject({ role: FOLLOWER, term: 1 });
    expect(cluster.delivered).toEqual([]);
  });

  it('a learner that is made a voter can win (LearnerPromotion)', () => {
    const cluster = pair();
    const [voter, learner] = [cluster.raft(1), cluster.raft(2)];
    expect(voter.role).toBe(FOLLOWER);
    for (let ticks = voter.electionTimeout; ticks > 0; ticks -= 1) tick(voter);
    cluster.settle();
    expect([voter.role, learner.role, learner.isLearner]).toEqual([LEADER, FOLLOWER, true]);
    cluster.send(beat(1));
    const change = asV2({ type: 'add-voter', nodeId: id(2), id: 0n, context: bytes('') });
    for (const raft of [voter, learner]) applyConfChange(raft, change);
    expect(learner.isLearner).toBe(false);
    for (let ticks = learner.electionTimeout; ticks > 0; ticks -= 1) tick(learner);
    cluster.settle();
    cluster.send(beat(2));
    expect([voter.role, learner.role]).toEqual([FOLLOWER, LEADER]);
    expect(voter.lead).toBe(id(2));
  });

  it('a learner votes: it may have been made a voter and not know yet (LearnerCanVote)', () => {
    const learner = newMember(driver, 2, members);
    learner.raft.becomeFollower(1, NONE);
    learner.step(msg(1, 2, 'MsgVote', { term: 2, logTerm: 11, index: 11 }));
    expect(learner.take()).toEqual([msg(2, 1, 'MsgVoteResp', { term: 2 })]);
  });
});
