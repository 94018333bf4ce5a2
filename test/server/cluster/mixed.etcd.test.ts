import { describe, expect, it } from 'vitest';
import { ClusterProcesses, leaderOf, patiently, type Seat } from './seats.ts';

/** The same hash of all keys, on every member. */
async function expectSame(cluster: ClusterProcesses, seats: readonly Seat[]): Promise<void> {
  const hashes = async (): Promise<Set<string | undefined>> => {
    const lines = (await cluster.etcdctl(seats, 'endpoint', 'hashkv')).trim().split('\n');
    return new Set(lines.map((line) => line.split(', ')[1]));
  };
  await expect.poll(async () => (await hashes()).size).toBe(1);
}

/** Writes, leases and reads on each, seen by all. */
async function useAll(cluster: ClusterProcesses, seats: readonly Seat[], round: string): Promise<void> {
  for (const seat of seats) {
    const lease = /lease ([0-9a-f]+) granted/.exec(await cluster.etcdctl(seat, 'lease', 'grant', '600'))?.[1] ?? '';
    const key = `${round}/${seat.name}`;
    await cluster.etcdctl(seat, 'put', `--lease=${lease}`, key, seat.name);
    for (const other of seats) {
      expect(await cluster.etcdctl(other, 'get', key, '--print-value-only')).toBe(`${seat.name}\n`);
      expect(await cluster.etcdctl(other, 'lease', 'timetolive', lease, '--keys')).toContain(`attached keys([${key}])`);
      expect(await cluster.etcdctl(other, 'lease', 'keep-alive', '--once', lease)).toContain(
        'keepalived with TTL(600)',
      );
    }
  }
  await expectSame(cluster, seats);
}

/** @param asked Who says it: a learner would not. */
async function idOf(cluster: ClusterProcesses, asked: Seat, seat: Seat): Promise<string> {
  const list = await cluster.etcdctl(asked, 'member', 'list');
  return new RegExp(`^([0-9a-f]+), .*${seat.peerUrl}`, 'm').exec(list)?.[1] ?? '';
}

describe.each([
  ['two of ours and one of etcd 3.5', ['bundled', 'bundled', '3.5']],
  ['one of ours and two of etcd 3.5', ['bundled', '3.5', '3.5']],
  // It knows no request of version 3 by which a member says who it is: one such entry, and it is gone.
  ['two of ours and one of etcd 3.4', ['bundled', 'bundled', '3.4']],
] as const)('a cluster of %s', (_, servers) => {
  it('keeps leases and keys the same, whoever leads and whoever is asked', async () => {
    await using cluster = await ClusterProcesses.prepare(3, { servers });
    const { seats } = cluster;
    await cluster.found(3);
    for (const server of new Set(servers)) {
      const { leader } = await leaderOf(cluster, seats);
      const next = seats.find((seat) => seat.server === server)!;
      if (leader !== next) await cluster.etcdctl(leader, 'move-leader', await idOf(cluster, leader, next));
      expect((await leaderOf(cluster, seats)).leader).toBe(next);
      await useAll(cluster, seats, `led by ${server}`);
    }
  }, 120_000);
});

describe.each([
  ['a member of ours joins two of etcd', ['3.5', '3.5', 'bundled']],
  ['a member of etcd joins two of ours', ['bundled', 'bundled', '3.5']],
] as const)('where %s', (_, servers) => {
  it('it does so as a learner, and is promoted', async () => {
    await using cluster = await ClusterProcesses.prepare(3, { servers });
    const [first, second, late] = cluster.seats as [Seat, Seat, Seat];
    await cluster.found(2);
    await cluster.etcdctl(first, 'put', 'before', 'it came');
    const added = await patiently(() =>
      cluster.etcdctl(first, 'member', 'add', late.name, '--learner', `--peer-urls=${late.peerUrl}`),
    );
    const told = /ETCD_INITIAL_CLUSTER="(.*)"/.exec(added)?.[1] ?? '';
    const joined = await cluster.start(late, told, 'existing');
    await joined.printed('ready to serve client requests');
    const follower = (await leaderOf(cluster, [first, second])).leader === first ? second : first;
    await patiently(async () => cluster.etcdctl(follower, 'member', 'promote', await idOf(cluster, first, late)));
    await useAll(cluster, cluster.seats, 'all');
  }, 120_000);
});
