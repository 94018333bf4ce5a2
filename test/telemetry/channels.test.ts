/** What programs without OpenTelemetry hear: messages on diagnostics channels. */
import { channel } from 'node:diagnostics_channel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mutex } from '../../recipes/mutex.ts';
import { Session } from '../../recipes/session.ts';
import { type ChannelMessages, Etcd } from '../../src/index.ts';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';
import { fakeTransport, unavailable } from './fake-transport.ts';

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

type Heard = [name: string, message: object];

/** Listens to channels until it is disposed of. */
function listen(...names: (keyof ChannelMessages)[]): { readonly heard: Heard[] } & Disposable {
  const heard: Heard[] = [];
  const off = names.map((name) => {
    const listener = (message: unknown): void => void heard.push([name.replace('etcdkit:', ''), message as object]);
    channel(name).subscribe(listener);
    return () => channel(name).unsubscribe(listener);
  });
  return {
    heard,
    [Symbol.dispose]: () => {
      for (const take of off) take();
    },
  };
}

describe('calls', () => {
  it('tell their begin and their end', async () => {
    const etcd = server.client({ telemetry: false });
    await etcd.connect();
    using told = listen('etcdkit:call:start', 'etcdkit:call:end', 'etcdkit:call:error');
    await etcd.put('secret', 'value');
    expect(told.heard).toEqual([
      ['call:start', { method: '/etcdserverpb.KV/Put' }],
      [
        'call:end',
        {
          method: '/etcdserverpb.KV/Put',
          endpoint: expect.any(String),
          attempts: 1,
          durationMs: expect.any(Number),
        },
      ],
    ]);
  });

  it('tell their retries and their failure', async () => {
    const { factory } = fakeTransport(() => ({ fail: unavailable }));
    await using etcd = new Etcd({ endpoints: ['a:1'], transport: factory, retry: { maxAttempts: 2, initialMs: 1 } });
    using told = listen('etcdkit:call:end', 'etcdkit:call:error', 'etcdkit:retry');
    await expect(etcd.get('x')).rejects.toThrow();
    expect(told.heard.map(([name]) => name)).toEqual(['retry', 'call:error']);
    expect(told.heard[1]?.[1]).toMatchObject({
      method: '/etcdserverpb.KV/Range',
      endpoint: 'a:1',
      attempts: 2,
      code: 'unavailable',
      applied: 'no',
    });
  });
});

describe('locks', () => {
  it('tell that somebody waits, gets it, does not get it, and how it ended', async () => {
    const etcd = server.client({ telemetry: false });
    await using session = await Session.open(etcd);
    const mutex = new Mutex(session, 'told');
    const names = ['waiting', 'acquired', 'failed', 'ended'] as const;
    using told = listen(...names.map((name) => `etcdkit:recipe:${name}` as const));
    const lock = await mutex.acquire();
    const stop = new AbortController();
    const second = mutex.acquire({ signal: stop.signal });
    await expect.poll(() => told.heard.length).toBe(2);
    stop.abort();
    await expect(second).rejects.toThrow('aborted');
    await lock.release();
    const who = { recipe: 'mutex', name: 'told' };
    expect(told.heard).toEqual([
      ['recipe:acquired', { ...who, token: lock.token, waitedMs: expect.any(Number) }],
      ['recipe:waiting', who],
      ['recipe:failed', { ...who, code: 'aborted', waitedMs: expect.any(Number) }],
      ['recipe:ended', { ...who, token: lock.token, reason: 'released', heldMs: expect.any(Number) }],
    ]);
  });
});
