/** Logs of real etcd are read and gone on with, and real etcd reads what we wrote. */
import { cp, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EtcdVersion } from '../../../scripts/etcd.ts';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import { WireError } from '../../../src/protocol/wire.ts';
import { nodeDisk } from '../../../src/server/storage/node-disk.ts';
import { readSnapshots, readWal, Wal, type WalContents } from '../../../src/server/wal/index.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { failureOf } from './support.ts';

const PUTS = 40;
const VALUE = 'v'.repeat(600);

function puts({ entries }: WalContents): string[] {
  return entries.flatMap(({ type, data }) => {
    if (type !== 'EntryNormal' || data.length === 0) return [];
    try {
      const { put } = InternalRaftRequest.decode(data);
      return put === undefined ? [] : [`${Buffer.from(put.key)}=${Buffer.from(put.value)}`];
    } catch (error) {
      // A request of etcd's version 2, by which a member tells its addresses. etcd tells them apart like this too.
      if (error instanceof WireError) return [];
      throw error;
    }
  });
}

function expected(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `key${i}=${i}${VALUE}`);
}

describe.each<EtcdVersion>(['3.4', '3.5'])('etcd %s', (version) => {
  let cluster: EtcdCluster;
  let directory: string;

  const member = () => cluster.members[0]!;
  const put = async (from: number, to: number) => {
    for (let i = from; i < to; i++) await cluster.etcdctl(['put', `key${i}`, `${i}${VALUE}`]);
  };

  beforeAll(async () => {
    cluster = await EtcdCluster.start({ version, members: 1, flags: ['--snapshot-count', '30'] });
    directory = path.join(member().dataDir, 'member', 'wal');
    await put(0, PUTS);
  });

  afterAll(() => cluster?.[Symbol.asyncDispose]());

  it('keeps us out while it runs, and we keep it out', async () => {
    expect((await failureOf(Wal.open(nodeDisk, directory))).code).toBe('locked');
  });

  it('writes what we read', async () => {
    const { memberId } = await member().status();
    await member().kill();
    const { contents, tail } = await readWal(nodeDisk, directory);
    expect(tail.torn).toBe(false);
    expect(contents.metadata.memberId).toBe(BigInt(memberId));
    expect(puts(contents)).toEqual(expected(PUTS));
    const { entries, hardState } = contents;
    expect(entries.map(({ index }) => index)).toEqual(entries.map((_, i) => i + 1));
    expect(hardState.vote).toBe(contents.metadata.memberId);
    expect(hardState.commit).toBeGreaterThanOrEqual(entries.length - 1);
    expect(hardState.term).toBe(entries.at(-1)?.term);
    const snapshots = await readSnapshots(nodeDisk, directory);
    expect(snapshots[0]).toMatchObject({ term: 0, index: 0 });
    expect(snapshots.length).toBeGreaterThan(1);
    for (const { term, index } of snapshots) {
      const later = await readWal(nodeDisk, directory, { term, index });
      expect(later.contents.entries).toEqual(entries.slice(index));
    }
  });

  it('takes the same bytes from us', async () => {
    // All that it wrote, appended to a log of ours, gives the same records.
    const copy = path.join(member().dataDir, 'copy');
    await mkdir(copy);
    const { contents } = await readWal(nodeDisk, directory);
    const ours = await Wal.create(nodeDisk, path.join(copy, 'wal'), contents.metadata);
    for (const one of contents.entries) await ours.append({ entries: [one] });
    await ours.close();
    const of = async (folder: string) => {
      const file = await nodeDisk.open(path.join(folder, '0000000000000000-0000000000000000.wal'));
      const bytes = Buffer.from(await file.read(0, 200));
      await file.close();
      return bytes;
    };
    const [theirHead, ourHead] = [await of(directory), await of(path.join(copy, 'wal'))];
    // Checksum, metadata, the empty snapshot: the same up to the first entry (etcd 3.5 adds nothing to it).
    expect(ourHead.subarray(0, 72).toString('hex')).toBe(theirHead.subarray(0, 72).toString('hex'));
  });

  it('starts on a log that we went on with, and has our entries', async () => {
    await cp(directory, path.join(member().dataDir, 'before'), { recursive: true });
    // Entries, files and a hard state of ours, behind etcd's own.
    const [newest] = (await readSnapshots(nodeDisk, directory)).slice(-1);
    const { wal, contents } = await Wal.open(nodeDisk, directory, { from: newest, segmentBytes: 4096 });
    const last = contents.entries.at(-1)!;
    const { term } = contents.hardState;
    let index = last.index;
    for (let i = PUTS; i < PUTS + 20; i++) {
      const request = { key: Buffer.from(`key${i}`), value: Buffer.from(`${i}${VALUE}`), lease: 0n };
      const data = InternalRaftRequest.encode({ header: { ID: BigInt(i + 1) }, put: request });
      index++;
      await wal.append({ entries: [{ type: 'EntryNormal', term, index, data: Uint8Array.from(data) }] });
    }
    await wal.append({ hardState: { ...contents.hardState, commit: index } });
    // A file that we have open is locked for etcd too.
    await member().spawn();
    await expect(member().waitHealthy(1_500)).rejects.toThrow();
    await member().kill();
    await wal.close();
    expect(((await nodeDisk.list(directory)) ?? []).filter((name) => name.endsWith('.wal')).length).toBeGreaterThan(3);

    await member().restart();
    const listed = await cluster.etcdctl(['get', '--prefix', 'key', '--keys-only']);
    expect(listed.split('\n').filter((line) => line !== '').length).toBe(PUTS + 20);
    expect(await cluster.etcdctl(['get', '--print-value-only', 'key59'])).toBe(`59${VALUE}\n`);
    // And it goes on behind us, and we read that.
    await put(PUTS + 20, PUTS + 25);
    await member().terminate();
    const found = puts((await readWal(nodeDisk, directory, newest)).contents);
    expect(found).toEqual(expected(PUTS + 25).slice(-found.length));
    expect(found.length).toBeGreaterThanOrEqual(25);
  });
});
