/** Logs of tests: realistic ids, entries by their index, and a disk that counts and fails. */
import type { ClusterId, MemberId } from '../../../src/protocol/int64.ts';
import type { Entry, HardState } from '../../../src/server/raft/types.ts';
import type { Disk, DiskFile } from '../../../src/server/storage/disk.ts';
import type { WalError, WalMetadata } from '../../../src/server/wal/index.ts';

export const DIRECTORY = 'member/wal';

// Random 64-bit numbers, as etcd's ids are: small ones would hide what takes them for terms or indexes.
export const MEMBER = 0x8e9e_05c5_2164_694dn as MemberId;
export const OWNER: WalMetadata = { memberId: MEMBER, clusterId: 0xcdf8_181e_3227_bec5n as ClusterId };

/** An entry whose data tells its index and term, of any length. */
export function entry(index: number, term = 1, bytes = 20): Entry {
  return {
    type: 'EntryNormal',
    term,
    index,
    data: Uint8Array.from({ length: bytes }, (_, i) => 1 + ((index + term * 31 + i) % 250)),
  };
}

export function entries(first: number, last: number, term = 1, bytes = 20): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, i) => entry(first + i, term, bytes));
}

export function state(term: number, commit: number, vote = MEMBER): HardState {
  return { term, vote, commit };
}

/** What a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<WalError> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: WalError) => error,
  );
}

/** All bytes of all files. */
export async function image(disk: Disk, directory = DIRECTORY): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of (await disk.list(directory)) ?? []) {
    const file = await disk.open(`${directory}/${name}`);
    files.set(name, Buffer.from(await file.read(0, await file.size())));
    await file.close();
  }
  return files;
}

/** Puts files on a disk, durably. */
export async function restore(
  disk: Disk,
  files: ReadonlyMap<string, Uint8Array>,
  directory = DIRECTORY,
): Promise<void> {
  await disk.makeDirectory(directory);
  for (const [name, bytes] of files) {
    const file = await disk.open(`${directory}/${name}`, { mode: 'create' });
    await file.write(0, bytes);
    await file.sync();
    await file.close();
  }
  await disk.syncDirectory(directory);
}

/** A disk that counts, and fails or waits where it is told to. */
export class WatchedDisk implements Disk {
  writes = 0;
  syncs = 0;
  /** Called before each of these; may throw or wait. */
  before: (call: 'write' | 'sync' | 'rename') => void | Promise<void> = () => {};
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  async open(...args: Parameters<Disk['open']>): Promise<DiskFile> {
    const file = await this.#disk.open(...args);
    return {
      size: () => file.size(),
      read: (offset, length) => file.read(offset, length),
      resize: (bytes) => file.resize(bytes),
      tryLock: () => file.tryLock(),
      close: () => file.close(),
      write: async (offset, bytes) => {
        this.writes++;
        await this.before('write');
        await file.write(offset, bytes);
      },
      sync: async () => {
        this.syncs++;
        await this.before('sync');
        await file.sync();
      },
    };
  }

  async rename(from: string, to: string): Promise<void> {
    await this.before('rename');
    await this.#disk.rename(from, to);
  }

  list: Disk['list'] = (directory) => this.#disk.list(directory);
  makeDirectory: Disk['makeDirectory'] = (directory) => this.#disk.makeDirectory(directory);
  remove: Disk['remove'] = (path) => this.#disk.remove(path);
  syncDirectory: Disk['syncDirectory'] = (directory) => this.#disk.syncDirectory(directory);
}
