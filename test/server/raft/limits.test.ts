/** Limits of sizes, as a member keeps them: applying in pages, uncommitted entries, messages. */
import { describe, expect, it } from 'vitest';
import { MemoryStorage } from '../../../src/server/raft/log/storage.ts';
import { RawNode } from '../../../src/server/raft/raw-node.ts';
import { entriesSize, NO_LIMIT } from '../../../src/server/raft/size.ts';
import { step } from '../../../src/server/raft/step.ts';
import { APPLY_THREAD, type Entry, type HardState } from '../../../src/server/raft/types.ts';
import {
  bytes,
  confState,
  entry,
  id,
  ids,
  type MemberOptions,
  msg,
  NodeMember,
  newConfig,
  newLeader,
  propose,
  take,
} from './support.ts';

/** Member 1, which leads and is all there is. */
function leader(options: MemberOptions): NodeMember {
  const member = new NodeMember(1, { voters: [1], ...options }, 'ready');
  member.node.campaign();
  member.work();
  return member;
}

describe('maxCommittedSizePerReady', () => {
  it('cuts what is to be applied into pages, each entry once (CommitPagination)', () => {
    const { node, storage } = leader({ maxCommittedSizePerReady: 2_048 });
    for (let nth = 0; nth < 3; nth += 1) node.propose(bytes('a'.repeat(1_000)));
    const pages: number[][] = [];
    while (node.hasReady()) {
      const { entries, committedEntries, hardState } = node.ready();
      storage.append(entries);
      // A page less is no commit less.
      if (hardState) expect(hardState.commit).toBe(4);
      if (committedEntries.length > 0) pages.push(committedEntries.map(({ index }) => index));
      node.advance();
    }
    expect(pages).toEqual([[2, 3], [4]]);
  });

  it('neither loses nor repeats an entry if storage gives more than it is asked for (RawNodeCommitPaginationAfterRestart)', () => {
    class Generous extends MemoryStorage {
      override initialState(): { hardState: HardState; confState: ReturnType<typeof confState> } {
        return { hardState: { term: 1, vote: id(1), commit: 10 }, confState: confState({ voters: ids(1, 2) }) };
      }

      override entries(low: number, high: number) {
        return super.entries(low, high, NO_LIMIT);
      }
    }
    const storage = new Generous();
    const entries: Entry[] = Array.from({ length: 10 }, (_, at) => entry(1, at + 1, 'a'));
    storage.append(entries);
    // All but the last fit.
    const maxCommittedSizePerReady = entriesSize(entries) - entriesSize(entries.slice(-1)) - 1;
    const node = new RawNode({ ...newConfig(1, {}, storage), maxCommittedSizePerReady });
    const more = entry(1, 11, 'boom');
    node.step(msg(2, 1, 'MsgApp', { term: 1, logTerm: 1, index: 10, entries: [more], commit: 11 }));
    const applied: number[] = [];
    while (node.hasReady()) {
      const ready = node.ready();
      storage.append(ready.entries);
      applied.push(...ready.committedEntries.map(({ index }) => index));
      node.advance();
    }
    expect(applied).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });
});

describe('maxUncommittedSize', () => {
  const DATA = 'somedata';

  it('bounds the log of a leader that commits nothing, and is free again when that is applied (RawNodeBoundedLogGrowthWithPartition)', () => {
    const most = 16;
    const member = leader({ maxUncommittedSize: most * DATA.length });
    const { node, raft } = member;
    const refusals = Array.from({ length: 1_024 }, () => node.propose(bytes(DATA)));
    expect(refusals.filter((refusal) => refusal === undefined)).toHaveLength(most);
    expect(refusals.at(-1)).toBe('proposal-dropped');
    expect(raft.uncommittedSize).toBe(most * DATA.length);
    expect(node.peek().entries).toHaveLength(most);
    member.work();
    expect(raft.uncommittedSize).toBe(0);
    expect(node.propose(bytes(DATA))).toBeUndefined();
  });

  it('lets one in that is too large, if nothing is pending, and empty ones always', () => {
    const member = leader({ maxUncommittedSize: 10 });
    const { node, raft } = member;
    expect(node.propose(bytes('x'.repeat(100)))).toBeUndefined();
    expect(node.propose(bytes('x'))).toBe('proposal-dropped');
    expect(node.propose(bytes(''))).toBeUndefined();
    expect(raft.uncommittedSize).toBe(100);
    member.work();
    // Up to the limit, and not past it.
    expect(node.propose(bytes('x'.repeat(9)))).toBeUndefined();
    expect(node.propose(bytes('xx'))).toBe('proposal-dropped');
    expect(node.propose(bytes('x'))).toBeUndefined();
    expect(node.propose(bytes('x'))).toBe('proposal-dropped');
  });

  it('takes a message of several proposals whole or not at all', () => {
    const { node, raft } = leader({ maxUncommittedSize: 10 });
    node.propose(bytes('xxxx'));
    const last = raft.log.lastIndex();
    expect(node.step(propose(1, 'xxxx', 'xxxx'))).toBe('proposal-dropped');
    expect(raft.log.lastIndex()).toBe(last);
    expect(node.step(propose(1, 'xxx', 'xxx'))).toBeUndefined();
  });

  it('a change that is refused leaves the place of a change free', () => {
    const { node, raft } = leader({ maxUncommittedSize: 10 });
    const before = raft.pendingConfIndex;
    node.propose(bytes('x'.repeat(100)));
    const change = { type: 'add-learner', nodeId: id(2), id: 0n, context: bytes('') } as const;
    expect(node.proposeConfChange(change)).toBe('proposal-dropped');
    expect(raft.pendingConfIndex).toBe(before);
  });

  it('is released by what is applied, not by what is handed out or committed', () => {
    const member = new NodeMember(1, { voters: [1], maxUncommittedSize: 10 }, 'async');
    member.node.campaign();
    member.work();
    member.stalled.add('apply');
    member.node.propose(bytes('x'.repeat(10)));
    member.work();
    expect(member.node.basicStatus().hardState.commit).toBe(2);
    expect(member.applyQueue.map(({ to, entries }) => [to, entries])).toEqual([
      [APPLY_THREAD, [entry(1, 2, 'x'.repeat(10))]],
    ]);
    expect(member.node.propose(bytes('x'))).toBe('proposal-dropped');
    member.applyOne();
    expect(member.node.propose(bytes('x'))).toBeUndefined();
  });

  it('is of a term: who leads again counts anew, and what was there before is never counted', () => {
    const { node, raft } = leader({ maxUncommittedSize: 10 });
    node.propose(bytes('x'.repeat(10)));
    node.step(msg(1, 1, 'MsgHeartbeatResp', { term: 5 }));
    expect(raft.uncommittedSize).toBe(0);
    // Entries of before are applied: less than nothing is not counted.
    raft.releaseUncommitted(7);
    expect(raft.uncommittedSize).toBe(0);
  });
});

describe('maxSizePerMessage', () => {
  // Entries of 9 bytes; the leader's own one, the first, has 6.
  it.each<[maxBytes: number, counts: readonly number[]]>([
    [NO_LIMIT, [7]],
    [6 + 6 * 9, [7]],
    [6 + 6 * 9 - 1, [6, 1]],
    [18, [2, 2, 2, 1]],
    // One always goes along.
    [8, [1, 1, 1, 1, 1, 1, 1]],
    [0, [1, 1, 1, 1, 1, 1, 1]],
  ])('of %d bytes: appends of %j entries', (maxSizePerMessage, counts) => {
    const raft = newLeader(1, { voters: [1, 2], maxSizePerMessage });
    raft.tracker.progress.get(id(2))!.flowPaused = true;
    step(raft, propose(1, 'a', 'b', 'c', 'd', 'e', 'f'));
    expect(take(raft)).toEqual([]);
    // Some of it is in storage, and the rest not: appends are cut the same.
    (raft.log.storage as MemoryStorage).append(raft.log.unstable.entries.slice(0, 3));
    raft.log.unstable.stableTo({ term: 1, index: 3 });
    // The follower says where the logs meet: all is sent ahead.
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 0 }));
    expect(take(raft).map(({ entries }) => entries.length)).toEqual(counts);
  });
});
