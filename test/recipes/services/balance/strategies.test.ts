import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Balancer, BalancerName, Candidate } from '../../../../recipes/services/balance/balancer.ts';
import { balancer } from '../../../../recipes/services/balance/strategies.ts';
import { bed, FAILURE, instance, instances, SUCCESS, sequence } from './bed.ts';

const NAMES: BalancerName[] = [
  'round-robin',
  'random',
  'weighted',
  'least-connections',
  'p2c-ewma',
  'consistent-hash',
  'zone-aware',
];

const pool = fc.uniqueArray(
  fc.record({
    id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'),
    weight: fc.constantFrom(0, 0.5, 1, 3, 100),
    zone: fc.constantFrom(undefined, 'x', 'y'),
  }),
  { selector: ({ id }) => id, maxLength: 7 },
);

const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('update' as const), instances: pool }),
    fc.record({
      do: fc.constant('pick' as const),
      left: fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g')),
      avoid: fc.option(fc.array(fc.constantFrom('a', 'b', 'c')), { nil: undefined }),
      hashKey: fc.option(fc.string(), { nil: undefined }),
      zone: fc.constantFrom(undefined, 'x', 'y', 'nowhere'),
    }),
    fc.record({ do: fc.constant('done' as const), nth: fc.nat(20), isFailure: fc.boolean(), latencyMs: fc.nat(5_000) }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.nat(20_000) }),
  ),
  { maxLength: 60 },
);

describe.each(NAMES)('%s', (name) => {
  it('chooses one of the candidates, of those with a weight, of those not to be avoided, whatever happens', () => {
    fc.assert(
      fc.property(steps, fc.integer(), (script, seed) => {
        const tools = bed(seed);
        const balance: Balancer<Candidate> = balancer(name, { zone: 'x', slowStartMs: 10_000 }, tools);
        let known: readonly Candidate[] = [];
        const running: Candidate[] = [];
        for (const step of script) {
          if (step.do === 'update') {
            known = step.instances;
            balance.update(known);
          } else if (step.do === 'wait') {
            tools.nowMs += step.ms;
          } else if (step.do === 'done') {
            const [ended] = running.splice(step.nth, 1);
            const outcome = step.isFailure ? 'failure' : 'success';
            if (ended !== undefined) balance.done(ended, { outcome, latencyMs: step.latencyMs });
          } else {
            const candidates = known.filter(({ id }) => !step.left.some((left) => left === id));
            const avoid = step.avoid && new Set<string>(step.avoid);
            const picked = balance.pick(candidates, { avoid, hashKey: step.hashKey, zone: step.zone });
            const weighted = candidates.filter(({ weight }) => weight > 0);
            const first = weighted.length > 0 ? weighted : candidates;
            const others = first.filter(({ id }) => !avoid?.has(id));
            const allowed = others.length > 0 ? others : first;
            if (allowed.length === 0) expect(picked).toBeUndefined();
            else expect(allowed).toContain(picked);
            if (picked !== undefined) running.push(picked);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('leaves nobody of its set out', () => {
    const tools = bed(7);
    const balance = balancer(name, { zone: 'x' }, tools);
    const all = instances(10).map(({ id }, at) => instance(id, 1, at % 2 === 0 ? 'x' : 'y'));
    balance.update(all);
    const picked = new Set<string>();
    for (let n = 0; n < 2_000; n++) {
      tools.nowMs += 1;
      const one = balance.pick(all, { hashKey: name === 'consistent-hash' ? `key ${n}` : undefined })!;
      picked.add(one.id);
      balance.done(one, SUCCESS);
    }
    // In a zone that can carry everything, everything stays.
    expect(picked.size).toBe(name === 'zone-aware' ? 5 : 10);
  });
});

describe("a strategy of one's own", () => {
  it('is held to the rules, and helped out when it chooses nobody', () => {
    const asked: string[][] = [];
    const balance = balancer(
      () => ({
        update: () => {},
        pick: (candidates) => {
          asked.push(candidates.map(({ id }) => id));
          return undefined;
        },
        done: () => {},
      }),
      {},
      bed(),
    );
    const all = [instance('a', 0), instance('b'), instance('c')];
    expect(balance.pick(all, { avoid: new Set(['b']) })?.id).toBe('c');
    expect(balance.pick([], {})).toBeUndefined();
    expect(asked).toEqual([['c']]);
  });

  it('chooses within the zones', () => {
    const balance = balancer(
      'zone-aware',
      { zone: 'x', inner: () => ({ update: () => {}, pick: (candidates) => candidates.at(-1), done: () => {} }) },
      bed(),
    );
    const all = [instance('a', 1, 'x'), instance('b', 1, 'x'), instance('c', 1, 'y')];
    balance.update(all);
    expect(sequence(balance, all, 3)).toEqual(['b', 'b', 'b']);
  });
});

describe('options', () => {
  it('that make no sense are refused', () => {
    expect(() => balancer('fastest' as BalancerName, {}, bed())).toThrow(RangeError);
    expect(() => balancer('consistent-hash', { loadFactor: 0.9 }, bed())).toThrow(RangeError);
    expect(() => balancer('p2c-ewma', { decayMs: 0 }, bed())).toThrow(RangeError);
    expect(() => balancer('zone-aware', { origins: { x: -1 } }, bed())).toThrow(RangeError);
  });

  it('reach the strategy within the zones', () => {
    expect(() => balancer('zone-aware', { decayMs: 0 }, bed()).update([instance('a', 1, 'x')])).toThrow(RangeError);
  });
});

describe('requests of an instance that left and came back', () => {
  it('count until they have ended, and never below nothing', () => {
    const balance = balancer('least-connections', {}, bed());
    const [a, b] = [instance('a'), instance('b')];
    const picks = (count: number): string[] => {
      const both = [a, b];
      return Array.from({ length: count }, () => balance.pick(both, {})!.id);
    };
    balance.update([a]);
    for (let n = 0; n < 3; n++) balance.pick([a], {});
    balance.update([b]);
    balance.update([a, b]);
    expect(picks(3)).toEqual(['b', 'b', 'b']);
    for (let n = 0; n < 6; n++) for (const one of [a, b]) balance.done(one, FAILURE);
    balance.done(a, FAILURE);
    expect(picks(4).sort()).toEqual(['a', 'a', 'b', 'b']);
  });
});
