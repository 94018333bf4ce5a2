/** The rules of transactions that clients of etcd can see, as observed on its servers. */
import { describe, expect, it } from 'vitest';
import {
  Compare,
  CompareResult as Is,
  CompareTarget as Of,
  PutRequest,
  TxnRequest,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { holds } from '../../../src/server/mvcc/compare.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import {
  applyDelete,
  applyPut,
  applyTxn,
  type LeaseLookup,
  type OpResult,
  readTxn,
} from '../../../src/server/mvcc/txn.ts';
import { at, commit, lines, put } from './support.ts';

type Ops = NonNullable<Init<TxnRequest>['success']>;

const NO_LEASES: LeaseLookup = () => false;
const key = (text: string): Uint8Array => toBytes(text);
const putOp = (name: string, fields: Init<PutRequest> = {}): Ops[number] => ({
  requestPut: { key: key(name), value: key('new'), ...fields },
});
const rangeOp = (name: string, revision = 0n): Ops[number] => ({ requestRange: { key: key(name), revision } });
const deleteOp = (name: string, end = ''): Ops[number] => ({
  requestDeleteRange: { key: key(name), rangeEnd: key(end) },
});
const nested = (txn: Init<TxnRequest>): Ops[number] => ({ requestTxn: txn });
const exists = (name: string): Init<Compare> => ({
  key: key(name),
  target: Of.VERSION,
  result: Is.GREATER,
  version: 0n,
});

function txn(store: KvStore, request: Init<TxnRequest>, leases = NO_LEASES): unknown {
  const applied = applyTxn(store, leases, TxnRequest.decode(TxnRequest.encode(request)));
  return typeof applied === 'string' ? applied : summary(applied.result);
}

/** `!` and `?` for success and failure, then each result: how many it found or deleted, and its revision. */
function summary(result: OpResult): unknown {
  switch (result.type) {
    case 'range':
      return `${lines(result.found.records).join()} r${result.revision}`;
    case 'put':
      return `put r${result.revision}`;
    case 'delete':
      return `deleted ${result.deleted.length} r${result.revision}`;
    case 'txn':
      return [result.succeeded ? '!' : '?', ...result.results.map(summary)];
  }
}

function storeOf(...keys: readonly string[]): KvStore {
  const store = new KvStore();
  for (const name of keys) commit(store, (write) => put(write, name, 'old'));
  return store;
}

describe('a condition', () => {
  const store = storeOf('a', 'b');
  commit(store, (write) => put(write, 'c', 'old', 7n));
  commit(store, (write) => put(write, 'c', 'old', 7n));
  const check = (fields: Init<Compare>): boolean => holds(store, Compare.decode(Compare.encode(fields)));

  it.each([
    ['VERSION', { target: Of.VERSION, version: 2n }],
    ['CREATE', { target: Of.CREATE, createRevision: 4n }],
    ['MOD', { target: Of.MOD, modRevision: 5n }],
    ['VALUE', { target: Of.VALUE, value: key('old') }],
    ['LEASE', { target: Of.LEASE, lease: 7n }],
  ])('on %s knows equal, different, above and below', (_name, fields) => {
    const results = [Is.EQUAL, Is.NOT_EQUAL, Is.GREATER, Is.LESS];
    expect(results.map((result) => check({ key: key('c'), result, ...fields }))).toEqual([true, false, false, false]);
  });

  it('knows which way it goes', () => {
    const version = (result: Is, value: bigint): boolean =>
      check({ key: key('c'), target: Of.VERSION, result, version: value });
    expect([version(Is.GREATER, 1n), version(Is.LESS, 1n), version(Is.GREATER, 3n), version(Is.LESS, 3n)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
    const value = (result: Is, text: string): boolean =>
      check({ key: key('c'), target: Of.VALUE, result, value: key(text) });
    expect([value(Is.GREATER, 'ol'), value(Is.LESS, 'ole')]).toEqual([true, true]);
  });

  it('takes a missing key for zeros, and says nothing of its value', () => {
    const missing = { key: key('nobody') };
    expect(check({ ...missing, target: Of.VERSION, version: 0n })).toBe(true);
    expect(check({ ...missing, target: Of.CREATE, createRevision: 0n })).toBe(true);
    expect(check({ ...missing, target: Of.LEASE, lease: 1n, result: Is.LESS })).toBe(true);
    for (const result of [Is.EQUAL, Is.NOT_EQUAL, Is.GREATER, Is.LESS]) {
      expect(check({ ...missing, target: Of.VALUE, value: key(''), result })).toBe(false);
    }
  });

  it('on a range holds for every key, and on an empty one as for a missing key', () => {
    const all = { key: key('a'), rangeEnd: key('z') };
    expect(check({ ...all, target: Of.VERSION, result: Is.GREATER, version: 0n })).toBe(true);
    expect(check({ ...all, target: Of.VERSION, result: Is.EQUAL, version: 1n })).toBe(false);
    const none = { key: key('x'), rangeEnd: key('z') };
    expect(check({ ...none, target: Of.CREATE, createRevision: 0n })).toBe(true);
    expect(check({ ...none, target: Of.VALUE, result: Is.NOT_EQUAL, value: key('v') })).toBe(false);
  });

  it('compares with 0 if it gives the value of another field', () => {
    expect(check({ key: key('c'), target: Of.VERSION, modRevision: 2n, result: Is.GREATER })).toBe(true);
  });

  it('holds if nobody knows its relation', () => {
    expect(check({ key: key('c'), target: Of.VERSION, version: 99n, result: 9 as Is })).toBe(true);
  });
});

describe('a transaction', () => {
  it('goes one way or the other, and takes one revision for all that it changes', () => {
    const store = storeOf('a');
    expect(txn(store, { compare: [exists('a')], success: [putOp('b'), putOp('c')], failure: [putOp('d')] })).toEqual([
      '!',
      'put r3',
      'put r3',
    ]);
    expect(txn(store, { compare: [exists('x')], success: [putOp('x')], failure: [deleteOp('b', 'd')] })).toEqual([
      '?',
      'deleted 2 r4',
    ]);
    expect(at(store, 0)).toEqual(['a=old@2']);
  });

  it('is legal without anything in it, and takes no revision', () => {
    const store = storeOf();
    expect(txn(store, {})).toEqual(['!']);
    expect(store.revision).toBe(1);
  });

  it('shows its ranges what it wrote before them, and the revision that this has', () => {
    const store = storeOf('a');
    expect(txn(store, { success: [rangeOp('a'), putOp('a'), rangeOp('a'), deleteOp('x'), deleteOp('a')] })).toEqual([
      '!',
      'a=old@2 r2',
      'put r3',
      'a=new@3 r3',
      'deleted 0 r3',
      'deleted 1 r3',
    ]);
  });

  it('looks at the state before it in all its conditions, those inside too', () => {
    const store = storeOf();
    const inner = nested({ compare: [exists('a')], success: [putOp('yes')], failure: [putOp('no')] });
    expect(txn(store, { success: [putOp('a'), inner] })).toEqual(['!', 'put r2', ['?', 'put r2']]);
    expect(at(store, 0)).toEqual(['a=new@2', 'no=new@2']);
  });

  it('happens whole or not at all', () => {
    const store = storeOf('a');
    store.compact(2);
    const later: readonly (readonly [string, Ops[number]])[] = [
      ['lease-not-found', putOp('b', { lease: 9n })],
      ['key-not-found', putOp('b', { ignoreValue: true, value: key('') })],
      ['key-not-found', putOp('b', { ignoreLease: true })],
      ['future', rangeOp('a', 3n)],
      ['compacted', rangeOp('a', 1n)],
      ['lease-not-found', nested({ success: [putOp('b', { lease: 9n })] })],
    ];
    for (const [error, op] of later) expect(txn(store, { success: [putOp('a'), op] })).toBe(error);
    expect([store.revision, at(store, 0)]).toEqual([2, ['a=old@2']]);
    // What its conditions lead away from is not looked at.
    expect(txn(store, { success: [putOp('a')], failure: [putOp('b', { lease: 9n })] })).toEqual(['!', 'put r3']);
  });

  it('takes a negative revision for one before the compaction, unlike a range on its own', () => {
    // Of several errors, one of a put comes first, wherever it is.
    const both = [rangeOp('a', 3n), nested({ success: [putOp('b', { lease: 9n })] })];
    expect(txn(storeOf('a'), { success: both })).toBe('lease-not-found');
    expect(txn(storeOf('a'), { success: [rangeOp('a', -2n)] })).toBe('compacted');
    expect(txn(storeOf('a'), { success: [rangeOp('a', -1n)] })).toEqual(['!', 'a=old@2 r2']);
  });

  it('can read without writing', () => {
    const store = storeOf('a');
    const request = { compare: [exists('a')], success: [rangeOp('a'), nested({ success: [rangeOp('x')] })] };
    const result = readTxn(store, TxnRequest.decode(TxnRequest.encode(request)));
    expect(typeof result === 'string' ? result : summary(result)).toEqual(['!', 'a=old@2 r2', ['!', ' r2']]);
  });
});

describe('a put', () => {
  const apply = (store: KvStore, fields: Init<PutRequest>, leases = NO_LEASES): unknown => {
    const request = PutRequest.decode(PutRequest.encode({ key: key('a'), value: key('new'), ...fields }));
    const applied = applyPut(store, leases, request);
    return typeof applied === 'string' ? applied : [lines(applied.records).join(), applied.result.previous?.main];
  };

  it('tells of what it replaced if asked to', () => {
    const store = storeOf();
    expect(apply(store, { prevKv: true })).toEqual(['a=new@2', undefined]);
    expect(apply(store, {})).toEqual(['a=new@3', undefined]);
    expect(apply(store, { prevKv: true })).toEqual(['a=new@4', 3]);
  });

  it('keeps value or lease where asked to, and needs the key for it', () => {
    const store = storeOf();
    const leases = (lease: bigint): boolean => lease === 7n;
    expect(apply(store, { ignoreValue: true, value: key('') })).toBe('key-not-found');
    expect(apply(store, { lease: 7n }, leases)).toEqual(['a=new@2', undefined]);
    expect(apply(store, { ignoreLease: true, value: key('x') })).toEqual(['a=x@3', undefined]);
    expect(store.get('a')?.lease).toBe(7n);
    expect(apply(store, { ignoreValue: true, value: key('') })).toEqual(['a=x@4', undefined]);
    expect(store.get('a')?.lease).toBe(0n);
  });

  it('misses the lease before it misses the key', () => {
    expect(apply(storeOf(), { lease: 9n, ignoreValue: true, value: key('') })).toBe('lease-not-found');
  });

  it('hangs the key on its lease, and takes it off that of before', () => {
    const seen: string[] = [];
    const store = new KvStore({
      attach: (lease, name) => seen.push(`+${name}${lease}`),
      detach: (lease, name) => seen.push(`-${name}${lease}`),
    });
    const leases = (): boolean => true;
    apply(store, { lease: 7n }, leases);
    apply(store, { lease: 8n }, leases);
    apply(store, {}, leases);
    apply(store, { lease: 8n }, leases);
    applyDelete(store, { key: key('a'), rangeEnd: key(''), prevKv: false });
    expect(seen.join(' ')).toBe('+a7 -a7 +a8 -a8 +a8 -a8');
  });
});
