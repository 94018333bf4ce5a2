import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { Certificates } from '../../support/certificates.ts';
import { ClusterProcesses, leaderOf, patiently, type Seat } from './seats.ts';

describe('members as processes, with the flags of the clustering guide', () => {
  it('are one cluster, whichever is asked', async () => {
    await using cluster = await ClusterProcesses.prepare(3);
    const { seats } = cluster;
    await cluster.found(3);
    for (const seat of seats) await cluster.etcdctl(seat, 'put', seat.name, 'here');
    for (const seat of seats) {
      expect(await cluster.etcdctl(seat, 'get', '--prefix', 'infra', '--keys-only')).toBe(
        'infra0\n\ninfra1\n\ninfra2\n\n',
      );
    }
    const hashes = (await cluster.etcdctl(seats, 'endpoint', 'hashkv')).trim().split('\n');
    expect(new Set(hashes.map((line) => line.split(', ')[1])).size).toBe(1);
    for (const { clientUrl } of seats) {
      const metrics = await (await fetch(`${clientUrl}/metrics`)).text();
      expect(metrics.match(/^etcd_network_peer_sent_bytes_total\{To="[0-9a-f]+"\} [1-9]/gm)).toHaveLength(2);
    }
    const ids = (await cluster.etcdctl(seats[0]!, 'member', 'list')).match(/^[0-9a-f]+/gm);
    for (const seat of seats)
      expect((await cluster.etcdctl(seat, 'member', 'list')).match(/^[0-9a-f]+/gm)).toEqual(ids);
  }, 120_000);

  it('hand leadership over when they are told to end', async () => {
    // Who hands over waits no longer than this: it must be enough on a busy machine too.
    await using cluster = await ClusterProcesses.prepare(3, { flags: ['--election-timeout', '5000'] });
    const { seats } = cluster;
    const processes = await cluster.found(3);
    const { leader, term } = await leaderOf(cluster, seats);
    const process = processes[seats.indexOf(leader)]!;
    process.child.kill('SIGTERM');
    expect(await process.ended).toEqual({ code: null, signal: 'SIGTERM' });
    const others = seats.filter((seat) => seat !== leader);
    const next = await leaderOf(cluster, others);
    // By a timeout it would have been another term, or more.
    expect(next.term).toBe(term + 1);
    await cluster.etcdctl(others, 'put', 'a', 'b');
    const back = await cluster.start(leader, cluster.named(...seats), 'new');
    await back.printed('ready to serve client requests');
    expect(await cluster.etcdctl(leader, 'get', 'a', '--print-value-only')).toBe('b\n');
  }, 120_000);

  it('grow by one that joins, is promoted, removed, and does not come back', async () => {
    await using cluster = await ClusterProcesses.prepare(3);
    const [first, second, late] = cluster.seats as [Seat, Seat, Seat];
    await cluster.found(2);
    await cluster.etcdctl(first, 'put', 'a', 'b');
    const added = await patiently(() =>
      cluster.etcdctl(first, 'member', 'add', late.name, '--learner', `--peer-urls=${late.peerUrl}`),
    );
    const id = /Member ([0-9a-f]+) added/.exec(added)?.[1] ?? '';
    const told = /ETCD_INITIAL_CLUSTER="(.*)"/.exec(added)?.[1] ?? '';
    const joined = await cluster.start(late, told, 'existing');
    await joined.printed('ready to serve client requests');
    expect(await cluster.etcdctl(late, 'get', 'a', '--consistency=s', '--print-value-only')).toBe('b\n');
    const follower = (await leaderOf(cluster, [first, second])).leader === first ? second : first;
    expect(await patiently(() => cluster.etcdctl(follower, 'member', 'promote', id))).toContain('promoted');
    await cluster.etcdctl(late, 'put', 'a', 'c');

    await patiently(() => cluster.etcdctl(first, 'member', 'remove', id));
    expect(await joined.ended).toEqual({ code: 0, signal: null });
    expect(joined.lines.map(({ msg }) => msg)).toEqual(
      expect.arrayContaining([
        'the member has been permanently removed from the cluster',
        'data-dir used by this member must be removed',
      ]),
    );
    const again = await cluster.start(late, told, 'existing');
    expect(await again.ended).toEqual({ code: 1, signal: null });
    expect(await cluster.etcdctl([first, second], 'get', 'a', '--print-value-only')).toBe('c\n');
  }, 120_000);

  it('end with an error where they would do harm', async () => {
    await using cluster = await ClusterProcesses.prepare(4);
    const { seats } = cluster;
    const [first, second, third, stranger] = seats as [Seat, Seat, Seat, Seat];
    const processes = await cluster.found(3);
    const all = cluster.named(first, second, third);
    const fails = async (seat: Seat, named: string, state: 'new' | 'existing', message: string): Promise<void> => {
      const process = await cluster.start(seat, named, state);
      expect(await process.ended).toEqual({ code: 1, signal: null });
      const last = process.lines.at(-1);
      expect(last).toMatchObject({ level: 'fatal', msg: 'discovery failed', error: expect.stringContaining(message) });
    };
    // It was not added.
    await fails(stranger, `${all},${cluster.named(stranger)}`, 'existing', 'member count is unequal');
    await fails(stranger, `${cluster.named(first, second, stranger)}`, 'existing', 'PeerURLs: no match found');
    await fails(stranger, cluster.named(stranger), 'existing', 'cannot fetch cluster info from peer urls');
    await fails(stranger, all, 'new', 'couldn\'t find local name "infra3" in the initial cluster configuration');
    expect(existsSync(path.join(stranger.dataDir, 'member'))).toBe(false);
    // It has lost what it had promised.
    processes[2]!.child.kill('SIGKILL');
    await processes[2]!.ended;
    await rm(third.dataDir, { recursive: true });
    await fails(third, all, 'new', 'has already been bootstrapped');
  }, 120_000);
});

describe('members with TLS between them', () => {
  it('know each other by certificates', async () => {
    await using authority = await Certificates.create();
    const { certPath, keyPath } = await authority.server('member');
    await using cluster = await ClusterProcesses.prepare(3, {
      peerScheme: 'https',
      flags: [
        ...[`--peer-cert-file=${certPath}`, `--peer-key-file=${keyPath}`, '--peer-client-cert-auth'],
        ...[`--peer-trusted-ca-file=${authority.ca.certPath}`, '--peer-cert-allowed-cn=member'],
      ],
    });
    await cluster.found(3);
    await cluster.etcdctl(cluster.seats[0]!, 'put', 'a', 'b');
    expect(await cluster.etcdctl(cluster.seats[2]!, 'get', 'a', '--print-value-only')).toBe('b\n');
  }, 120_000);

  it('make certificates of their own', async () => {
    await using cluster = await ClusterProcesses.prepare(3, { peerScheme: 'https', flags: ['--peer-auto-tls'] });
    await cluster.found(3);
    await cluster.etcdctl(cluster.seats[0]!, 'put', 'a', 'b');
    expect(await cluster.etcdctl(cluster.seats[2]!, 'get', 'a', '--print-value-only')).toBe('b\n');
    expect(existsSync(path.join(cluster.seats[0]!.dataDir, 'fixtures', 'peer', 'cert.pem'))).toBe(true);
  }, 120_000);
});
