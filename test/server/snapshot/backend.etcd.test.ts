/** Snapshots of real etcd in our hands, and ours in the hands of real etcd. */
import { execFile } from 'node:child_process';
import { open as openFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { hashKv } from '../../../src/server/mvcc/hash.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { writeBackend } from '../../../src/server/snapshot/backend-image.ts';
import { type LoadedState, readBackendState, readStore } from '../../../src/server/snapshot/backend-reader.ts';
import { BoltFile } from '../../../src/server/snapshot/bolt/reader.ts';
import { fileSource } from '../../../src/server/snapshot/bolt/source.ts';
import { checkDigest, withDigest } from '../../../src/server/snapshot/digest.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import type { EtcdMember } from '../../support/etcd-member.ts';
import { versions } from '../../support/fixtures.ts';
import { probe } from '../../support/http-probe.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { ALL, at, commit, put } from '../mvcc/support.ts';
import { collect, noPause } from './support.ts';

const run = promisify(execFile);
const ROOT = { ETCDCTL_USER: 'root:root-pw' };
/** A value of five pages. */
const LARGE = 'x'.repeat(20_000);

interface Loaded {
  readonly store: KvStore;
  readonly state: LoadedState;
  readonly digest: string;
}

async function load(file: string): Promise<Loaded> {
  const handle = await openFile(file);
  try {
    const source = await fileSource(handle);
    const bolt = await BoltFile.open(source);
    const state = await readBackendState(bolt);
    return { store: await readStore(bolt), state, digest: await checkDigest(source) };
  } finally {
    await handle.close();
  }
}

async function save(file: string, state: LoadedState, store: KvStore): Promise<void> {
  const image = await writeBackend(state, store, { pause: noPause });
  await writeFile(file, await collect(withDigest(image.chunks)));
}

/** `etcdctl`, or `etcdutl` where there is one, on a file. */
async function onFile(cluster: EtcdCluster, args: readonly string[]): Promise<string> {
  const program = cluster.binaries.etcdutl ?? cluster.binaries.etcdctl;
  const { stdout } = await run(program, args, {
    env: { PATH: process.env.PATH, ETCDCTL_API: '3', ...unsupportedArchEnv },
  });
  return stdout;
}

async function fileStatus(cluster: EtcdCluster, file: string): Promise<Record<string, number>> {
  return JSON.parse(await onFile(cluster, ['snapshot', 'status', file, '-w', 'json'])) as Record<string, number>;
}

/** What a member says of its keys: their hash, and what was compacted. */
async function hashOf(cluster: EtcdCluster, env = {}): Promise<[number, number]> {
  const text = await cluster.etcdctl(['endpoint', 'hashkv', '-w', 'json'], { env });
  const number = (name: string): number => Number(new RegExp(`"${name}":(-?\\d+)`).exec(text)?.[1]);
  return [number('hash'), number('compact_revision')];
}

/** All keys at a revision, without the header, which tells the cluster. */
async function keysAt(cluster: EtcdCluster, revision: number, env = {}): Promise<string> {
  const text = await cluster.etcdctl(['get', '', '--prefix', `--rev=${revision}`, '-w', 'json'], { env });
  return text.slice(text.indexOf('},') + 2);
}

/** Starts a member anew on what a snapshot file holds. */
async function restoreInto(cluster: EtcdCluster, file: string): Promise<void> {
  const member = cluster.members[0] as EtcdMember;
  await member.kill();
  await rm(member.dataDir, { recursive: true });
  await onFile(cluster, [
    ...['snapshot', 'restore', file, `--data-dir=${member.dataDir}`, `--name=${member.name}`],
    `--initial-cluster=${member.name}=${member.peerUrl}`,
    `--initial-advertise-peer-urls=${member.peerUrl}`,
  ]);
  // An alarm that came with the snapshot makes it unhealthy.
  await member.restart({ waitHealthy: false });
  await cluster.leader();
}

/** Something in every bucket; a compaction at the revision of a delete. */
async function fill(cluster: EtcdCluster): Promise<{ lease: string; compacted: number; revision: number }> {
  const ctl = (...args: string[]): Promise<string> => cluster.etcdctl(args);
  for (let i = 0; i < 300; i += 1) if (i % 10 === 0) await ctl('put', `k${i % 70}`, `value ${i}`);
  await ctl('put', 'large', LARGE);
  const granted = await ctl('lease', 'grant', '5000');
  const lease = /lease (\w+) granted/.exec(granted)?.[1] ?? '';
  await ctl('put', 'leased', 'v', `--lease=${lease}`);
  await ctl('put', 'empty', '');
  const deleted = await ctl('del', 'k0', 'k3', '-w', 'json');
  const compacted = Number(/"revision":(\d+)/.exec(deleted)?.[1]);
  await ctl('compact', String(compacted), '--physical');
  await ctl('put', 'k0', 'again');
  await cluster.etcdctl(['txn'], { input: '\nput t1 a\nput t2 b\ndel k10\n\n\n' });
  await ctl('user', 'add', 'root:root-pw');
  await ctl('user', 'add', 'joe:joe-pw');
  await ctl('role', 'add', 'readers');
  await ctl('role', 'grant-permission', 'readers', 'read', 'k', 'l');
  await ctl('role', 'grant-permission', 'readers', 'write', '--prefix', 'j');
  await ctl('user', 'grant-role', 'joe', 'readers');
  await ctl('user', 'grant-role', 'root', 'root');
  const raised = { action: 'ACTIVATE', alarm: 'NOSPACE' };
  await probe(`${cluster.endpoints[0]}/v3/maintenance/alarm`, { body: raised, timeoutMs: 5000 });
  await ctl('auth', 'enable');
  const { revision } = JSON.parse(await cluster.etcdctl(['get', 'k0', '-w', 'json'], { env: ROOT })).header;
  return { lease, compacted, revision };
}

describe.each(versions)('on etcd %s', (version) => {
  let cluster: EtcdCluster;
  let folder: TempFolder;
  let filled: Awaited<ReturnType<typeof fill>>;
  let theirs: string;

  beforeAll(async () => {
    folder = new TempFolder('etcdkit-snapshot');
    cluster = await EtcdCluster.start({ version });
    filled = await fill(cluster);
    theirs = folder.file('theirs.db');
    await cluster.etcdctl(['snapshot', 'save', theirs], { env: ROOT });
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    await folder?.remove();
  });

  it('a snapshot of etcd loads: keys by their hash and at every revision, and all the rest', async () => {
    const { store, state, digest } = await load(theirs);
    expect(digest).toBe('good');
    expect([hashKv(store, store.revision), store.compactRevision]).toEqual(await hashOf(cluster, ROOT));
    expect([store.compactRevision, store.revision]).toEqual([filled.compacted, filled.revision]);
    for (let revision = filled.compacted; revision <= filled.revision; revision += 1) {
      const { kvs } = JSON.parse(`{${await keysAt(cluster, revision, ROOT)}`) as {
        kvs: { key: string; value?: string; mod_revision: number }[];
      };
      const text = (part = ''): string => Buffer.from(part, 'base64').toString();
      const wanted = kvs.map((kv) => `${text(kv.key)}=${text(kv.value)}@${kv.mod_revision}`);
      expect(at(store, revision)).toEqual(wanted);
    }
    const { memberId } = await (cluster.members[0] as EtcdMember).status();
    expect(state.members).toMatchObject([{ name: 'm1', peerUrls: [cluster.members[0]?.peerUrl], isLearner: false }]);
    expect(state.members[0]?.id).toBe(BigInt(memberId));
    expect(state.leases).toMatchObject([{ ID: BigInt(`0x${filled.lease}`), TTL: 5000n }]);
    expect(state.alarms).toEqual([{ memberID: 0n, alarm: 1 }]);
    expect(state.users.map(({ name }) => Buffer.from(name).toString())).toEqual(['joe', 'root']);
    expect(state.roles[0]?.keyPermission).toHaveLength(2);
    expect([state.authEnabled, state.clusterVersion]).toEqual([true, `${version}.0`]);
    expect(state.consistentIndex).toBeGreaterThan(40n);
    // What 3.4 does not have.
    expect(state.confState?.voters).toEqual(version === '3.4' ? undefined : [BigInt(memberId)]);
    expect(state.term > 0n).toBe(version !== '3.4');
  });

  it('our image of it is row for row the same, says etcd, which also checks every page', async () => {
    const { store, state } = await load(theirs);
    const ours = folder.file('ours.db');
    await save(ours, state, store);
    const [mine, original] = [await fileStatus(cluster, ours), await fileStatus(cluster, theirs)];
    expect(mine).toMatchObject({ hash: original.hash, totalKey: original.totalKey, revision: filled.revision });
  });

  it('our image restores into an etcd that has the same keys, leases, users, roles and alarms', async () => {
    const { store, state } = await load(theirs);
    const ours = folder.file('restored.db');
    await save(ours, state, store);
    await using other = await EtcdCluster.start({ version });
    await restoreInto(other, ours);
    expect(await hashOf(other, ROOT)).toEqual(await hashOf(cluster, ROOT));
    for (let revision = filled.compacted; revision <= filled.revision; revision += 1) {
      expect(await keysAt(other, revision, ROOT)).toBe(await keysAt(cluster, revision, ROOT));
    }
    await expect(keysAt(other, filled.compacted - 1, ROOT)).rejects.toThrow('compacted');
    const asJoe = { ETCDCTL_USER: 'joe:joe-pw' };
    for (const [env, ...args] of [
      [ROOT, 'lease', 'list'],
      [ROOT, 'role', 'get', 'readers'],
      [ROOT, 'user', 'get', 'joe', '--detail'],
      [ROOT, 'alarm', 'list'],
      [asJoe, 'get', 'k0'],
    ] as const) {
      const answer = await other.etcdctl(args, { env });
      expect(answer).toBe(await cluster.etcdctl(args, { env }));
      expect(answer).not.toBe('');
    }
    await expect(other.etcdctl(['get', 'large'], { env: asJoe })).rejects.toThrow('permission denied');
    const ttl = await other.etcdctl(['lease', 'timetolive', filled.lease, '--keys'], { env: ROOT });
    expect(ttl).toMatch(/granted with TTL\(5000s\).*attached keys\(\[leased\]\)/);
    // And it goes on from there: what it changes in our pages still is a sound file.
    await other.etcdctl(['alarm', 'disarm'], { env: ROOT });
    await other.etcdctl(['del', 'k', '--prefix'], { env: ROOT });
    await other.etcdctl(['compact', String(filled.revision + 1), '--physical'], { env: ROOT });
    await other.etcdctl(['defrag'], { env: ROOT });
    // The mark of the delete is not left in 3.4, so the last row is another one.
    await other.etcdctl(['put', 'last', ''], { env: ROOT });
    const after = folder.file('after.db');
    await other.etcdctl(['snapshot', 'save', after], { env: ROOT });
    expect((await fileStatus(other, after)).revision).toBe(filled.revision + 2);
  });

  it('a large store of ours restores; etcd thins out its tree by a compaction', async () => {
    const { state } = await load(theirs);
    const store = new KvStore();
    for (let i = 0; i < 400; i += 1) {
      commit(store, (txn) => {
        for (let j = 0; j < 50; j += 1) put(txn, `n${(i * 50 + j) % 5000}`, String(i).repeat(1 + (j % 40)));
      });
    }
    const ours = folder.file('large.db');
    await save(ours, { ...state, authEnabled: false, leases: [], alarms: [], users: [], roles: [] }, store);
    expect((await fileStatus(cluster, ours)).revision).toBe(401);
    await using other = await EtcdCluster.start({ version });
    await restoreInto(other, ours);
    expect(await hashOf(other)).toEqual([hashKv(store, 401), -1]);
    await other.etcdctl(['compact', '390', '--physical']);
    store.compact(390);
    expect(await hashOf(other)).toEqual([hashKv(store, 401), 390]);
    const result = store.range(ALL, 390, 0);
    expect(typeof result === 'string' ? result : result.count).toBe(5000);
    const thinned = folder.file('thinned.db');
    await other.etcdctl(['snapshot', 'save', thinned]);
    // It was not defragmented: the file has free pages, and those of ours that were left.
    const again = await load(thinned);
    expect(hashKv(again.store, 401)).toBe(hashKv(store, 401));
    expect((await fileStatus(cluster, thinned)).revision).toBe(401);
  });

  it('hashes what is compacted as etcd does, also when no key is left', async () => {
    await using other = await EtcdCluster.start({ version });
    const hashes: [number, number][] = [];
    const check = async (): Promise<void> => {
      hashes.push(await hashOf(other));
      const file = folder.file('hash.db');
      await rm(file, { force: true });
      await other.etcdctl(['snapshot', 'save', file]);
      const { store } = await load(file);
      expect([hashKv(store, store.revision), store.compactRevision]).toEqual(hashes.at(-1));
    };
    for (const key of ['a', 'b', 'a', 'c']) await other.etcdctl(['put', key, 'v']);
    await other.etcdctl(['compact', '4', '--physical']);
    await check();
    // What the compaction kept of b is superseded.
    await other.etcdctl(['put', 'b', 'w']);
    await check();
    await other.etcdctl(['del', '', '--prefix']);
    await check();
    await other.etcdctl(['compact', '7', '--physical']);
    await check();
    expect(hashes.map(([hash]) => hash)).toEqual([3320674208, 1737539516, 455513579, 1084519789]);
  });

  it('reads the file that a member itself works on, as it left it', async () => {
    await using other = await EtcdCluster.start({ version });
    for (let i = 0; i < 30; i += 1) await other.etcdctl(['put', `k${i % 3}`, String(i).repeat(1000)]);
    await other.etcdctl(['compact', '25', '--physical']);
    const hash = await hashOf(other);
    const member = other.members[0] as EtcdMember;
    await member.terminate();
    const { store, digest } = await load(path.join(member.dataDir, 'member', 'snap', 'db'));
    expect(digest).toBe('absent');
    expect([hashKv(store, store.revision), store.compactRevision]).toEqual(hash);
  });
});
