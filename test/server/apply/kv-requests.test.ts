import { describe, expect, it } from 'vitest';
import {
  CompareResult,
  CompareTarget,
  type RangeRequestSortTarget,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import { at } from '../mvcc/support.ts';
import { Bench, compact, put, type Request, remove } from './support.ts';

const COMPACTED = 'etcdserver: mvcc: required revision has been compacted';
const FUTURE = 'etcdserver: mvcc: required revision is a future revision';
const NO_LEASE = 'etcdserver: requested lease not found';
const NO_KEY = 'etcdserver: key not found';

const get = (key: string, revision = 0n): Request => ({ range: { key: toBytes(key), revision } });

describe('puts and deletes', () => {
  it('take a revision each, but for what changes nothing', () => {
    const bench = new Bench();
    expect(bench.put('a', '1')).toEqual({ type: 'put', revision: 2, previous: undefined });
    expect(bench.do({ put: { key: toBytes('a'), prevKv: true } })).toMatchObject({ previous: { main: 2, version: 1 } });
    expect(bench.do(remove('none'))).toEqual({ type: 'delete', revision: 3, deleted: [] });
    expect(bench.do(remove('a', '\0'))).toMatchObject({ revision: 4, deleted: [{ key: 'a' }] });
    expect(bench.machine.store.revision).toBe(4);
  });

  it("are refused with etcd's words, in its order", () => {
    const bench = new Bench();
    expect(bench.say({ put: { key: toBytes('a'), lease: 5n, ignoreValue: true } })).toBe(NO_LEASE);
    expect(bench.say({ put: { key: toBytes('a'), ignoreValue: true } })).toBe(NO_KEY);
    expect(bench.say({ put: { value: toBytes('x') } })).toBe('etcdserver: key is not provided');
    expect(bench.machine.store.revision).toBe(1);
  });
});

describe('transactions', () => {
  const hasA = { target: CompareTarget.VERSION, result: CompareResult.GREATER, key: toBytes('a'), version: 0n };

  it('happen whole or not at all', () => {
    const bench = new Bench();
    const bad = { requestPut: put('b', '', 6n).put };
    expect(bench.say({ txn: { success: [{ requestPut: put('a').put }, bad] } })).toBe(NO_LEASE);
    expect(bench.machine.store.revision).toBe(1);
    expect(
      bench.do({ txn: { compare: [hasA], success: [bad], failure: [{ requestPut: put('a').put }] } }),
    ).toMatchObject({
      succeeded: false,
      results: [{ type: 'put', revision: 2 }],
    });
  });

  it('that only read are reads', () => {
    const bench = new Bench();
    bench.put('a', 'x');
    const read = { requestRange: { key: toBytes('a') } };
    const outcome = bench.do({ txn: { compare: [hasA], success: [read, read], failure: [] } });
    expect(outcome).toMatchObject({
      succeeded: true,
      results: [{ revision: 2, found: { count: 1 } }, { type: 'range' }],
    });
    expect(bench.say({ txn: { success: [{ requestRange: { key: toBytes('a'), revision: 9n } }] } })).toBe(FUTURE);
    expect(bench.machine.store.revision).toBe(2);
  });

  it('that are malformed are refused, also where nobody goes', () => {
    const bench = new Bench();
    const sort = {
      requestRange: { key: toBytes('a'), sortTarget: 9 as RangeRequestSortTarget, sortOrder: 2 as const },
    };
    const inside = (op: object): Request => ({ txn: { failure: [{ requestTxn: { failure: [op] } }] } });
    expect(bench.say(inside({}))).toBe(NO_KEY);
    expect(bench.say(inside(sort))).toBe('etcdserver: invalid sort option');
    expect(bench.say(inside({ requestPut: {} }))).toBe('etcdserver: key is not provided');
    expect(bench.say({ range: sort.requestRange })).toBe('etcdserver: invalid sort option');
  });
});

describe('reads that came through the log', () => {
  it('see what was written before them', () => {
    const bench = new Bench();
    bench.put('a', 'x');
    expect(bench.do(get('a'))).toMatchObject({ type: 'range', revision: 2, found: { count: 1, more: false } });
    expect(bench.say(get('a', 3n))).toBe(FUTURE);
    bench.put('a', 'y');
    bench.do(compact(3));
    expect(bench.say(get('a', 2n))).toBe(COMPACTED);
  });
});

describe('compactions', () => {
  it('are refused twice, and ahead of the store', () => {
    const bench = new Bench();
    expect(bench.say(compact(-1))).toBe(COMPACTED);
    expect(bench.do(compact(0))).toEqual({ type: 'compact' });
    expect(bench.say(compact(0))).toBe(COMPACTED);
    expect(bench.say(compact(2))).toBe(FUTURE);
    expect(bench.say({ compaction: { revision: 2n ** 63n - 1n } })).toBe(FUTURE);
    bench.put('a', '1');
    bench.put('a', '2');
    expect(bench.say(compact(3))).toBe('compact');
    expect([at(bench.machine.store, 3), at(bench.machine.store, 2)]).toEqual([['a=2@3'], 'compacted']);
    expect(bench.machine.store.recordCount).toBe(2);
    expect(bench.machine.sweep(100)).toBe(false);
    expect(bench.machine.store.recordCount).toBe(1);
  });
});
