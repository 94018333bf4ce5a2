/** The rules of ranges that clients of etcd can see, as observed on its servers. */
import { describe, expect, it } from 'vitest';
import {
  RangeRequestSortOrder as Order,
  RangeRequest,
  RangeRequestSortTarget as Target,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { query } from '../../../src/server/mvcc/query.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { commit, lines, put } from './support.ts';

function request(fields: Init<RangeRequest> = {}): RangeRequest {
  const all = { key: toBytes('\0'), rangeEnd: toBytes('\0') };
  return RangeRequest.decode(RangeRequest.encode({ ...all, ...fields }));
}

function ask(store: KvStore, fields: Init<RangeRequest>): unknown {
  const result = query(store, request(fields));
  if (typeof result === 'string') return result;
  return { kvs: lines(result.records).join(' '), count: result.count, more: result.more };
}

function storeOf(values: Readonly<Record<string, string>>): KvStore {
  const store = new KvStore();
  for (const [key, value] of Object.entries(values)) commit(store, (txn) => put(txn, key, value));
  return store;
}

describe('a range', () => {
  const letters = storeOf({ a: '3', b: '9', c: '2', d: '0' });

  it('says what a limit cut off, and counts everything', () => {
    expect(ask(letters, { limit: 2n })).toEqual({ kvs: 'a=3@2 b=9@3', count: 4, more: true });
    expect(ask(letters, { limit: 4n })).toMatchObject({ count: 4, more: false });
    expect(ask(letters, { limit: -1n })).toMatchObject({ count: 4, more: false });
  });

  it('only counts when asked to', () => {
    expect(ask(letters, { countOnly: true, limit: 1n, minCreateRevision: 9n })).toEqual({
      kvs: '',
      count: 4,
      more: false,
    });
  });

  it('sorts everything before it cuts, given an order', () => {
    const sorted = { sortTarget: Target.VALUE, limit: 2n };
    expect(ask(letters, { ...sorted, sortOrder: Order.ASCEND })).toMatchObject({ kvs: 'd=0@5 c=2@4', more: true });
    expect(ask(letters, { ...sorted, sortOrder: Order.DESCEND })).toMatchObject({ kvs: 'b=9@3 a=3@2', more: true });
    expect(ask(letters, { sortOrder: Order.DESCEND, limit: 1n })).toMatchObject({ kvs: 'd=0@5', more: true });
  });

  it('sorts the first limit + 1 keys only, given a target and no order', () => {
    expect(ask(letters, { sortTarget: Target.VALUE, limit: 2n })).toEqual({ kvs: 'c=2@4 a=3@2', count: 4, more: true });
  });

  it.each([
    [Target.VERSION, 'b=2@5 c=3@6 a=1@4'],
    [Target.CREATE, 'a=1@4 b=2@5 c=3@6'],
    [Target.MOD, 'a=1@4 b=2@5 c=3@6'],
    [Target.KEY, 'a=1@4 b=2@5 c=3@6'],
  ])('sorts by target %i', (sortTarget, kvs) => {
    const store = new KvStore();
    for (const key of ['a', 'a', 'a', 'b', 'c']) commit(store, (txn) => put(txn, key, { a: '1', b: '2', c: '3' }[key]));
    expect(ask(store, { sortTarget, sortOrder: Order.ASCEND })).toMatchObject({ kvs });
  });

  it('takes an order that nobody knows for none', () => {
    const order = { sortOrder: 7 as Order };
    expect(ask(letters, order)).toMatchObject({ kvs: 'a=3@2 b=9@3 c=2@4 d=0@5' });
    // Also where a target without an order would mean an ascending one.
    expect(ask(letters, { ...order, sortTarget: Target.VALUE, limit: 2n })).toMatchObject({
      kvs: 'a=3@2 b=9@3',
      more: true,
    });
  });

  it('filters by revisions, bounds included, before it cuts', () => {
    expect(ask(letters, { minModRevision: 3n, maxModRevision: 4n })).toMatchObject({ kvs: 'b=9@3 c=2@4', count: 4 });
    expect(ask(letters, { minCreateRevision: 4n })).toMatchObject({ kvs: 'c=2@4 d=0@5' });
    expect(ask(letters, { maxCreateRevision: 2n })).toMatchObject({ kvs: 'a=3@2' });
    expect(ask(letters, { minModRevision: 3n, limit: 1n })).toMatchObject({ kvs: 'b=9@3', more: true });
    expect(ask(letters, { minModRevision: 5n, limit: 1n })).toMatchObject({ kvs: 'd=0@5', more: false });
  });

  it('reads the past, now for any revision of 0 or less, and nothing of the future', () => {
    expect(ask(letters, { revision: 3n })).toMatchObject({ kvs: 'a=3@2 b=9@3', count: 2 });
    expect(ask(letters, { revision: -5n })).toMatchObject({ count: 4 });
    expect(ask(letters, { revision: 6n })).toBe('future');
  });
});
