/** Whether an informer knows that it may be behind the store; on virtual time, with a server in this process. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { expect, it, onTestFinished } from 'vitest';
import { TestCluster, VirtualClock } from '../../../src/testing/index.ts';

async function bed() {
  const clock = new VirtualClock();
  const cluster = await TestCluster.start({ members: 1, clock });
  onTestFinished(() => cluster.close());
  const [member] = cluster.members;
  if (member === undefined) throw new Error('there is no member');
  return { clock, cluster, member };
}

it('says since when its link is broken, and goes on', async () => {
  const { clock, cluster, member } = await bed();
  const etcd = cluster.client();
  const startedAt = clock.now();
  await using cache = etcd.cache({ prefix: 'a' });
  expect(cache.staleSince).toBe(startedAt);
  await cache.ready;
  expect(cache.staleSince).toBeUndefined();
  const watch = etcd.watch({ prefix: 'a' });
  await watch.ready;
  expect(watch.detachedSince).toBeUndefined();
  await clock.advance(1_000);
  await member.kill();
  await clock.advance(60_000);
  const brokenAt = cache.staleSince ?? Number.NaN;
  // From when it broke on, and not from one of the attempts to mend it.
  expect(brokenAt).toBeGreaterThanOrEqual(startedAt + 1_000);
  expect(clock.now() - brokenAt).toBeGreaterThanOrEqual(59_000);
  expect(watch.detachedSince).toBe(brokenAt);
  await member.restart();
  const { revision } = await clock.until(etcd.put('a', '1'));
  await clock.until(cache.waitFor(revision, { timeoutMs: 60_000 }));
  await clock.until(watch.progress({ timeoutMs: 60_000 }));
  expect([cache.staleSince, watch.detachedSince]).toEqual([undefined, undefined]);
  watch.close();
});

it('is stale from its end on, and keeps what it knows', async () => {
  const { clock, cluster } = await bed();
  const etcd = cluster.client();
  await etcd.put('a', '1');
  const cache = etcd.cache({ prefix: 'a' });
  await cache.ready;
  await clock.advance(500);
  const endedAt = clock.now();
  await cache.close();
  await clock.advance(500);
  expect([cache.staleSince, cache.get('a')?.value]).toEqual([endedAt, '1']);
});

it('does not wear itself out while nobody is there', async () => {
  const { clock, cluster, member } = await bed();
  const tries: unknown[] = [];
  const count = (message: unknown): void => void tries.push(message);
  const etcd = cluster.client();
  await using cache = etcd.cache({ prefix: 'a' });
  await cache.ready;
  await member.kill();
  subscribe('etcdkit:connection', count);
  onTestFinished(() => void unsubscribe('etcdkit:connection', count));
  await clock.advance(10 * 60_000);
  expect(tries.length).toBeGreaterThan(10);
  // One in two seconds, and the first ones, which come quicker.
  expect(tries.length).toBeLessThan(10 * 60);
  await member.restart();
});
