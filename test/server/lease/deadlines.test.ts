import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Deadline, DeadlineHeap } from '../../../src/server/lease/deadlines.ts';

type Entry = Deadline<string>;

function inOrder(entries: Iterable<Entry>): Entry[] {
  return [...entries].sort((a, b) => a.at - b.at || Number(a.order - b.order));
}

describe('a heap of deadlines', () => {
  it('gives what comes due first, whatever was moved or taken out before', () => {
    const change = fc.record({
      which: fc.nat(19),
      to: fc.option(fc.nat(9), { nil: undefined, freq: 4 }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 80, size: 'max' }), (changes) => {
        const heap = new DeadlineHeap<string>();
        const entries = Array.from({ length: 20 }, (_, i) => new Deadline(`e${i}`, BigInt(i)));
        const waiting = new Set<Entry>();
        for (const { which, to } of changes) {
          const entry = entries[which]!;
          if (to === undefined) {
            heap.delete(entry);
            waiting.delete(entry);
          } else {
            heap.set(entry, to);
            waiting.add(entry);
          }
          expect(heap.size).toBe(waiting.size);
          expect(heap.first).toBe(inOrder(waiting)[0]);
        }
        for (const expected of inOrder(waiting)) {
          expect(heap.first).toBe(expected);
          heap.delete(expected);
          expect(expected.waiting).toBe(false);
        }
        expect(heap.first).toBeUndefined();
      }),
      { numRuns: 500, seed: 5 },
    );
  });

  it('can be emptied, and used again', () => {
    const heap = new DeadlineHeap<string>();
    const entry = new Deadline('a', 1n);
    heap.set(entry, 3);
    heap.clear();
    expect([heap.size, entry.waiting]).toEqual([0, false]);
    heap.delete(entry);
    heap.set(entry, 4);
    expect(heap.first).toBe(entry);
  });

  it('looks at a number of entries that grows with the logarithm of its size', () => {
    let looks = 0;
    class Counted extends Deadline<number> {
      // biome-ignore lint/suspicious/noExplicitAny: a field of the base becomes an accessor here
      static make(i: number): any {
        const entry = new Counted(i, BigInt(i));
        let at = 0;
        Object.defineProperty(entry, 'at', {
          get: () => {
            looks += 1;
            return at;
          },
          set: (value: number) => {
            at = value;
          },
        });
        return entry;
      }
    }
    const heap = new DeadlineHeap<number>();
    const n = 100_000;
    const entries: Deadline<number>[] = Array.from({ length: n }, (_, i) => Counted.make(i));
    // Times that come back in an order that is neither ascending nor descending.
    for (const [i, entry] of entries.entries()) heap.set(entry, (i * 7919) % n);
    for (const [i, entry] of entries.entries()) heap.set(entry, n + ((i * 104_729) % n));
    for (const entry of entries) heap.delete(entry);
    // 17 levels; a move looks at up to three entries twice on each, going down.
    expect(looks).toBeLessThan(3 * n * 17 * 4);
  });
});
