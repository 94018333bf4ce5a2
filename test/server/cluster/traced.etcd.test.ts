/**
 * Members of etcd get entries with the name of a trace, of which they know nothing: they write them into their logs as
 * they are, apply them, lead with them, and come back from them; and etcd's tools read those logs.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ensureEtcd } from '../../../scripts/etcd.ts';
import { Auth, KV, Lease } from '../../../src/protocol/generated/etcdserverpb.ts';
import { EtcdServer } from '../../../src/server/index.ts';
import { LINK_FIELD_BYTES, withLink } from '../../../src/server/member/trace-link.ts';
import { TRACE_LINK_BYTES } from '../../../src/server/tracing.ts';
import { collectSpans } from '../../support/spans.ts';
import { call, traceparent } from '../tracing/traced-calls.ts';
import { ClusterProcesses, leaderOf, patiently, type Seat } from './seats.ts';

const run = promisify(execFile);

/** What stands before a link in an entry. */
const FIELD = Buffer.from(withLink(new Uint8Array(), new Uint8Array(TRACE_LINK_BYTES))).subarray(
  0,
  LINK_FIELD_BYTES - TRACE_LINK_BYTES,
);

/** How many links the log of a member has, as it lies on its disk. */
function linksIn({ dataDir }: Pick<Seat, 'dataDir'>): number {
  const folder = path.join(dataDir, 'member', 'wal');
  let count = 0;
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(path.join(folder, name));
    for (let at = bytes.indexOf(FIELD); at >= 0; at = bytes.indexOf(FIELD, at + 1)) count += 1;
  }
  return count;
}

/** This server, in this process, in a seat among processes. */
function sitDown(cluster: ClusterProcesses, { name, clientUrl, peerUrl, dataDir }: Seat): Promise<EtcdServer> {
  const at = (url: string): { host: string; port: number } => {
    const { hostname, port } = new URL(url);
    return { host: hostname, port: Number(port) };
  };
  return EtcdServer.start({
    name,
    dataDir,
    ...at(clientUrl),
    peerUrls: [peerUrl],
    listenPeers: [{ ...at(peerUrl), secure: false }],
    initialCluster: new Map(cluster.seats.map((seat) => [seat.name, [seat.peerUrl]])),
    clusterToken: 'etcd-cluster-1',
    heartbeatMs: 50,
    electionMs: 1_000,
    unsafeNoFsync: true,
    // etcd's tools want an image beside the log.
    snapshotCount: 5,
  });
}

/** Writes of several kinds, each of them traced. @returns How many. */
async function writeAll(endpoint: string, round: string): Promise<number> {
  const key = Buffer.from(`${round}/key`);
  const codes = [
    await call(endpoint, KV.put, { key, value: Buffer.from(round) }, traceparent()),
    await call(endpoint, KV.txn, { success: [{ requestPut: { key: Buffer.from(`${round}/txn`) } }] }, traceparent()),
    await call(endpoint, Lease.leaseGrant, { TTL: 600n }, traceparent()),
    await call(endpoint, KV.deleteRange, { key: Buffer.from('nothing') }, traceparent()),
    await call(endpoint, Auth.userAdd, { name: round, password: 'secret' }, traceparent()),
  ].map(({ code }) => code);
  expect(new Set(codes)).toEqual(new Set([0]));
  return codes.length;
}

async function expectSame(cluster: ClusterProcesses, links: number): Promise<void> {
  await expect.poll(() => cluster.seats.map(linksIn)).toEqual(Array(3).fill(links));
  const hashes = async (): Promise<number> => {
    const lines = (await cluster.etcdctl(cluster.seats, 'endpoint', 'hashkv')).trim().split('\n');
    return new Set(lines.map((line) => line.split(', ')[1])).size;
  };
  await expect.poll(hashes).toBe(1);
}

describe.each(['3.4', '3.5'] as const)('two members of etcd %s beside one whose requests are traced', (version) => {
  it('take over, keep and lead with entries that have the name of a trace', { timeout: 120_000 }, async () => {
    await using spans = collectSpans();
    await using cluster = await ClusterProcesses.prepare(3, { servers: ['bundled', version, version] });
    const [own, second, third] = cluster.seats as [Seat, Seat, Seat];
    const named = cluster.named(...cluster.seats);
    const processes = await Promise.all([second, third].map((seat) => cluster.start(seat, named, 'new')));
    let server = await sitDown(cluster, own);
    try {
      let links = 0;
      for (const next of [own, second]) {
        const { leader } = await leaderOf(cluster, cluster.seats);
        const list = await cluster.etcdctl(own, 'member', 'list');
        const [, id = ''] = new RegExp(`^([0-9a-f]+), .*${next.peerUrl}`, 'm').exec(list) ?? [];
        if (leader !== next) await patiently(() => cluster.etcdctl(leader, 'move-leader', id));
        spans.clear();
        links += await writeAll(server.endpoint, next.name);
        await expectSame(cluster, links);
        expect(spans.named('wal.sync')).toHaveLength(5);
        expect(spans.named('raft.replicate')).toHaveLength(next === own ? 5 : 0);
        for (const seat of cluster.seats)
          expect(await cluster.etcdctl(seat, 'get', `${next.name}/key`, '--print-value-only')).toBe(`${next.name}\n`);
      }
      // It comes back with what its log says.
      processes[1]!.child.kill('SIGKILL');
      await processes[1]!.ended;
      await cluster.start(third, named, 'existing');
      await server.stop();
      server = await sitDown(cluster, own);
      await patiently(() => cluster.etcdctl(third, 'put', 'after', 'all'));
      await expectSame(cluster, links);
    } finally {
      await server.stop();
    }
    if (version === '3.4') return;
    processes[0]!.child.kill('SIGTERM');
    await processes[0]!.ended;
    // etcd's own reader of logs, which decodes each entry, on theirs and on ours.
    const { etcdutl } = await ensureEtcd('3.5');
    for (const seat of [second, own]) {
      const copy = cluster.folder.file(`copy-of-${seat.name}`);
      await run(etcdutl!, ['backup', '--data-dir', seat.dataDir, '--backup-dir', copy, '--with-v3']);
      expect(linksIn({ dataDir: copy })).toBe(10);
    }
  });
});
