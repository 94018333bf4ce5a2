import { describe, expect, it } from 'vitest';
import { ResponseHeader, WatchResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import { encodeFragments } from '../../../src/server/api/watch-encode.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { commit, put } from '../mvcc/support.ts';

const LIMIT = 10_000;

function fragments(sizes: readonly number[]): readonly WatchResponse[] {
  const store = new KvStore();
  const records = sizes.flatMap((size) => commit(store, (txn) => put(txn, 'k', 'x'.repeat(size))));
  const header = ResponseHeader.encode({ clusterId: 1n, memberId: 2n, revision: 3n, raftTerm: 4n });
  return encodeFragments({ header, watchId: 5n, records }, LIMIT).map(({ bytes }) => WatchResponse.decode(bytes));
}

function sizeOf(response: WatchResponse): number {
  return WatchResponse.encode(response).length;
}

describe('fragments', () => {
  it('are cut where the next event would reach the limit, to the byte', () => {
    let alone = 0;
    let exact = 0;
    // The second event passes the limit somewhere on the way.
    for (let second = 4_890; second < 5_000; second += 1) {
      const sizes = [5_000, second, 100];
      const parts = fragments(sizes);
      expect(parts.flatMap(({ events }) => events.map(({ kv }) => kv?.value.length))).toEqual(sizes);
      expect(parts.map(({ fragment }) => fragment)).toEqual(parts.map((_, i) => i < parts.length - 1));
      for (const [i, part] of parts.entries()) {
        if (part.events.length > 1) expect(sizeOf(part)).toBeLessThan(LIMIT);
        if (sizeOf(part) === LIMIT - 1) exact += 1;
        const next = parts[i + 1]?.events[0];
        if (next)
          expect(sizeOf({ ...part, fragment: true, events: [...part.events, next] })).toBeGreaterThanOrEqual(LIMIT);
      }
      if (parts[0]?.events.length === 1) alone += 1;
    }
    // Both sides of the limit were seen, and the limit itself.
    expect(alone).toBeGreaterThan(10);
    expect(alone).toBeLessThan(100);
    expect(exact).toBeGreaterThan(0);
  });

  it('are one message if that is small enough, or has one event', () => {
    expect(fragments([10, 20])).toMatchObject([{ fragment: false }]);
    expect(fragments([20_000])).toMatchObject([{ fragment: false }]);
    expect(fragments([20_000, 20_000])).toMatchObject([{ fragment: true }, { fragment: false }]);
  });
});
