/** Transactions: every condition, both branches, nesting, codecs, limits. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { json, number } from '../../src/client/kv/codec.ts';
import type { Comparable, Compare } from '../../src/client/kv/compare.ts';
import { leaseId } from '../../src/protocol/int64.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { errorOf } from './helpers.ts';

describeOnEtcd('transactions', (suite) => {
  let etcd: Etcd;
  beforeAll(() => {
    etcd = new Etcd({ endpoints: suite.cluster.endpoints });
  });
  afterAll(async () => {
    await etcd.close();
  });
  const holds = async (...conditions: Compare[]): Promise<boolean> => (await etcd.txn({ if: conditions })).succeeded;

  /** Each operator against an expected value below, at and above what is there. */
  async function expectOperators<T>(subject: Comparable<T>, below: T, at: T, above: T): Promise<void> {
    const table: [keyof Comparable<T>, boolean, boolean, boolean][] = [
      ['equals', false, true, false],
      ['notEquals', true, false, true],
      ['greaterThan', true, false, false],
      ['lessThan', false, false, true],
    ];
    for (const [operator, ...expected] of table) {
      const found: boolean[] = [];
      for (const value of [below, at, above]) found.push(await holds(subject[operator](value)));
      expect([operator, ...found]).toEqual([operator, ...expected]);
    }
  }

  describe('conditions', () => {
    it('know every target and every operator', async () => {
      const space = etcd.keyspace(suite.prefix());
      const lease = await etcd.leases.grant({ ttlSeconds: 60, id: leaseId(1_000_000n + (await etcd.revision())) });
      await space.put('k', 'l');
      await space.put('k', 'm', { lease });
      const { createRevision, modRevision } = (await space.get('k'))!;
      const key = space.key('k');
      await expectOperators(key.version, 1n, 2n, 3n);
      await expectOperators<bigint>(key.createRevision, createRevision - 1n, createRevision, createRevision + 1n);
      await expectOperators<bigint>(key.modRevision, modRevision - 1n, modRevision, modRevision + 1n);
      await expectOperators(key.value, 'l', 'm', 'n');
      await expectOperators<bigint>(key.lease as never, lease.id - 1n, lease.id, lease.id + 1n);
      expect(await holds(key.lease.equals(lease))).toBe(true);
      expect(await holds(key.exists)).toBe(true);
      expect(await holds(key.missing)).toBe(false);
      expect(await holds(key.unchangedSince(await space.get('k')))).toBe(true);
      expect(await holds(key.unchangedSince(undefined))).toBe(false);
    });

    it('take a key that is not there for zeros, and its value for nothing', async () => {
      const key = etcd.keyspace(suite.prefix()).key('missing');
      await expectOperators(key.version, -1n, 0n, 1n);
      await expectOperators<bigint>(key.createRevision, -1n, 0n, 1n);
      await expectOperators<bigint>(key.modRevision, -1n, 0n, 1n);
      await expectOperators<bigint>(key.lease as never, -1n, 0n, 1n);
      for (const operator of ['equals', 'notEquals', 'greaterThan', 'lessThan'] as const) {
        for (const value of ['', 'x']) expect(await holds(key.value[operator](value))).toBe(false);
      }
      expect(await holds(key.exists)).toBe(false);
      expect(await holds(key.missing, key.unchangedSince(undefined))).toBe(true);
    });

    it('compare empty values and values of any bytes', async () => {
      const space = etcd.keyspace(suite.prefix());
      await space.put('empty', '');
      expect(await holds(space.key('empty').value.equals(''))).toBe(true);
      expect(await holds(space.key('empty').value.lessThan(Uint8Array.of(0)))).toBe(true);
      await space.put('high', Uint8Array.of(0xff, 0));
      expect(await holds(space.key('high').value.greaterThan(Uint8Array.of(0xff)))).toBe(true);
      expect(await holds(space.key('high').value.equals(Uint8Array.of(0xff, 0)))).toBe(true);
    });

    it('must hold for every key of a range', async () => {
      const space = etcd.keyspace(suite.prefix());
      const first = await space.put('a1', 'x');
      await space.put('a2', 'x');
      await space.put('b1', 'y');
      expect(await holds(space.keys({ prefix: 'a' }).value.equals('x'))).toBe(true);
      expect(await holds(space.keys({ all: true }).value.equals('x'))).toBe(false);
      expect(await holds(space.keys({ from: 'a2' }).version.equals(1n))).toBe(true);
      expect(await holds(space.keys({ from: 'a', to: 'b' }).modRevision.greaterThan(first.revision))).toBe(false);
      expect(await holds(space.keys({ from: 'a2', to: 'z' }).modRevision.greaterThan(first.revision))).toBe(true);
      expect(await holds(space.keys({ prefix: 'c' }).missing)).toBe(true);
      expect(await holds(space.keys({ prefix: 'c' }).exists)).toBe(false);
      expect(await holds(space.keys({ prefix: 'c' }).value.equals('x'))).toBe(false);
      expect(await holds(space.keys({ prefix: 'a' }).exists)).toBe(true);
    });

    it('must all hold', async () => {
      const space = etcd.keyspace(suite.prefix());
      await space.put('k', 'v');
      expect(await holds(space.key('k').exists, space.key('k').value.equals('v'))).toBe(true);
      expect(await holds(space.key('k').exists, space.key('k').value.equals('w'))).toBe(false);
    });
  });

  describe('operations', () => {
    it('of the branch that was taken are done at one revision, in their order', async () => {
      const space = etcd.keyspace(suite.prefix());
      await space.put('gone', 'old');
      const before = await etcd.revision();
      const done = await space.txn({
        if: [space.key('a').missing],
        then: [
          space.op.range({ all: true }),
          space.op.put('a', '1', { prevKv: true }),
          space.op.delete({ prefix: 'gone' }, { prevKv: true }),
          space.op.get('a'),
          space.op.range({ all: true }, { sort: { by: 'value', order: 'descending' } }),
        ],
        else: [space.op.get('a')],
      });
      if (!done.succeeded) throw new Error('the wrong branch');
      const [first, put, deleted, read, range] = done.results;
      expect(done.revision).toBe(before + 1n);
      expect(first.kvs.map(({ key }) => key)).toEqual(['gone']);
      expect(first.revision).toBe(before);
      expect(put).toEqual({ revision: before + 1n, previous: undefined });
      expect(deleted).toMatchObject({ deleted: 1, previous: [{ key: 'gone', value: 'old' }] });
      expect(read).toMatchObject({ value: '1', modRevision: before + 1n });
      expect(range.kvs.map(({ key }) => key)).toEqual(['a']);
      const other = await space.txn({
        if: [space.key('a').missing],
        then: [space.op.put('a', '2')],
        else: [space.op.get('a'), space.op.touch('a', { prevKv: true })],
      });
      if (other.succeeded) throw new Error('the wrong branch');
      expect(other.results[0]?.value).toBe('1');
      expect(other.results[1].previous?.value).toBe('1');
    });

    it('may be none', async () => {
      const before = await etcd.revision();
      expect(await etcd.txn({})).toEqual({ succeeded: true, results: [], revision: before });
      const space = etcd.keyspace(suite.prefix());
      expect(await space.txn({ if: [space.key('k').exists] })).toEqual({
        succeeded: false,
        results: [],
        revision: before,
      });
      expect(await space.txn({ if: [space.key('k').missing] })).toEqual({
        succeeded: true,
        results: [],
        revision: before,
      });
      // Also where the condition is about a range, and about everything.
      expect(await space.txn({ if: [space.keys({ all: true }).missing] })).toMatchObject({ succeeded: true });
      expect(await etcd.txn({ if: [etcd.keys({ all: true }).version.greaterThan(0n)] })).toMatchObject({ results: [] });
    });

    it('read and write by the codec of the keyspace each comes from', async () => {
      const prefix = suite.prefix();
      const users = etcd.keyspace(`${prefix}users/`, json<{ name: string }>());
      const counts = etcd.keyspace(`${prefix}counts/`, number);
      const root = etcd.keyspace(prefix);
      const done = await etcd.txn({
        if: [users.key('1').missing, counts.keys({ all: true }).missing],
        then: [
          users.op.put('1', { name: 'Ada' }),
          counts.op.put('users', 1),
          users.op.get('1'),
          counts.op.range({ all: true }),
          root.op.range({ all: true }),
        ],
      });
      if (!done.succeeded) throw new Error('the wrong branch');
      const name: string | undefined = done.results[2]?.value.name;
      const count: number | undefined = done.results[3].kvs[0]?.value;
      expect([name, count]).toEqual(['Ada', 1]);
      expect(done.results[2]?.key).toBe('1');
      expect(done.results[4].kvs.map(({ key, value }) => [key, value])).toEqual([
        ['counts/users', '1'],
        ['users/1', '{"name":"Ada"}'],
      ]);
      expect(await holds(counts.key('users').value.equals(1), users.key('1').value.equals({ name: 'Ada' }))).toBe(true);
    });

    it('leave nothing behind when one of them is refused', async () => {
      const space = etcd.keyspace(suite.prefix());
      const refused = [
        [space.op.put('a', '1'), space.op.put('b', '1', { lease: leaseId(0x7eadn) })],
        [space.op.put('a', '1'), space.op.touch('missing')],
        [space.op.put('a', '1'), space.op.put('missing', '1', { ignoreLease: true })],
        [space.op.put('a', '1'), space.op.get('a', { revision: ((await etcd.revision()) + 1_000n) as never })],
      ];
      const codes = ['LeaseNotFound', 'KeyNotFound', 'KeyNotFound', 'FutureRevision'];
      for (const [index, then] of refused.entries()) {
        expect(await errorOf(space.txn({ then }))).toMatchObject({
          etcdCode: codes[index],
          applied: 'no',
          attempts: 1,
        });
      }
      expect(await space.count({ all: true })).toBe(0);
      // The branch that is not taken is not looked at.
      expect(await space.txn({ if: [space.key('a').exists], then: refused[0], else: [] })).toMatchObject({
        succeeded: false,
      });
    });
  });

  describe('nested', () => {
    it('three deep: every condition sees the store as it was before, each level tells its branch', async () => {
      const space = etcd.keyspace(suite.prefix());
      await space.put('k', 'before');
      const done = await space.txn({
        if: [space.key('k').value.equals('before')],
        then: [
          space.op.put('k', 'after'),
          space.op.txn({
            // Not 'after': conditions do not see what the outer one writes.
            if: [space.key('k').value.equals('before')],
            then: [
              space.op.get('k'),
              space.op.txn({
                if: [space.key('k').value.equals('after')],
                then: [space.op.put('wrong', '')],
                else: [space.op.put('deep', '3'), space.op.get('deep')],
              }),
            ],
            else: [space.op.put('wrong', '')],
          }),
        ],
      });
      if (!done.succeeded) throw new Error('the wrong branch');
      const second = done.results[1];
      if (!second.succeeded) throw new Error('the wrong branch');
      expect(second.results[0]?.value).toBe('after');
      const third = second.results[1];
      if (third.succeeded) throw new Error('the wrong branch');
      expect(third.results[1]?.value).toBe('3');
      expect(third.results[0].revision).toBe(done.revision);
      expect(
        (await space.range({ all: true })).kvs.map(({ key, value, modRevision }) => [key, value, modRevision]),
      ).toEqual([
        ['deep', '3', done.revision],
        ['k', 'after', done.revision],
      ]);
    });

    it('are given what the outer ones leave of the 128, here as on the server', async () => {
      const space = etcd.keyspace(suite.prefix());
      const lax = new Etcd({ endpoints: suite.cluster.endpoints, maxTxnOps: 10_000 });
      const reads = (count: number) => Array.from({ length: count }, () => space.op.get('k'));
      for (const [outer, inner] of [
        [127, 0],
        [100, 27],
        [126, 1],
      ] as const) {
        const spec = { then: [...reads(outer), space.op.txn({ then: reads(inner) })] };
        expect(await space.txn(spec)).toMatchObject({ succeeded: true });
        const over = { then: [...reads(outer), space.op.txn({ then: reads(inner + 1) })] };
        const here = await errorOf(space.txn(over));
        expect(here).toBeInstanceOf(InvalidArgumentError);
        expect(here).toMatchObject({ attempts: 0 });
        expect(await errorOf(lax.txn(over))).toMatchObject({ etcdCode: 'TooManyOps', attempts: 1 });
      }
      const fits = {
        if: Array.from({ length: 128 }, () => space.key('k').missing),
        then: reads(128),
        else: reads(128),
      };
      expect((await space.txn(fits)).results).toHaveLength(128);
      await lax.close();
    });
  });
});
