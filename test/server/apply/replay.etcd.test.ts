/** Logs that real etcd wrote, applied here, lead to the state that etcd has. */
import { open as openFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ApplyError } from '../../../src/server/apply/errors.ts';
import type { Entry } from '../../../src/server/raft/types.ts';
import { readBackendState, readStore } from '../../../src/server/snapshot/backend-reader.ts';
import { BoltFile } from '../../../src/server/snapshot/bolt/reader.ts';
import { fileSource } from '../../../src/server/snapshot/bolt/source.ts';
import { nodeDisk } from '../../../src/server/storage/node-disk.ts';
import { readWal } from '../../../src/server/wal/index.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { Bench, saidOf, sharedState } from './support.ts';

const ROOT = { ETCDCTL_USER: 'root:pw' };

/** Some of everything that gets into a log. */
async function liveABit(cluster: EtcdCluster): Promise<void> {
  const ctl = (...args: string[]): Promise<string> => cluster.etcdctl(args);
  for (let i = 0; i < 6; i += 1) await ctl('put', `k${i % 4}`, `v${i}`);
  await ctl('del', 'k1', 'k3');
  const granted = await ctl('lease', 'grant', '900');
  const lease = /lease ([0-9a-f]+)/.exec(granted)?.[1] as string;
  await ctl('lease', 'grant', '700');
  for (const key of ['z2', 'z1', 'z3']) await ctl('put', key, 'leased', `--lease=${lease}`);
  await cluster.etcdctl(['txn'], { input: 'ver("k0") > "0"\n\nput k0 then\ndel k3\nput k9 9\n\nput k0 else\n\n' });
  await ctl('compaction', '7');
  await ctl('put', 'z4', 'more', `--lease=${lease}`);
  await ctl('lease', 'revoke', lease);
  await ctl('del', 'nothing');
  const added = await ctl('member', 'add', 'other', '--learner', '--peer-urls=http://127.0.0.1:1');
  const id = /Member\s+([0-9a-f]+) added/.exec(added)?.[1] as string;
  await ctl('member', 'add', 'third', '--learner', '--peer-urls=http://127.0.0.1:2').catch(() => {});
  await ctl('member', 'remove', id);
  await ctl('compaction', '12');
  // etcd 3.4 writes down how far it is with keys only.
  await ctl('put', 'last', 'one');
}

async function liveWithUsers(cluster: EtcdCluster): Promise<void> {
  const ctl = (...args: string[]): Promise<string> => cluster.etcdctl(args);
  await ctl('role', 'add', 'reader');
  await ctl('role', 'grant-permission', 'reader', 'read', 'a', 'b');
  await ctl('role', 'grant-permission', 'reader', 'readwrite', 'c');
  await ctl('user', 'add', 'root:pw');
  await ctl('user', 'add', 'ann:secret');
  await ctl('user', 'grant-role', 'root', 'root');
  await ctl('user', 'grant-role', 'ann', 'reader');
  await ctl('user', 'grant-role', 'ann', 'nobody').catch(() => {});
  await ctl('auth', 'enable');
  await cluster.etcdctl(['put', 'by-root', '1'], { env: ROOT });
  await cluster.etcdctl(['put', 'by-ann', '1'], { env: { ETCDCTL_USER: 'ann:secret' } }).catch(() => {});
  await cluster.etcdctl(['user', 'delete', 'ann'], { env: ROOT });
}

/** What etcd has: its snapshot, taken in by us, and the hashes that it tells. */
async function stateOf(cluster: EtcdCluster, revisions: readonly number[], env = {}) {
  const hashAt = async (revision: number) => {
    const text = await cluster.etcdctl(['endpoint', 'hashkv', `--rev=${revision}`, '-w', 'json'], { env });
    const number = (name: string): number => Number(new RegExp(`"${name}":(-?\\d+)`).exec(text)?.[1]);
    return { hash: number('hash'), compactRevision: number('compact_revision') };
  };
  const hashes = [];
  for (const revision of revisions) hashes.push(await hashAt(revision));
  await using folder = new TempFolder('replay');
  await cluster.etcdctl(['snapshot', 'save', folder.file('snapshot.db')], { env });
  const handle = await openFile(folder.file('snapshot.db'));
  const bolt = await BoltFile.open(await fileSource(handle));
  const { machine } = new Bench();
  const state = await readBackendState(bolt);
  await machine.restore(state, (leases) => readStore(bolt, leases));
  await handle.close();
  // Its backend doesn't have the addresses, but the log does, by a request of version 2.
  const { id, name } = machine.members.list()[0]!;
  machine.members.setAttributes(id, name, [cluster.members[0]!.clientUrl]);
  return { machine, hashes };
}

async function logOf(cluster: EtcdCluster): Promise<readonly Entry[]> {
  const [member] = cluster.members;
  await member!.kill();
  return (await readWal(nodeDisk, path.join(member!.dataDir, 'member', 'wal'))).contents.entries;
}

/** Applies a log up to an index. @returns What was refused, once each. */
function replay({ machine }: Bench, entries: readonly Entry[], to: number): string[] {
  const said = new Set<string>();
  for (const entry of entries) if (entry.index <= to) said.add(saidOf(machine.apply(entry, 0).outcome));
  return [...said].filter((text) => text.startsWith('etcdserver')).sort();
}

describe('a log of etcd', () => {
  it('3.5 has the same effect here', async () => {
    await using cluster = await EtcdCluster.start({ version: '3.5', members: 1 });
    await liveABit(cluster);
    await liveWithUsers(cluster);
    const revisions = [0, 14, 12, 7, -1];
    const etcd = await stateOf(cluster, revisions, ROOT);
    const ours = new Bench();
    expect(replay(ours, await logOf(cluster), etcd.machine.index)).toEqual([
      'etcdserver: permission denied',
      'etcdserver: role name not found',
      'etcdserver: too many learner members in cluster',
    ]);
    expect(sharedState(ours.machine)).toEqual(sharedState(etcd.machine));
    expect(revisions.map((revision) => ours.machine.hashKv(revision))).toEqual(etcd.hashes);
  });

  it('3.4 has the same effect here, but for a password in it', async () => {
    await using cluster = await EtcdCluster.start({ version: '3.4', members: 1 });
    await liveABit(cluster);
    // It remembers no hashes of compactions, and writes no term.
    const etcd = await stateOf(cluster, [0, 14]);
    await cluster.etcdctl(['user', 'add', 'ann:secret']);
    const ours = new Bench();
    const log = await logOf(cluster);
    replay(ours, log, etcd.machine.index);
    expect({ ...sharedState(ours.machine), term: 0 }).toEqual({
      ...sharedState(etcd.machine),
      term: 0,
    });
    expect([0, 14].map((revision) => ours.machine.hashKv(revision))).toEqual(etcd.hashes);
    expect(() => replay(ours, log, Number.POSITIVE_INFINITY)).toThrow(ApplyError);
  });
});
