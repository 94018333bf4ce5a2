/** Every metric, told to a meter provider that is set up after the modules were loaded, and after a client was made. */
import { metrics } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { Session } from '../../recipes/session.ts';
import { stm } from '../../recipes/stm/stm.ts';
import { Etcd } from '../../src/index.ts';
import { instruments } from '../../src/telemetry/metrics.ts';
import { observeStaleness } from '../../src/telemetry/recipes.ts';
import { startEtcd, TestCluster, VirtualClock } from '../../src/testing/index.ts';
import { fakeTransport, unavailable } from './fake-transport.ts';
import { collectMetrics } from './meter.ts';

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

describe('metrics', () => {
  it('are not there without a meter provider, and follow another one', () => {
    expect(instruments()).toBeUndefined();
    const first = collectMetrics();
    const made = instruments();
    expect(made).toBeDefined();
    expect(instruments()).toBe(made);
    first[Symbol.dispose]();
    expect(instruments()).toBeUndefined();
    using _second = collectMetrics();
    expect(instruments()).not.toBe(made);
    metrics.disable();
  });

  it('tell the duration of calls by method and code', async () => {
    const etcd = server.client();
    await etcd.connect();
    using told = collectMetrics();
    await etcd.put('metrics/a', '1');
    await expect(etcd.get('metrics/a', { revision: 1_000_000n as never })).rejects.toThrow('future');
    const calls = told.of('db.client.operation.duration');
    expect(calls.map(({ attributes }) => [attributes['db.operation.name'], attributes['error.type']])).toEqual([
      ['put', undefined],
      ['range', 'future-revision'],
    ]);
    expect(calls[0]?.attributes).toMatchObject({ 'db.system.name': 'etcd', 'rpc.method': 'etcdserverpb.KV/Put' });
    expect(calls[1]?.attributes).toMatchObject({ 'db.response.status_code': 'OUT_OF_RANGE' });
    expect(JSON.stringify(calls)).not.toContain('metrics/a');
  });

  it('tell the duration in seconds of the client’s clock', async () => {
    const clock = new VirtualClock();
    using told = collectMetrics();
    const { factory } = fakeTransport(() => {
      clock.block(250);
      return {};
    });
    await using etcd = new Etcd({ endpoints: ['a:1'], transport: factory, clock });
    await etcd.put('x', '1');
    expect(told.of('db.client.operation.duration').map(({ value }) => value)).toEqual([0.25]);
  });

  it('count retries and connections', async () => {
    using told = collectMetrics();
    let failures = 1;
    const { factory } = fakeTransport(() => (failures-- > 0 ? { fail: unavailable } : {}));
    await using etcd = new Etcd({ endpoints: ['a:1', 'b:2'], transport: factory });
    await etcd.get('x');
    expect(told.of('etcd.client.retries')).toEqual([
      { value: 1, attributes: { 'rpc.method': 'etcdserverpb.KV/Range' } },
    ]);
    const events = told.of('etcd.client.connections').map(({ attributes }) => attributes['etcd.connection.event']);
    expect(events).toContain('ready');
    expect(events).toContain('suspect');
  });

  it('count streams, watches and events, and show lag and buffers', async () => {
    const etcd = server.client();
    await etcd.connect();
    using told = collectMetrics();
    const watcher = etcd.watch({ prefix: 'watched/' });
    await watcher.ready;
    expect(told.sum('etcd.client.watch.active')).toBe(1);
    expect(told.sum('etcd.client.streams')).toBe(1);
    expect(told.of('etcd.client.streams')[0]?.attributes).toEqual({ 'rpc.method': 'etcdserverpb.Watch/Watch' });
    await etcd.put('watched/a', '1');
    await etcd.put('watched/b', '1');
    await watcher.progress();
    expect(told.sum('etcd.client.watch.events')).toBe(2);
    expect(told.observe('etcd.client.watch.buffered')).toEqual([{ value: 2, attributes: {} }]);
    expect(told.observe('etcd.client.watch.lag')).toEqual([{ value: 2, attributes: {} }]);
    const events = watcher[Symbol.asyncIterator]();
    await events.next();
    await events.next();
    expect(told.observe('etcd.client.watch.lag')).toEqual([{ value: 0, attributes: {} }]);
    watcher.close();
    expect(told.sum('etcd.client.watch.active')).toBe(0);
    expect(told.observe('etcd.client.watch.lag')).toEqual([]);
    await etcd.close();
    await expect.poll(() => told.sum('etcd.client.streams')).toBe(0);
  });

  it('tell what leases have left when they are renewed, and their loss', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    using told = collectMetrics();
    const lease = await clock.until(etcd.lease({ ttlSeconds: 30 }));
    await clock.advance(30_500);
    expect(told.sum('etcd.client.lease.active')).toBe(1);
    const left = told.of('etcd.client.lease.remaining').map(({ value }) => Math.round(value));
    expect(left).toEqual([20, 20, 20]);
    expect(told.of('etcd.client.lease.keepalive.duration')).toHaveLength(3);
    for (const member of cluster.members) member.stallClients();
    await clock.advance(31_000);
    expect(lease.alive).toBe(false);
    expect(told.of('etcd.client.lease.lost')).toEqual([{ value: 1, attributes: { 'etcd.reason': 'deadline' } }]);
    expect(told.sum('etcd.client.lease.active')).toBe(0);
  });

  it('tell how long locks were waited for and held, and what became of elections', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    using told = collectMetrics();
    const mutex = new Mutex(session, 'metrics-lock');
    const lock = await mutex.acquire();
    await expect(mutex.acquire({ timeoutMs: 20 })).rejects.toThrow('did not come');
    expect((await mutex.tryAcquire()).acquired).toBe(false);
    await lock.release();
    const leader = await new Election(session, 'metrics-election').campaign({ value: 'me' });
    await leader.resign();
    const outcomes = (name: string) =>
      told.of(name).map(({ attributes }) => [attributes['etcd.recipe.kind'], attributes['etcd.recipe.outcome']]);
    expect(outcomes('etcd.recipe.wait.duration')).toEqual([
      ['mutex', 'acquired'],
      ['mutex', 'wait-timeout'],
      ['mutex', 'refused'],
      ['election', 'acquired'],
    ]);
    expect(outcomes('etcd.recipe.hold.duration')).toEqual([
      ['mutex', 'released'],
      ['election', 'released'],
    ]);
    expect(told.of('etcd.recipe.election.changes').map(({ attributes }) => attributes['etcd.recipe.outcome'])).toEqual([
      'won',
      'released',
    ]);
  });

  it('tell attempts of transactions, the depth of queues, and how stale a registry is', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    using told = collectMetrics();
    await stm(etcd, (tx) => tx.put('metrics/stm', '1'));
    expect(told.of('etcd.recipe.stm.attempts')).toEqual([
      { value: 1, attributes: { 'etcd.recipe.outcome': 'committed' } },
    ]);
    const queue = new Queue(session, 'metrics-queue');
    await queue.enqueue('a');
    await queue.count();
    expect(told.of('etcd.recipe.queue.depth')).toEqual([{ value: 1, attributes: { 'etcd.recipe.kind': 'queue' } }]);
    let stale: number | undefined = 1.5;
    const off = observeStaleness(etcd, 'orders', () => stale);
    const other = observeStaleness(etcd, 'mails', () => 0.5);
    expect(told.observe('etcd.recipe.registry.staleness')).toEqual([{ value: 1.5, attributes: {} }]);
    stale = undefined;
    expect(told.observe('etcd.recipe.registry.staleness')).toEqual([{ value: 0.5, attributes: {} }]);
    off();
    other();
    expect(told.observe('etcd.recipe.registry.staleness')).toEqual([]);
  });

  it('are none of a client with telemetry: false', async () => {
    const etcd = server.client({ telemetry: false });
    using told = collectMetrics();
    await using session = await Session.open(etcd);
    const lock = await new Mutex(session, 'quiet-lock').acquire();
    await lock.release();
    const names = ['db.client.operation.duration', 'etcd.client.lease.active', 'etcd.client.watch.active'];
    for (const name of [...names, 'etcd.client.connections', 'etcd.recipe.wait.duration']) {
      expect(told.of(name)).toEqual([]);
    }
  });
});
