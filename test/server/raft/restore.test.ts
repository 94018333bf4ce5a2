/**
 * Snapshots on the side of who gets them, and clusters in which somebody needs one.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets; other titles name the issue that a
 * rule comes from. What a leader does meanwhile is in `snapshots.test.ts`.
 */
import { describe, expect, it } from 'vitest';
import { restoreFrom } from '../../../src/server/raft/follower.ts';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import { confStateOf } from '../../../src/server/raft/tracker/configuration.ts';
import type { Progress } from '../../../src/server/raft/tracker/progress.ts';
import { type ConfState, NONE, type Snapshot } from '../../../src/server/raft/types.ts';
import {
  beat,
  become,
  bytes,
  confState,
  type Driver,
  entry,
  hup,
  id,
  ids,
  log,
  type MemberOptions,
  msg,
  Network,
  newCluster,
  newLeader,
  newMember,
  newRaft,
  newStorage,
  propose,
  snapshot,
  take,
  termsOf,
} from './support.ts';

/** Drivers that write to a storage, of which a snapshot can be made. */
const WRITING: readonly Driver[] = ['ready', 'async'];

const JOINT: ConfState = confState({
  voters: ids(2, 3),
  votersOutgoing: ids(1, 2, 4),
  learners: ids(5),
  learnersNext: ids(4),
  autoLeave: true,
});

function progressOf(raft: Raft, n: number): Progress {
  return raft.tracker.progress.get(id(n)) as Progress;
}

function configurationOf(raft: Raft): ConfState {
  return confStateOf(raft.tracker.configuration);
}

/** The election timeout passes once. */
function letTimeOut(raft: Raft): void {
  for (let passed = 0; passed < raft.electionTimeout; passed += 1) tick(raft);
}

describe('Restoring a snapshot', () => {
  it.each<[name: string, n: number, before: MemberOptions, Partial<ConfState>, isLearner: boolean]>([
    ['Restore', 1, { voters: [1, 2] }, { voters: ids(1, 2, 3) }, false],
    ['RestoreWithLearner', 3, { voters: [1, 2], learners: [3] }, { voters: ids(1, 2), learners: ids(3) }, true],
    ['RestoreWithVotersOutgoing', 1, { voters: [1, 2] }, { voters: ids(2, 3, 4), votersOutgoing: ids(1, 2, 3) }, false],
    ['RestoreVoterToLearner', 3, { voters: [1, 2, 3] }, { voters: ids(1, 2), learners: ids(3) }, true],
    ['RestoreLearnerPromotion', 3, { voters: [1, 2], learners: [3] }, { voters: ids(1, 2, 3) }, false],
  ])('takes its log and its configuration, once (%s)', (_, n, before, fields, isLearner) => {
    const state = confState(fields);
    const raft = newRaft(n, before);
    expect(raft.isLearner).toBe(before.learners?.includes(n) ?? false);
    const given: Snapshot = { ...snapshot(11, 11, []), confState: state };
    expect(restoreFrom(raft, given)).toBe(true);
    expect(raft.log).toMatchObject({ committed: 11 });
    expect([raft.log.firstIndex(), raft.log.lastIndex(), raft.log.term(11), raft.log.term(10)]).toEqual([
      12,
      11,
      11,
      'compacted',
    ]);
    expect(configurationOf(raft)).toEqual(state);
    expect(raft.isLearner).toBe(isLearner);
    for (const [member, progress] of raft.tracker.progress) {
      expect([member, progress.isLearner]).toEqual([member, state.learners.includes(member)]);
    }
    expect(restoreFrom(raft, given)).toBe(false);
    // What it has is not in place yet: it stands for no election.
    letTimeOut(raft);
    expect(raft.role).toBe('StateFollower');
    expect(take(raft)).toEqual([]);
  });

  it('takes over the leader who sent it, and says what it has (RestoreFromSnapMsg)', () => {
    const given = snapshot(11, 11, [1, 2]);
    const raft = newRaft(2, { voters: [1, 2] });
    step(raft, msg(1, 2, 'MsgSnap', { term: 2, snapshot: given }));
    expect(raft).toMatchObject({ lead: id(1), term: 2, role: 'StateFollower', log: { committed: 11 } });
    expect(take(raft)).toEqual([msg(2, 1, 'MsgAppResp', { term: 2, index: 11 })]);
  });

  it('ignores what it has, and commits what its log has already (RestoreIgnoreSnapshot)', () => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1, 1, 1), hardState: { term: 1, vote: NONE, commit: 1 } });
    expect(restoreFrom(raft, snapshot(1, 1, [1, 2]))).toBe(false);
    expect(raft.log.committed).toBe(1);
    // Nothing is replaced, only the commit index moves.
    expect(restoreFrom(raft, snapshot(2, 1, [1, 2]))).toBe(false);
    expect(raft.log.committed).toBe(2);
    expect(termsOf(raft)).toEqual([1, 1, 1]);
    expect(raft.log.unstable.snapshot).toBeUndefined();
  });

  it('answers a snapshot that brings nothing with what is committed', () => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1, 1, 1), hardState: { term: 1, vote: NONE, commit: 2 } });
    for (const [index, committed] of [
      [1, 2],
      [2, 2],
      [3, 3],
    ] as const) {
      step(raft, msg(2, 1, 'MsgSnap', { term: 1, snapshot: snapshot(index, 1, [1, 2]) }));
      expect(take(raft)).toEqual([msg(1, 2, 'MsgAppResp', { term: 1, index: committed })]);
    }
    expect(termsOf(raft)).toEqual([1, 1, 1]);
  });

  it('never replaces what is committed, whatever term the snapshot claims (openraft commit ac3e5a89)', () => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1, 1, 1), hardState: { term: 2, vote: NONE, commit: 2 } });
    expect(restoreFrom(raft, snapshot(2, 2, [1, 2]))).toBe(false);
    expect(termsOf(raft)).toEqual([1, 1, 1]);
    // Beyond the commit index a tail that conflicts is replaced.
    expect(restoreFrom(raft, snapshot(3, 2, [1, 2]))).toBe(true);
    expect([raft.log.lastIndex(), raft.log.term(3)]).toEqual([3, 2]);
  });

  it('refuses a snapshot in which it is nobody', () => {
    const raft = newRaft(3, { voters: [1, 2, 3] });
    expect(restoreFrom(raft, snapshot(11, 11, [1, 2]))).toBe(false);
    expect(raft.log.lastIndex()).toBe(0);
    expect(configurationOf(raft)).toEqual(confState({ voters: ids(1, 2, 3) }));
  });

  it.each([2, 4, 5])('keeps both halves of a joint configuration, as member %i (etcd raft commit e515a67)', (n) => {
    const given: Snapshot = { ...snapshot(11, 11, []), confState: JOINT };
    const network = new Network([newMember('ready', n, { voters: [n] })]);
    network.send(msg(3, n, 'MsgSnap', { term: 12, snapshot: given }));
    const { node, storage } = network.node(n);
    expect(configurationOf(node.raft)).toEqual(JOINT);
    // And it is the same when the member comes back from its disk.
    expect(storage.initialState().confState).toEqual(JOINT);
    const again = newRaft(n, { storage });
    expect(configurationOf(again)).toEqual(JOINT);
    expect(again.isLearner).toBe(n === 5);
    // Who is to be a learner once the joint configuration is left is a voter until then.
    expect(again.promotable).toBe(n !== 5);
    expect(progressOf(again, 4).isLearner).toBe(false);
  });

  it('stands for election again when the snapshot is in place', () => {
    const network = new Network([newMember('async', 1, { voters: [1, 2, 3] })]);
    const [raft, node] = [network.raft(1), network.node(1)];
    node.stalled.add('append');
    network.send(msg(2, 1, 'MsgSnap', { term: 2, snapshot: snapshot(11, 2, [1, 2, 3]) }));
    letTimeOut(raft);
    network.send(hup(1), msg(2, 1, 'MsgTimeoutNow', { term: 2 }));
    expect(raft).toMatchObject({ role: 'StateFollower', term: 2 });
    expect(node.appendOne()).toBe(true);
    letTimeOut(raft);
    expect(raft).toMatchObject({ role: 'StateCandidate', term: 3, log: { applied: 11 } });
  });
});

describe('A leader', () => {
  function leaderFromSnapshot(): Raft {
    const raft = newRaft(1, { voters: [1] });
    restoreFrom(raft, snapshot(11, 11, [1, 2]));
    become(raft, 'StateLeader');
    take(raft);
    return raft;
  }

  it('sends its snapshot to who needs what is compacted (ProvideSnap)', () => {
    const raft = leaderFromSnapshot();
    progressOf(raft, 2).next = raft.log.firstIndex();
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 11, reject: true }));
    expect(take(raft)).toEqual([msg(1, 2, 'MsgSnap', { term: 1, snapshot: snapshot(11, 11, [1, 2]) })]);
  });

  it('sends it to nobody who was not heard of (IgnoreProvidingSnap)', () => {
    const raft = leaderFromSnapshot();
    const follower = progressOf(raft, 2);
    Object.assign(follower, { next: raft.log.firstIndex() - 1, recentActive: false });
    step(raft, propose(1, 'somedata'));
    expect(take(raft)).toEqual([]);
    expect(follower.state).toBe('StateProbe');
    // Who is heard of again gets it then.
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1 }));
    expect(take(raft)).toMatchObject([{ type: 'MsgSnap', to: id(2) }]);
  });

  it('sends nothing while its storage has no snapshot to give, and tries again', () => {
    let ready = true;
    const storage = newStorage({});
    storage.applySnapshot(snapshot(5, 1, [1, 2]));
    const has = storage.snapshot.bind(storage);
    storage.snapshot = () => (ready ? has() : undefined);
    const raft = newLeader(1, { storage });
    take(raft);
    ready = false;
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 5, reject: true }));
    expect(take(raft)).toEqual([]);
    expect(progressOf(raft, 2).state).toBe('StateProbe');
    ready = true;
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1 }));
    expect(take(raft)).toMatchObject([{ type: 'MsgSnap', snapshot: { index: 5 } }]);
  });

  it('whose log is compacted under a full window sends a snapshot, not an append after term 0 (etcd raft issue 31)', () => {
    const network = new Network([newMember('ready', 1, { voters: [1, 2, 3], maxInflightMessages: 2 })]);
    const raft = network.raft(1);
    const { storage } = network.node(1);
    network.send(hup(1));
    network.send(msg(2, 1, 'MsgVoteResp', { term: 1 }));
    for (const n of [2, 3]) network.send(msg(n, 1, 'MsgAppResp', { term: 1, index: 1 }));
    // 3 answers no more: its window is full with 2 and 3. 2 goes on.
    for (let index = 2; index <= 6; index += 1) {
      network.send(propose(1, 'some data'));
      network.send(msg(2, 1, 'MsgAppResp', { term: 1, index }));
    }
    const follower = progressOf(raft, 3);
    expect(follower).toMatchObject({ match: 1, next: 4, flowPaused: true });
    storage.createSnapshot(6, confState({ voters: ids(1, 2, 3) }), bytes('image'));
    storage.compact(6);
    step(raft, msg(3, 1, 'MsgHeartbeatResp', { term: 1 }));
    const sent = take(raft).filter(({ to }) => to === id(3));
    expect(sent).toMatchObject([{ type: 'MsgSnap', snapshot: { index: 6, term: 1 } }]);
    expect(follower).toMatchObject({ state: 'StateSnapshot', pendingSnapshot: 6, next: 7 });
  });

  it('goes on at once with a follower whose snapshot is the last of its log (etcd issue 10308)', () => {
    const raft = newLeader(1, { voters: [1, 2, 3], entries: log(1), hardState: { term: 1, vote: NONE, commit: 0 } });
    take(raft);
    const follower = progressOf(raft, 2);
    follower.becomeSnapshot(2);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 2, index: 2 }));
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 2, next: 3, pendingSnapshot: 0 });
    take(raft);
    step(raft, propose(1, 'next'));
    expect(take(raft).filter(({ to }) => to === id(2))).toMatchObject([
      { type: 'MsgApp', entries: [entry(2, 3, 'next')] },
    ]);
  });

  it('goes on with a follower whose log it can serve, though the snapshot was further (etcd raft issue 110)', () => {
    const raft = newLeader(1, {
      voters: [1, 2, 3],
      entries: log(1, 1, 1),
      hardState: { term: 1, vote: NONE, commit: 3 },
    });
    take(raft);
    const follower = progressOf(raft, 2);
    follower.becomeSnapshot(3);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 2, index: 1 }));
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 1, pendingSnapshot: 0 });
    expect(take(raft)).toMatchObject([{ type: 'MsgApp', to: id(2), index: 1, entries: [{}, {}, {}] }]);
  });
});

describe.each(WRITING)('In a cluster, driver %s', (driver) => {
  it('a learner gets a snapshot (LearnerReceiveSnapshot)', () => {
    const given = snapshot(11, 11, [1], [2]);
    const storage = newStorage({});
    storage.applySnapshot(given);
    const network = new Network([
      newMember(driver, 1, { storage }),
      newMember(driver, 2, { voters: [1], learners: [2] }),
    ]);
    network.send(hup(1));
    network.send(beat(1));
    expect(network.delivered.filter(({ type }) => type === 'MsgSnap')).toMatchObject([{ to: id(2), snapshot: given }]);
    expect([1, 2].map((n) => network.raft(n).log.committed)).toEqual([12, 12]);
    expect(network.raft(2).isLearner).toBe(true);
    expect(network.node(2).applied).toEqual([entry(1, 12)]);
  });

  it('who was away while the log was compacted comes back by a snapshot (SlowNodeRestore)', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    network.isolate(3);
    for (let nth = 0; nth < 100; nth += 1) network.send(propose(1));
    const { storage } = network.node(1);
    const { applied } = network.raft(1).log;
    expect(applied).toBe(101);
    storage.createSnapshot(applied, configurationOf(network.raft(1)), bytes('image'));
    storage.compact(applied);
    network.recover();
    network.send(beat(1));
    expect(progressOf(network.raft(1), 3).recentActive).toBe(true);
    network.send(propose(1, 'after'));
    for (const n of [1, 2, 3]) expect(network.raft(n).log).toMatchObject({ committed: 102, applied: 102 });
    expect(network.node(3).storage.snapshot()).toMatchObject({ index: 101, data: bytes('image') });
    expect(network.node(3).applied).toEqual([entry(1, 1), entry(1, 102, 'after')]);
    expect(progressOf(network.raft(1), 3)).toMatchObject({ state: 'StateReplicate', match: 102 });
  });

  it('a snapshot goes out although nothing is left in the leader’s log (openraft commit afd6508b)', () => {
    const network = newCluster(driver, 3);
    network.isolate(3);
    network.send(hup(1));
    for (let nth = 0; nth < 5; nth += 1) network.send(propose(1));
    const { storage } = network.node(1);
    storage.createSnapshot(6, configurationOf(network.raft(1)), bytes('image'));
    storage.compact(6);
    expect([storage.firstIndex(), storage.lastIndex()]).toEqual([7, 6]);
    network.recover();
    network.send(beat(1));
    expect(network.raft(3).log).toMatchObject({ committed: 6, applied: 6 });
    expect(network.node(3).storage.snapshot()).toMatchObject({ index: 6, data: bytes('image') });
    network.send(propose(1, 'after'));
    expect(network.node(3).applied).toEqual([entry(1, 7, 'after')]);
  });
});
