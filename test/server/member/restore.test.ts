import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { DataDirError } from '../../../src/server/member/data-dir.ts';
import { type RestoreOptions, restoreDataDir } from '../../../src/server/member/restore.ts';
import { withDigest } from '../../../src/server/snapshot/digest.ts';
import type { Disk } from '../../../src/server/storage/disk.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { collect } from '../snapshot/support.ts';
import { WatchedDisk } from '../wal/support.ts';
import { DATA_DIR, NAME, PEER_URL, put, startMember, valueAt } from './support.ts';

const FILE = 'snapshot.db';

/** A snapshot of a member with keys, a lease and a compaction, as the Snapshot call sends it. */
async function snapshot(clock: VirtualClock): Promise<Buffer> {
  await using member = await startMember(clock, undefined, { clusterToken: 'before' });
  await member.propose({ leaseGrant: { ID: 5n, TTL: 100n } });
  for (let i = 0; i < 20; i++) await put(member, `k${i % 7}`, String(i));
  await put(member, 'leased', 'x', 5n);
  await member.propose({ compaction: { revision: 10n, physical: false } });
  return collect(withDigest((await member.image()).chunks));
}

async function writeFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, { mode: 'create' });
  await file.write(0, bytes);
  await file.sync();
  await file.close();
  await disk.syncDirectory('.');
}

function options(disk: Disk, more: Partial<RestoreOptions> = {}): RestoreOptions {
  return {
    disk,
    snapshotFile: FILE,
    dataDir: DATA_DIR,
    name: NAME,
    initialCluster: [{ name: NAME, peerUrls: [PEER_URL] }],
    clusterToken: 'after',
    pause: () => turn(),
    ...more,
  };
}

async function refusalOf(restored: Promise<unknown>): Promise<string> {
  const error = await restored.then(
    () => new Error('it was not refused'),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(DataDirError);
  return (error as DataDirError).message;
}

describe('a data directory from a snapshot', () => {
  it('has the keys with their revisions and leases, and ids of its own', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    await writeFile(disk, FILE, await snapshot(clock));
    const { memberId, clusterId, revision } = await restoreDataDir(options(disk));
    expect(revision).toBe(22);
    disk.crash('none');
    for (let life = 0; life < 2; life++) {
      await using member = await startMember(clock, disk, { clusterToken: 'ignored, once there are data' });
      expect([member.id, member.clusterId]).toEqual([memberId, clusterId]);
      expect(member.state.members.list()).toMatchObject([{ id: memberId, name: NAME, peerUrls: [PEER_URL] }]);
      expect([valueAt(member, 'k5'), valueAt(member, 'leased')]).toEqual(['19', 'x']);
      expect(member.state.store.compactRevision).toBe(10);
      expect((await member.timeToLive(5n)).keys).toEqual([Buffer.from('leased')]);
      expect(member.state.store.revision).toBe(22 + life);
      await put(member, 'more', String(life));
    }
    await using other = await startMember(clock, undefined, { clusterToken: 'before' });
    expect(memberId).not.toBe(other.id);
    expect(clusterId).not.toBe(other.clusterId);
  });

  it('has as many members as the new cluster is to have, each with the same state', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    await writeFile(disk, FILE, await snapshot(clock));
    const initialCluster = ['a', 'b', 'c'].map((name) => ({ name, peerUrls: [`http://${name}:2380`] }));
    const made = [];
    for (const { name } of initialCluster) {
      made.push(await restoreDataDir(options(disk, { name, initialCluster, dataDir: name })));
    }
    expect(new Set(made.map(({ clusterId }) => clusterId)).size).toBe(1);
    expect(new Set(made.map(({ memberId }) => memberId)).size).toBe(3);
  });

  it.each<[string, (bytes: Buffer) => Uint8Array, Partial<RestoreOptions>, string]>([
    ['has another byte', (bytes) => bytes.fill(1, 5_000, 5_001), {}, 'the digest at its end is not'],
    ['has no digest', (bytes) => bytes.subarray(0, -32), {}, 'it has no digest at its end'],
    ['was cut off', (bytes) => bytes.subarray(0, 4_096), { skipHashCheck: true }, 'bytes instead of'],
    ['is no snapshot', () => Buffer.alloc(10_000, 'x'), { skipHashCheck: true }, FILE],
  ])('is not made if the file %s', async (_what, damage, more, message) => {
    const disk = new MemoryDisk();
    await writeFile(disk, FILE, damage(await snapshot(new VirtualClock())));
    expect(await refusalOf(restoreDataDir(options(disk, more)))).toContain(message);
    expect(await disk.list(DATA_DIR)).toBeUndefined();
  });

  it('is made of a file without a digest if nobody minds', async () => {
    const disk = new MemoryDisk();
    await writeFile(disk, FILE, (await snapshot(new VirtualClock())).subarray(0, -32));
    expect((await restoreDataDir(options(disk, { skipHashCheck: true }))).revision).toBe(22);
  });

  it('is not made over what is there', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    await writeFile(disk, FILE, await snapshot(clock));
    await using member = await startMember(clock, disk);
    await put(member, 'a', 'kept');
    expect(await refusalOf(restoreDataDir(options(disk)))).toContain('it is not empty: it has member');
    await member.stop();
    await using again = await startMember(clock, disk);
    expect(valueAt(again, 'a')).toBe('kept');
    await expect(restoreDataDir(options(disk, { name: 'stranger' }))).rejects.toThrow(RangeError);
  });

  it('is there wholly or not at all, whenever the power fails; then it can be made again', async () => {
    const clock = new VirtualClock();
    const bytes = await snapshot(clock);
    let done = false;
    for (let step = 0; !done; step++) {
      for (const mode of ['none', 'all'] as const) {
        const disk = new MemoryDisk();
        await writeFile(disk, FILE, bytes);
        const failing = new WatchedDisk(disk);
        let left = step;
        failing.before = () => {
          if (left-- === 0) throw Object.assign(new Error('the power is gone'), { code: 'EIO' });
        };
        // Nothing is tidied up after that.
        failing.remove = async (path) => {
          if (left >= 0) await disk.remove(path);
        };
        done = await restoreDataDir(options(failing)).then(
          () => true,
          () => false,
        );
        disk.crash(mode);
        if (!(await disk.list(DATA_DIR))?.includes('member')) await restoreDataDir(options(disk));
        await using member = await startMember(clock, disk);
        expect(member.state.store.revision).toBe(22);
      }
      expect(step).toBeLessThan(100);
    }
  });
});
