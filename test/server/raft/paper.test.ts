/**
 * The rules of the Raft paper, one by one and on one member each.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5; each group names its
 * section. The scenarios are those of etcd's `raft_paper_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { broadcastAppend } from '../../../src/server/raft/replication.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import { type Entry, type MessageType, NONE, proposal, type Role } from '../../../src/server/raft/types.ts';
import {
  accept,
  applyCommitted,
  BlackHole,
  become,
  entry,
  hup,
  id,
  ids,
  log,
  logOf,
  type MemberOptions,
  msg,
  Network,
  newLeader,
  newRaft,
  persist,
  propose,
  RawMember,
  settle,
  take,
  termsOf,
} from './support.ts';

const THREE: MemberOptions = { voters: [1, 2, 3] };
const ROLES: readonly Role[] = ['StateFollower', 'StatePreCandidate', 'StateCandidate', 'StateLeader'];

/** Voters 1 to `size`. */
function voters(size: number): number[] {
  return Array.from({ length: size }, (_, at) => at + 1);
}

/** Puts the leader's first entry on every disk, and everything else aside. */
function commitFirstEntry(raft: Raft): void {
  broadcastAppend(raft);
  for (const m of take(raft)) step(raft, accept(m));
  take(raft);
  applyCommitted(raft);
}

describe('§5.1 Terms', () => {
  it.each<[Role, string]>([
    ['StateFollower', 'FollowerUpdateTermFromMessage'],
    ['StateCandidate', 'CandidateUpdateTermFromMessage'],
    ['StateLeader', 'LeaderUpdateTermFromMessage'],
  ])('a member in %s takes over a later term and follows (%s)', (role) => {
    const raft = newRaft(1, THREE);
    if (role === 'StateFollower') raft.becomeFollower(1, id(2));
    else become(raft, role);
    expect(raft.term).toBe(1);
    step(raft, msg(2, 1, 'MsgApp', { term: 2 }));
    expect(raft).toMatchObject({ term: 2, role: 'StateFollower', lead: id(2), vote: NONE });
  });

  const stale: readonly MessageType[] = [
    'MsgApp',
    'MsgAppResp',
    'MsgVote',
    'MsgVoteResp',
    'MsgPreVoteResp',
    'MsgSnap',
    'MsgHeartbeat',
    'MsgHeartbeatResp',
    'MsgTimeoutNow',
  ];
  it.each(stale)('a %s of an earlier term is ignored (RejectStaleTermMessage)', (type) => {
    for (const role of ROLES) {
      const raft = newRaft(1, { ...THREE, hardState: { term: 2, vote: NONE, commit: 0 } });
      become(raft, role);
      take(raft);
      raft.electionElapsed = 3;
      const before = stateOf(raft);
      // Were it of this term, an append would fit, a vote would be given, an answer would be good news.
      const fields = type === 'MsgApp' ? { entries: log(1) } : { logTerm: 9, index: 9 };
      for (const from of [2, 3]) step(raft, msg(from, 1, type, { ...fields, term: raft.term - 1 }));
      expect(stateOf(raft)).toEqual(before);
      expect(take(raft)).toEqual([]);
    }
  });

  function stateOf(raft: Raft): unknown {
    const { term, lead, vote, role, electionElapsed } = raft;
    return { term, lead, vote, role, electionElapsed, log: logOf(raft) };
  }
});

describe('§5.2 Leader election', () => {
  it('a member starts as a follower (StartAsFollower)', () => {
    expect(newRaft(1, THREE)).toMatchObject({ role: 'StateFollower', term: 0, lead: NONE, vote: NONE });
  });

  it.each([1, 3])('a leader sends heartbeats to all, every %i ticks (LeaderBcastBeat)', (heartbeatTicks) => {
    const raft = newLeader(1, { ...THREE, heartbeatTicks });
    raft.appendEntries(Array.from({ length: 10 }, () => proposal()));
    for (let ticks = 1; ticks < heartbeatTicks; ticks += 1) tick(raft);
    expect(take(raft)).toEqual([]);
    tick(raft);
    expect(take(raft)).toEqual([2, 3].map((to) => msg(1, to, 'MsgHeartbeat', { term: 1 })));
  });

  it.each<[Role, string]>([
    ['StateFollower', 'FollowerStartElection'],
    ['StateCandidate', 'CandidateStartNewElection'],
  ])('after a timeout a member in %s raises its term, votes for itself and asks all others (%s)', (role) => {
    const raft = newRaft(1, THREE);
    if (role === 'StateFollower') raft.becomeFollower(1, id(2));
    else become(raft, role);
    for (let ticks = 1; ticks < 2 * raft.config.electionTicks; ticks += 1) tick(raft);
    expect(take(raft)).toEqual([2, 3].map((to) => msg(1, to, 'MsgVote', { term: 2 })));
    expect(raft).toMatchObject({ term: 2, role: 'StateCandidate', lead: NONE, vote: id(1) });
    // Its own vote counts: one more is a majority.
    step(raft, msg(2, 1, 'MsgVoteResp', { term: 2 }));
    expect(raft.role).toBe('StateLeader');
  });

  const yes = { 2: true, 3: true, 4: true, 5: true };
  it.each<[number, Record<number, boolean>, Role]>([
    [1, {}, 'StateLeader'],
    [3, { 2: true, 3: true }, 'StateLeader'],
    [3, { 2: true }, 'StateLeader'],
    [5, yes, 'StateLeader'],
    [5, { 2: true, 3: true, 4: true }, 'StateLeader'],
    [5, { 2: true, 3: true }, 'StateLeader'],
    [3, { 2: false, 3: false }, 'StateFollower'],
    [5, { 2: false, 3: false, 4: false, 5: false }, 'StateFollower'],
    [5, { 2: true, 3: false, 4: false, 5: false }, 'StateFollower'],
    [3, {}, 'StateCandidate'],
    [5, { 2: true }, 'StateCandidate'],
    [5, { 2: false, 3: false }, 'StateCandidate'],
    [5, {}, 'StateCandidate'],
  ])('of %i members, with votes %j, a candidate ends in %s (LeaderElectionInOneRoundRPC)', (size, votes, role) => {
    const raft = newRaft(1, { voters: voters(size) });
    step(raft, hup(1));
    settle(raft);
    for (const [voter, granted] of Object.entries(votes)) {
      step(raft, msg(Number(voter), 1, 'MsgVoteResp', { term: 1, reject: !granted }));
    }
    expect(raft).toMatchObject({ role, term: 1, vote: id(1), lead: role === 'StateLeader' ? id(1) : NONE });
  });

  it.each([
    { vote: 0, candidate: 2, reject: false },
    { vote: 0, candidate: 3, reject: false },
    { vote: 2, candidate: 2, reject: false },
    { vote: 3, candidate: 3, reject: false },
    { vote: 2, candidate: 3, reject: true },
    { vote: 3, candidate: 2, reject: true },
  ])('one vote a term, first come first served: %j (FollowerVote)', ({ vote, candidate, reject }) => {
    const raft = newRaft(1, { ...THREE, hardState: { term: 1, vote: id(vote), commit: 0 } });
    step(raft, msg(candidate, 1, 'MsgVote', { term: 1 }));
    // The vote has to be on disk before it leaves.
    expect(raft.messages).toEqual([]);
    expect(raft.messagesAfterAppend).toEqual([msg(1, candidate, 'MsgVoteResp', { term: 1, reject })]);
    expect(raft.vote).toBe(id(reject ? vote : candidate));
  });

  it.each([1, 2])('a candidate follows the leader of term %i when it hears of it (CandidateFallback)', (term) => {
    const raft = newRaft(1, THREE);
    step(raft, hup(1));
    expect(raft).toMatchObject({ role: 'StateCandidate', term: 1 });
    step(raft, msg(2, 1, 'MsgApp', { term }));
    expect(raft).toMatchObject({ role: 'StateFollower', term, lead: id(2) });
  });

  /** Ticks until the member has something to say. */
  function ticksToElection(raft: Raft): number {
    for (let ticks = 1; ; ticks += 1) {
      tick(raft);
      if (take(raft).length > 0) return ticks;
    }
  }

  /** Back to the beginning of a wait: a follower in the next term, or a candidate, who gets there on its own. */
  function waitAgain(raft: Raft, role: Role): void {
    if (role === 'StateFollower') raft.becomeFollower(raft.term + 1, id(2));
    else raft.becomeCandidate();
  }

  it.each<[Role, string]>([
    ['StateFollower', 'FollowerElectionTimeoutRandomized'],
    ['StateCandidate', 'CandidateElectionTimeoutRandomized'],
  ])('the timeout of a member in %s is any from one to two election timeouts (%s)', (role) => {
    const raft = newRaft(1, THREE);
    const seen = new Set<number>();
    for (let round = 0; round < 500; round += 1) {
      waitAgain(raft, role);
      seen.add(ticksToElection(raft));
    }
    expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, at) => 10 + at));
  });

  it.each<[Role, string]>([
    ['StateFollower', 'FollowersElectionTimeoutNonconflict'],
    ['StateCandidate', 'CandidatesElectionTimeoutNonconflict'],
  ])('of five members in %s, mostly one alone times out first (%s)', (role) => {
    const members = voters(5).map((n) => newRaft(n, { voters: voters(5) }));
    let conflicts = 0;
    for (let round = 0; round < 1000; round += 1) {
      for (const raft of members) waitAgain(raft, role);
      let first = 0;
      while (first === 0) {
        for (const raft of members) tick(raft);
        first = members.filter((raft) => take(raft).length > 0).length;
      }
      if (first > 1) conflicts += 1;
    }
    expect(conflicts).toBeGreaterThan(0);
    expect(conflicts / 1000).toBeLessThanOrEqual(0.3);
  });
});

describe('§5.3 Log replication', () => {
  it('a leader appends a proposal and sends it with the entry before it (LeaderStartReplication)', () => {
    const raft = newLeader(1, THREE);
    commitFirstEntry(raft);
    const before = raft.log.lastIndex();
    step(raft, propose(1, 'some data'));
    const entries = [entry(1, before + 1, 'some data')];
    expect([raft.log.lastIndex(), raft.log.committed]).toEqual([before + 1, before]);
    const fields = { term: 1, index: before, logTerm: 1, entries, commit: before };
    expect(take(raft)).toEqual([2, 3].map((to) => msg(1, to, 'MsgApp', fields)));
    expect(raft.log.unstable.nextEntries()).toEqual(entries);
  });

  it('a leader commits what a quorum has, applies it and says so (LeaderCommitEntry)', () => {
    const raft = newLeader(1, THREE);
    commitFirstEntry(raft);
    const before = raft.log.lastIndex();
    step(raft, propose(1, 'some data'));
    for (const m of take(raft)) step(raft, accept(m));
    expect(raft.log.committed).toBe(before + 1);
    expect(raft.log.nextCommitted(true)).toEqual([entry(1, before + 1, 'some data')]);
    const fields = { term: 1, index: before + 1, logTerm: 1, commit: before + 1 };
    expect(take(raft)).toEqual([2, 3].map((to) => msg(1, to, 'MsgApp', fields)));
  });

  it.each<[number, number[], boolean]>([
    [1, [], true],
    [3, [], false],
    [3, [2], true],
    [3, [2, 3], true],
    [5, [], false],
    [5, [2], false],
    [5, [2, 3], true],
    [5, [2, 3, 4], true],
    [5, [2, 3, 4, 5], true],
  ])('of %i members, accepted by the leader and %j: committed %s (LeaderAcknowledgeCommit)', (size, by, committed) => {
    const raft = newLeader(1, { voters: voters(size) });
    commitFirstEntry(raft);
    const before = raft.log.lastIndex();
    step(raft, propose(1, 'some data'));
    persist(raft);
    for (const m of take(raft)) if (ids(...by).includes(m.to)) step(raft, accept(m));
    expect(raft.log.committed).toBe(committed ? before + 1 : before);
  });

  it.each([[[]], [[2]], [[1, 2]], [[1]]])(
    'entries of terms %j are committed along with one of the own term (LeaderCommitPrecedingEntries)',
    (terms) => {
      const entries = log(...terms);
      const raft = newLeader(1, { ...THREE, entries, hardState: { term: 2, vote: NONE, commit: 0 } });
      step(raft, propose(1, 'some data'));
      for (const m of take(raft)) step(raft, accept(m));
      const last = terms.length;
      const all = [...entries, entry(3, last + 1), entry(3, last + 2, 'some data')];
      expect(raft.log.nextCommitted(true)).toEqual(all);
    },
  );

  const some = entry(1, 1, 'some data');
  it.each<[Entry[], number]>([
    [[some], 1],
    [[some, entry(1, 2, 'some data2')], 2],
    [[entry(1, 1, 'some data2'), entry(1, 2, 'some data')], 2],
    [[some, entry(1, 2, 'some data2')], 1],
  ])(
    'a follower commits and applies in order, as far as its leader: case %# (FollowerCommitEntry)',
    (entries, commit) => {
      const raft = newRaft(1, THREE);
      raft.becomeFollower(1, id(2));
      step(raft, msg(2, 1, 'MsgApp', { term: 1, entries, commit }));
      expect(raft.log.committed).toBe(commit);
      expect(raft.log.nextCommitted(true)).toEqual(entries.slice(0, commit));
    },
  );

  it.each([
    { name: 'what is committed', logTerm: 0, index: 0, answer: { index: 1 } },
    { name: 'the first entry', logTerm: 1, index: 1, answer: { index: 1 } },
    { name: 'the last entry', logTerm: 2, index: 2, answer: { index: 2 } },
    {
      name: 'another entry in its place',
      logTerm: 1,
      index: 2,
      answer: { index: 2, reject: true, rejectHint: 1, logTerm: 1 },
    },
    { name: 'no entry', logTerm: 3, index: 3, answer: { index: 3, reject: true, rejectHint: 2, logTerm: 2 } },
  ])(
    'a follower checks the entry before an append, it has $name (FollowerCheckMsgApp)',
    ({ logTerm, index, answer }) => {
      const raft = newRaft(1, { ...THREE, entries: log(1, 2), hardState: { term: 0, vote: NONE, commit: 1 } });
      raft.becomeFollower(2, id(2));
      step(raft, msg(2, 1, 'MsgApp', { term: 2, logTerm, index }));
      expect(take(raft)).toEqual([msg(1, 2, 'MsgAppResp', { term: 2, ...answer })]);
    },
  );

  it.each([
    { name: 'what is new is appended', index: 2, logTerm: 2, entries: [[3, 3]], terms: [1, 2, 3], unstable: [[3, 3]] },
    {
      name: 'a conflict and all after it goes',
      index: 1,
      logTerm: 1,
      entries: [
        [3, 2],
        [4, 3],
      ],
      terms: [1, 3, 4],
      unstable: [
        [3, 2],
        [4, 3],
      ],
    },
    { name: 'what is there already stays', index: 0, logTerm: 0, entries: [[1, 1]], terms: [1, 2], unstable: [] },
    { name: 'a conflict at the start', index: 0, logTerm: 0, entries: [[3, 1]], terms: [3], unstable: [[3, 1]] },
  ])('a follower makes its log the leader’s: $name (FollowerAppendEntries)', (scenario) => {
    const made = (pairs: number[][]): Entry[] => pairs.map(([term, index]) => entry(term as number, index as number));
    const raft = newRaft(1, { ...THREE, entries: log(1, 2) });
    raft.becomeFollower(2, id(2));
    const { index, logTerm, entries, terms, unstable } = scenario;
    step(raft, msg(2, 1, 'MsgApp', { term: 2, logTerm, index, entries: made(entries) }));
    expect(logOf(raft)).toEqual(log(...terms));
    expect(raft.log.unstable.nextEntries()).toEqual(made(unstable));
  });

  // Figure 7: the leader of term 8, and what its followers may have.
  const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  it.each<[string, number[]]>([
    ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['b', [1, 1, 1, 4]],
    ['c', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['e', [1, 1, 1, 4, 4, 4, 4]],
    ['f', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ])('figure 7, follower (%s): its log becomes the leader’s (LeaderSyncFollowerLog)', (_, terms) => {
    const term = 8;
    const hardState = { term, vote: NONE, commit: leaderTerms.length };
    const leader = newRaft(1, { ...THREE, entries: log(...leaderTerms), hardState });
    const follower = newRaft(2, {
      ...THREE,
      entries: log(...terms),
      hardState: { term: term - 1, vote: NONE, commit: 0 },
    });
    const network = new Network([new RawMember(leader), new RawMember(follower), new BlackHole(3)]);
    network.send(hup(1));
    // A follower whose log goes on further does not vote for it; the third one does.
    network.send(msg(3, 1, 'MsgVoteResp', { term: term + 1 }));
    expect(leader).toMatchObject({ role: 'StateLeader', term: term + 1 });
    network.send(propose(1));
    expect(termsOf(follower)).toEqual([...leaderTerms, term + 1, term + 1]);
    expect(logOf(follower)).toEqual(logOf(leader));
    expect(follower.log.committed).toBe(leader.log.lastIndex());
  });
});

describe('§5.4 Safety', () => {
  it.each([
    { terms: [1], term: 2 },
    { terms: [1, 2], term: 3 },
  ])('a candidate with entries of terms $terms tells all others its last one (VoteRequest)', ({ terms, term }) => {
    const raft = newRaft(1, THREE);
    step(raft, msg(2, 1, 'MsgApp', { term: term - 1, entries: log(...terms) }));
    take(raft);
    for (let ticks = 1; ticks < 2 * raft.config.electionTicks; ticks += 1) tick(raft);
    const fields = { term, index: terms.length, logTerm: terms.at(-1) as number };
    expect(take(raft)).toEqual([2, 3].map((to) => msg(1, to, 'MsgVote', fields)));
  });

  it.each([
    // The same last term: the longer log counts.
    { terms: [1], logTerm: 1, index: 1, reject: false },
    { terms: [1], logTerm: 1, index: 2, reject: false },
    { terms: [1, 1], logTerm: 1, index: 1, reject: true },
    // The candidate's last term is later: its length does not matter.
    { terms: [1], logTerm: 2, index: 1, reject: false },
    { terms: [1], logTerm: 2, index: 2, reject: false },
    { terms: [1, 1], logTerm: 2, index: 1, reject: false },
    // The voter's last term is later.
    { terms: [2], logTerm: 1, index: 1, reject: true },
    { terms: [2], logTerm: 1, index: 2, reject: true },
    { terms: [1, 2], logTerm: 1, index: 1, reject: true },
    { terms: [1, 2], logTerm: 1, index: 3, reject: true },
  ])('a voter denies whose log is behind its own: %j (Voter)', ({ terms, logTerm, index, reject }) => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(...terms) });
    step(raft, msg(2, 1, 'MsgVote', { term: 3, logTerm, index }));
    expect(take(raft)).toEqual([msg(1, 2, 'MsgVoteResp', { term: 3, reject })]);
    expect(raft.vote).toBe(id(reject ? 0 : 2));
  });

  it.each([
    { acked: 1, committed: 0 },
    { acked: 2, committed: 0 },
    { acked: 3, committed: 3 },
  ])('only entries of the own term are committed by counting: %j (LeaderOnlyCommitsLogFromCurrentTerm)', (scenario) => {
    const hardState = { term: 2, vote: NONE, commit: 0 };
    const raft = newLeader(1, { voters: [1, 2], entries: log(1, 2), hardState });
    take(raft);
    step(raft, propose(1));
    step(raft, msg(2, 1, 'MsgAppResp', { term: 3, index: scenario.acked }));
    settle(raft);
    expect(raft.log.committed).toBe(scenario.committed);
  });
});
