import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import { backendKey } from '../../../src/server/mvcc/backend-key.ts';
import { hashKv } from '../../../src/server/mvcc/hash.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { ALL, at, commit, lines, one, put } from './support.ts';

describe('a store', () => {
  it('starts at revision 1, and each transaction that changes something takes the next one', () => {
    const store = new KvStore();
    expect([store.revision, store.compactRevision]).toEqual([1, -1]);
    commit(store, (txn) => {
      put(txn, 'a');
      put(txn, 'b');
    });
    expect(store.revision).toBe(2);
    commit(store, (txn) => expect(txn.deleteRange(one('nothing'))).toEqual([]));
    commit(store, () => {});
    expect(store.revision).toBe(2);
  });

  it('counts what was done, and transactions of more than one operation', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'a'));
    commit(store, (txn) => {
      put(txn, 'b');
      txn.range(ALL, 0, 0);
      txn.deleteRange(ALL);
    });
    store.range(ALL, 0, 0);
    expect(store.operations).toEqual({ range: 2, put: 2, delete: 1, txn: 1 });
  });

  it('counts versions within a generation, which a delete ends', () => {
    const store = new KvStore();
    const kv = (): unknown => {
      const record = store.get('a');
      return record && [record.createRevision, record.main, record.version];
    };
    commit(store, (txn) => put(txn, 'a'));
    commit(store, (txn) => put(txn, 'a'));
    expect(kv()).toEqual([2, 3, 2]);
    commit(store, (txn) => txn.deleteRange(one('a')));
    expect(kv()).toBeUndefined();
    commit(store, (txn) => put(txn, 'a'));
    expect(kv()).toEqual([5, 5, 1]);
  });

  it('keeps records as etcd does: whole for a put, the key alone for the mark of a delete', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'a', 'one', 7n));
    const [mark] = commit(store, (txn) => txn.deleteRange(one('a')));
    const [record] = [...store.history(2, 2)];
    expect(KeyValue.decode(record!.bytes)).toMatchObject({
      createRevision: 2n,
      modRevision: 2n,
      version: 1n,
      lease: 7n,
    });
    expect(mark?.main).toBe(3);
    expect(KeyValue.decode(mark!.bytes)).toEqual({
      key: new Uint8Array([0x61]),
      value: new Uint8Array(),
      createRevision: 0n,
      modRevision: 0n,
      version: 0n,
      lease: 0n,
    });
  });

  it('keeps nothing of a request alive: neither key nor value share its memory', () => {
    const store = new KvStore();
    const request = new Uint8Array([0x61, 0x62, 0x63]);
    commit(store, (txn) => txn.put(request.subarray(0, 1), 'a', request.subarray(1), 0n));
    request.fill(0);
    expect(at(store, 0)).toEqual(['a=bc@2']);
  });

  it('keeps many records in little memory, each with its own bytes, and gives none much of the others', () => {
    const store = new KvStore();
    const values = Array.from({ length: 200 }, (_, i) => String(i).padStart(1 + ((i * 37) % 700), 'v'));
    for (const value of values) commit(store, (txn) => put(txn, 'a', value));
    const records = [...store.history(0, Number.POSITIVE_INFINITY)];
    expect(records.map(({ bytes }) => Buffer.from(KeyValue.decode(bytes).value).toString())).toEqual(values);
    const memory = new Set(records.map(({ bytes }) => bytes.buffer));
    expect(memory.size).toBeLessThan(150);
    for (const { byteLength } of memory) expect(byteLength).toBeLessThanOrEqual(2048);
  });

  it('orders keys by their bytes, not as text', () => {
    const store = new KvStore();
    const keys = ['ÿ', 'a', 'Z', '\0', 'aa', 'é'];
    commit(store, (txn) => {
      for (const key of keys) txn.put(Buffer.from(key, 'latin1'), key, new Uint8Array(), 0n);
    });
    const result = store.range(ALL, 0, 0);
    expect(typeof result === 'string' ? result : result.records.map(({ key }) => key)).toEqual([...keys].sort());
  });

  it('refuses revisions in the future, and those before a compaction', () => {
    const store = new KvStore();
    for (let i = 0; i < 5; i += 1) commit(store, (txn) => put(txn, 'a', String(i)));
    expect(at(store, 7)).toBe('future');
    expect(store.compact(4)).toBeUndefined();
    expect(at(store, 3)).toBe('compacted');
    expect(at(store, 4)).toEqual(['a=2@4']);
    expect(store.compact(4)).toBe('compacted');
    expect(store.compact(7)).toBe('future');
  });

  it('takes a compaction of nothing once, as etcd does', () => {
    const store = new KvStore();
    expect(store.compact(-1)).toBe('compacted');
    expect(store.compact(0)).toBeUndefined();
    expect(store.compact(0)).toBe('compacted');
  });

  it('lets a transaction see its own writes, and nobody else before it has ended', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'a', 'old'));
    const txn = store.write();
    expect(txn.current).toBe(2);
    put(txn, 'a', 'new');
    expect(txn.current).toBe(3);
    const seen = txn.range(one('a'), 0, 0);
    expect(typeof seen === 'string' ? seen : lines(seen.records)).toEqual(['a=new@3']);
    const before = txn.range(one('a'), 2, 0);
    expect(typeof before === 'string' ? before : lines(before.records)).toEqual(['a=old@2']);
    expect(store.revision).toBe(2);
    txn.end();
    expect(store.revision).toBe(3);
  });

  it('limits what it gives, and counts all the same', () => {
    const store = new KvStore();
    commit(store, (txn) => {
      for (const key of ['a', 'b', 'c', 'd']) put(txn, key);
    });
    const result = store.range({ key: 'b', end: '\0' }, 0, 2);
    expect(typeof result === 'string' ? result : [result.count, lines(result.records)]).toEqual([3, ['b=@2', 'c=@2']]);
    expect(at(store, 0, { key: 'd', end: 'a' })).toEqual([]);
  });

  it('hashes what is compacted as etcd does: as far as it is visible at the revision of the hash', () => {
    const store = new KvStore();
    // These are etcd's values; backend.etcd.test.ts asks it for them.
    for (const key of ['a', 'b', 'a', 'c']) commit(store, (txn) => put(txn, key, 'v'));
    store.compact(4);
    expect(hashKv(store, 5)).toBe(3320674208);
    commit(store, (txn) => put(txn, 'b', 'w'));
    expect(hashKv(store, 6)).toBe(1737539516);
    commit(store, (txn) => txn.deleteRange(ALL));
    expect(hashKv(store, 7)).toBe(455513579);
    store.compact(7);
    expect(hashKv(store, 7)).toBe(1084519789);
  });

  it('hashes as etcd does', () => {
    const store = new KvStore();
    expect(hashKv(store, 1)).toBe(1084519789);
    commit(store, (txn) => put(txn, 'a', '1'));
    commit(store, (txn) => put(txn, 'b', '2'));
    commit(store, (txn) => {
      put(txn, 'a', '3');
      txn.deleteRange(one('b'));
    });
    commit(store, (txn) => put(txn, 'e', ''));
    expect(hashKv(store, store.revision)).toBe(3357812696);
  });
});

describe('compaction', () => {
  it('keeps the mark of a delete only if it is of that very revision', () => {
    const make = (): KvStore => {
      const store = new KvStore();
      commit(store, (txn) => put(txn, 'a'));
      commit(store, (txn) => txn.deleteRange(one('a')));
      commit(store, (txn) => put(txn, 'b'));
      return store;
    };
    const there = make();
    there.compact(3);
    while (there.sweep(1));
    expect(lines(there.history(3, 9))).toEqual(['a!@3', 'b=@4']);
    const gone = make();
    gone.compact(4);
    while (gone.sweep(1));
    expect(lines(gone.history(3, 9))).toEqual(['b=@4']);
    expect(gone.recordCount).toBe(1);
  });

  it('frees what nobody can read any more: versions, marks of deletes, keys', () => {
    const store = new KvStore();
    for (let i = 0; i < 10; i += 1) commit(store, (txn) => put(txn, 'a', String(i)));
    commit(store, (txn) => put(txn, 'b'));
    commit(store, (txn) => txn.deleteRange(one('b')));
    commit(store, (txn) => put(txn, 'c'));
    commit(store, (txn) => txn.deleteRange(one('c')));
    commit(store, (txn) => put(txn, 'c', 'again'));
    expect([store.recordCount, store.keyCount]).toEqual([15, 3]);
    store.compact(15);
    while (store.sweep(4));
    // Of c the mark of the delete, which is of that revision, and what came after it.
    expect([store.recordCount, store.keyCount]).toEqual([3, 2]);
    expect(store.get('a')?.previous).toBeUndefined();
    store.compact(16);
    while (store.sweep(4));
    expect([store.recordCount, store.keyCount]).toEqual([2, 2]);
    expect(store.get('c')?.previous).toBeUndefined();
  });

  it('cuts off the mark of a delete from what was written after the compaction', () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'a'));
    commit(store, (txn) => txn.deleteRange(one('a')));
    commit(store, (txn) => put(txn, 'b'));
    commit(store, (txn) => put(txn, 'a'));
    store.compact(4);
    while (store.sweep(1));
    expect([store.get('a')?.previous, at(store, 4), at(store, 5)]).toEqual([undefined, ['b=@4'], ['a=@5', 'b=@4']]);
  });

  it('starts again when a later one comes before it is through', () => {
    const store = new KvStore();
    for (let i = 0; i < 20; i += 1) {
      commit(store, (txn) => (i % 4 === 3 ? txn.deleteRange(one('a')) : put(txn, 'a', String(i))));
    }
    store.compact(8);
    expect(store.sweep(3)).toBe(true);
    store.compact(15);
    while (store.sweep(2));
    expect(store.sweeping).toBe(false);
    expect(at(store, 15)).toEqual(['a=13@15']);
    expect(lines(store.history(15, 99))).toEqual([
      'a=13@15',
      'a=14@16',
      'a!@17',
      'a=16@18',
      'a=17@19',
      'a=18@20',
      'a!@21',
    ]);
  });
});

/** The simplest thing that is right: every state there ever was. */
class Model {
  readonly states: Map<string, string>[] = [new Map(), new Map()];

  apply(changes: (state: Map<string, string>) => boolean): void {
    const state = new Map(this.states.at(-1));
    if (changes(state)) this.states.push(state);
  }

  at(revision: number): string[] {
    const state = this.states[revision] ?? new Map<string, string>();
    return [...state].map(([key, value]) => `${key}=${value}`).sort();
  }
}

type Step =
  | { readonly do: 'txn'; readonly puts: readonly number[]; readonly deletes: readonly (readonly [number, number])[] }
  | { readonly do: 'compact'; readonly back: number }
  | { readonly do: 'sweep'; readonly limit: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('txn' as const),
      puts: fc.uniqueArray(fc.nat(9), { maxLength: 3 }),
      deletes: fc.array(fc.tuple(fc.nat(9), fc.nat(3)), { maxLength: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const), back: fc.nat(12) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('sweep' as const), limit: fc.integer({ min: 1, max: 9 }) }) },
);

describe('whatever is done to a store', () => {
  it('shows every revision since the last compaction as it was, and its hash does not depend on sweeping', () => {
    let swept = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), (steps) => {
        const store = new KvStore();
        const twin = new KvStore();
        const model = new Model();
        for (const [serial, { ...what }] of steps.entries()) {
          if (what.do === 'sweep') {
            if (store.sweeping) swept += 1;
            store.sweep(what.limit);
          } else if (what.do === 'compact') {
            const revision = store.revision - what.back;
            expect(store.compact(revision)).toBe(twin.compact(revision));
          } else {
            const value = String(serial);
            for (const one of [store, twin]) {
              commit(one, (txn) => {
                for (const [from, length] of what.deletes) {
                  txn.deleteRange({ key: `k${from}`, end: length === 0 ? '' : `k${from + length}` });
                }
                for (const key of what.puts) put(txn, `k${key}`, value);
              });
            }
            model.apply((state) => {
              let changed = false;
              for (const [from, length] of what.deletes) {
                for (const key of [...state.keys()]) {
                  const inside = length === 0 ? key === `k${from}` : key >= `k${from}` && key < `k${from + length}`;
                  if (inside) changed = state.delete(key) || changed;
                }
              }
              for (const key of what.puts) state.set(`k${key}`, value);
              return changed || what.puts.length > 0;
            });
          }
          expect(store.revision).toBe(Math.max(1, model.states.length - 1));
        }
        for (let revision = Math.max(1, store.compactRevision); revision <= store.revision; revision += 1) {
          const here = at(store, revision);
          expect(Array.isArray(here) ? here.map((line) => line.replace(/@.*/, '')) : here).toEqual(model.at(revision));
        }
        expect(hashKv(store, store.revision)).toBe(hashKv(twin, twin.revision));
        expect(lines(store.surviving())).toEqual(lines(twin.surviving()));
        let bytes = 0;
        for (const record of store.history(0, store.revision)) bytes += backendKey(record).length + record.bytes.length;
        expect(store.recordBytes).toBe(bytes);
      }),
      { numRuns: 600, seed: 7 },
    );
    expect(swept).toBeGreaterThan(100);
  });
});
