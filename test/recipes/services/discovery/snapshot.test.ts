/** What is on disk when the store is away. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readSnapshot, snapshotPath, writeSnapshot } from '../../../../recipes/services/discovery/snapshot.ts';
import { SnapshotKeeper } from '../../../../recipes/services/discovery/snapshot-keeper.ts';
import { ServiceRegistry } from '../../../../recipes/services/service-registry.ts';
import { Etcd } from '../../../../src/index.ts';
import { TestCluster, VirtualClock } from '../../../../src/testing/index.ts';
import { ids, numbered, stored } from './bed.ts';

const PREFIX = 'services/orders/';
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'snapshots-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Discovers with a store, and leaves a snapshot. */
async function leaveSnapshot(instances: readonly string[]): Promise<void> {
  await using cluster = await TestCluster.start({ members: 1 });
  const etcd = cluster.client();
  for (const { key, value } of instances.map((id) => stored(id))) await etcd.put(key, value);
  await using orders = await new ServiceRegistry(etcd, { snapshotFolder: folder }).discover('orders');
  expect(orders.snapshotProblem).toBeUndefined();
}

/** A registry without a store. */
function alone(etcd: Etcd): ServiceRegistry {
  return new ServiceRegistry(etcd, { snapshotFolder: folder, snapshotAfterMs: 1 });
}

const nowhere = () => new Etcd({ endpoints: ['127.0.0.1:1'] });

describe('a start without the store', () => {
  it('begins with what was known last', async () => {
    await leaveSnapshot(numbered(3));
    await using etcd = nowhere();
    await using orders = await alone(etcd).discover('orders');
    expect(ids(orders.instances)).toEqual(numbered(3));
    expect([orders.synced, orders.revision]).toEqual([false, 0n]);
    expect(orders.staleSince).toBeDefined();
    expect(numbered(3)).toContain(orders.pick().instance.id);
  });

  it('goes on with the store when it is there', async () => {
    await leaveSnapshot(numbered(3));
    await using cluster = await TestCluster.start({ members: 1 });
    await using etcd = nowhere();
    await using orders = await alone(etcd).discover('orders');
    const changes = orders.changes();
    const writer = cluster.client();
    for (const { key, value } of ['a1', 'a2', 'a4'].map((id) => stored(id))) await writer.put(key, value);
    etcd.setEndpoints(cluster.endpoints);
    expect((await changes.next()).value).toMatchObject({ type: 'added', instance: { id: 'a4' } });
    expect((await changes.next()).value).toMatchObject({ type: 'removed', instance: { id: 'a3' } });
    expect([orders.synced, orders.staleSince]).toEqual([true, undefined]);
  });

  it('ignores a damaged file, says so, and waits for the store', async () => {
    await leaveSnapshot(numbered(3));
    const file = snapshotPath(folder, PREFIX);
    await writeFile(file, (await readFile(file, 'utf8')).replace('"entries":[["', '"entries":[["x'));
    await using etcd = nowhere();
    await expect(alone(etcd).discover('orders', { timeoutMs: 200 })).rejects.toThrow(/200 ms/);
    const orders = alone(etcd).follow('orders');
    await vi.waitFor(() => expect(orders.snapshotProblem?.message).toMatch(/damaged/), { timeout: 20_000 });
    expect(orders.instances).toEqual([]);
  });

  it('does not wait for a store that has answered: the snapshot is not used then', async () => {
    await leaveSnapshot(numbered(3));
    await using cluster = await TestCluster.start({ members: 1 });
    const registry = new ServiceRegistry(cluster.client(), { snapshotFolder: folder, snapshotAfterMs: 60_000 });
    await using orders = await registry.discover('orders');
    expect(orders.registered).toEqual([]);
    expect(orders.suspects.size).toBe(0);
  });
});

describe('the file', () => {
  const entries = [stored('a1'), stored('a2')];

  it('is its owner’s alone, takes the place of the one before, and leaves nothing else behind', async () => {
    await writeSnapshot(folder, PREFIX, [stored('old')]);
    await writeSnapshot(folder, PREFIX, entries);
    expect(await readdir(folder)).toEqual(['services%2Forders%2F.json']);
    expect((await stat(snapshotPath(folder, PREFIX))).mode & 0o777).toBe(0o600);
    const read = await readSnapshot(snapshotPath(folder, PREFIX), PREFIX);
    expect(read?.map(({ key, value }) => [key, Buffer.from(value)])).toEqual(
      entries.map(({ key, value }) => [key, Buffer.from(value)]),
    );
  });

  it('stays within its folder, whatever the service is called', () => {
    for (const name of ['../x', '..', 'a/b', 'a%2Fb', '/etc/passwd', '.']) {
      expect(snapshotPath('/f', name)).toMatch(/^\/f\/[^/]+\.json$/);
      expect(snapshotPath('/f', name)).not.toContain('..');
    }
    expect(snapshotPath('/f', 'a/b')).not.toBe(snapshotPath('/f', 'a%2Fb'));
  });

  it.each([
    ['is cut off', (text: string) => text.slice(0, -20)],
    ['has a byte changed', (text: string) => text.replace(/("entries":\[\["[^"]*","....)./, '$1_')],
    ['is empty', () => ''],
    ['is something else', () => 'null'],
  ])('is refused when it %s', async (_, damage) => {
    await writeSnapshot(folder, PREFIX, entries);
    const file = snapshotPath(folder, PREFIX);
    const text = await readFile(file, 'utf8');
    expect(damage(text)).not.toBe(text);
    await writeFile(file, damage(text));
    await expect(readSnapshot(file, PREFIX)).rejects.toThrow(/damaged/);
  });

  it('is refused when it is another service’s', async () => {
    await writeSnapshot(folder, PREFIX, entries);
    await expect(readSnapshot(snapshotPath(folder, PREFIX), 'services/users/')).rejects.toThrow(/another service/);
  });
});

describe('the keeper', () => {
  it('writes once for many changes, and never an empty list', async () => {
    const clock = new VirtualClock();
    let list = [stored('a1')];
    let asked = 0;
    const keeper = new SnapshotKeeper(folder, PREFIX, clock, () => {
      asked += 1;
      return list;
    });
    for (let change = 0; change < 5; change++) keeper.touch();
    expect(clock.pending).toEqual({ all: 1, foreground: 0 });
    await keeper.flush();
    expect([asked, clock.pending.all]).toEqual([1, 0]);
    list = [];
    keeper.touch();
    await keeper.flush();
    expect((await keeper.read())?.map(({ key }) => key)).toEqual([stored('a1').key]);
  });

  it('says why it cannot write, until it can', async () => {
    const place = join(folder, 'taken');
    await writeFile(place, '');
    const keeper = new SnapshotKeeper(place, PREFIX, new VirtualClock(), () => [stored('a1')]);
    keeper.touch();
    await keeper.flush();
    expect(keeper.problem).toBeInstanceOf(Error);
    await rm(place);
    await mkdir(place);
    await chmod(place, 0o700);
    keeper.touch();
    await keeper.flush();
    expect(keeper.problem).toBeUndefined();
  });
});
