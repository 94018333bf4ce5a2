import { expect, it } from 'vitest';
import type { Disk, DiskFile } from '../../../src/server/storage/disk.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { refuseInUse, Wal } from '../../../src/server/wal/index.ts';
import { DIRECTORY, entries, failureOf, OWNER } from './support.ts';

/** A disk where somebody comes along before each step. */
function watched(disk: Disk, visit: () => Promise<void>): Disk {
  const before =
    <A extends unknown[], R>(step: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await visit();
      return step(...args);
    };
  const file = (inner: DiskFile): DiskFile => ({
    size: () => inner.size(),
    read: (offset, length) => inner.read(offset, length),
    tryLock: before(() => inner.tryLock()),
    close: before(() => inner.close()),
    resize: before((bytes) => inner.resize(bytes)),
    write: before((offset, bytes) => inner.write(offset, bytes)),
    sync: before(() => inner.sync()),
  });
  return {
    list: (directory) => disk.list(directory),
    makeDirectory: (directory) => disk.makeDirectory(directory),
    remove: (path) => disk.remove(path),
    open: before(async (path, options) => file(await disk.open(path, options))),
    rename: before((from, to) => disk.rename(from, to)),
    syncDirectory: before((directory) => disk.syncDirectory(directory)),
  };
}

it('a log that goes on to another file is never to be had', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('member');
  let visits = 0;
  let open = false;
  const visit = async (): Promise<void> => {
    if (!open) return;
    visits += 1;
    expect((await failureOf(refuseInUse(disk, DIRECTORY))).code).toBe('locked');
    expect((await failureOf(Wal.open(disk, DIRECTORY))).code).toBe('locked');
  };
  const wal = await Wal.create(watched(disk, visit), DIRECTORY, OWNER, { segmentBytes: 512 });
  open = true;
  for (let i = 1; i <= 30; i++) await wal.append({ entries: entries(i, i, 1, 100) });
  expect(visits).toBeGreaterThan(100);
  open = false;
  await wal.close();
  expect((await Wal.open(disk, DIRECTORY)).contents.entries).toHaveLength(30);
});

it('who finds the last file free once another one is begun does not take it', async () => {
  const disk = new MemoryDisk();
  await disk.makeDirectory('member');
  const first = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 512 });
  let lists = 0;
  // Between the two looks at the names, the writer goes on to other files.
  const late: Disk = {
    ...watched(disk, async () => {}),
    async list(directory) {
      const names = await disk.list(directory);
      lists += 1;
      if (lists === 1) for (let i = 1; i <= 10; i++) await first.append({ entries: entries(i, i, 1, 100) });
      return names;
    },
  };
  expect((await failureOf(Wal.open(late, DIRECTORY))).code).toBe('locked');
  await first.close();
});
