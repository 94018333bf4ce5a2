/** What is done on the side: compactions, freeing what they leave, watchers that catch up. */
import { describe, expect, it } from 'vitest';
import { REVISION_CHECK_MS } from '../../../src/server/member/compactor.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { put, startMember } from './support.ts';

describe('a member compacts by itself', () => {
  it('all but the newest revisions', async () => {
    const clock = new VirtualClock();
    await using member = await startMember(clock, undefined, { autoCompaction: { mode: 'revision', revisions: 3 } });
    for (let i = 0; i < 9; i++) await put(member, 'a', String(i));
    await clock.advance(REVISION_CHECK_MS - 1);
    expect(member.state.store.compactRevision).toBe(-1);
    await clock.advance(1);
    expect(member.state.store.compactRevision).toBe(7);
    // What was left is freed without anybody asking; whoever wants to can wait for it.
    await member.swept();
    expect(member.state.store.sweeping).toBe(false);
    expect(member.state.store.recordCount).toBe(4);
  });

  it('what is older than the period', async () => {
    const clock = new VirtualClock();
    const policy = { mode: 'periodic', retentionMs: 60_000 } as const;
    await using member = await startMember(clock, undefined, { autoCompaction: policy });
    await put(member, 'a', '1');
    await clock.advance(30_000);
    await put(member, 'a', '2');
    await clock.advance(35_000);
    expect(member.state.store.compactRevision).toBe(-1);
    await clock.advance(5_000);
    // What was there a minute ago stays, and what came since.
    expect(member.state.store.compactRevision).toBe(2);
    await clock.advance(60_000);
    expect(member.state.store.compactRevision).toBe(3);
  });
});

describe('a watcher that is behind', () => {
  it('reads on by itself, and sooner when it asks', async () => {
    const clock = new VirtualClock();
    await using member = await startMember(clock);
    for (let i = 0; i < 5; i++) await put(member, 'a', String(i));
    const got: number[] = [];
    let room = true;
    const sink = {
      offer: (events: readonly KvRecord[]) => {
        if (room) got.push(...events.map(({ main }) => main));
        return room;
      },
      compacted() {},
    };
    member.state.watches.watch({ range: { key: 'a', end: 'a\0' }, startRevision: 2, sink });
    member.wakeWatches();
    await clock.settle();
    expect(got).toEqual([2, 3, 4, 5, 6]);
    room = false;
    await put(member, 'a', 'x');
    room = true;
    expect(got).toHaveLength(5);
    await clock.advance(200);
    expect(got).toEqual([2, 3, 4, 5, 6, 7]);
  });
});
