/**
 * Replication and commits: what comes into which log, and when it is committed.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets; other titles name the issue that a
 * rule comes from.
 */
import { describe, expect, it } from 'vitest';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import type { Progress } from '../../../src/server/raft/tracker/progress.ts';
import { type Message, NONE } from '../../../src/server/raft/types.ts';
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
  msg,
  Network,
  newCluster,
  newMember,
  newRaft,
  propose,
  take,
  termsOf,
} from './support.ts';

function progressOf(raft: Raft, n: number): Progress {
  return raft.tracker.progress.get(id(n)) as Progress;
}

/** Members 1 to `size`, all voters; those in `dead` take everything and say nothing. */
function clusterWithDead(driver: Driver, size: number, dead: readonly number[]): Network {
  const voters = Array.from({ length: size }, (_, at) => at + 1);
  return new Network(voters.map((n) => (dead.includes(n) ? new BlackHole(n) : newMember(driver, n, { voters }))));
}

/** Everything that a member is to send, as the one message that it has to be. */
function only(raft: Raft): Message {
  const messages = take(raft);
  expect(messages).toHaveLength(1);
  return messages[0] as Message;
}

/** Terms and commit index of each member's log. */
function logs(network: Network): [number[], number][] {
  return [...network.members.keys()].map((member) => {
    const raft = network.raft(Number(member));
    return [termsOf(raft), raft.log.committed];
  });
}

function many<T>(count: number, value: T): T[] {
  return Array.from({ length: count }, () => value);
}

describe.each(DRIVERS)('A proposal, driver %s', (driver) => {
  it.each<[what: string, toSend: Message[], proposed: string[], committed: number]>([
    ['one leader', [propose(1, 'a')], ['a'], 2],
    ['two leaders', [propose(1, 'a'), hup(2), propose(2, 'b')], ['a', 'b'], 4],
  ])('is committed in the log of every member: %s (LogReplication)', (_, toSend, proposed, committed) => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    for (const m of toSend) network.send(m);
    for (const n of [1, 2, 3]) {
      const raft = network.raft(n);
      expect(raft.log.committed).toBe(committed);
      const data = logOf(raft).filter((one) => one.data.length > 0);
      expect(data.map((one) => one.data)).toEqual(proposed.map(bytes));
      if (driver !== 'raw') expect(network.node(n).applied).toEqual(logOf(raft));
    }
  });

  it('reaches learners too, and needs them not (LearnerLogReplication)', () => {
    const options = { voters: [1], learners: [2] };
    const network = new Network([newMember(driver, 1, options), newMember(driver, 2, options)]);
    const [leader, learner] = [network.raft(1), network.raft(2)];
    for (let passed = 0; passed < 20 && leader.role !== 'StateLeader'; passed += 1) {
      tick(leader);
      network.settle();
    }
    network.send(beat(1));
    expect(leader).toMatchObject({ role: 'StateLeader', isLearner: false });
    expect(learner).toMatchObject({ role: 'StateFollower', isLearner: true });
    network.send(propose(1, 'somedata'));
    expect(logs(network)).toEqual(many(2, [[1, 1], 2]));
    expect(progressOf(leader, 2).match).toBe(2);
    network.isolate(2);
    network.send(propose(1, 'more'));
    expect([leader, learner].map((raft) => raft.log.committed)).toEqual([3, 2]);
  });

  it('to a single member is committed when its own disk has it (SingleNodeCommit)', () => {
    const network = newCluster(driver, 1);
    network.send(hup(1));
    network.send(propose(1, 'some data'));
    network.send(propose(1, 'some data'));
    expect(logs(network)).toEqual([[[1, 1, 1], 3]]);
  });

  it.each<[size: number, dead: number[], taken: boolean]>([
    [3, [], true],
    [3, [3], true],
    [3, [2, 3], false],
    [4, [2, 3], false],
    [5, [2, 3], true],
  ])('to one of %i, of whom %j are dead, is committed: %s (Proposal)', (size, dead, taken) => {
    const network = clusterWithDead(driver, size, dead);
    network.send(hup(1));
    expect(network.raft(1).role).toBe(taken ? 'StateLeader' : 'StateCandidate');
    // Without a leader it is refused at once.
    expect(network.member(1).step(propose(1, 'somedata'))).toBe(taken ? undefined : 'proposal-dropped');
    network.settle();
    for (let n = 1; n <= size; n += 1) {
      if (dead.includes(n)) continue;
      const raft = network.raft(n);
      expect(raft.term).toBe(1);
      expect(logOf(raft)).toEqual(taken ? [entry(1, 1), entry(1, 2, 'somedata')] : []);
      expect(raft.log.committed).toBe(taken ? 2 : 0);
    }
  });

  it.each<[number[]]>([[[]], [[3]]])('to a follower is handed to the leader; dead are %j (ProposalByProxy)', (dead) => {
    const network = clusterWithDead(driver, 3, dead);
    network.send(hup(1));
    network.send(propose(2, 'somedata'));
    for (const n of [1, 2, 3].filter((one) => !dead.includes(one))) {
      const raft = network.raft(n);
      expect(logOf(raft)).toEqual([entry(1, 1), entry(1, 2, 'somedata')]);
      expect(raft).toMatchObject({ term: 1, log: { committed: 2 } });
    }
  });

  it('that is handed over and lost is lost: nobody sends it again, so none counts twice (etcd issue 3587)', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    network.isolate(1);
    expect(network.member(2).step(propose(2, 'lost'))).toBeUndefined();
    network.settle();
    network.send(hup(3));
    network.recover();
    network.send(beat(3));
    network.send(propose(2, 'kept'));
    for (const n of [1, 2, 3]) {
      expect(logOf(network.raft(n))).toEqual([entry(1, 1), entry(2, 2), entry(2, 3, 'kept')]);
    }
    // One that comes twice is two entries: to tell them apart is who proposes' matter.
    network.send(propose(2, 'twice'), propose(2, 'twice'));
    expect(logOf(network.raft(1)).slice(3)).toEqual([entry(2, 4, 'twice'), entry(2, 5, 'twice')]);
  });
});

describe.each(DRIVERS)('Entries of earlier terms, driver %s', (driver) => {
  /** Five members. 1 leads and has two entries more than the first one, which only 2 got. */
  function led(): Network {
    const network = newCluster(driver, 5);
    network.send(hup(1));
    for (const other of [3, 4, 5]) network.cut(1, other);
    network.send(propose(1, 'some data'));
    network.send(propose(1, 'some data'));
    expect(network.raft(1).log.committed).toBe(1);
    network.recover();
    return network;
  }

  it('are not committed because a quorum has them (CannotCommitWithoutNewTermEntry)', () => {
    const network = led();
    // The new leader's own entry gets lost.
    network.filter = ({ entries }) => entries.every(({ term }) => term < 2);
    network.send(hup(2));
    const raft = network.raft(2);
    expect(raft).toMatchObject({ role: 'StateLeader', term: 2, log: { committed: 1 } });
    const entries = [entry(1, 2, 'some data'), entry(1, 3, 'some data')];
    for (const n of [3, 4, 5]) network.send(msg(2, n, 'MsgApp', { term: 2, index: 1, logTerm: 1, entries }));
    expect([3, 4, 5].map((n) => progressOf(raft, n).match)).toEqual([3, 3, 3]);
    expect(logs(network)).toEqual([[[1, 1, 1], 1], [[1, 1, 1, 2], 1], ...many(3, [[1, 1, 1], 1])]);
    network.filter = undefined;
    network.send(beat(2));
    network.send(propose(2, 'some data'));
    expect(raft.log.committed).toBe(5);
  });

  it('are committed along with the first of its own (CommitWithoutNewTermEntry)', () => {
    const network = led();
    network.send(hup(2));
    expect(logs(network)).toEqual(many(5, [[1, 1, 1, 2], 4]));
  });
});

describe.each(DRIVERS)('Old messages, driver %s', (driver) => {
  it('of a former leader change nothing (OldMessages)', () => {
    const network = newCluster(driver, 3);
    for (const n of [1, 2, 1]) network.send(hup(n));
    const before = network.raft(1).log.lastIndex();
    // 2 led in term 2 and tries to put in an entry.
    network.send(msg(2, 1, 'MsgApp', { term: 2, index: 2, logTerm: 2, entries: [entry(2, 3)] }));
    expect(network.raft(1).log.lastIndex()).toBe(before);
    network.send(propose(1, 'somedata'));
    for (const n of [1, 2, 3]) {
      expect(logOf(network.raft(n))).toEqual([entry(1, 1), entry(2, 2), entry(3, 3), entry(3, 4, 'somedata')]);
      expect(network.raft(n).log.committed).toBe(4);
    }
  });
});

describe('A message of an earlier term', () => {
  it('is not looked at (StepIgnoreOldTermMsg)', () => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1), hardState: { term: 2, vote: NONE, commit: 0 } });
    tick(raft);
    step(raft, msg(2, 1, 'MsgApp', { term: 1, index: 1, logTerm: 1, entries: [entry(1, 2)], commit: 2 }));
    expect(take(raft)).toEqual([]);
    expect(raft).toMatchObject({ term: 2, lead: NONE, electionElapsed: 1, log: { committed: 0 } });
    expect(termsOf(raft)).toEqual([1]);
  });
});

describe('What a quorum has', () => {
  it.each<[matches: number[], terms: number[], term: number, committed: number]>([
    // One member.
    [[1], [1], 1, 1],
    [[1], [1], 2, 0],
    [[2], [1, 2], 2, 2],
    [[1], [2], 2, 1],
    // An odd number.
    [[2, 1, 1], [1, 2], 1, 1],
    [[2, 1, 1], [1, 1], 2, 0],
    [[2, 1, 2], [1, 2], 2, 2],
    [[2, 1, 2], [1, 1], 2, 0],
    // An even number.
    [[2, 1, 1, 1], [1, 2], 1, 1],
    [[2, 1, 1, 1], [1, 1], 2, 0],
    [[2, 1, 1, 2], [1, 2], 1, 1],
    [[2, 1, 1, 2], [1, 1], 2, 0],
    [[2, 1, 2, 2], [1, 2], 2, 2],
    [[2, 1, 2, 2], [1, 1], 2, 0],
  ])('%j of entries of terms %j, in term %i: committed up to %i (Commit)', (matches, terms, term, committed) => {
    const voters = matches.map((_, at) => at + 1);
    const raft = newRaft(1, { voters, entries: log(...terms), hardState: { term, vote: NONE, commit: 0 } });
    for (const [at, match] of matches.entries()) {
      Object.assign(progressOf(raft, at + 1), { match, next: match + 1 });
    }
    expect(raft.maybeCommit()).toBe(committed > 0);
    expect(raft.log.committed).toBe(committed);
  });
});

describe('An append', () => {
  const e = entry;
  it.each<[string, previous: [term: number, index: number], commit: number, ReturnType<typeof e>[], object]>([
    // 1: refused where the entry before is not the same.
    ['another entry before', [3, 2], 3, [], { terms: [1, 2], committed: 0, reject: true }],
    ['no entry before', [3, 3], 3, [], { terms: [1, 2], committed: 0, reject: true }],
    // 2: what conflicts goes, what is new comes.
    ['nothing new', [1, 1], 1, [], { terms: [1, 2], committed: 1, reject: false }],
    ['all anew', [0, 0], 1, [e(2, 1)], { terms: [2], committed: 1, reject: false }],
    ['two more', [2, 2], 3, [e(2, 3), e(2, 4)], { terms: [1, 2, 2, 2], committed: 3, reject: false }],
    ['one more', [2, 2], 4, [e(2, 3)], { terms: [1, 2, 2], committed: 3, reject: false }],
    ['what is there', [1, 1], 4, [e(2, 2)], { terms: [1, 2], committed: 2, reject: false }],
    ['a conflict at 2', [1, 1], 1, [e(3, 2)], { terms: [1, 3], committed: 1, reject: false }],
    // 3: committed up to the last entry that is known to be the leader's.
    ['commit beyond what matches', [1, 1], 3, [], { terms: [1, 2], committed: 1, reject: false }],
    ['commit beyond what is new', [1, 1], 3, [e(2, 2)], { terms: [1, 2], committed: 2, reject: false }],
    ['commit beyond the log', [2, 2], 3, [], { terms: [1, 2], committed: 2, reject: false }],
    ['commit far beyond the log', [2, 2], 4, [], { terms: [1, 2], committed: 2, reject: false }],
  ])('%s (HandleMsgApp)', (_, [logTerm, index], commit, entries, wanted) => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1, 2), hardState: { term: 3, vote: NONE, commit: 0 } });
    step(raft, msg(2, 1, 'MsgApp', { term: 3, logTerm, index, commit, entries }));
    const { reject } = only(raft);
    expect({ terms: termsOf(raft), committed: raft.log.committed, reject }).toEqual(wanted);
  });

  it.each([
    ['without entries', []],
    ['with what is committed', [entry(1, 2)]],
    ['with more', [entry(1, 2), entry(1, 3), entry(1, 4)]],
  ])('before what is committed, %s, is answered with what is committed and looked at no further', (_, entries) => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1, 1, 1), hardState: { term: 1, vote: NONE, commit: 2 } });
    step(raft, msg(2, 1, 'MsgApp', { term: 1, logTerm: 1, index: 1, commit: 3, entries }));
    expect(only(raft)).toEqual(msg(1, 2, 'MsgAppResp', { term: 1, index: 2 }));
    expect(raft.log.committed).toBe(2);
    expect(raft.log.lastIndex()).toBe(3);
  });

  it('that is late takes nothing away that came since', () => {
    const raft = newRaft(1, { voters: [1, 2] });
    const append = (...indexes: number[]) => {
      return msg(2, 1, 'MsgApp', { term: 1, entries: indexes.map((index) => entry(1, index)) });
    };
    step(raft, append(1, 2, 3));
    step(raft, append(1));
    expect(take(raft)).toMatchObject([{ index: 3 }, { index: 1, reject: false }]);
    expect(raft.log.lastIndex()).toBe(3);
  });
});

describe('A heartbeat', () => {
  it.each([
    [3, 3],
    [1, 2],
  ])('with commit index %i: it is %i then, and never less (HandleHeartbeat)', (commit, committed) => {
    const entries = log(1, 2, 3);
    const raft = newRaft(1, { voters: [1, 2], entries, hardState: { term: 2, vote: NONE, commit: 2 } });
    step(raft, msg(2, 1, 'MsgHeartbeat', { term: 2, commit, context: bytes('position') }));
    expect(raft.log.committed).toBe(committed);
    expect(only(raft)).toEqual(msg(1, 2, 'MsgHeartbeatResp', { term: 2, context: bytes('position') }));
  });
});

describe('What is on its own disk', () => {
  it('and nothing else a single member commits, applies and answers for (etcd issue 14370)', () => {
    const network = new Network([newMember('async', 1, { voters: [1] })]);
    network.send(hup(1));
    const node = network.node(1);
    node.stalled.add('append');
    network.send(propose(1, 'not durable'));
    expect(network.raft(1).log).toMatchObject({ committed: 1, applied: 1 });
    expect(node.applied).toEqual([entry(1, 1)]);
    node.appendOne();
    node.work();
    expect(network.raft(1).log).toMatchObject({ committed: 2, applied: 2 });
    expect(node.applied).toEqual([entry(1, 1), entry(1, 2, 'not durable')]);
  });

  it('says nothing of entries that were replaced meanwhile and came back (ABA, etcd raft newStorageAppendRespMsg)', () => {
    const network = new Network([newMember('async', 1, { voters: [1, 2, 3] })]);
    const node = network.node(1);
    const raft = network.raft(1);
    node.stalled.add('append');
    const append = (from: number, term: number, entryTerm: number, commit = 0): void => {
      network.send(msg(from, 1, 'MsgApp', { term, entries: [entry(entryTerm, 1)], commit }));
    };
    append(2, 1, 1);
    append(3, 2, 2);
    append(2, 3, 1, 1);
    expect(node.appendQueue).toHaveLength(3);
    expect(raft.log).toMatchObject({ committed: 1 });
    // The first write is of the very same entry, but the second one undoes it on disk.
    for (const offset of [1, 1, 2]) {
      node.appendOne();
      node.work();
      expect(raft.log.unstable.offset).toBe(offset);
      expect(node.applied).toHaveLength(offset - 1);
    }
    expect(node.storage.entries(1, 2, 1000)).toEqual([entry(1, 1)]);
  });
});

describe('Pages of what is to be applied', () => {
  it('do not cut the commit index that is made durable: it never goes back (etcd issue 10063)', () => {
    const options = { voters: [1], entries: log(1, 1, 1, 1), maxCommittedSizePerReady: 1 };
    const network = new Network([newMember('ready', 1, { ...options, hardState: { term: 1, vote: NONE, commit: 4 } })]);
    const { node } = network.node(1);
    const seen: number[] = [];
    for (let page = 0; page < 4; page += 1) {
      const { hardState, committedEntries } = node.ready();
      expect(hardState).toBeUndefined();
      seen.push(...committedEntries.map(({ index }) => index));
      expect(node.basicStatus().hardState.commit).toBe(4);
      node.advance();
    }
    expect(seen).toEqual([1, 2, 3, 4]);
    expect(node.hasReady()).toBe(false);
  });
});
