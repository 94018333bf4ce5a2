import { describe, expect, it } from 'vitest';
import { lines } from '../mvcc/support.ts';
import { Bench } from './support.ts';

const grant = (ID: bigint, TTL: bigint) => ({ leaseGrant: { ID, TTL } });

describe('leases', () => {
  it('are granted with any number but 0, and the least time at least', () => {
    const bench = new Bench();
    expect(bench.do(grant(-5n, -5n))).toEqual({ type: 'lease-grant', id: -5n, ttlSeconds: 2 });
    expect(bench.do(grant(1n, 9_000_000_000n))).toMatchObject({ ttlSeconds: 9_000_000_000 });
    expect(bench.say(grant(2n, 9_000_000_001n))).toBe('etcdserver: too large lease TTL');
    expect(bench.say(grant(1n, 10n))).toBe('etcdserver: lease already exists');
    expect(bench.say(grant(0n, 10n))).toBe('etcdserver: requested lease not found');
  });

  it('take their keys with them, in order and in one revision', () => {
    const bench = new Bench();
    bench.do(grant(1n, 60n));
    for (const key of ['z', 'a', 'm']) bench.put(key, '', 1n);
    bench.put('m');
    expect(bench.do({ leaseRevoke: { ID: 1n } })).toEqual({ type: 'lease-revoke' });
    expect(lines(bench.machine.store.history(6, 9))).toEqual(['a!@6', 'z!@6']);
    expect(bench.say({ leaseRevoke: { ID: 1n } })).toBe('etcdserver: requested lease not found');
  });

  it('without keys end without a revision', () => {
    const bench = new Bench();
    bench.do(grant(1n, 60n));
    expect(bench.say({ leaseRevoke: { ID: 1n } })).toBe('lease-revoke');
    expect([bench.machine.store.revision, bench.machine.lessor.size]).toEqual([1, 0]);
  });

  it('keep what checkpoints say for the next primary', () => {
    const bench = new Bench();
    bench.do(grant(1n, 600n));
    const checkpoints = [
      { ID: 1n, remainingTTL: 70n },
      { ID: 9n, remainingTTL: 1n },
    ];
    expect(bench.say({ leaseCheckpoint: { checkpoints } })).toBe('lease-checkpoint');
    expect(bench.machine.rows().leases).toEqual([{ ID: 1n, TTL: 600n, RemainingTTL: 70n }]);
  });
});
