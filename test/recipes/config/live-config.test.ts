/** What a running program has of its configuration when values are wrong, etcd is away, or its history is gone. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Config } from '../../../recipes/config/config.ts';
import { LiveConfig } from '../../../recipes/config/live-config.ts';
import { type Clock, Etcd, systemClock } from '../../../src/index.ts';
import { FaultProxy } from '../../support/fault-proxy.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { bed, KEY, Limits, nextError, nextValue, told } from './bed.ts';

const WATCH = '/etcdserverpb.Watch/Watch';
const RANGE = '/etcdserverpb.KV/Range';

/** For what is waited for on a machine that may be busy. */
const SOON = { timeout: 20_000 };

/** Passes in full where there is no value, and is enough for a list on a machine that stalls. */
const FIRST_LIST_MS = 3_000;

/** The endpoint of a server in the form that proxies take. */
const hostOf = (endpoint: string | undefined): string => new URL(endpoint ?? '').host;

/** A configuration seen through a proxy that can cut the line. */
async function behindProxy(options: { readonly default?: Limits } = {}) {
  const { server, operator } = await bed();
  const proxy = await FaultProxy.start({ target: hostOf(server.endpoints[0]) });
  const etcd = new Etcd({ endpoints: proxy.address });
  onTestFinished(async () => {
    await etcd.close();
    await proxy[Symbol.asyncDispose]();
  });
  return {
    operator,
    limits: new Config(etcd, KEY, { schema: Limits, ...options }),
    cut: () => {
      proxy.refuse();
      proxy.reset();
    },
    mend: () => proxy.accept(),
  };
}

describe('a value that is wrong', () => {
  // go-zero's configurator stores what it could not parse in the place of the good value, and calls its listeners.
  it.each([
    ['is not JSON', '{"perSecond": 42', 'format'],
    ['does not fit', '{"perSecond": "s3cret"}', 'schema'],
    ['is not even text', Buffer.from([0xff, 0xfe]), 'format'],
  ])('takes the place of nothing: it %s', async (_why, wrong, problem) => {
    const { limits, operator } = await bed();
    const good = await limits.publish({ perSecond: 1 });
    await using live = await limits.open();
    const { values, errors } = told(live);
    const failing = nextError(live);
    const { revision } = await operator.put(KEY, wrong);
    const error = await failing;
    expect(error).toMatchObject({ problem, revision });
    expect(String(error)).not.toMatch(/s3cret|42/);
    expect(live.lastError).toBe(error);
    expect([live.value, live.revision]).toEqual([{ perSecond: 1 }, good]);
    const next = nextValue(live);
    await operator.put(KEY, '{"perSecond": 2}');
    await next;
    expect(live.lastError).toBeUndefined();
    expect([values, errors]).toEqual([[{ perSecond: 2 }], [error]]);
  });

  it('is told once, however often it is listed', async () => {
    const { limits, operator } = await bed();
    await limits.publish({ perSecond: 1 });
    await using live = await limits.open();
    const { errors } = told(live);
    await operator.put(KEY, 'wrong');
    const last = nextValue(live);
    // These make the copy look again, and have nothing new to say.
    await operator.put(`${KEY}#about`, 'x');
    await operator.put(`${KEY}#about`, 'y');
    await operator.put(KEY, '{"perSecond": 2}');
    await last;
    expect(errors.length).toBeLessThanOrEqual(1);
  });

  it('is told to who opens when there is no other', async () => {
    const { limits, operator } = await bed();
    await operator.put(KEY, 'wrong');
    await expect(limits.open({ timeoutMs: FIRST_LIST_MS })).rejects.toMatchObject({ problem: 'format' });
    const withDefault = new Config(operator, KEY, { schema: Limits, default: { perSecond: 9 } });
    await using live = await withDefault.open();
    expect([live.value, live.source, live.revision]).toEqual([{ perSecond: 9 }, 'default', 0n]);
    expect(live.lastError).toMatchObject({ problem: 'format' });
  });
});

describe('a value that is not there', () => {
  it('is waited for, and is the default meanwhile if there is one', async () => {
    const { limits, operator } = await bed();
    await expect(limits.open({ timeoutMs: FIRST_LIST_MS })).rejects.toMatchObject({ problem: 'missing' });
    const opening = limits.open();
    await operator.put(KEY, '{"perSecond": 3}');
    await using live = await opening;
    expect(live.value).toEqual({ perSecond: 3 });
  });

  it('is the default again when it is deleted; without one the last value stays', async () => {
    const { limits, operator } = await bed();
    await limits.publish({ perSecond: 1 });
    await using without = await limits.open();
    await using live = await new Config(operator, KEY, { schema: Limits, default: { perSecond: 9 } }).open();
    const [missing, next] = [nextError(without), nextValue(live)];
    await operator.delete(KEY);
    expect(await next).toEqual({ perSecond: 9 });
    expect(await missing).toMatchObject({ problem: 'missing' });
    expect([live.lastError, without.value]).toEqual([undefined, { perSecond: 1 }]);
  });
});

describe('what follows the store', () => {
  // The one of kratos begins to watch at "now", some time after it has loaded.
  it('misses nothing between its list and its watch', async () => {
    const { server, operator } = await bed();
    await using proxy = await GrpcFaultProxy.start({ target: hostOf(server.endpoints[0]) });
    await using etcd = new Etcd({ endpoints: proxy.address });
    const limits = new Config(etcd, KEY, { schema: Limits });
    await limits.publish({ perSecond: 1 });
    const held = proxy.rule({ path: WATCH, action: { delayMs: 300 } });
    await using live = await limits.open();
    expect(live.value).toEqual({ perSecond: 1 });
    const next = nextValue(live);
    // Listed, and the watch is still on its way.
    await operator.put(KEY, '{"perSecond": 2}');
    expect(await next).toEqual({ perSecond: 2 });
    expect(held).toBeDefined();
    expect(proxy.count(RANGE)).toBeLessThanOrEqual(2);
  });

  // APISIX loses on a full list what it had kept on a watch; Flannel never comes back from a compaction.
  it('keeps a good value over an outage, a compaction and a full list, and goes on', async () => {
    const { limits, operator, cut, mend } = await behindProxy();
    await operator.put(KEY, '{"perSecond": 1}');
    await using live = await limits.open();
    expect(live.staleSince).toBeUndefined();
    const { values } = told(live);
    cut();
    await vi.waitFor(() => expect(live.staleSince).toBeGreaterThan(0), SOON);
    const { revision } = await operator.put(KEY, '{"perSecond": "wrong"}');
    await operator.put('another', 'x');
    await operator.compact(await operator.revision());
    expect(live.value).toEqual({ perSecond: 1 });
    const wrong = nextError(live);
    await mend();
    expect(await wrong).toMatchObject({ problem: 'schema', revision });
    expect([live.value, live.staleSince]).toEqual([{ perSecond: 1 }, undefined]);
    const next = nextValue(live);
    await operator.put(KEY, '{"perSecond": 2}');
    await next;
    expect(values).toEqual([{ perSecond: 2 }]);
  });

  it('does not open without etcd, even with a default', async () => {
    const { limits, cut } = await behindProxy({ default: { perSecond: 9 } });
    cut();
    await expect(limits.open({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'wait-timeout' });
  });

  it('ends with its signal, and at once when that has fired', async () => {
    const { limits } = await bed();
    await limits.publish({ perSecond: 1 });
    const over = new AbortController();
    const live = await limits.open({ signal: over.signal });
    const changes = live.changes();
    over.abort();
    expect(await changes.next()).toEqual({ done: true, value: undefined });
    expect(live.value).toEqual({ perSecond: 1 });
    await expect(limits.open({ signal: over.signal })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('is not left open by a signal that fires just when its first value is there', async () => {
    const { limits: writer, server } = await bed();
    await writer.publish({ perSecond: 1 });
    const over = new AbortController();
    const timeoutMs = 12_345;
    // The wait is over when its limit is taken away; whoever opens does not know yet.
    const clock: Clock = {
      now: () => systemClock.now(),
      after(delayMs, callback, options) {
        const timer = systemClock.after(delayMs, callback, options);
        if (delayMs !== timeoutMs) return timer;
        const cancel = (): void => {
          timer.cancel();
          queueMicrotask(() => over.abort());
        };
        return { cancel };
      },
    };
    await using etcd = new Etcd({ endpoints: server.endpoints, clock });
    const opening = new Config(etcd, KEY, { schema: Limits }).open({ timeoutMs, signal: over.signal });
    await expect(opening).rejects.toMatchObject({ code: 'aborted' });
  });

  it('tells a reader that the client was closed', async () => {
    const { limits, etcd } = await bed();
    await limits.publish({ perSecond: 1 });
    await using live = await limits.open();
    const changes = live.changes();
    await etcd.close();
    await expect(changes.next()).rejects.toMatchObject({ code: 'closed' });
    expect(live.lastError).toMatchObject({ code: 'closed' });
  });

  it('comes back when a permission does', async () => {
    const { server, operator, limits: all } = await bed();
    await all.publish({ perSecond: 1 });
    const { roles, users } = operator.auth;
    await roles.add('reader');
    await roles.grantPermission('reader', { permission: 'read', target: { prefix: KEY } });
    await users.add('app', { password: 'app-password' });
    await users.grantRole('app', 'reader');
    await users.add('root', { password: 'root-password' });
    await users.grantRole('root', 'root');
    await operator.auth.enable();
    const root = server.client({ auth: { username: 'root', password: 'root-password' } });
    const app = server.client({ auth: { username: 'app', password: 'app-password' } });
    await using live = await new Config(app, KEY, { schema: Limits }).open();
    await root.auth.roles.revokePermission('reader', { prefix: KEY });
    const refused = nextError(live);
    server.members[0]?.dropClients();
    expect(await refused).toMatchObject({ code: 'permission-denied' });
    expect(live.value).toEqual({ perSecond: 1 });
    expect(live.staleSince).toBeDefined();
    const next = nextValue(live);
    await root.auth.roles.grantPermission('reader', { permission: 'read', target: { prefix: KEY } });
    await root.put(KEY, '{"perSecond": 2}');
    expect(await next).toEqual({ perSecond: 2 });
    expect(live.lastError).toBeUndefined();
  });
});

describe('listeners', () => {
  it('that fail keep nobody from being told', async () => {
    const { limits } = await bed();
    await limits.publish({ perSecond: 1 });
    await using live = await limits.open();
    const [first, second] = [new Error('first'), new Error('second')];
    live.onChange(() => {
      throw first;
    });
    live.onChange(() => Promise.reject(second));
    const { values, errors } = told(live);
    live.onError(() => {
      throw new Error('third');
    });
    await limits.publish({ perSecond: 2 });
    await limits.publish({ perSecond: 3 });
    await vi.waitFor(() => expect(values).toEqual([{ perSecond: 2 }, { perSecond: 3 }]), SOON);
    await vi.waitFor(() => expect(errors.filter((error) => error === second)).toHaveLength(2), SOON);
    expect(errors.filter((error) => error === first)).toHaveLength(2);
  });

  it('are told in the order in which they came, and not any more once they are taken off', async () => {
    const { limits } = await bed();
    await limits.publish({ perSecond: 1 });
    await using live = await limits.open();
    const calls: string[] = [];
    live.onChange(({ perSecond }) => {
      calls.push(`first ${perSecond}`);
      takeOff();
    });
    const takeOff = live.onChange(({ perSecond }) => calls.push(`second ${perSecond}`));
    const last = new Promise((resolve) => live.onChange(({ perSecond }) => resolve(calls.push(`third ${perSecond}`))));
    await limits.publish({ perSecond: 2 });
    await last;
    expect(calls).toEqual(['first 2', 'third 2']);
  });

  it('are told of values, not of texts', async () => {
    const { limits, operator } = await bed();
    await operator.put(KEY, '{"perSecond": 1}');
    await using live = await limits.open();
    const { value } = live;
    const { values } = told(live);
    const { revision } = await operator.put(KEY, '{"perSecond": 1}');
    await vi.waitFor(() => expect(live.revision).toBe(revision), SOON);
    expect(live.value).toBe(value);
    expect(values).toEqual([]);
  });

  it('who are slow are told the latest', async () => {
    const { limits } = await bed();
    await limits.publish({ perSecond: 1 });
    await using live = await limits.open();
    const changes = live.changes();
    await limits.publish({ perSecond: 2 });
    const last = new Promise((resolve) => live.onChange(({ perSecond }) => perSecond === 3 && resolve(undefined)));
    await limits.publish({ perSecond: 3 });
    await last;
    const { value } = await changes.next();
    expect(value).toMatchObject({ name: KEY, previous: { perSecond: 1 }, current: { perSecond: 3 } });
  });
});

it('shows no secrets', async () => {
  const { etcd } = await bed();
  const limits = new Config(etcd, KEY, { schema: Limits, secrets: ['token'] });
  await limits.publish({ perSecond: 1, token: 's3cret' });
  await using live = await limits.open();
  expect(live).toBeInstanceOf(LiveConfig);
  const { inspect } = await import('node:util');
  expect(inspect(live, { depth: 10, showHidden: true })).not.toContain('s3cret');
  expect(live.redacted()).toEqual({ perSecond: 1, token: '***' });
  expect(live.value.token).toBe('s3cret');
});
