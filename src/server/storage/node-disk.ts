/**
 * The machine's own disk.
 *
 * Directories are made with mode 0700 and files with 0600, as etcd's are: they hold every value of the store.
 *
 * Locks are those that etcd takes ("open file description locks" on Linux), so that it and this server keep each other
 * out, and a process that is killed leaves none behind. Node.js has no such call, hence the package.
 *
 * @module
 */
/// <reference path="./fs-native-extensions.d.ts" />
import { constants, fdatasync, writeSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import extensions from 'fs-native-extensions';
import type { Disk, DiskFile } from './disk.ts';
import { makeDirectory } from './make-directory.ts';

/**
 * Up to here a write is made at once. It only copies into the system's memory, which takes less than handing it to
 * another thread and hearing of it again; it is the sync that waits for the disk.
 */
const SHORT_WRITE_BYTES = 128 * 1024;

const FLAGS = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};

/** The file system of this machine. */
export const nodeDisk: Disk = {
  async open(path, { mode = 'read' } = {}) {
    return new NodeFile(await open(path, FLAGS[mode], 0o600));
  },

  async list(directory) {
    try {
      return (await readdir(directory)).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  },

  makeDirectory,

  rename,

  remove(path) {
    return rm(path, { recursive: true, force: true });
  },

  async syncDirectory(directory) {
    // Windows can't sync a directory, and need not: its journal keeps the names.
    if (process.platform === 'win32') return;
    await using handle = await open(directory, constants.O_RDONLY);
    await handle.sync();
  },
};

class NodeFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    let done = 0;
    if (bytes.length <= SHORT_WRITE_BYTES) done = writeSync(this.#handle.fd, bytes, 0, bytes.length, offset);
    while (done < bytes.length) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, offset + done);
      done += bytesWritten;
    }
  }

  resize(bytes: number): Promise<void> {
    return this.#handle.truncate(bytes);
  }

  /** Without the time of the last change, which nobody needs and which would cost another write. */
  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      // Cheaper than the function of the same name that gives promises.
      fdatasync(this.#handle.fd, (error) => (error ? reject(error) : resolve()));
    });
  }

  async tryLock(): Promise<boolean> {
    return extensions.tryLock(this.#handle.fd);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
