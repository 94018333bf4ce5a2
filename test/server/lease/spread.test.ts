import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { spread } from '../../../src/server/lease/spread.ts';

/** The most times that any second has, from each time on. */
function busiest(times: readonly number[]): number {
  return Math.max(0, ...times.map((from) => times.filter((at) => at >= from && at < from + 1_000).length));
}

describe('spreading out the ends of leases', () => {
  it('leaves no second too much, makes nothing earlier and keeps the order', () => {
    const times = fc.array(fc.nat(5_000), { maxLength: 60, size: 'max' });
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 8 }), (given, perSecond) => {
        const before = [...given].sort((a, b) => a - b);
        const after = [...before];
        spread(after, perSecond);
        expect(busiest(after)).toBeLessThanOrEqual(perSecond);
        expect(after.every((at, i) => at >= before[i]!)).toBe(true);
        expect([...after].sort((a, b) => a - b)).toEqual(after);
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it('puts off no more than it has to', () => {
    const times = [0, 0, 0, 0, 0, 2_500];
    spread(times, 2);
    expect(times).toEqual([0, 0, 1_000, 1_000, 2_000, 2_500]);
  });
});
