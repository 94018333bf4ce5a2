import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { adminClient, put } from './callers.ts';

const run = promisify(execFile);
const SNAPSHOT = '/etcdserverpb.Maintenance/Snapshot';

describeOnEtcd('snapshot', (suite) => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'etcdkit-snapshot-'));
    using etcd = adminClient(suite.cluster);
    // Some megabytes, so that there are many messages.
    for (let i = 0; i < 8; i++) await put(etcd, `big-${i}`, Buffer.alloc(512 * 1024, i));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('saves what etcdctl accepts and restores', async () => {
    using etcd = adminClient(suite.cluster);
    const file = path.join(folder, 'backup.db');
    const seen: number[] = [];
    const saved = await etcd.maintenance.saveSnapshot(file, { onProgress: ({ bytes }) => seen.push(bytes) });
    expect((await stat(file)).size).toBe(saved.bytes);
    expect(saved.bytes % 512).toBe(32);
    expect(seen.length).toBeGreaterThan(100);
    expect(saved.version).toBeUndefined();
    expect(await readdir(folder)).toEqual(['backup.db']);

    const { etcdctl, etcdutl = etcdctl } = suite.cluster.binaries;
    const env = { ...process.env, ETCDCTL_API: '3' };
    const { stdout } = await run(etcdutl, ['snapshot', 'status', file, '-w', 'json'], { env });
    expect(JSON.parse(stdout)).toMatchObject({ totalSize: saved.bytes - 32 });
    expect((JSON.parse(stdout) as { totalKey: number }).totalKey).toBeGreaterThanOrEqual(8);
    // Restoring checks the digest, unless told not to.
    await run(etcdutl, ['snapshot', 'restore', file, '--data-dir', path.join(folder, 'restored')], { env });
  });

  it('fails, and leaves nothing behind, when the connection breaks on the way', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    proxy.rule({ path: SNAPSHOT, action: { afterMessages: 20, ending: 'cut' } });
    using etcd = adminClient({ endpoints: [proxy.address] });
    const file = path.join(folder, 'cut.db');
    await expect(etcd.maintenance.saveSnapshot(file)).rejects.toMatchObject({ code: 'unavailable' });
    expect((await readdir(folder)).filter((name) => name.startsWith('cut'))).toEqual([]);
  });

  it('finds a stream that ends well but early', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    proxy.rule({ path: SNAPSHOT, action: { afterMessages: 20, ending: 'end-ok' } });
    using etcd = adminClient({ endpoints: [proxy.address] });
    const file = path.join(folder, 'short.db');
    await expect(etcd.maintenance.saveSnapshot(file)).rejects.toMatchObject({ code: 'checksum-mismatch' });
    expect((await readdir(folder)).filter((name) => name.startsWith('short'))).toEqual([]);
  });

  it('starts over when the connection breaks before the first message', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    proxy.rule({ path: SNAPSHOT, nth: 1, action: 'reset-after' });
    using etcd = adminClient({ endpoints: [proxy.address] });
    const snapshot = await etcd.maintenance.snapshot();
    let bytes = 0;
    for await (const piece of snapshot as AsyncIterable<Uint8Array>) bytes += piece.length;
    expect(bytes).toBe(snapshot.totalBytes);
    expect(proxy.count(SNAPSHOT)).toBe(2);
  });

  it('a reader that stops stops the server', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    using etcd = adminClient({ endpoints: [proxy.address] });
    const snapshot = await etcd.maintenance.snapshot();
    const reader = snapshot[Symbol.asyncIterator]();
    for (let i = 0; i < 5; i++) await reader.next();
    // What the windows of HTTP/2 on both sides of the proxy hold may be on its way; the rest may not.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const [call] = proxy.callsOf(SNAPSHOT);
    expect(call?.ended).toBe(false);
    const total = snapshot.totalBytes / (32 * 1024);
    expect(call!.responseMessages).toBeLessThan(total - 10);
    snapshot.destroy();
    await proxy.waitFor(([first]) => proxy.callsOf(SNAPSHOT)[0]?.ended ?? first === undefined);
  });
});
