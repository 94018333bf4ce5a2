/** Writes of single keys: forms, leases, refusals, and outcomes that nobody knows. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EtcdError, InvalidArgumentError, UnavailableError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { json, number } from '../../src/client/kv/codec.ts';
import { leaseId } from '../../src/protocol/int64.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { errorOf } from './helpers.ts';

describeOnEtcd('writes', (suite) => {
  let etcd: Etcd;
  beforeAll(() => {
    etcd = new Etcd({ endpoints: suite.cluster.endpoints });
  });
  afterAll(async () => {
    await etcd.close();
  });

  describe('put', () => {
    it('makes one revision, counts versions, and starts over after a delete', async () => {
      const space = etcd.keyspace(suite.prefix());
      const first = await space.put('k', '1');
      const second = await space.put('k', '2', { prevKv: true });
      expect(second.revision).toBe(first.revision + 1n);
      expect(first.previous).toBeUndefined();
      expect(second.previous).toMatchObject({ key: 'k', value: '1', version: 1n, modRevision: first.revision });
      expect(await space.get('k')).toMatchObject({
        version: 2n,
        createRevision: first.revision,
        modRevision: second.revision,
      });
      await space.delete('k');
      const third = await space.put('k', '3', { prevKv: true });
      expect(third.previous).toBeUndefined();
      expect(await space.get('k')).toMatchObject({ version: 1n, createRevision: third.revision, lease: undefined });
    });

    it('hangs a key on a lease, keeps it there when told to, and lets it go otherwise', async () => {
      const space = etcd.keyspace(suite.prefix());
      const lease = await etcd.leases.grant({ ttlSeconds: 60 });
      await space.put('k', '1', { lease });
      expect((await space.get('k'))?.lease).toBe(lease.id);
      await space.put('k', '2', { ignoreLease: true });
      expect(await space.get('k')).toMatchObject({ value: '2', lease: lease.id });
      await space.put('k', '3');
      expect(await space.get('k')).toMatchObject({ value: '3', lease: undefined });
      await space.put('k', '4', { lease: lease.id });
      await etcd.leases.revoke(lease.id);
      expect(await space.get('k')).toBeUndefined();
    });

    it('is refused for a lease that is not there, and for keeping one of a key that is not', async () => {
      const space = etcd.keyspace(suite.prefix());
      const lease = leaseId(0x7eadn);
      expect(await errorOf(space.put('k', 'v', { lease }))).toMatchObject({
        code: 'lease-not-found',
        etcdCode: 'LeaseNotFound',
        applied: 'no',
        attempts: 1,
      });
      expect(await errorOf(space.put('k', 'v', { ignoreLease: true }))).toMatchObject({
        etcdCode: 'KeyNotFound',
        applied: 'no',
      });
      expect(await space.get('k')).toBeUndefined();
    });

    it("is refused when the value is over the server's limit", async () => {
      const space = etcd.keyspace(suite.prefix());
      // Above the limit of a proposal, and above that of a message.
      for (const mebibytes of [1.6, 3]) {
        const error = await errorOf(space.put('k', Buffer.alloc(mebibytes * 1024 * 1024)));
        expect(error).toBeInstanceOf(EtcdError);
        expect(error).toMatchObject({ code: 'request-too-large', applied: 'no', attempts: 1 });
      }
      expect(await space.get('k')).toBeUndefined();
      await space.put('k', Buffer.alloc(1_400_000));
      expect((await space.get('k'))?.valueBytes.length).toBe(1_400_000);
    });
  });

  describe('touch', () => {
    it('changes the lease and leaves the value alone', async () => {
      const space = etcd.keyspace(suite.prefix());
      const lease = await etcd.leases.grant({ ttlSeconds: 60 });
      await space.put('k', 'kept');
      const touched = await space.touch('k', { lease, prevKv: true });
      expect(touched.previous).toMatchObject({ value: 'kept', lease: undefined });
      expect(await space.get('k')).toMatchObject({
        value: 'kept',
        lease: lease.id,
        version: 2n,
        modRevision: touched.revision,
      });
      await space.touch('k');
      expect(await space.get('k')).toMatchObject({ value: 'kept', lease: undefined, version: 3n });
      expect(await errorOf(space.touch('missing'))).toMatchObject({ etcdCode: 'KeyNotFound', applied: 'no' });
    });
  });

  describe('delete', () => {
    it('deletes a key, a range, a prefix or all, and tells what was there', async () => {
      const space = etcd.keyspace(suite.prefix());
      const fill = async (): Promise<void> => {
        for (const key of ['a', 'b', 'b1', 'c', 'd']) await space.put(key, `value of ${key}`);
      };
      await fill();
      const before = await etcd.revision();
      expect(await space.delete('missing', { prevKv: true })).toEqual({ revision: before, deleted: 0, previous: [] });
      const one = await space.delete('a', { prevKv: true });
      expect(one).toMatchObject({ revision: before + 1n, deleted: 1 });
      expect(one.previous.map(({ key, value }) => [key, value])).toEqual([['a', 'value of a']]);
      expect(await space.delete({ prefix: 'b' })).toEqual({ revision: before + 2n, deleted: 2, previous: [] });
      const rest = await space.delete({ from: 'c' }, { prevKv: true });
      expect(rest.previous.map(({ key }) => key)).toEqual(['c', 'd']);
      await fill();
      expect(await space.delete({ from: 'b', to: 'c' })).toMatchObject({ deleted: 2 });
      expect(await space.delete({ all: true })).toMatchObject({ deleted: 3 });
      expect(await space.count({ all: true })).toBe(0);
    });
  });

  describe('putIfUnchanged', () => {
    it('writes a key that is as it was read, and else says how it is', async () => {
      const space = etcd.keyspace(suite.prefix(), json<{ n: number }>());
      const made = await space.putIfUnchanged('k', undefined, { n: 1 });
      expect(made.swapped).toBe(true);
      const read = await space.get('k');
      expect(read?.modRevision).toBe(made.revision);
      expect(await space.putIfUnchanged('k', undefined, { n: 9 })).toMatchObject({
        swapped: false,
        current: { value: { n: 1 } },
      });
      expect(await space.putIfUnchanged('k', read, { n: 2 })).toMatchObject({ swapped: true });
      // As it was read no more, although somebody may have put the same value.
      expect(await space.putIfUnchanged('k', read, { n: 9 })).toMatchObject({
        swapped: false,
        current: { value: { n: 2 } },
      });
      await space.delete('k');
      expect(await space.putIfUnchanged('k', read, { n: 9 })).toMatchObject({ swapped: false, current: undefined });
    });
  });

  describe('increment', () => {
    it('counts right although many do, in clients of their own', async () => {
      const prefix = suite.prefix();
      const clients = Array.from({ length: 8 }, () => new Etcd({ endpoints: suite.cluster.endpoints }));
      const sums: bigint[] = [];
      await Promise.all(
        clients.map(async (client) => {
          for (let i = 0; i < 50; i++) sums.push(await client.increment(`${prefix}n`, { timeoutMs: 30_000 }));
          await client.close();
        }),
      );
      expect((await etcd.get(`${prefix}n`))?.value).toBe('400');
      expect(new Set(sums).size).toBe(400);
    });

    it('keeps the lease of the key, and counts any size in both directions', async () => {
      const space = etcd.keyspace(suite.prefix(), number);
      const lease = await etcd.leases.grant({ ttlSeconds: 60 });
      await space.put('n', 5, { lease });
      expect(await space.increment('n', { by: 10n ** 30n })).toBe(10n ** 30n + 5n);
      expect(await space.increment('n', { by: -(10n ** 30n) - 10n })).toBe(-5n);
      expect(await space.get('n')).toMatchObject({ value: -5, lease: lease.id });
    });
  });

  describe('an outcome that nobody knows', () => {
    it.each<[string, string, (client: Etcd, key: string) => Promise<unknown>]>([
      ['put', 'Put', (client, key) => client.put(key, '1')],
      ['touch', 'Put', (client, key) => client.touch(key)],
      ['delete', 'DeleteRange', (client, key) => client.delete(key)],
      ['txn', 'Txn', (client, key) => client.txn({ if: [client.key(key).exists], then: [client.op.put(key, '1')] })],
      ['putIfUnchanged', 'Txn', (client, key) => client.putIfUnchanged(key, undefined, '1')],
      ['increment', 'Txn', (client, key) => client.increment(key)],
    ])('%s: a reply that was lost means "maybe", and the write was sent once', async (_, method, write) => {
      const key = `${suite.prefix()}k`;
      await etcd.put(key, '0');
      await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
      await using client = new Etcd({ endpoints: [proxy.address] });
      await client.get(key);
      for (const via of ['reset', 'cut'] as const) {
        const sent = proxy.count(`/etcdserverpb.KV/${method}`);
        const rule = proxy.rule({ path: `/etcdserverpb.KV/${method}`, nth: 1, action: 'swallow-reply', via });
        const error = await errorOf(write(client, key));
        expect(error).toBeInstanceOf(UnavailableError);
        expect(error).toMatchObject({ applied: 'maybe', attempts: 1, endpoint: proxy.address });
        expect((error as Error).message).toContain('may have been applied');
        expect(proxy.count(`/etcdserverpb.KV/${method}`) - sent).toBe(1);
        rule.remove();
      }
    });

    it('a request that was refused before it was processed is sent again', async () => {
      const key = `${suite.prefix()}k`;
      await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
      await using client = new Etcd({ endpoints: [proxy.address] });
      proxy.rule({ path: '/etcdserverpb.KV/Put', nth: 1, action: 'reset-before' });
      await client.put(key, '1');
      expect(proxy.count('/etcdserverpb.KV/Put')).toBe(2);
      expect((await etcd.get(key))?.version).toBe(1n);
    });
  });

  it('refuses what the client would, too, should a request get past it', async () => {
    // What the client checks is what the server would refuse, with the same class.
    const strict = new Etcd({ endpoints: suite.cluster.endpoints, maxTxnOps: 1_000 });
    const puts = Array.from({ length: 129 }, (_, i) => strict.op.put(`${suite.prefix()}${i}`, ''));
    const tooMany = await errorOf(strict.txn({ then: puts }));
    expect(tooMany).toBeInstanceOf(InvalidArgumentError);
    expect(tooMany).toMatchObject({ etcdCode: 'TooManyOps', applied: 'no', attempts: 1 });
    const key = `${suite.prefix()}k`;
    const twice = await errorOf(strict.txn({ then: [strict.op.put(key, ''), strict.op.delete(key)] }));
    expect(twice).toBeInstanceOf(InvalidArgumentError);
    expect(twice).toMatchObject({ etcdCode: 'DuplicateKey', applied: 'no' });
    await strict.close();
  });
});
