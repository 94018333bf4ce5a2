/** Watches on real etcd while connections, members, tokens and history go away. */
import { expect, it } from 'vitest';
import { CompactedError, PermissionDeniedError } from '../../../src/client/errors.ts';
import type { Watcher } from '../../../src/client/watch/watcher.ts';
import { type Revision, revision } from '../../../src/protocol/int64.ts';
import { FaultProxy } from '../../support/fault-proxy.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { RealClient } from './real-client.ts';

const WATCH = '/etcdserverpb.Watch/Watch';

/** Reads until an event at `last` came; what it read, in short. */
async function readTo(watcher: Watcher<string>, last: bigint): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of watcher) {
    if (event.type !== 'put' && event.type !== 'delete') continue;
    seen.push(`${event.type} ${event.kv.key}@${event.revision}`);
    if (event.revision >= last) break;
  }
  return seen;
}

describeOnEtcd('watching through faults', (suite) => {
  const host = (): string => new URL(suite.cluster.endpoints[0] as string).host;
  const direct = (): RealClient => new RealClient(suite.cluster.endpoints);

  it('misses and repeats nothing while its connection is cut again and again', async () => {
    const prefix = suite.prefix();
    await using proxy = await FaultProxy.start({ target: host() });
    await using client = new RealClient([proxy.address]);
    await using writer = direct();
    const watcher = client.watch({ prefix });
    await watcher.ready;
    const written: string[] = [];
    for (let round = 0; round < 12; round++) {
      for (let index = 0; index < 40; index++) {
        const key = `${prefix}${index % 7}`;
        written.push(
          index % 9 === 8 ? `delete ${key}@${await writer.delete(key)}` : `put ${key}@${await writer.put(key, 'v')}`,
        );
      }
      if (round % 2 === 0) proxy.cut();
      else proxy.reset();
    }
    const last = await writer.put(`${prefix}last`, 'v');
    written.push(`put ${prefix}last@${last}`);
    expect(await readTo(watcher, last)).toEqual(written);
    expect(proxy.stats.opened).toBeGreaterThan(2);
  });

  it('C27: yields the exact history when the connection breaks at any byte of a session', async () => {
    const prefix = suite.prefix();
    await using writer = direct();
    const from = ((await writer.revision()) + 1n) as Revision;
    const last = await writer.fill(60, (index) => `${prefix}${index}`, 'v'.repeat(100));
    await using plain = direct();
    const whole = await readTo(plain.watch({ prefix }, { from }), last);
    expect(whole).toHaveLength(60);

    const session = async (offset: number | undefined): Promise<number> => {
      await using proxy = await FaultProxy.start({ target: host() });
      await using client = new RealClient([proxy.address]);
      if (offset !== undefined) void proxy.cutAfter(offset, 'to-client');
      expect(await readTo(client.watch({ prefix }, { from }), last)).toEqual(whole);
      return proxy.stats.bytesToClient;
    };
    const length = await session(undefined);
    // From the handshake to the last event, at places that fall into every part of a frame.
    const offsets: number[] = [];
    for (let at = 1; at < length; at += Math.ceil(length / 60)) offsets.push(at);
    await Promise.all(
      [0, 1, 2, 3].map(async (lane) => {
        for (const [index, offset] of offsets.entries()) if (index % 4 === lane) await session(offset);
      }),
    );
  }, 120_000);

  it('resumes 1,000 watchers in few messages each way and without waiting for each other', async () => {
    const prefix = suite.prefix();
    await using proxy = await GrpcFaultProxy.start({ target: host() });
    await using client = new RealClient([proxy.address]);
    await using writer = direct();
    const watchers = Array.from({ length: 1000 }, (_, index) => client.watch(`${prefix}${index}`));
    await Promise.all(watchers.map((watcher) => watcher.ready));
    expect(proxy.count(WATCH)).toBe(1);
    proxy.cut();
    const last = await writer.fill(1000, (index) => `${prefix}${index}`);
    const seen = await Promise.all(watchers.map((watcher) => watcher[Symbol.asyncIterator]().next()));
    expect(seen.map(({ value }) => value.kv.key)).toEqual(watchers.map((_, index) => `${prefix}${index}`));
    expect(last).toBeGreaterThan(0n);
    const resumed = proxy.callsOf(WATCH).at(-1);
    // One create and one answer each, one event each; that a create waits for no answer, the unit tests show.
    expect(resumed?.requestMessages).toBe(1000);
    expect(resumed?.responseMessages).toBeLessThanOrEqual(2010);
  });

  it('ends with a CompactedError when its history is compacted while it is cut off', async () => {
    const prefix = suite.prefix();
    await using proxy = await FaultProxy.start({ target: host() });
    await using client = new RealClient([proxy.address]);
    await using writer = direct();
    const strict = client.watch({ prefix });
    const told = client.watch({ prefix }, { resync: true });
    await Promise.all([strict.ready, told.ready]);
    await writer.put(`${prefix}a`, '1');
    await writer.put(`${prefix}b`, '1');
    const read = told[Symbol.asyncIterator]();
    expect((await read.next()).value).toMatchObject({ kv: { key: `${prefix}a` } });
    expect((await read.next()).value).toMatchObject({ kv: { key: `${prefix}b` } });
    proxy.refuse();
    proxy.cut();
    await writer.delete(`${prefix}a`);
    await writer.put(`${prefix}c`, '1');
    const at = await writer.put(`${prefix}c`, '2');
    await writer.compact(at);
    await proxy.accept();
    const types: string[] = [];
    await expect(async () => {
      for await (const event of strict) types.push(event.type);
    }).rejects.toThrow(CompactedError);
    expect(types).toEqual(['put', 'put']);
    const difference = [];
    for (let index = 0; index < 4; index++) difference.push((await read.next()).value);
    expect(difference).toMatchObject([
      { type: 'resync', phase: 'start', reason: 'compacted', revision: at },
      { type: 'put', synthetic: true, isCreate: true, kv: { key: `${prefix}c`, value: '2', modRevision: at } },
      { type: 'delete', synthetic: true, kv: { key: `${prefix}a` } },
      { type: 'resync', phase: 'end', revision: at },
    ]);
    await writer.put(`${prefix}d`, '1');
    expect((await read.next()).value).toMatchObject({ type: 'put', synthetic: false, kv: { key: `${prefix}d` } });
  });

  it('replays history from a compacted revision as etcd says it: not at all', async () => {
    const prefix = suite.prefix();
    await using client = direct();
    await client.put(`${prefix}a`, '1');
    const at = await client.put(`${prefix}a`, '2');
    await client.compact(at);
    const watcher = client.watch({ prefix }, { from: revision(1) });
    await expect(watcher[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'compacted',
      compactRevision: at,
    });
    expect(await readTo(client.watch({ prefix }, { from: at }), at)).toEqual([`put ${prefix}a@${at}`]);
  });

  it('takes in a response that the server has to split', async () => {
    const prefix = suite.prefix();
    await using client = direct();
    const from = ((await client.revision()) + 1n) as Revision;
    const last = await client.fill(12, (index) => `${prefix}${index}`, 'v'.repeat(700_000), 4);
    const batches: number[] = [];
    for await (const batch of client.watch({ prefix }, { from }).batches()) {
      batches.push(batch.events.length);
      if (batch.revision >= last) break;
    }
    // One response for etcd; what is complete of it is handed on before the rest has come.
    expect(batches.length).toBeGreaterThan(1);
    expect(batches.reduce((sum, count) => sum + count)).toBe(12);
  });
});

describeOnEtcd(
  'watching with authentication',
  (suite) => {
    it('T5: goes on when the tokens have run out, and ends a watch that is not permitted, and only that', async () => {
      const { cluster } = suite;
      await cluster.etcdctl(['user', 'add', 'root:root']);
      await cluster.etcdctl(['user', 'grant-role', 'root', 'root']);
      await cluster.etcdctl(['user', 'add', 'ada:pw']);
      await cluster.etcdctl(['role', 'add', 'reader']);
      await cluster.etcdctl(['role', 'grant-permission', 'reader', '--prefix=true', 'readwrite', 'mine/']);
      await cluster.etcdctl(['user', 'grant-role', 'ada', 'reader']);
      await cluster.etcdctl(['auth', 'enable']);
      await using client = new RealClient(cluster.endpoints, { auth: { username: 'ada', password: 'pw' } });
      const first = client.watch({ prefix: 'mine/a' });
      await first.ready;
      // A member that restarts has forgotten all simple tokens; so does one whose tokens run out.
      await cluster.members[0]?.restart();
      const second = client.watch({ prefix: 'mine/b' });
      const foreign = client.watch({ prefix: 'yours/' });
      await second.ready;
      await expect(foreign.ready).rejects.toBeInstanceOf(PermissionDeniedError);
      const reads = [first, second].map((watcher) => watcher[Symbol.asyncIterator]().next());
      await client.put('mine/a', '1');
      await client.put('mine/b', '1');
      expect((await Promise.all(reads)).map(({ value }) => value.kv.key)).toEqual(['mine/a', 'mine/b']);

      // The tokens live for a second. The stream lives on; a new watch on it is refused, and everything moves.
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      const third = client.watch({ prefix: 'mine/c' });
      await third.ready;
      const event = third[Symbol.asyncIterator]().next();
      await client.put('mine/c', '1');
      expect((await event).value.kv.key).toBe('mine/c');
    });
  },
  { authTokenTtlSeconds: 1 },
);
