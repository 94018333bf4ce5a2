import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balancer } from '../../../../recipes/services/balance/strategies.ts';
import { seededRandom } from '../../../../src/testing/seeded-random.ts';
import { bed, countsOf, instance, instances, sequence } from './bed.ts';

const first = { now: () => 0, random: () => 0 };

describe('round robin', () => {
  it('goes round in the order of the ids, from an instance that is drawn', () => {
    const all = [instance('c'), instance('a', 5), instance('b')];
    expect(sequence(balancer('round-robin', {}, first), all, 5)).toEqual(['a', 'b', 'c', 'a', 'b']);
    const last = { now: () => 0, random: () => 0.99 };
    expect(sequence(balancer('round-robin', {}, last), all, 4)).toEqual(['c', 'a', 'b', 'c']);
  });

  it('goes on where it was when instances come and go', () => {
    const [a, b, c, d] = [instance('a'), instance('b'), instance('c'), instance('d')];
    const balance = balancer('round-robin', {}, first);
    expect(sequence(balance, [a, b, d], 2)).toEqual(['a', 'b']);
    expect(sequence(balance, [a, c, d], 2)).toEqual(['c', 'd']);
    expect(sequence(balance, [a, b, c], 4)).toEqual(['a', 'b', 'c', 'a']);
  });

  it('gives nobody who stays two turns more than another who stays', () => {
    const sets = fc.array(fc.subarray(['a', 'b', 'c', 'd', 'e', 'f'], { minLength: 1 }), {
      minLength: 1,
      maxLength: 80,
    });
    fc.assert(
      fc.property(sets, fc.integer(), (script, seed) => {
        const balance = balancer('round-robin', {}, { now: () => 0, random: seededRandom(seed) });
        const picks = script.map(
          (ids) =>
            sequence(
              balance,
              ['y', 'z', ...ids].map((id) => instance(id)),
              1,
            )[0],
        );
        const { y = 0, z = 0 } = countsOf(picks as string[]);
        expect(Math.abs(y - z)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('weighted round robin', () => {
  it('spreads the turns of the heavy one', () => {
    const all = [instance('a', 5), instance('b', 1), instance('c', 1)];
    const balance = balancer('weighted', {}, first);
    balance.update(all);
    expect(sequence(balance, all, 14).join('')).toBe('aabacaaaabacaa');
  });

  it('gives each exactly its weight in every round', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 }),
        fc.integer(),
        (weights, seed) => {
          const all = instances(weights.length, (at) => weights[at]!);
          const balance = balancer('weighted', {}, { now: () => 0, random: seededRandom(seed) });
          balance.update(all);
          const round = weights.reduce((sum, weight) => sum + weight, 0);
          const wanted = Object.fromEntries(all.map(({ id, weight }) => [id, weight]));
          for (let n = 0; n < 3; n++) expect(countsOf(sequence(balance, all, round))).toEqual(wanted);
        },
      ),
    );
  });

  it('begins somewhere in the round', () => {
    const all = instances(20);
    const begins = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const balance = balancer('weighted', {}, bed(seed));
      balance.update(all);
      begins.add(sequence(balance, all, 1)[0]!);
    }
    expect(begins.size).toBeGreaterThan(8);
  });

  it('lets nobody wait, and nobody have all turns, when most have gone or are left out', () => {
    const all = instances(1_000);
    const [paid, waiting, late] = [all[0]!, all[999]!, instance('late')];
    for (const isUpdated of [true, false]) {
      const balance = balancer('weighted', {}, first);
      balance.update([...all, late]);
      sequence(balance, all, 500);
      const few = [paid, waiting, late];
      if (isUpdated) balance.update(few);
      const counts = countsOf(sequence(balance, few, 30));
      for (const { id } of few) expect(Math.abs(counts[id]! - 10), id).toBeLessThanOrEqual(1);
    }
  });
});

describe('random', () => {
  it('takes the weights as shares', () => {
    const all = [instance('a', 1), instance('b', 3), instance('c', 6)];
    const counts = countsOf(sequence(balancer('random', {}, bed()), all, 10_000));
    // Five standard deviations: 150, 217 and 245.
    expect(Math.abs(counts['a']! - 1_000)).toBeLessThan(150);
    expect(Math.abs(counts['b']! - 3_000)).toBeLessThan(230);
    expect(Math.abs(counts['c']! - 6_000)).toBeLessThan(245);
  });

  it('draws the candidate whose part of the sum the number falls into', () => {
    const all = [instance('a', 1), instance('b', 3), instance('c', 6)];
    const at = (u: number): string | undefined =>
      balancer('random', {}, { now: () => 0, random: () => u }).pick(all, {})?.id;
    expect([0, 0.0999, 0.1, 0.3999, 0.4, 0.9999].map(at)).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  });
});
