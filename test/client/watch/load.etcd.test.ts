/** Many watchers, and readers that are slower than the writers, on real etcd. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Watcher } from '../../../src/client/watch/watcher.ts';
import type { Revision } from '../../../src/protocol/int64.ts';
import { FaultProxy } from '../../support/fault-proxy.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { snapshotResources } from '../../support/leaks.ts';
import { RealClient } from './real-client.ts';

describeOnEtcd('watching under load', (suite) => {
  const direct = (): RealClient => new RealClient(suite.cluster.endpoints);
  const host = (): string => new URL(suite.cluster.endpoints[0] as string).host;

  it('carries 10,000 watchers on one connection', async () => {
    const prefix = suite.prefix();
    await using client = direct();
    const watchers = Array.from({ length: 10_000 }, (_, index) => client.watch(`${prefix}${index}`));
    await Promise.all(watchers.map((watcher) => watcher.ready));
    const picked = [0, 1, 4_999, 9_999];
    const reads = picked.map((index) => (watchers[index] as Watcher<string>)[Symbol.asyncIterator]().next());
    for (const index of picked) await client.put(`${prefix}${index}`, 'v');
    const events = await Promise.all(reads);
    expect(events.map((event) => event.value.kv.key)).toEqual(picked.map((index) => `${prefix}${index}`));
    for (const watcher of watchers) watcher.close();
  });

  it('stops the server while a reader is away, and loses nothing; others are not held up', async () => {
    const prefix = suite.prefix();
    await using proxy = await FaultProxy.start({ target: host() });
    await using client = new RealClient([proxy.address], { farBehind: 50n });
    await using writer = direct();
    const slow = client.watch({ prefix }, { bufferSize: 20 });
    const quick = client.watch({ prefix });
    await Promise.all([slow.ready, quick.ready]);
    const value = 'v'.repeat(50_000);
    const quickly = (async () => {
      let count = 0;
      for await (const _ of quick) if (++count === 400) return count;
      return count;
    })();
    const last = await writer.fill(400, (index) => `${prefix}${index}`, value, 10);
    expect(await quickly).toBe(400);

    // It reads a few events, and is away again: what it has not asked for stays at the server.
    const read = slow[Symbol.asyncIterator]();
    const revisions: Revision[] = [];
    for (let index = 0; index < 15; index++) revisions.push((await read.next()).value.revision);
    let [before, now] = [0, proxy.stats.bytesToClient];
    while (now - before > 100_000) {
      await sleep(500);
      [before, now] = [now, proxy.stats.bytesToClient];
    }
    // All of it for the quick one, and not nearly that for the slow one.
    expect(now).toBeLessThan(1.5 * 400 * value.length);
    while (revisions.at(-1) !== last) revisions.push((await read.next()).value.revision);
    expect(revisions).toHaveLength(400);
    expect(new Set(revisions).size).toBe(400);
    expect([...revisions].sort((a, b) => (a < b ? -1 : 1))).toEqual(revisions);
  });

  it('reports progress on demand, or says that the server is too old', async () => {
    const prefix = suite.prefix();
    await using client = direct();
    const watcher = client.watch({ prefix });
    await watcher.ready;
    const at = await client.put('elsewhere', 'v');
    if (suite.version === '3.4') {
      await expect(watcher.progress()).rejects.toMatchObject({ code: 'unsupported' });
    } else {
      expect(await watcher.progress()).toBeGreaterThanOrEqual(at);
      expect(watcher.nextRevision).toBeGreaterThan(at);
    }
  });

  it('reports progress while a neighbour on the same client replays a long history', async () => {
    if (suite.version === '3.4') return;
    const prefix = suite.prefix();
    await using client = new RealClient(suite.cluster.endpoints, { farBehind: 100n });
    const from = ((await client.revision()) + 1n) as Revision;
    const last = await client.fill(3_000, (index) => `${prefix}${index}`);
    const watcher = client.watch({ prefix: 'quiet/' });
    await watcher.ready;
    const replay = (async () => {
      let count = 0;
      for await (const { events, revision } of client.watch({ prefix }, { from }).batches()) {
        count += events.length;
        if (revision >= last) return count;
      }
      return count;
    })();
    const reached = await Promise.race([watcher.progress(), replay]);
    expect(reached).toBe(last);
    expect(await replay).toBe(3_000);
  });

  it('leaves nothing behind', async () => {
    const before = snapshotResources();
    {
      await using client = direct();
      const watchers = Array.from({ length: 20 }, () => client.watch({ prefix: suite.prefix() }));
      await Promise.all(watchers.map((watcher) => watcher.ready));
    }
    await before.expectNothingAdded();
  });
});
