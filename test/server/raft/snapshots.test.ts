/**
 * What a leader does with a follower that needs a snapshot.
 *
 * The scenarios are those of etcd's `raft_snap_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import { restoreFrom } from '../../../src/server/raft/follower.ts';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step } from '../../../src/server/raft/step.ts';
import type { Progress } from '../../../src/server/raft/tracker/progress.ts';
import { become, entry, id, msg, newRaft, propose, snapshot, take } from './support.ts';

/** The leader's state is a snapshot at 11; its own first entry is 12. */
const SNAPSHOT = snapshot(11, 11, [1, 2]);

/** A leader that comes from {@link SNAPSHOT}, and what it knows of its follower. */
function leaderFromSnapshot(): { raft: Raft; follower: Progress } {
  const raft = newRaft(1, { voters: [1] });
  expect(restoreFrom(raft, SNAPSHOT)).toBe(true);
  become(raft, 'StateLeader');
  take(raft);
  return { raft, follower: raft.tracker.progress.get(id(2)) as Progress };
}

/** The follower's log ends at 0 and the snapshot is on its way to it. */
function leaderSendingSnapshot(): { raft: Raft; follower: Progress } {
  const { raft, follower } = leaderFromSnapshot();
  follower.next = 1;
  follower.becomeSnapshot(SNAPSHOT.index);
  return { raft, follower };
}

describe('A leader and a follower that is behind the log', () => {
  it('sends the snapshot and notes its index (SendingSnapshotSetPendingSnapshot)', () => {
    const { raft, follower } = leaderFromSnapshot();
    follower.next = raft.log.firstIndex();
    step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: follower.next - 1, reject: true }));
    expect(follower).toMatchObject({ state: 'StateSnapshot', pendingSnapshot: 11, next: 12, sentCommit: 11 });
    expect(take(raft)).toEqual([msg(1, 2, 'MsgSnap', { term: raft.term, snapshot: SNAPSHOT })]);
  });

  it('sends nothing while a snapshot is on its way (PendingSnapshotPauseReplication)', () => {
    const { raft, follower } = leaderFromSnapshot();
    follower.becomeSnapshot(SNAPSHOT.index);
    step(raft, propose(1, 'somedata'));
    expect(take(raft)).toEqual([]);
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: raft.term }));
    expect(take(raft)).toEqual([]);
  });

  it('after a failure starts again from what the follower has (SnapshotFailure)', () => {
    const { raft, follower } = leaderSendingSnapshot();
    step(raft, msg(2, 1, 'MsgSnapStatus', { reject: true }));
    expect(follower).toMatchObject({ state: 'StateProbe', pendingSnapshot: 0, next: 1, flowPaused: true });
    // It waits for the next heartbeat's answer.
    step(raft, propose(1, 'somedata'));
    expect(take(raft)).toEqual([]);
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: raft.term }));
    expect(take(raft)).toEqual([msg(1, 2, 'MsgSnap', { term: raft.term, snapshot: SNAPSHOT })]);
  });

  it('after success waits for the follower’s own word (SnapshotSucceed)', () => {
    const { raft, follower } = leaderSendingSnapshot();
    step(raft, msg(2, 1, 'MsgSnapStatus'));
    expect(follower).toMatchObject({ state: 'StateProbe', pendingSnapshot: 0, next: 12, flowPaused: true });
    step(raft, propose(1, 'somedata'));
    expect(take(raft)).toEqual([]);
    step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: 11 }));
    const entries = [entry(1, 12), entry(1, 13, 'somedata')];
    const append = { term: 1, index: 11, logTerm: 11, entries, commit: 11 };
    expect(take(raft)).toEqual([msg(1, 2, 'MsgApp', append)]);
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 11, next: 14 });
  });

  it('goes on as soon as the follower has what the snapshot has (SnapshotAbort)', () => {
    const { raft, follower } = leaderSendingSnapshot();
    step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: 11 }));
    // The leader's own entry 12 is sent at once.
    expect(follower).toMatchObject({ state: 'StateReplicate', pendingSnapshot: 0, match: 11, next: 13 });
    expect(follower.inflights.count).toBe(1);
    const append = { term: 1, index: 11, logTerm: 11, entries: [entry(1, 12)], commit: 11 };
    expect(take(raft)).toEqual([msg(1, 2, 'MsgApp', append)]);
  });

  it('goes on as soon as its log suffices, although the snapshot is further', () => {
    const { raft, follower } = leaderFromSnapshot();
    expect(raft.log.firstIndex()).toBe(12);
    follower.becomeSnapshot(20);
    step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: 10 }));
    expect(follower).toMatchObject({ state: 'StateSnapshot', pendingSnapshot: 20, match: 10 });
    expect(take(raft)).toEqual([]);
    step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: 11 }));
    expect(follower).toMatchObject({ state: 'StateReplicate', pendingSnapshot: 0, match: 11, next: 13 });
  });

  it('takes no word about a snapshot when it waits for none', () => {
    const { raft, follower } = leaderFromSnapshot();
    step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: 12 }));
    for (const reject of [false, true]) step(raft, msg(2, 1, 'MsgSnapStatus', { reject }));
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 12, next: 13, flowPaused: false });
  });
});
