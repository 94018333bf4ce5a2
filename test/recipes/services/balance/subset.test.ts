import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { subset } from '../../../../recipes/services/balance/subset.ts';
import { countsOf, instances } from './bed.ts';

const idsOf = (of: readonly { readonly id: string }[]): string[] => of.map(({ id }) => id);

describe('a subset', () => {
  it('is of the size that was asked for, in the order of the list, and the same each time and whatever that order', () => {
    const all = instances(100);
    const taken = idsOf(subset(all, { client: 'me', size: 20 }));
    expect(taken).toHaveLength(20);
    expect(taken).toEqual([...taken].sort());
    expect(idsOf(subset([...all].reverse(), { client: 'me', size: 20 }))).toEqual([...taken].reverse());
    expect(idsOf(subset(all, { client: 'you', size: 20 }))).not.toEqual(taken);
  });

  it('is everything when there is no more', () => {
    const all = instances(5);
    expect(subset(all, { client: 'me', size: 5 })).toBe(all);
    expect(subset([], { client: 'me', size: 5 })).toEqual([]);
    expect(() => subset(all, { client: 'me', size: 0 })).toThrow(RangeError);
    expect(() => subset(all, { client: 'me', size: 1.5 })).toThrow(RangeError);
  });

  it('changes by one instance when one comes or goes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 60 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        fc.string(),
        (n, size, nth, client) => {
          const all = instances(n);
          const gone = all[nth % n]!;
          const rest = all.filter((one) => one !== gone);
          const before = idsOf(subset(all, { client, size }));
          const after = new Set(idsOf(subset(rest, { client, size })));
          const left = before.filter((id) => !after.has(id));
          expect(left).toEqual(before.includes(gone.id) ? [gone.id] : []);
        },
      ),
    );
  });

  it('spreads clients over instances', () => {
    const all = instances(100);
    const taken = Array.from({ length: 1_000 }, (_, at) =>
      idsOf(subset(all, { client: `client-${at}`, size: 20 })),
    ).flat();
    const counts = Object.values(countsOf(taken));
    expect(counts).toHaveLength(100);
    // 200 each, 12.6 the standard deviation: four of them.
    expect(Math.min(...counts)).toBeGreaterThan(150);
    expect(Math.max(...counts)).toBeLessThan(250);
    const deviation = Math.sqrt(counts.reduce((sum, count) => sum + (count - 200) ** 2, 0) / 100);
    expect(deviation).toBeLessThan(17);
  });
});
