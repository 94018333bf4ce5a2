import { describe, expect, it } from 'vitest';
import type { Candidate, PickOptions } from '../../../../recipes/services/balance/balancer.ts';
import { type BalancerOptions, balancer } from '../../../../recipes/services/balance/strategies.ts';
import { bed, countsOf, instance, sequence } from './bed.ts';

const REQUESTS = 10_000;

function zone(name: string | undefined, count: number, weight = 1): Candidate[] {
  return Array.from({ length: count }, (_, at) => instance(`${name ?? 'none'}${at}`, weight, name));
}

/** The part of the requests that goes to each zone. */
function parts(
  all: readonly Candidate[],
  options: BalancerOptions,
  pick: PickOptions = {},
  candidates: readonly Candidate[] = all,
): Record<string, number> {
  const balance = balancer('zone-aware', { inner: 'round-robin', ...options }, bed());
  balance.update(all);
  const counts = countsOf(sequence(balance, candidates, REQUESTS, pick).map((id) => id.replace(/\d+$/, '')));
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [name, Math.round((count / REQUESTS) * 100)]),
  );
}

/** Within two of a hundred, five standard deviations at most. */
function expectParts(actual: Record<string, number>, wanted: Record<string, number>): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(wanted).sort());
  for (const [name, part] of Object.entries(wanted))
    expect(Math.abs(actual[name]! - part), name).toBeLessThanOrEqual(2);
}

describe('zone aware', () => {
  it('stays in the own zone while that can carry its part', () => {
    expectParts(parts([...zone('x', 3), ...zone('y', 3), ...zone('z', 3)], { zone: 'x' }), { x: 100 });
    // 3 of 10 with three zones is less than a third, but not by a fifth.
    expectParts(parts([...zone('x', 3), ...zone('y', 3), ...zone('z', 4)], { zone: 'x' }), { x: 100 });
  });

  it('sends on what a small zone cannot carry, to those with something to spare', () => {
    const all = [...zone('x', 1), ...zone('y', 5), ...zone('z', 3), ...zone('w', 1)];
    // Capacity 0.1 and demand 0.25 without tolerance: 40 % stay. y has 0.25 to spare, z 0.05, w nothing.
    expectParts(parts(all, { zone: 'x', tolerance: 0 }), { x: 40, y: 50, z: 10 });
    expectParts(parts(all, { zone: 'x', tolerance: 1 }), { x: 80, y: 17, z: 3 });
  });

  it('counts what instances carry by their weight', () => {
    const all = [...zone('x', 2, 1), ...zone('y', 2, 3)];
    expectParts(parts(all, { zone: 'x', tolerance: 0 }), { x: 50, y: 50 });
    expectParts(parts(all, { zone: 'y', tolerance: 0 }), { y: 100 });
  });

  it('sends more elsewhere when instances of the own zone are left out', () => {
    const all = [...zone('x', 4), ...zone('y', 4)];
    expectParts(parts(all, { zone: 'x', tolerance: 0 }, {}, all.slice(2)), { x: 67, y: 33 });
    expectParts(parts(all, { zone: 'x' }, {}, all.slice(4)), { y: 100 });
  });

  it('goes by where requests come from, if it is told', () => {
    const all = [...zone('x', 2), ...zone('y', 2)];
    expectParts(parts(all, { zone: 'x', tolerance: 0, origins: { x: 10, y: 0 } }), { x: 50, y: 50 });
    expectParts(parts(all, { zone: 'x', origins: { y: 1 } }), { x: 100 });
  });

  it('takes all zones from a zone without instances, and from nowhere, by what they carry', () => {
    const all = [...zone('x', 1), ...zone('y', 3)];
    expectParts(parts(all, {}), { x: 25, y: 75 });
    // Own zone included there are three, with a third of the demand each.
    expectParts(parts(all, { zone: 'z' }), { y: 100 });
    expectParts(parts([...zone('x', 1), ...zone(undefined, 3)], {}), { x: 25, none: 75 });
  });

  it('takes the zone of a pick before its own', () => {
    expectParts(parts([...zone('x', 3), ...zone('y', 3)], { zone: 'x' }, { zone: 'y' }), { y: 100 });
  });

  it('keeps a key where it is when it has to divide', () => {
    const all = [...zone('x', 1), ...zone('y', 9)];
    const balance = balancer('zone-aware', { zone: 'x', inner: 'consistent-hash' }, bed());
    balance.update(all);
    const homes = new Set<string>();
    for (let key = 0; key < 100; key++) {
      const picked = sequence(balance, all, 5, { hashKey: `key ${key}` });
      expect(new Set(picked).size).toBe(1);
      homes.add(picked[0]!.charAt(0));
    }
    expect(homes).toEqual(new Set(['x', 'y']));
  });

  it('keeps the turns of each zone apart', () => {
    const all = [...zone('x', 2), ...zone('y', 6)];
    const balance = balancer('zone-aware', { zone: 'x', inner: 'round-robin' }, bed());
    balance.update(all);
    const own = sequence(balance, all, 1_000).filter((id) => id.startsWith('x'));
    expect(own.length).toBeLessThan(700);
    own.forEach((id, at) => {
      if (at > 0) expect(id).not.toBe(own[at - 1]);
    });
  });
});
