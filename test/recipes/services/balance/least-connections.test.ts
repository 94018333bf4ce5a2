import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balancer } from '../../../../recipes/services/balance/strategies.ts';
import { bed, countsOf, instance, instances, SUCCESS, sequence } from './bed.ts';

describe('least connections', () => {
  it('never picks one that has more under way, relative to its weight, than another', () => {
    const script = fc.array(fc.option(fc.nat(30), { nil: undefined, freq: 1 }), { maxLength: 100 });
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 8 }),
        script,
        (weights, steps) => {
          const all = instances(weights.length, (at) => weights[at]!);
          const balance = balancer('least-connections', {}, bed());
          balance.update(all);
          const running: typeof all = [];
          const loadOf = (one: (typeof all)[number]): number =>
            running.filter((other) => other === one).length / one.weight;
          for (const ended of steps) {
            if (ended !== undefined) {
              const [one] = running.splice(ended, 1);
              if (one !== undefined) balance.done(one, SUCCESS);
              continue;
            }
            const picked = balance.pick(all, {})!;
            expect(loadOf(picked)).toBe(Math.min(...all.map(loadOf)));
            running.push(picked);
          }
        },
      ),
    );
  });

  it('takes idle ones in turns, in proportion to their weights', () => {
    const all = [instance('a', 3), instance('b', 1), instance('c', 1)];
    const balance = balancer('least-connections', {}, bed());
    balance.update(all);
    const counts = countsOf(sequence(balance, all, 50));
    for (const [id, share] of Object.entries({ a: 30, b: 10, c: 10 })) {
      expect(Math.abs(counts[id]! - share), id).toBeLessThanOrEqual(1);
    }
  });

  it('does not begin with the same one in every client, nor sends the next request to every newcomer', () => {
    const all = instances(10);
    const begins = new Set<string>();
    let newcomers = 0;
    for (let seed = 0; seed < 50; seed++) {
      const balance = balancer('least-connections', {}, bed(seed));
      balance.update(all.slice(1));
      begins.add(sequence(balance, all.slice(1), 100)[0]!);
      balance.update(all);
      if (sequence(balance, all, 1)[0] === all[0]!.id) newcomers++;
    }
    expect(begins.size).toBeGreaterThan(6);
    expect(newcomers).toBeLessThan(15);
  });

  it('gives a newcomer, and one that was left out, no turns to make up for', () => {
    const [a, b, c] = [instance('a'), instance('b'), instance('c')];
    const balance = balancer('least-connections', {}, bed());
    balance.update([a, b]);
    sequence(balance, [a], 100);
    balance.update([a, b, c]);
    const counts = countsOf(sequence(balance, [a, b, c], 30));
    for (const { id } of [a, b, c]) expect(Math.abs(counts[id]! - 10), id).toBeLessThanOrEqual(1);
  });
});
