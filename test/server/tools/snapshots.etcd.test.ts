/** Snapshots and data directories go both ways between the bundled server and etcd, with etcd's tools and with ours. */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import type { EtcdMember } from '../../support/etcd-member.ts';
import { versions } from '../../support/fixtures.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { etcdkit, expectSame, expectToGoOn, type Filled, fill, onFile, ROOT, startOn } from './filled.ts';

let folder: TempFolder;
beforeAll(() => {
  folder = new TempFolder('etcdkit-tools');
});
afterAll(async () => {
  await folder?.remove();
});

/** In decimal. */
async function idsOf(cluster: EtcdCluster): Promise<{ member: string | undefined; cluster: string | undefined }> {
  const text = await cluster.etcdctl(['get', 'x', '-w', 'json'], { env: ROOT });
  const id = (name: string): string | undefined => new RegExp(`"${name}":(\\d+)`).exec(text)?.[1];
  return { member: id('member_id'), cluster: id('cluster_id') };
}

describe.each(versions)('a snapshot of the bundled server, in etcd %s', (version) => {
  let ours: EtcdCluster;
  let filled: Filled;
  let file: string;

  beforeAll(async () => {
    ours = await EtcdCluster.start({ version: 'bundled' });
    filled = await fill(ours);
    file = folder.file(`ours-${version}.db`);
    await ours.etcdctl(['snapshot', 'save', file], { env: ROOT });
  });
  afterAll(async () => {
    await ours?.[Symbol.asyncDispose]();
  });

  it('is restored, and has the same keys, hashes, leases, users and roles, and authentication on', async () => {
    await using etcd = await EtcdCluster.start({ version });
    const status = JSON.parse(await onFile(etcd, ['snapshot', 'status', file, '-w', 'json'])) as { revision: number };
    expect(status.revision).toBe(filled.revision);
    await startOn(etcd, file, (words) => onFile(etcd, words));
    await expectSame(etcd, ours, filled);
    await expectToGoOn(etcd, filled);
  });

  it('is refused if a byte of it is another', async () => {
    await using etcd = await EtcdCluster.start({ version });
    const bytes = await readFile(file);
    bytes[bytes.length - 200] = 0xff ^ (bytes[bytes.length - 200] as number);
    const broken = folder.file(`broken-${version}.db`);
    await writeFile(broken, bytes);
    await expect(startOn(etcd, broken, (words) => onFile(etcd, words))).rejects.toThrow(/sha256/);
  });
});

describe.each(versions)('etcd %s, in the bundled server', (version) => {
  let theirs: EtcdCluster;
  let filled: Filled;

  beforeAll(async () => {
    theirs = await EtcdCluster.start({ version });
    filled = await fill(theirs);
  });
  afterAll(async () => {
    await theirs?.[Symbol.asyncDispose]();
  });

  it('a snapshot of it is restored', async () => {
    const file = folder.file(`theirs-${version}.db`);
    await theirs.etcdctl(['snapshot', 'save', file], { env: ROOT });
    await using ours = await EtcdCluster.start({ version: 'bundled' });
    await startOn(ours, file, etcdkit);
    await expectSame(ours, theirs, filled);
    const [mine, original] = [await idsOf(ours), await idsOf(theirs)];
    expect(mine.member).not.toBe(original.member);
    expect(mine.cluster).not.toBe(original.cluster);
    await expectToGoOn(ours, filled);
  });

  it('its data directory is gone on with, as a killed member left it', async () => {
    await using ours = await EtcdCluster.start({ version: 'bundled' });
    const member = ours.members[0] as EtcdMember;
    const original = theirs.members[0] as EtcdMember;
    const ids = await idsOf(theirs);
    await original.kill();
    await member.kill();
    await rm(member.dataDir, { recursive: true });
    await cp(original.dataDir, member.dataDir, { recursive: true });
    await original.restart();
    await member.restart();
    expect(await idsOf(ours)).toEqual(ids);
    await expectSame(ours, theirs, filled);
    await expectToGoOn(ours, filled);
  });
});
