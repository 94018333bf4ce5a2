import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import { BackendRowError, backendKey } from '../../../src/server/mvcc/backend-key.ts';
import { hashKv } from '../../../src/server/mvcc/hash.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { KvRows } from '../../../src/server/mvcc/restore.ts';
import { KvStore, type LeaseBook } from '../../../src/server/mvcc/store.ts';
import { at, commit, lines, one, put } from './support.ts';

function rowsOf(records: Iterable<KvRecord>): KvRows {
  const rows = new KvRows();
  for (const record of records) rows.add(backendKey(record), record.bytes);
  return rows;
}

function restored(store: KvStore, leases?: LeaseBook): KvStore {
  return KvStore.restore(rowsOf(store.surviving()), store.compactRevision, leases);
}

type Step = ['put' | 'delete' | 'both', number] | ['compact' | 'sweep', number];
const step: fc.Arbitrary<Step> = fc.tuple(
  fc.constantFrom(
    'put' as const,
    'put' as const,
    'delete' as const,
    'both' as const,
    'compact' as const,
    'sweep' as const,
  ),
  fc.nat(4),
);

function run(store: KvStore, [kind, n]: Step): void {
  const key = `k${n}`;
  if (kind === 'put') commit(store, (txn) => put(txn, key, String(store.revision), n === 4 ? 7n : 0n));
  else if (kind === 'delete') commit(store, (txn) => txn.deleteRange(one(key)));
  else if (kind === 'both') {
    commit(store, (txn) => {
      txn.deleteRange({ key: 'k', end: key });
      put(txn, 'other');
    });
  } else if (kind === 'compact') store.compact(store.revision - n);
  else store.sweep(n);
}

function everything(store: KvStore): unknown[] {
  const from = Math.max(store.compactRevision, 1);
  const reads: unknown[] = [store.revision, store.compactRevision, hashKv(store, store.revision)];
  for (let revision = from; revision <= store.revision; revision += 1) reads.push(at(store, revision));
  return [...reads, at(store, store.compactRevision - 1), lines(store.history(from + 1, store.revision))];
}

describe('a restored store', () => {
  it('answers as the first one did, and both go on alike', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(step, { maxLength: 20 }), (before, after) => {
        const store = new KvStore();
        for (const one of before) run(store, one);
        const copy = restored(store);
        expect(everything(copy)).toEqual(everything(store));
        for (const one of after) {
          run(store, one);
          run(copy, one);
        }
        while (store.sweep(100));
        while (copy.sweep(100));
        expect(everything(copy)).toEqual(everything(store));
        expect([copy.recordCount, copy.keyCount]).toEqual([store.recordCount, store.keyCount]);
      }),
      { numRuns: 1000 },
    );
  });

  it('ends a compaction that was begun: all rows in, the surviving ones left', () => {
    const store = new KvStore();
    for (let i = 0; i < 5; i += 1) commit(store, (txn) => put(txn, 'a', String(i)));
    commit(store, (txn) => put(txn, 'b'));
    const all = [...store.history(1, store.revision)];
    const copy = KvStore.restore(rowsOf(all), 5);
    expect([at(copy, 4), at(copy, 5)]).toEqual(['compacted', ['a=3@5']]);
    expect(copy.recordCount).toBe(6);
    expect(copy.sweep(100)).toBe(false);
    expect(copy.recordCount).toBe(3);
    store.compact(5);
    expect(hashKv(copy, 7)).toBe(hashKv(store, 7));
  });

  it('has the revision of a compaction if that is higher than its last row', () => {
    expect(KvStore.restore(new KvRows(), 9).revision).toBe(9);
    expect(KvStore.restore(new KvRows(), -1).revision).toBe(1);
  });

  it('tells the leases of their keys: the newest version counts', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'gone', '', 1n));
    commit(store, (txn) => put(txn, 'moved', '', 1n));
    commit(store, (txn) => put(txn, 'moved', '', 2n));
    commit(store, (txn) => put(txn, 'free', '', 1n));
    commit(store, (txn) => put(txn, 'free'));
    commit(store, (txn) => txn.deleteRange(one('gone')));
    const attached: [bigint, string][] = [];
    restored(store, { attach: (lease, key) => attached.push([lease, key]), detach: () => {} });
    expect(attached).toEqual([[2n, 'moved']]);
  });

  it('shares no memory with the rows', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'a', 'value'));
    const [record] = [...store.surviving()];
    const bytes = new Uint8Array(record!.bytes);
    const rows = new KvRows();
    rows.add(backendKey(record!), bytes);
    bytes.fill(0);
    expect(at(KvStore.restore(rows, -1), 0)).toEqual(['a=value@2']);
  });

  it('refuses rows that are not etcd’s, without telling what is in them', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'secret', 'secret'));
    commit(store, (txn) => put(txn, 'secret', 'secret'));
    const [first, second] = [...store.surviving()].map((record) => [backendKey(record), record.bytes] as const);
    const refused = (...rows: (readonly [Uint8Array, Uint8Array])[]): string => {
      const into = new KvRows();
      try {
        for (const row of rows) into.add(...row);
      } catch (error) {
        expect(error).toBeInstanceOf(BackendRowError);
        return (error as Error).message;
      }
      return 'nothing';
    };
    expect(refused(first!, second!)).toBe('nothing');
    expect(refused(second!, first!)).toBe('revision 2 is out of order');
    expect(refused(first!, first!)).toBe('revision 2 is out of order');
    expect(refused([first![0], second![1]])).toBe('revision 2 contradicts itself');
    expect(refused([first![0].subarray(1), first![1]])).toBe('a key that is no revision');
    expect(refused([Buffer.concat([first![0], Buffer.from('x')]), first![1]])).toBe('a key that is no revision');
    expect(refused([new Uint8Array(17).fill(0x5f), first![1]])).toBe('a revision out of range');
    expect(refused([first![0], Buffer.from('secret')])).toBe("revision 2 can't be decoded");
    expect(refused([first![0], new Uint8Array()])).toBe('revision 2 has no key');
  });
});

describe('the key of a row', () => {
  it('has revisions of more than 32 bits, and back', () => {
    const main = 2 ** 40 + 5;
    const rows = new KvRows();
    const bytes = KeyValue.encode({
      key: Buffer.from('a'),
      createRevision: 2n,
      modRevision: BigInt(main),
      version: 1n,
    });
    rows.add(Buffer.from('00000100000000055f0000000000000107', 'hex'), bytes);
    const [record] = rows.log;
    expect([record?.main, record?.sub]).toEqual([main, 263]);
    expect(Buffer.from(backendKey(record!)).toString('hex')).toBe('00000100000000055f0000000000000107');
  });
});

describe('the surviving records', () => {
  it('stay those of the call, however often they are iterated and whatever happens meanwhile', () => {
    const store = new KvStore();
    for (const key of ['a', 'b', 'a', 'c']) commit(store, (txn) => put(txn, key));
    store.compact(3);
    const surviving = store.surviving();
    const before = lines(surviving);
    commit(store, (txn) => txn.deleteRange({ key: 'a', end: 'c' }));
    expect(lines(surviving)).toEqual(before);
    store.compact(store.revision);
    while (store.sweep(1));
    commit(store, (txn) => put(txn, 'd'));
    expect(lines(surviving)).toEqual(before);
    expect(before).toEqual(['a=@2', 'b=@3', 'a=@4', 'c=@5']);
  });
});
