import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Candidate } from '../../../../recipes/services/balance/balancer.ts';
import { InFlightLimit } from '../../../../recipes/services/balance/in-flight-limit.ts';
import { instances } from './bed.ts';

const idsOf = (some: readonly Candidate[]): string[] => some.map(({ id }) => id);

describe('a limit on the requests under way', () => {
  it('leaves out who is full, until one of its requests ends', () => {
    const all = instances(3);
    const limit = new InFlightLimit<Candidate>(2);
    limit.began(all[0]!);
    expect(limit.admit(all)).toBe(all);
    limit.began(all[0]!);
    expect([...limit.full]).toEqual(['i000']);
    expect(idsOf(limit.admit(all))).toEqual(['i001', 'i002']);
    expect(limit.admit(all)).toBe(limit.admit(all));
    limit.ended(all[0]!);
    expect(limit.admit(all)).toBe(all);
    expect(limit.full.size).toBe(0);
  });

  it('leaves nobody when all are full, and everybody whom it does not concern', () => {
    const all = instances(4);
    const limit = new InFlightLimit<Candidate>(1);
    for (const one of all.slice(0, 2)) limit.began(one);
    expect(limit.admit(all.slice(0, 2))).toEqual([]);
    const others = all.slice(2);
    expect(limit.admit(others)).toBe(others);
  });

  it('is a whole number, or none', () => {
    for (const max of [0, -1, 1.5, Number.NaN]) expect(() => new InFlightLimit(max)).toThrow(RangeError);
    const none = new InFlightLimit<Candidate>(Number.POSITIVE_INFINITY);
    const all = instances(1);
    for (let n = 0; n < 1_000; n++) none.began(all[0]!);
    expect(none.admit(all)).toBe(all);
  });

  it('counts every request, whatever the order in which they begin and end', () => {
    const script = fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 100 });
    fc.assert(
      fc.property(script, fc.integer({ min: 1, max: 4 }), (steps, max) => {
        const all = instances(4);
        const limit = new InFlightLimit<Candidate>(max);
        const counts = [0, 0, 0, 0];
        for (const [nth, begins] of steps) {
          const one = all[nth]!;
          if (begins && limit.admit(all).includes(one)) {
            limit.began(one);
            counts[nth]! += 1;
          } else if (!begins && counts[nth]! > 0) {
            limit.ended(one);
            counts[nth]! -= 1;
          }
          expect(limit.admit(all)).toEqual(all.filter((_, at) => counts[at]! < max));
          expect(Math.max(...counts)).toBeLessThanOrEqual(max);
        }
      }),
    );
  });
});
