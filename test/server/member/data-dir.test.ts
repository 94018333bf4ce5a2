import { describe, expect, it } from 'vitest';
import { DataDirError, dataDirPaths, saveImage } from '../../../src/server/member/data-dir.ts';
import { Member } from '../../../src/server/member/member.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { WalError } from '../../../src/server/wal/index.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { image, restore } from '../wal/support.ts';
import { DATA_DIR, optionsOf, put, startMember, valueAt } from './support.ts';

const SNAP = `${DATA_DIR}/member/snap`;
const WAL = `${DATA_DIR}/member/wal`;

/** A data directory with an image, and a log behind it. */
async function filled(clock: VirtualClock): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const member = await startMember(clock, disk, { snapshotCount: 50, snapshotCatchUpEntries: 5 });
  await member.propose({ leaseGrant: { ID: 5n, TTL: 100n } });
  await put(member, 'leased', '1', 5n);
  for (let i = 0; i < 120; i++) {
    await put(member, `k${i}`, 'x'.repeat(300));
    if (i % 10 === 0) await clock.settle();
  }
  await clock.settle();
  await member.stop();
  return disk;
}

async function failure(disk: MemoryDisk, clock: VirtualClock): Promise<unknown> {
  return Member.start(optionsOf(clock, { storage: { disk, dataDir: DATA_DIR } })).then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('a data directory', () => {
  it('has images as the log grows, and no more of the log than they need', async () => {
    const clock = new VirtualClock();
    const disk = await filled(clock);
    expect(await disk.list(SNAP)).toEqual(['db']);
    const [first] = (await disk.list(WAL)) ?? [];
    expect(first).not.toBe('0000000000000000-0000000000000000.wal');
    disk.crash('none');
    await using member = await startMember(clock, disk);
    expect([valueAt(member, 'k0'), valueAt(member, 'k119')]).toEqual(['x'.repeat(300), 'x'.repeat(300)]);
    expect(member.state.store.revision).toBe(122);
    expect(member.state.members.list()).toHaveLength(1);
    expect((await member.timeToLive(5n)).keys).toEqual([Buffer.from('leased')]);
    // What is in the image is not applied again: the store would have other versions.
    expect(member.state.store.get('k5')?.version).toBe(1);
    await put(member, 'more', '1');
  });

  it('is refused and left as it is if the image is damaged', async () => {
    const clock = new VirtualClock();
    const disk = await filled(clock);
    const file = await disk.open(`${SNAP}/db`, { mode: 'write' });
    await file.write(0, new Uint8Array(16_384));
    await file.close();
    const before = [await image(disk, SNAP), await image(disk, WAL)];
    const error = await failure(disk, clock);
    expect(error).toBeInstanceOf(DataDirError);
    expect(String(error)).toContain(`${SNAP}/db`);
    expect([await image(disk, SNAP), await image(disk, WAL)]).toEqual(before);
  });

  it('is refused if the log is gone that the image belongs to', async () => {
    const clock = new VirtualClock();
    const disk = await filled(clock);
    await disk.remove(WAL);
    const error = await failure(disk, clock);
    expect(error).toBeInstanceOf(DataDirError);
    expect(String(error)).toContain('there is an image and no log');
    expect(await disk.list(WAL)).toBeUndefined();
  });

  it('is refused if the image is gone that the log needs', async () => {
    const clock = new VirtualClock();
    const disk = await filled(clock);
    await disk.remove(`${SNAP}/db`);
    const before = await image(disk, WAL);
    expect(await failure(disk, clock)).toBeInstanceOf(WalError);
    expect(await image(disk, WAL)).toEqual(before);
  });

  it('is refused if there is something else in the place of the log', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    await restore(disk, new Map([['letter.txt', Buffer.from('dear sir')]]), WAL);
    expect(await failure(disk, clock)).toMatchObject({ name: 'WalError', code: 'foreign' });
    expect([...(await image(disk, WAL)).keys()]).toEqual(['letter.txt']);
  });

  it('that another member has open is refused', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    await using _member = await startMember(clock, disk);
    expect(await failure(disk, clock)).toMatchObject({ name: 'WalError', code: 'locked' });
  });

  it('keeps nothing of an image that does not fit', async () => {
    const clock = new VirtualClock();
    const disk = await filled(clock);
    const before = await image(disk, SNAP);
    const full = (): Promise<void> => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' }));
    const chunks = (async function* () {
      yield Buffer.alloc(4_096);
      await full();
    })();
    await expect(saveImage(disk, dataDirPaths(DATA_DIR), { sizeBytes: 8_192, chunks })).rejects.toThrow('full');
    expect(await image(disk, SNAP)).toEqual(before);
  });
});
