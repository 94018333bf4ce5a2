/** Calls of one tick as one transaction, on real servers. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PermissionDeniedError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { leaseId } from '../../src/protocol/int64.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { errorOf } from './helpers.ts';

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `k${String(i).padStart(3, '0')}`);
const TXN = '/etcdserverpb.KV/Txn';

describeOnEtcd('coalescing', (suite) => {
  let proxy: GrpcFaultProxy;
  let etcd: Etcd;
  beforeAll(async () => {
    proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    etcd = new Etcd({ endpoints: [proxy.address], coalesce: { gets: true, puts: true } });
  });
  afterAll(async () => {
    await etcd.close();
    await proxy[Symbol.asyncDispose]();
  });

  it('puts and gets of one tick go by 128 to a transaction', async () => {
    const space = etcd.keyspace(suite.prefix());
    await etcd.get('warm-up');
    const before = proxy.calls.length;
    const written = await Promise.all(names(300).map((key) => space.put(key, `value of ${key}`)));
    expect(new Set(written.map(({ revision }) => revision)).size).toBe(3);
    const read = await Promise.all([...names(299), 'missing'].map((key) => space.get(key)));
    expect(read.map((kv) => kv?.value)).toEqual([...names(299).map((key) => `value of ${key}`), undefined]);
    expect(proxy.calls.slice(before).map(({ path }) => path)).toEqual(Array.from({ length: 6 }, () => TXN));
  });

  it('a get that starts after a put resolved sees it', async () => {
    const space = etcd.keyspace(suite.prefix());
    const rounds = async (key: string): Promise<void> => {
      for (let round = 0; round < 40; round++) {
        const { revision } = await space.put(key, String(round));
        const kv = await space.get(key);
        expect(kv?.value).toBe(String(round));
        expect(kv?.modRevision).toBe(revision);
      }
    };
    await Promise.all(names(20).map(rounds));
  });

  it('the last of several puts of one key stays, each with its own version', async () => {
    const space = etcd.keyspace(suite.prefix());
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => space.put('k', String(i), { prevKv: true })),
    );
    expect(results.map(({ previous }) => previous?.value)).toEqual([
      undefined,
      ...Array.from({ length: 9 }, (_, i) => String(i)),
    ]);
    expect(await space.get('k')).toMatchObject({ value: '9', version: 10n });
  });

  it('puts stand or fall together', async () => {
    const space = etcd.keyspace(suite.prefix());
    const puts = [space.put('a', '1'), space.put('b', '1', { lease: leaseId(0x7eadn) }), space.put('c', '1')];
    for (const put of puts) expect(await errorOf(put)).toMatchObject({ code: 'lease-not-found', applied: 'no' });
    expect(await space.count({ all: true })).toBe(0);
  });

  it('large values go in batches that the server takes', async () => {
    const space = etcd.keyspace(suite.prefix());
    await Promise.all(names(12).map((key) => space.put(key, Buffer.alloc(400_000))));
    expect((await space.range({ all: true }, { keysOnly: true })).count).toBe(12);
  });

  it('keeps the outcome of a batch whose reply was lost: "maybe" for each, sent once', async () => {
    const space = etcd.keyspace(suite.prefix());
    const before = proxy.count(TXN);
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const outcomes = await Promise.allSettled(names(3).map((key) => space.put(key, 'v')));
    for (const outcome of outcomes)
      expect((outcome as PromiseRejectedResult).reason).toMatchObject({ applied: 'maybe', attempts: 1 });
    expect(proxy.count(TXN) - before).toBe(1);
    proxy.clearRules();
    // A read whose reply is lost is just made again.
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    expect((await Promise.all(names(3).map((key) => space.get(key)))).map((kv) => kv?.value)).toEqual(['v', 'v', 'v']);
    proxy.clearRules();
  });
});

describeOnEtcd('coalescing with authentication', (suite) => {
  it('asks for each key alone when one of a batch may not be read, and rejects only that one', async () => {
    await using root = new Etcd({ endpoints: suite.cluster.endpoints });
    await root.put('mine/a', '1');
    await root.put('mine/b', '2');
    await root.put('secret', '3');
    for (const args of [
      ['user', 'add', 'root', '--new-user-password=r'],
      ['user', 'grant-role', 'root', 'root'],
      ['role', 'add', 'limited'],
      ['role', 'grant-permission', 'limited', 'readwrite', 'mine/', 'mine0'],
      ['user', 'add', 'ada', '--new-user-password=a'],
      ['user', 'grant-role', 'ada', 'limited'],
      ['auth', 'enable'],
    ]) {
      if (args[1] === 'grant-role' && args[2] === 'root')
        await suite.cluster.etcdctl(['role', 'add', 'root']).catch(() => {});
      await suite.cluster.etcdctl(args);
    }
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using ada = new Etcd({
      endpoints: [proxy.address],
      auth: { username: 'ada', password: 'a' },
      coalesce: { gets: true, puts: true },
    });
    const [a, secret, b] = await Promise.allSettled([ada.get('mine/a'), ada.get('secret'), ada.get('mine/b')]);
    expect(a).toMatchObject({ status: 'fulfilled', value: { value: '1' } });
    expect(b).toMatchObject({ status: 'fulfilled', value: { value: '2' } });
    expect((secret as PromiseRejectedResult).reason).toBeInstanceOf(PermissionDeniedError);
    expect(proxy.count(TXN)).toBe(1);
    expect(proxy.count('/etcdserverpb.KV/Range')).toBe(3);
    // Puts fall together, here too.
    const puts = await Promise.allSettled([ada.put('mine/a', '9'), ada.put('secret', '9')]);
    for (const put of puts) expect((put as PromiseRejectedResult).reason).toBeInstanceOf(PermissionDeniedError);
    expect((await ada.get('mine/a'))?.value).toBe('1');
    // What a keyspace needs is inside what its users may read.
    const mine = ada.keyspace('mine/');
    expect(await mine.revision()).toBeGreaterThan(0n);
    expect(await mine.txn({ if: [mine.key('a').exists] })).toMatchObject({ succeeded: true, results: [] });
    expect(await mine.txn({ if: [mine.keys({ all: true }).exists] })).toMatchObject({ succeeded: true, results: [] });
    // The informer ends with the server's refusal, and has not lost its reason.
    await using cache = ada.cache({ all: true });
    await expect(cache.ready).rejects.toThrow(PermissionDeniedError);
    expect(cache.error).toBeInstanceOf(PermissionDeniedError);
    await expect(cache.read('k')).rejects.toThrow(PermissionDeniedError);
    await expect(cache.waitFor(99_999n as never)).rejects.toThrow(PermissionDeniedError);
    await expect(cache.changes().next()).rejects.toThrow(PermissionDeniedError);
    await using allowed = mine.cache({ all: true });
    await allowed.ready;
    expect(allowed.get('b')?.value).toBe('2');
    expect((await allowed.read('a'))?.value).toBe('1');
  });
});
