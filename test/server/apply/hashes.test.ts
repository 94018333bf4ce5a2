import { describe, expect, it } from 'vitest';
import { Bench, compact, put, reborn, remove } from './support.ts';

describe('hashes', () => {
  it('of revisions that are compacted are known if a compaction was right there', () => {
    const bench = new Bench();
    for (let i = 0; i < 20; i += 1) bench.put(`k${i % 3}`, String(i));
    const early = bench.machine.hashKv(5);
    bench.do(compact(5));
    const at9 = bench.machine.hashKv(9);
    expect(early).toMatchObject({ compactRevision: -1 });
    expect(at9).toMatchObject({ compactRevision: 5 });
    bench.put('k0', 'later');
    bench.do(compact(9));
    while (bench.machine.sweep(1));
    expect(bench.machine.hashKv(5)).toEqual(early);
    expect(bench.machine.hashKv(9)).toEqual(at9);
    expect(bench.machine.hashKv(7)).toBe('compacted');
    expect(bench.machine.hashKv(23)).toBe('future');
    expect(bench.machine.hashKv(0)).toEqual(bench.machine.hashKv(22));
    expect(bench.machine.hashKv(0)).toMatchObject({ compactRevision: 9 });
  });

  it('are remembered for the last ten compactions', () => {
    const bench = new Bench();
    for (let i = 0; i < 12; i += 1) bench.put('k');
    for (let revision = 2; revision <= 12; revision += 1) bench.do(compact(revision));
    bench.do(compact(13));
    expect(bench.machine.hashKv(3)).toBe('compacted');
    for (let revision = 4; revision <= 13; revision += 1) {
      expect(bench.machine.hashKv(revision)).toMatchObject({ compactRevision: revision - 1 });
    }
  });

  it('are made in steps, before memory is freed, and whatever comes between', () => {
    const bench = new Bench();
    for (let i = 0; i < 10; i += 1) bench.put(`k${i}`);
    const hash = bench.machine.hashKv(8);
    bench.do(compact(8));
    expect(bench.machine.sweep(3)).toBe(true);
    bench.do(remove('k', 'l'));
    let steps = 1;
    while (bench.machine.sweep(3)) steps += 1;
    // Seven records for the hash, and the same ones for freeing.
    expect(steps).toBeGreaterThan(3);
    expect(bench.machine.hashKv(8)).toEqual(hash);
  });

  it('are those of one history: another one that comes as an image has none', async () => {
    const bench = new Bench();
    for (let i = 0; i < 5; i += 1) bench.put('k');
    bench.do(compact(3));
    bench.do(compact(5));
    const { machine } = await reborn(bench.machine);
    await bench.machine.restore(machine.rows(), () => machine.store);
    expect(bench.machine.hashKv(3)).toBe('compacted');
  });

  it('are those that etcd gives', () => {
    const bench = new Bench();
    expect(bench.machine.hashKv(0)).toEqual({ hash: 1_084_519_789, compactRevision: -1 });
    bench.put('a', '1');
    bench.put('b', '2');
    const [a, b] = [put('a', '3').put, remove('b').deleteRange];
    bench.do({ txn: { success: [{ requestPut: a }, { requestDeleteRange: b }] } });
    bench.put('e');
    expect(bench.machine.hashKv(0)).toEqual({ hash: 3_357_812_696, compactRevision: -1 });
  });
});
