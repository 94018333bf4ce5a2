/** Copies of keys in memory that follow the store. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { InformerChange } from '../../src/client/cache/changes.ts';
import type { Informer } from '../../src/client/cache/informer.ts';
import { AbortError, ClosedError, DeadlineError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { number } from '../../src/client/kv/codec.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { errorOf, until } from './helpers.ts';

const told = ({ key, current, previous }: InformerChange<unknown>): string =>
  `${key}: ${previous?.value} -> ${current?.value}`;
const contents = (cache: Informer<unknown>): string[] => [...cache].map(({ key, value }) => `${key}=${value}`);

describeOnEtcd('informers', (suite) => {
  let etcd: Etcd;
  beforeAll(() => {
    etcd = new Etcd({ endpoints: suite.cluster.endpoints });
  });
  afterAll(async () => {
    await etcd.close();
  });

  it('list at one revision, then follow; reads are synchronous', async () => {
    const space = etcd.keyspace(suite.prefix(), number);
    for (const [key, value] of [
      ['b', 2],
      ['a', 1],
      ['c', 3],
    ] as const)
      await space.put(key, value);
    await using cache = space.cache({ all: true });
    expect(cache.synced).toBe(false);
    expect(cache.get('a')).toBeUndefined();
    await cache.ready;
    expect(cache.synced).toBe(true);
    expect(cache.size).toBe(3);
    expect(contents(cache)).toEqual(['a=1', 'b=2', 'c=3']);
    expect(cache.get('missing')).toBeUndefined();
    const { revision } = await space.put('a', 10);
    await space.delete('b');
    const { revision: last } = await space.put('d', 4);
    await cache.waitFor(last);
    expect(cache.revision).toBeGreaterThanOrEqual(last);
    expect(contents(cache)).toEqual(['a=10', 'c=3', 'd=4']);
    expect(cache.get('a')).toMatchObject({ modRevision: revision, version: 2n });
  });

  it('hold as much as the store: pages, binary keys, keyspaces that end in 0xff', async () => {
    const space = etcd.keyspace(Buffer.concat([Buffer.from(suite.prefix()), Uint8Array.of(0xff)]));
    for (let start = 0; start < 1_200; start += 100) {
      await etcd.txn({
        then: Array.from({ length: 100 }, (_, i) => space.op.put(`k${String(start + i).padStart(5, '0')}`, 'v')),
      });
    }
    const edge = Uint8Array.of(0xff, 0, 0xff);
    await space.put(edge, 'edge');
    await using cache = space.cache({ all: true });
    await cache.ready;
    expect(cache.size).toBe(1_201);
    expect(cache.get(edge)?.value).toBe('edge');
    const stored = (await space.range({ all: true })).kvs.map(({ keyBytes }) => Buffer.from(keyBytes).toString('hex'));
    expect([...cache].map(({ keyBytes }) => Buffer.from(keyBytes).toString('hex'))).toEqual(stored);
  });

  it('tell a slow reader the latest of each key, once', async () => {
    const space = etcd.keyspace(suite.prefix());
    await space.put('kept', '0');
    await space.put('gone', '0');
    await using cache = space.cache({ all: true });
    await cache.ready;
    const changes = cache.changes();
    for (let i = 1; i <= 5; i++) await space.put('kept', String(i));
    await space.put('brief', '1');
    await space.delete('brief');
    await space.delete('gone');
    await space.put('new', '1');
    const { revision } = await space.put('new', '2');
    await cache.waitFor(revision);
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) seen.push(told((await changes.next()).value));
    expect(seen).toEqual(['kept: 0 -> 5', 'gone: 0 -> undefined', 'new: undefined -> 2']);
    const next = changes.next();
    await space.put('new', '3');
    expect(told((await next).value)).toBe('new: 2 -> 3');
    await cache.close();
    expect(await changes.next()).toEqual({ done: true, value: undefined });
  });

  it('tell the first list to whoever asks before it', async () => {
    const space = etcd.keyspace(suite.prefix());
    await space.put('a', '1');
    await using cache = space.cache({ all: true });
    for await (const change of cache.changes()) {
      expect(told(change)).toBe('a: undefined -> 1');
      break;
    }
  });

  it('read() sees every write that was made before, by whomever', async () => {
    const space = etcd.keyspace(suite.prefix());
    await using cache = space.cache({ all: true });
    await using other = new Etcd({ endpoints: suite.cluster.endpoints });
    const theirs = other.keyspace(space.prefix);
    for (let i = 0; i < 30; i++) {
      await theirs.put('k', String(i));
      expect((await cache.read('k'))?.value).toBe(String(i));
    }
    await theirs.delete('k');
    expect(await cache.read('k')).toBeUndefined();
  });

  it('get to a revision although nothing in them changes', async () => {
    const space = etcd.keyspace(suite.prefix());
    await space.put('k', 'v');
    await using cache = space.cache({ all: true });
    await cache.ready;
    for (let i = 0; i < 5; i++) {
      // Outside of what the copy holds.
      const { revision } = await etcd.put(`${suite.prefix()}elsewhere`, String(i));
      await Promise.all([cache.waitFor(revision), cache.waitFor(revision), cache.read('k')]);
      expect(cache.revision).toBeGreaterThanOrEqual(revision);
    }
    expect(contents(cache)).toEqual(['k=v']);
  });

  it('get to a revision that was made while they listed', async () => {
    const prefix = suite.prefix();
    await etcd.put(`${prefix}k`, 'v');
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using client = new Etcd({ endpoints: [proxy.address] });
    await client.get('warm-up');
    // The server answers the list at once, but the answer is long under way.
    proxy.pause('to-client');
    const { bytesToServer } = proxy.stats;
    await using cache = client.cache({ prefix });
    await until(() => proxy.stats.bytesToServer > bytesToServer);
    await sleep(100);
    const { revision } = await etcd.put(`${suite.prefix()}elsewhere`, '');
    const waiting = cache.waitFor(revision, { timeoutMs: 20_000 });
    proxy.resume('to-client');
    await cache.ready;
    await waiting;
    expect(cache.revision).toBeGreaterThanOrEqual(revision);
  });

  it('survive lost connections', async () => {
    const prefix = suite.prefix();
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using client = new Etcd({ endpoints: [proxy.address] });
    await using cache = client.cache({ prefix });
    await cache.ready;
    for (let i = 0; i < 5; i++) {
      if (i % 2 === 0) proxy.cut();
      else proxy.reset();
      await etcd.put(`${prefix}k${i}`, String(i));
      if (i > 0) await etcd.delete(`${prefix}k${i - 1}`);
      await until(() => cache.get(`${prefix}k${i}`)?.value === String(i) && cache.size === 1);
    }
    expect(cache.error).toBeUndefined();
    expect((await cache.read(`${prefix}k4`, { timeoutMs: 20_000 }))?.value).toBe('4');
  });

  it('list again when their history was compacted, and tell only what differs', async () => {
    const prefix = suite.prefix();
    const space = etcd.keyspace(prefix);
    for (const key of ['same', 'changed', 'gone']) await space.put(key, '0');
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using client = new Etcd({ endpoints: [proxy.address] });
    await using cache = client.keyspace(prefix).cache({ all: true });
    await cache.ready;
    const same = cache.get('same');
    const changes = cache.changes();
    proxy.refuse();
    proxy.cut();
    await space.put('changed', '1');
    await space.put('changed', '2');
    await space.delete('gone');
    await space.put('new', '1');
    await space.put('brief', '1');
    const { revision } = await space.delete('brief');
    await etcd.compact(revision);
    await proxy.accept();
    await cache.waitFor(revision, { timeoutMs: 20_000 });
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) seen.push(told((await changes.next()).value));
    expect(seen.sort()).toEqual(['changed: 0 -> 2', 'gone: 0 -> undefined', 'new: undefined -> 1']);
    expect(contents(cache)).toEqual(['changed=2', 'new=1', 'same=0']);
    expect(cache.get('same')).toBe(same);
    // And goes on from there.
    const more = await space.put('same', '1');
    await cache.waitFor(more.revision);
    expect(told((await changes.next()).value)).toBe('same: 0 -> 1');
  });

  it('keep copies: neither a small value nor its key holds on to the message it came in', async () => {
    const space = etcd.keyspace(suite.prefix());
    await space.put('small', 'v');
    await space.put('large', 'x'.repeat(100_000));
    await using cache = space.cache({ all: true });
    await cache.ready;
    const { revision } = await space.put('later', 'w');
    await cache.waitFor(revision);
    for (const key of ['small', 'later']) {
      const kv = cache.get(key);
      expect(kv?.valueBytes.buffer.byteLength).toBe(1);
      expect(kv?.keyBytes.buffer.byteLength).toBeLessThan(64);
    }
    await using keysOnly = space.cache({ all: true }, { keysOnly: true });
    await keysOnly.ready;
    await keysOnly.waitFor((await space.put('later', 'w')).revision);
    expect([...keysOnly].map(({ key, value }) => key + value)).toEqual(['large', 'later', 'small']);
  });

  it('end when closed, when their signal fires, and when their client is closed', async () => {
    const space = etcd.keyspace(suite.prefix());
    await space.put('k', 'v');
    const cache = space.cache({ all: true });
    await cache.ready;
    const waiting = errorOf(cache.waitFor((cache.revision + 1_000n) as never));
    const changes = cache.changes().next();
    await cache.close();
    await cache.close();
    expect(await waiting).toBeInstanceOf(ClosedError);
    expect(await changes).toEqual({ done: true, value: undefined });
    expect(cache).toMatchObject({ error: undefined, size: 1 });
    expect(cache.get('k')?.value).toBe('v');
    expect(await errorOf(cache.read('k'))).toBeInstanceOf(ClosedError);
    expect(await cache.changes().next()).toEqual({ done: true, value: undefined });

    for (const abort of [new AbortController(), undefined]) {
      const signal = abort?.signal ?? AbortSignal.abort();
      const other = space.cache({ all: true }, { signal });
      if (abort !== undefined) await other.ready;
      abort?.abort();
      expect(await errorOf(other.waitFor(((await etcd.revision()) + 1_000n) as never))).toBeInstanceOf(ClosedError);
      if (abort === undefined) expect(await errorOf(other.ready)).toBeInstanceOf(ClosedError);
      await other.close();
    }

    const client = new Etcd({ endpoints: suite.cluster.endpoints });
    const third = client.cache('k');
    await third.ready;
    await client.close();
    expect(await errorOf(third.changes().next())).toBeInstanceOf(ClosedError);
    await third.close();
  });

  it('wait no longer than they are told to', async () => {
    const unreachable = new Etcd({ endpoints: ['127.0.0.1:1'] });
    const cache = unreachable.cache({ all: true });
    const abort = new AbortController();
    const aborted = errorOf(cache.waitFor(5n as never, { signal: abort.signal }));
    expect(await errorOf(cache.waitFor(5n as never, { timeoutMs: 50 }))).toBeInstanceOf(DeadlineError);
    abort.abort();
    expect(await aborted).toBeInstanceOf(AbortError);
    expect(await errorOf(cache.read('k', { timeoutMs: 50 }))).toMatchObject({ applied: 'no' });
    expect(cache).toMatchObject({ synced: false, revision: 0n, error: undefined });
    await cache.close();
    expect(await errorOf(cache.ready)).toBeInstanceOf(ClosedError);
    await unreachable.close();
  });
});
