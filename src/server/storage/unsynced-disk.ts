/**
 * A disk that says it has synced and has not, for `--unsafe-no-fsync`: tests, and data that nobody misses.
 *
 * What was acknowledged outlives the process, since the system has it; it does not outlive the machine.
 *
 * @module
 */
import type { Disk, DiskFile } from './disk.ts';

/** The same disk without its syncs. */
export function withoutSync(disk: Disk): Disk {
  return {
    open: async (path, options) => withoutFileSync(await disk.open(path, options)),
    list: (directory) => disk.list(directory),
    makeDirectory: (directory) => disk.makeDirectory(directory),
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    async syncDirectory() {},
  };
}

function withoutFileSync(file: DiskFile): DiskFile {
  return {
    size: () => file.size(),
    read: (offset, length) => file.read(offset, length),
    write: (offset, bytes) => file.write(offset, bytes),
    resize: (bytes) => file.resize(bytes),
    async sync() {},
    tryLock: () => file.tryLock(),
    close: () => file.close(),
  };
}
