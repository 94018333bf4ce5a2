import { describe, expect, it } from 'vitest';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import { costOf, DEFAULT_QUOTA_BYTES, QuotaGate } from '../../../src/server/apply/quota.ts';
import { Bench, compact, put, type Request, raise, reborn, remove, saidOf } from './support.ts';

describe('the cost of a request', () => {
  const cost = (request: Request): number => costOf(InternalRaftRequest.decode(InternalRaftRequest.encode(request)));
  const op = (key: string, value = '') => ({ requestPut: put(key, value).put });

  it('is by the rule of thumb that etcd has', () => {
    expect(cost(put('key', 'value'))).toBe(264);
    expect(cost({ leaseGrant: { ID: 1n, TTL: 5n } })).toBe(64);
    expect([remove('a'), compact(1), raise(1), { leaseRevoke: { ID: 1n } }].map(cost)).toEqual([0, 0, 0, 0]);
    const erase = { requestDeleteRange: remove('a').deleteRange };
    expect(cost({ txn: { success: [op('a', 'b'), op('cc'), erase], failure: [op('x')] } })).toBe(516);
    expect(cost({ txn: { success: [erase], failure: [op('x')] } })).toBe(257);
    expect(cost({ txn: { success: [{ requestTxn: { failure: [op('x')] } }, op('y')] } })).toBe(514);
    expect(cost({ txn: { success: [erase] } })).toBe(0);
  });
});

describe('the gate', () => {
  it('admits what stays below the quota, and what costs nothing', () => {
    const gate = new QuotaGate(1_000);
    expect([gate.admits(99, 900), gate.admits(100, 900), gate.admits(0, 2_000)]).toEqual([true, false, true]);
    expect(new QuotaGate(0).quotaBytes).toBe(DEFAULT_QUOTA_BYTES);
    expect(new QuotaGate(-1).admits(1, 2 ** 50)).toBe(true);
  });
});

describe('the size', () => {
  it('grows with what is written, and shrinks by defragmenting alone', () => {
    const one = new Bench();
    const empty = one.machine.sizeBytes;
    expect(empty).toBeGreaterThan(16 * 1024);
    for (let i = 0; i < 100; i += 1) one.put('k', 'x'.repeat(10_000));
    const full = one.machine.sizeBytes;
    expect(full).toBeGreaterThan(1_000_000);
    expect(full).toBeLessThan(1_300_000);
    expect(full % 4096).toBe(0);
    one.do(compact(101));
    while (one.machine.sweep(7));
    expect(one.machine.sizeInUseBytes).toBeLessThan(empty + 3 * 10_000);
    one.put('k');
    expect(one.machine.sizeBytes).toBe(full);
    one.machine.defragment();
    expect(one.machine.sizeBytes).toBe(one.machine.sizeInUseBytes);
  });

  it('is what is in use, once restored', async () => {
    const bench = new Bench();
    for (let i = 0; i < 100; i += 1) bench.put('k', 'x'.repeat(10_000));
    bench.do(compact(101));
    while (bench.machine.sweep(7));
    const { machine } = await reborn(bench.machine);
    while (machine.sweep(7));
    expect(machine.sizeInUseBytes).toBe(bench.machine.sizeInUseBytes);
    expect(machine.sizeBytes).toBeLessThan(bench.machine.sizeBytes / 10);
  });
});

describe('the quota', () => {
  it('lets what passed the gate be applied, and wants the alarm', () => {
    const bench = new Bench({ quotaBytes: 64 * 1024 });
    expect(bench.entry(put('a', 'x'.repeat(30_000))).wantsAlarm).toBeUndefined();
    const breach = bench.entry(put('a', 'x'.repeat(30_000)));
    expect([saidOf(breach.outcome), breach.wantsAlarm]).toEqual(['put', 'NOSPACE']);
    // What costs nothing or is refused does not want it, and once it is raised nobody does.
    expect(bench.entry(remove('a')).wantsAlarm).toBeUndefined();
    expect(bench.entry(put('a', '', 77n)).wantsAlarm).toBeUndefined();
    expect(bench.entry({ leaseGrant: { ID: 1n, TTL: 9n } }).wantsAlarm).toBe('NOSPACE');
    bench.do(raise(1));
    expect(bench.entry(put('a')).wantsAlarm).toBeUndefined();
  });

  it('is off if it is negative', () => {
    const bench = new Bench({ quotaBytes: -1 });
    expect(bench.entry(put('a', 'x'.repeat(30_000))).wantsAlarm).toBeUndefined();
  });
});
