/** etcdctl 3.5, unmodified, on three bundled members: what an operator does with a cluster. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ensureEtcd } from '../../../scripts/etcd.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { patiently } from '../cluster/seats.ts';
import { type ClusterSeat, TorturedCluster } from './cluster-seats.ts';

const run = promisify(execFile);
const PLACES = 4;
const TIMEOUT_MS = 30_000;

async function etcdctl(seats: readonly ClusterSeat[], ...args: readonly string[]): Promise<string> {
  const { etcdctl: file } = await ensureEtcd('3.5');
  const endpoints = seats.map(({ clientUrl }) => clientUrl).join(',');
  return (await run(file, [`--endpoints=${endpoints}`, ...args], { timeout: TIMEOUT_MS })).stdout;
}

interface StatusLine {
  readonly Endpoint: string;
  readonly Status: { readonly header: { readonly member_id: number }; readonly leader: number };
}

describe('etcdctl on three bundled members', () => {
  it('sees all, moves the leader, adds, promotes and removes, and saves snapshots of each', {
    timeout: 240_000,
  }, async () => {
    await using cluster = await TorturedCluster.found(Array(3).fill('bundled'), [], PLACES);
    await using folder = new TempFolder('etcdkit-saved');
    const [first, second, third, late] = cluster.seats as [ClusterSeat, ClusterSeat, ClusterSeat, ClusterSeat];
    const three = [first, second, third];
    await etcdctl([second], 'put', 'a', 'b');

    // One is asked, all are told of.
    const health = JSON.parse(await etcdctl([first], 'endpoint', 'health', '--cluster', '-w', 'json')) as {
      endpoint: string;
      health: boolean;
    }[];
    expect(health.map(({ endpoint, health: well }) => [endpoint, well]).sort()).toEqual(
      three.map(({ clientUrl }) => [clientUrl, true]).sort(),
    );
    const statuses = JSON.parse(
      await etcdctl([first], 'endpoint', 'status', '--cluster', '-w', 'json'),
    ) as StatusLine[];
    expect(statuses.map(({ Endpoint }) => Endpoint).sort()).toEqual(three.map(({ clientUrl }) => clientUrl).sort());
    expect(new Set(statuses.map(({ Status }) => Status.leader)).size).toBe(1);

    const leader = (await cluster.leader())!;
    const next = three.find((seat) => seat !== leader)!;
    const idOf = async (seat: ClusterSeat): Promise<string> =>
      BigInt((await seat.member.status()).memberId).toString(16);
    expect(await etcdctl([leader], 'move-leader', await idOf(next))).toMatch(/^Leadership transferred from/);
    await expect.poll(() => cluster.leader()).toBe(next);

    for (const seat of three) {
      const file = folder.file(`${seat.name}.db`);
      await etcdctl([seat], 'snapshot', 'save', file);
      const { etcdutl } = await ensureEtcd('3.5');
      const { stdout } = await run(etcdutl!, ['snapshot', 'status', file, '-w', 'json'], { timeout: TIMEOUT_MS });
      expect(JSON.parse(stdout)).toMatchObject({ revision: 2, totalKey: expect.any(Number) });
    }

    await patiently(() => etcdctl(three, 'member', 'add', late.name, '--learner', `--peer-urls=${late.peerUrl}`));
    await cluster.join(late);
    const id =
      new RegExp(`^([0-9a-f]+), .*${late.peerUrl}`, 'm').exec(await etcdctl(three, 'member', 'list'))?.[1] ?? '';
    await patiently(() => etcdctl(three, 'member', 'promote', id));
    expect(await etcdctl([late], 'get', 'a', '--print-value-only')).toBe('b\n');
    expect(await etcdctl(three, 'member', 'remove', id)).toContain('removed from cluster');
    expect((await etcdctl(three, 'member', 'list')).trim().split('\n')).toHaveLength(3);
  });
});
