import { describe, expect, it } from 'vitest';
import type { BalancerName, Candidate } from '../../../../recipes/services/balance/balancer.ts';
import { type BalancerOptions, balancer } from '../../../../recipes/services/balance/strategies.ts';
import { type Bed, bed, countsOf, instance, instances, sequence, success } from './bed.ts';

const OLD = instances(9);
const LATE = instance('late');

/** What the newcomer gets of 10000 requests when it has been there for some time, in percent of an even share. */
function part(name: BalancerName, options: BalancerOptions, ageMs: number, first: readonly Candidate[] = OLD): number {
  const tools: Bed = bed();
  const balance = balancer<Candidate>(name, options, tools);
  balance.update(first);
  if (first.length > 0) sequence(balance, first, 500);
  const all = [...OLD, LATE];
  balance.update(all);
  tools.nowMs += ageMs;
  return Math.round((countsOf(sequence(balance, all, 10_000))['late'] ?? 0) / 10);
}

describe('slow start', () => {
  it.each(['round-robin', 'random', 'weighted', 'least-connections'] as const)('lets %s give more and more', (name) => {
    const options = { slowStartMs: 1_000 };
    // The standard deviation of what `random` gives it is 2.2 at most.
    for (const [ageMs, wanted] of [
      [0, 10],
      [250, 25],
      [500, 50],
      [1_000, 100],
    ] as const) {
      expect(Math.abs(part(name, options, ageMs) - wanted), `${ageMs} ms`).toBeLessThan(8);
    }
  });

  it('is off unless asked for, and spares nobody of the first list', () => {
    expect(part('round-robin', {}, 0)).toBe(100);
    expect(part('round-robin', { slowStartMs: 1_000 }, 0, [])).toBe(100);
    expect(() => balancer('random', { slowStartMs: -1 }, bed())).toThrow(RangeError);
  });

  it('moves no key', () => {
    const balance = balancer<Candidate>('consistent-hash', { slowStartMs: 1_000 }, bed());
    balance.update(OLD);
    const all = [...OLD, LATE];
    balance.update(all);
    const homes = Array.from(
      { length: 100 },
      (_, key) => new Set(sequence(balance, all, 20, { hashKey: `key ${key}` })),
    );
    expect(homes.every(({ size }) => size === 1)).toBe(true);
    expect(homes.some((home) => home.has('late'))).toBe(true);
  });

  it('spares nobody when nobody is warm', () => {
    const balance = balancer<Candidate>('weighted', { slowStartMs: 1_000 }, bed());
    balance.update([instance('a')]);
    const [b, c] = [instance('b'), instance('c')];
    balance.update([b, c]);
    const all = [b, c];
    expect(countsOf(sequence(balance, all, 1_000))).toEqual({ b: 500, c: 500 });
  });

  it('takes back what it does not give', () => {
    const tools = bed();
    const balance = balancer<Candidate>('least-connections', { slowStartMs: 1_000 }, tools);
    balance.update(OLD);
    const all = [...OLD, LATE];
    balance.update(all);
    const picked = Array.from({ length: 900 }, () => balance.pick(all, {})!);
    for (const one of picked) balance.done(one, success(1));
    tools.nowMs += 1_000;
    // All are idle: in twenty picks each has two.
    const counts = countsOf(Array.from({ length: 20 }, () => balance.pick(all, {})!.id));
    expect(Object.values(counts)).toEqual(Array(10).fill(2));
  });
});
