import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Balancer, Candidate } from '../../../../recipes/services/balance/balancer.ts';
import { hash32 } from '../../../../recipes/services/balance/hash.ts';
import { type BalancerOptions, balancer } from '../../../../recipes/services/balance/strategies.ts';
import { bed, countsOf, instance, instances, SUCCESS } from './bed.ts';

const KEYS = Array.from({ length: 5_000 }, (_, at) => `user-${at}`);

function hashing(options: BalancerOptions = {}): Balancer<Candidate> {
  return balancer('consistent-hash', options, bed());
}

/** Where each key goes when nothing is under way. */
function placed(balance: Balancer<Candidate>, all: readonly Candidate[], keys: readonly string[] = KEYS): string[] {
  balance.update(all);
  return keys.map((hashKey) => {
    const picked = balance.pick(all, { hashKey })!;
    balance.done(picked, SUCCESS);
    return picked.id;
  });
}

describe('consistent hashing', () => {
  it('is the same in every client and every version', () => {
    expect([hash32(''), hash32('user-1'), hash32('user-1', 1), hash32('żółw')]).toEqual([
      2872998923, 987844803, 618922545, 377934549,
    ]);
    const all = instances(10);
    expect(placed(hashing(), all, ['a', 'b', 'c', 'd', 'e'])).toEqual(['i004', 'i009', 'i004', 'i001', 'i009']);
    expect(placed(hashing(), [...all].reverse())).toEqual(placed(hashing(), all));
  });

  it('gives each its share, by weight', () => {
    const counts = countsOf(placed(hashing(), instances(20)));
    // 250 each, 15 the standard deviation.
    for (const { id } of instances(20)) expect(Math.abs(counts[id]! - 250)).toBeLessThan(60);
    const weighted = countsOf(placed(hashing(), [instance('a', 1), instance('b', 4), instance('c', 5)]));
    for (const [id, share] of Object.entries({ a: 500, b: 2_000, c: 2_500 })) {
      expect(Math.abs(weighted[id]! - share), id).toBeLessThan(150);
    }
  });

  it('divides fairly between two whose hashes happen to be the same', () => {
    const [one, other] = [instance('13zn998-hqc'), instance('1w1p8pc-65s')];
    expect(hash32(one.id, 1)).toBe(hash32(other.id, 1));
    const counts = countsOf(placed(hashing(), [one, other]));
    expect(Math.abs(counts[one.id]! - 2_500)).toBeLessThan(180);
    expect(placed(hashing(), [other, one])).toEqual(placed(hashing(), [one, other]));
  });

  it('moves only the keys of the one who goes, and to the one who comes', () => {
    const weights = fc.array(fc.constantFrom(1, 1, 1, 2.5, 7), { minLength: 2, maxLength: 12 });
    fc.assert(
      fc.property(weights, fc.nat(), fc.boolean(), (each, nth, alike) => {
        const all = instances(each.length, (at) => (alike ? 1 : each[at]!));
        const gone = all[nth % all.length]!;
        const keys = KEYS.slice(0, 200);
        const before = placed(hashing(), all, keys);
        const after = placed(
          hashing(),
          all.filter((one) => one !== gone),
          keys,
        );
        before.forEach((id, at) => {
          if (id !== gone.id) expect(after[at]).toBe(id);
          else expect(after[at]).not.toBe(id);
        });
      }),
    );
  });

  it('spreads what the one who goes leaves behind over all', () => {
    const all = instances(11);
    const before = placed(hashing(), all);
    const after = placed(hashing(), all.slice(1));
    const heirs = countsOf(after.filter((_, at) => before[at] === all[0]!.id));
    // 455 keys, 45 for each of ten.
    for (const { id } of all.slice(1)) expect(heirs[id], id).toBeGreaterThan(20);
  });

  it('never has more under way at one than the factor allows', () => {
    const script = fc.array(fc.oneof(fc.constantFrom('hot', 'hot', 'b', 'c'), fc.nat(50)), { maxLength: 150 });
    const weights = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        script,
        weights,
        fc.constantFrom(1, 1.25, 2),
        fc.constantFrom(0, 3),
        (steps, each, loadFactor, minimumBound) => {
          const all = instances(each.length, (at) => each[at]!);
          const balance = hashing({ loadFactor, minimumBound });
          balance.update(all);
          const total = each.reduce((sum, weight) => sum + weight, 0);
          const running: Candidate[] = [];
          for (const step of steps) {
            if (typeof step === 'number') {
              for (const ended of running.splice(step, 1)) balance.done(ended, SUCCESS);
              continue;
            }
            const picked = balance.pick(all, { hashKey: step })!;
            running.push(picked);
            const load = running.filter((one) => one === picked).length;
            const bound = Math.ceil((loadFactor * running.length * picked.weight) / total);
            expect(load).toBeLessThanOrEqual(Math.max(bound, minimumBound));
          }
        },
      ),
    );
  });

  it('stays with a busy instance below the minimum, or without a bound', () => {
    const all = instances(10);
    const picks = (options: BalancerOptions, count: number): number => {
      const balance = hashing(options);
      balance.update(all);
      return new Set(Array.from({ length: count }, () => balance.pick(all, { hashKey: 'one' })!.id)).size;
    };
    expect(picks({}, 4)).toBe(1);
    expect(picks({}, 5)).toBe(2);
    expect(picks({ loadFactor: Number.POSITIVE_INFINITY }, 500)).toBe(1);
  });

  it('goes elsewhere while its instance is left out, and then back', () => {
    const all = instances(5);
    const balance = hashing();
    balance.update(all);
    const home = balance.pick(all, { hashKey: 'one' })!;
    const rest = all.filter((one) => one !== home);
    const away = balance.pick(rest, { hashKey: 'one' })!;
    expect(balance.pick(all, { hashKey: 'one', avoid: new Set([home.id]) })).toBe(away);
    expect(balance.pick(all, { hashKey: 'one' })).toBe(home);
  });
});
