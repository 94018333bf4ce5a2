/**
 * The window of appends in flight, as a leader uses it.
 *
 * The first three scenarios are those of etcd's `raft_flow_control_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step } from '../../../src/server/raft/step.ts';
import type { Progress } from '../../../src/server/raft/tracker/progress.ts';
import { entry, id, type MemberOptions, msg, newLeader, propose, take } from './support.ts';

const WINDOW = 256;

/** A leader that sends ahead to its one follower, and the follower's progress. Its first entry is not sent yet. */
function replicatingLeader(options: MemberOptions = {}): { raft: Raft; follower: Progress } {
  const raft = newLeader(1, { voters: [1, 2], electionTicks: 5, maxInflightMessages: WINDOW, ...options });
  const follower = raft.tracker.progress.get(id(2)) as Progress;
  follower.becomeReplicate();
  return { raft, follower };
}

/** A leader whose window is full: append n of {@link WINDOW} ends with entry n + 1. */
function leaderWithFullWindow(): { raft: Raft; follower: Progress } {
  const { raft, follower } = replicatingLeader();
  for (let sent = 0; sent < WINDOW; sent += 1) step(raft, propose(1, 'somedata'));
  take(raft);
  expect(follower.inflights.full).toBe(true);
  return { raft, follower };
}

describe('A window of appends', () => {
  it('lets as many through as it holds, then nothing (MsgAppFlowControlFull)', () => {
    const { raft, follower } = replicatingLeader();
    for (let sent = 0; sent < WINDOW; sent += 1) {
      expect(follower.inflights.full).toBe(false);
      step(raft, propose(1, 'somedata'));
      const messages = take(raft);
      expect(messages).toMatchObject([{ type: 'MsgApp', to: id(2), index: sent === 0 ? 0 : sent + 1 }]);
    }
    expect(follower.inflights.full).toBe(true);
    for (let more = 0; more < 10; more += 1) {
      step(raft, propose(1, 'somedata'));
      expect(take(raft)).toEqual([]);
    }
    expect(follower.inflights.count).toBe(WINDOW);
  });

  it('opens for each append that is acknowledged, and not for an old word (MsgAppFlowControlMoveForward)', () => {
    const { raft, follower } = leaderWithFullWindow();
    const { inflights } = follower;
    // The first append ended with 2.
    for (let acked = 2; acked < WINDOW; acked += 1) {
      step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: acked }));
      take(raft);
      expect(inflights.count).toBe(WINDOW - 1);
      step(raft, propose(1, 'somedata'));
      expect(take(raft)).toMatchObject([{ type: 'MsgApp', to: id(2), entries: [{}] }]);
      expect(inflights.full).toBe(true);
      for (let old = 0; old < acked; old += 1) step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: old }));
      expect(inflights.count).toBe(WINDOW);
    }
    expect(take(raft)).toEqual([]);
  });

  it('lets one empty append through for each answered heartbeat (MsgAppFlowControlRecvHeartbeat)', () => {
    const { raft, follower } = leaderWithFullWindow();
    const last = follower.next - 1;
    for (let round = 1; round < 5; round += 1) {
      for (let answers = 0; answers < round; answers += 1) {
        step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1 }));
        expect(follower.inflights.full).toBe(true);
        // It asks the follower what it has, should all appends have been lost.
        expect(take(raft)).toEqual([msg(1, 2, 'MsgApp', { term: 1, index: last, logTerm: 1 })]);
      }
      for (let more = 0; more < 10; more += 1) {
        step(raft, propose(1, 'somedata'));
        expect(take(raft)).toEqual([]);
      }
    }
  });

  it('closes with the append that passes its limit of bytes, and opens when that is acknowledged', () => {
    const { raft, follower } = replicatingLeader({ maxSizePerMessage: 0, maxInflightBytes: 10 });
    for (let sent = 0; sent < 3; sent += 1) step(raft, propose(1, 'seven b'));
    const append = (index: number, text: string) => {
      return msg(1, 2, 'MsgApp', {
        term: 1,
        index,
        logTerm: index === 0 ? 0 : 1,
        entries: [entry(1, index + 1, text)],
      });
    };
    // 0 bytes, then 7, then 14: over the limit.
    expect(take(raft)).toEqual([append(0, ''), append(1, 'seven b'), append(2, 'seven b')]);
    expect(follower.inflights).toMatchObject({ full: true, bytes: 14, count: 3 });
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(take(raft).flatMap(({ entries }) => entries)).toEqual([]);
    expect(follower.inflights).toMatchObject({ full: true, bytes: 14, count: 2 });
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    expect(take(raft).flatMap(({ entries }) => entries)).toEqual([entry(1, 4, 'seven b')]);
    expect(follower.inflights).toMatchObject({ full: true, bytes: 14, count: 2 });
  });

  it('takes as many appends as were answered at once', () => {
    const { raft, follower } = replicatingLeader({ maxSizePerMessage: 0, maxInflightMessages: 3 });
    for (let sent = 0; sent < 9; sent += 1) step(raft, propose(1, 'somedata'));
    expect(take(raft)).toMatchObject([{ index: 0 }, { index: 1 }, { index: 2 }]);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 3 }));
    expect(take(raft)).toMatchObject([3, 4, 5].map((index) => ({ type: 'MsgApp', index, entries: [{}] })));
    expect(follower).toMatchObject({ match: 3, next: 7, flowPaused: true });
  });
});
