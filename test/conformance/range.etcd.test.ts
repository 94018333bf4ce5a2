/** Every option of a read, on real data. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CompactedError, EtcdError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { bytes } from '../../src/client/kv/codec.ts';
import type { Keyspace } from '../../src/client/kv/keyspace.ts';
import type { RangeOptions, SortBy } from '../../src/client/kv/options.ts';
import type { Target } from '../../src/client/kv/target.ts';
import { revision as toRevision } from '../../src/protocol/int64.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { errorOf } from './helpers.ts';

describeOnEtcd('reads', (suite) => {
  let etcd: Etcd;
  beforeAll(() => {
    etcd = new Etcd({ endpoints: suite.cluster.endpoints });
  });
  afterAll(async () => {
    await etcd.close();
  });

  describe('options of a range', () => {
    // Each number differs from key to key, and no two of them sort alike: what a test sorts by shows.
    const WRITES = [
      ['d', '5'],
      ['a', '9'],
      ['c', '1'],
      ['b', '3'],
      ['a', '8'],
      ['b', '4'],
      ['b', '2'],
      ['d', '0'],
      ['d', '6'],
      ['d', '7'],
    ];
    let space: Keyspace<string, string | Uint8Array>;
    const at: bigint[] = [];
    beforeAll(async () => {
      space = etcd.keyspace(suite.prefix());
      for (const [key, value] of WRITES) at.push((await space.put(key as string, value as string)).revision);
    });
    const read = async (options: RangeOptions = {}, target: Target = { all: true }) => {
      const { kvs } = await space.range(target, options);
      return kvs.map(({ key }) => key).join('');
    };

    it('is by key, ascending, unless asked otherwise', async () => {
      const { kvs, count, more, revision } = await space.range({ all: true });
      expect(kvs.map(({ key, value, version }) => [key, value, version])).toEqual([
        ['a', '8', 2n],
        ['b', '2', 3n],
        ['c', '1', 1n],
        ['d', '7', 4n],
      ]);
      expect({ count, more, revision }).toEqual({ count: 4, more: false, revision: at.at(-1) });
      expect(kvs.map(({ createRevision }) => createRevision)).toEqual([at[1], at[3], at[2], at[0]]);
      expect(kvs.map(({ modRevision }) => modRevision)).toEqual([at[4], at[6], at[2], at[9]]);
      expect(kvs.map(({ lease }) => lease)).toEqual([undefined, undefined, undefined, undefined]);
    });

    it.each<[SortBy, string]>([
      ['key', 'abcd'],
      ['version', 'cabd'],
      ['createRevision', 'dacb'],
      ['modRevision', 'cabd'],
      ['value', 'cbda'],
    ])('sorts by %s', async (by, ascending) => {
      const descending = [...ascending].reverse().join('');
      expect(await read({ sort: { by } })).toBe(ascending);
      expect(await read({ sort: { by, order: 'ascending' } })).toBe(ascending);
      expect(await read({ sort: { by, order: 'descending' } })).toBe(descending);
      // A limit cuts what is sorted, and does not sort what was cut.
      for (const limit of [1, 2, 3, 4]) {
        expect(await read({ sort: { by }, limit })).toBe(ascending.slice(0, limit));
        expect(await read({ sort: { by, order: 'descending' }, limit })).toBe(descending.slice(0, limit));
      }
    });

    it('sorts by value although values are left out', async () => {
      expect(await read({ sort: { by: 'value' }, keysOnly: true })).toBe('cbda');
    });

    it('limits, and says that there is more', async () => {
      expect(await space.range({ all: true }, { limit: 2 })).toMatchObject({
        count: 4,
        more: true,
        kvs: { length: 2 },
      });
      expect(await space.range({ all: true }, { limit: 4 })).toMatchObject({ count: 4, more: false });
      expect(await space.range({ all: true }, { limit: 5 })).toMatchObject({ count: 4, more: false });
    });

    it('reads as of a revision', async () => {
      const revision = toRevision(at[3] as bigint);
      const { kvs, revision: now } = await space.range({ all: true }, { revision });
      expect(kvs.map(({ key, value }) => `${key}${value}`)).toEqual(['a9', 'b3', 'c1', 'd5']);
      expect(now).toBe(at.at(-1));
      expect((await space.get('a', { revision }))?.value).toBe('9');
      expect(await space.get('a', { revision: toRevision(at[0] as bigint) })).toBeUndefined();
      expect(await space.count({ all: true }, { revision: toRevision(at[1] as bigint) })).toBe(2);
    });

    it('leaves out values, or keys too', async () => {
      const { kvs } = await space.range({ all: true }, { keysOnly: true });
      expect(kvs.map(({ key, value, version }) => [key, value, version])).toEqual([
        ['a', '', 2n],
        ['b', '', 3n],
        ['c', '', 1n],
        ['d', '', 4n],
      ]);
      expect(await space.range({ all: true }, { countOnly: true })).toMatchObject({ kvs: [], count: 4, more: false });
      expect(await space.range({ all: true }, { countOnly: true, limit: 1 })).toMatchObject({
        kvs: [],
        count: 4,
        more: false,
      });
      expect(await space.count({ prefix: 'b' })).toBe(1);
      expect(await space.count('missing')).toBe(0);
    });

    it.each<[keyof RangeOptions & `${string}Revision`, number, string]>([
      ['minModRevision', 6, 'bd'],
      ['minModRevision', 7, 'd'],
      ['maxModRevision', 4, 'ac'],
      ['minCreateRevision', 2, 'bc'],
      ['maxCreateRevision', 1, 'ad'],
    ])('%s is inclusive', async (name, index, keys) => {
      const options = { [name]: toRevision(at[index] as bigint) };
      expect(await read(options)).toBe(keys);
      expect(await space.range({ all: true }, options)).toMatchObject({ count: 4, more: false });
      expect(await read({ ...options, limit: 1 })).toBe(keys.slice(0, 1));
      expect(await space.range({ all: true }, { ...options, limit: 1 })).toMatchObject({ more: keys.length > 1 });
    });

    it('filters by both bounds', async () => {
      const [low, high] = [toRevision(at[4] as bigint), toRevision(at[6] as bigint)];
      expect(await read({ minModRevision: low, maxModRevision: high })).toBe('ab');
    });

    it("reads from the member's own copy", async () => {
      expect(await read({ serializable: true })).toBe('abcd');
      expect((await space.get('a', { serializable: true }))?.value).toBe('8');
    });

    it.each<[Target, string]>([
      ['b', 'b'],
      ['missing', ''],
      [{ prefix: 'b' }, 'b'],
      [{ prefix: '' }, 'abcd'],
      [{ from: 'b' }, 'bcd'],
      [{ from: 'b', to: 'd' }, 'bc'],
      [{ from: '' }, 'abcd'],
      [{ from: '', to: 'c' }, 'ab'],
      [{ from: 'c', to: 'a' }, ''],
      [{ all: true }, 'abcd'],
    ])('target %j', async (target, keys) => {
      expect(await read({}, target)).toBe(keys);
    });

    it('refuses a revision to come', async () => {
      const revision = toRevision((at.at(-1) as bigint) + 1_000_000n);
      for (const serializable of [false, true]) {
        const error = await errorOf(space.get('a', { revision, serializable }));
        expect(error).toBeInstanceOf(EtcdError);
        expect(error).toMatchObject({
          code: 'future-revision',
          etcdCode: 'FutureRevision',
          applied: 'no',
          attempts: 1,
        });
      }
    });
  });

  it('keeps keys and values of any bytes, empty values too', async () => {
    const space = etcd.keyspace(suite.prefix(), bytes);
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const keys = [
      Uint8Array.of(0),
      Uint8Array.of(0, 0),
      Uint8Array.of(0, 0xff),
      all,
      Uint8Array.of(0xff),
      Uint8Array.of(0xff, 0),
      Uint8Array.of(0xff, 0xff),
    ];
    for (const key of keys) await space.put(key, key);
    await space.put(Uint8Array.of(1), '');
    const { kvs } = await space.range({ all: true });
    const sorted = [...keys, Uint8Array.of(1)].sort(Buffer.compare);
    expect(kvs.map(({ keyBytes }) => keyBytes)).toEqual(sorted);
    for (const { keyBytes, value } of kvs)
      expect(value).toEqual(keyBytes.length === 1 && keyBytes[0] === 1 ? new Uint8Array(0) : keyBytes);
    expect((await space.range({ prefix: Uint8Array.of(0xff) })).count).toBe(3);
    expect((await space.range({ prefix: Uint8Array.of(0) })).count).toBe(4);
    expect((await space.range({ from: Uint8Array.of(0xff, 0) })).count).toBe(2);
    expect((await space.get(Uint8Array.of(0xff, 0xff)))?.value).toEqual(Uint8Array.of(0xff, 0xff));
    expect((await space.delete({ prefix: Uint8Array.of(0xff) })).deleted).toBe(3);
    expect(await space.count({ all: true })).toBe(5);
  });

  describe('keyspaces', () => {
    it('nest, hide their prefix, and never reach beyond it', async () => {
      const prefix = suite.prefix();
      // The last byte is 0xff, so the end of the keyspace is not one byte further.
      const edge = Buffer.concat([Buffer.from(`${prefix}x`), Uint8Array.of(0xff)]);
      const outer = etcd.keyspace(edge);
      const inner = outer.keyspace('in/').keyspace(Uint8Array.of(0xff));
      await etcd.put(`${prefix}x`, 'below');
      await etcd.put(`${prefix}y`, 'above');
      await outer.put('o', '1');
      await inner.put('i', '2');
      await inner.put('j', '3');
      expect(Buffer.from(inner.prefix)).toEqual(Buffer.concat([edge, Buffer.from('in/'), Uint8Array.of(0xff)]));
      expect((await inner.range({ all: true })).kvs.map(({ key, value }) => key + value)).toEqual(['i2', 'j3']);
      expect((await inner.range({ from: 'j' })).kvs.map(({ key }) => key)).toEqual(['j']);
      expect((await outer.range({ from: '' })).count).toBe(3);
      expect((await outer.range({ from: 'o' })).kvs.map(({ key }) => key)).toEqual(['o']);
      expect(await outer.count({ prefix: 'in/' })).toBe(2);
      expect((await outer.delete({ all: true })).deleted).toBe(3);
      expect(await etcd.count({ prefix })).toBe(2);
    });

    it('may end where all keys end', async () => {
      const top = etcd.keyspace(Uint8Array.of(0xff, 0xff, 0xff));
      await top.put('z', '1');
      expect((await top.range({ all: true })).kvs.map(({ key }) => key)).toEqual(['z']);
      expect((await top.range({ from: 'a' })).kvs.map(({ key }) => key)).toEqual(['z']);
      expect((await top.delete({ prefix: '' })).deleted).toBe(1);
    });
  });

  it('reads one bad value without spoiling the others', async () => {
    const space = etcd.keyspace(suite.prefix());
    await space.put('a', 'fine');
    await space.put('b', Uint8Array.of(0xc3));
    await space.put('c', 'fine too');
    const { kvs } = await space.range({ all: true });
    expect(kvs[0]?.value).toBe('fine');
    expect(() => kvs[1]?.value).toThrow(/not UTF-8/);
    expect(kvs[1]?.valueBytes).toEqual(Uint8Array.of(0xc3));
    expect(kvs[2]?.value).toBe('fine too');
  });

  it('reads everything from the root', async () => {
    const prefix = suite.prefix();
    await etcd.put(`${prefix}k`, 'v');
    const { count } = await etcd.range({ all: true }, { countOnly: true });
    expect(count).toBeGreaterThan(0);
    expect(await etcd.count({ from: '' })).toBe(count);
    expect(await etcd.count({ prefix: '' })).toBe(count);
    expect(await etcd.count({ from: `${prefix}k`, to: `${prefix}k\0` })).toBe(1);
  });

  describe('compaction', () => {
    it('drops history before the revision, and says so by its own class', async () => {
      const space = etcd.keyspace(suite.prefix());
      const first = await space.put('k', '1');
      const second = await space.put('k', '2');
      await space.put('k', '3');
      await etcd.compact(second.revision, { physical: true });
      expect((await space.get('k', { revision: second.revision }))?.value).toBe('2');
      for (const attempt of [
        () => space.get('k', { revision: first.revision }),
        () => space.range({ all: true }, { revision: first.revision, serializable: true }),
        () => space.txn({ then: [space.op.get('k', { revision: first.revision })] }),
        () => space.txn({ then: [space.op.put('other', ''), space.op.get('k', { revision: first.revision })] }),
        () => space.scan({ all: true }, { revision: first.revision }).next(),
        () => etcd.compact(second.revision),
        () => etcd.compact(first.revision),
      ]) {
        const error = await errorOf(attempt());
        expect(error).toBeInstanceOf(CompactedError);
        expect(error).toMatchObject({ code: 'compacted', etcdCode: 'Compacted', applied: 'no' });
      }
      expect(await space.get('other')).toBeUndefined();
      await expect(etcd.compact(toRevision((await etcd.revision()) + 1_000n))).rejects.toMatchObject({
        code: 'future-revision',
        etcdCode: 'FutureRevision',
      });
    });
  });
});
