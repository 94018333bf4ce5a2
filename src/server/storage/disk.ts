/**
 * A disk as the server uses it.
 *
 * What a write promises is little: until `sync` of the file has returned, none, some or all of its sectors may be there
 * after a crash. A new, renamed or removed name is there for certain only after `syncDirectory` of its directory.
 * Whoever keeps something here owes the syncs, and must never sync again after one has failed: the system may have
 * dropped the bytes already, and would call the second one a success (see "fsyncgate", PostgreSQL, 2018).
 *
 * Nothing here is atomic except `rename`, and a sector of 512 bytes. Paths have `/` between their parts.
 *
 * @module
 */

/** What is written whole or not at all, in bytes; as etcd has it. */
export const SECTOR_BYTES = 512;

/** How to open a file. */
export interface OpenOptions {
  /**
   * `read`: it must be there. `write`: it must be there, and can be read too. `create`: it is made, and emptied if it
   * was there; can be read too. Default `read`.
   */
  readonly mode?: 'read' | 'write' | 'create' | undefined;
}

/** Keeps files. Failures reject with the errors of `node:fs`, whose `code` is such as `ENOENT` or `ENOSPC`. */
export interface Disk {
  open(path: string, options?: OpenOptions): Promise<DiskFile>;
  /** The names in a directory, sorted; undefined if there is no such directory. */
  list(directory: string): Promise<string[] | undefined>;
  /** Makes a directory that only its owner can use, and those above it; one that is there is fine. */
  makeDirectory(directory: string): Promise<void>;
  /** Gives a file or directory another name, in place of a file that has it. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a directory and all that is in it. What is not there is fine. */
  remove(path: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDirectory(directory: string): Promise<void>;
}

/** An open file. Calls must not overlap, except reads. */
export interface DiskFile {
  /** Length in bytes. */
  size(): Promise<number>;
  /** Bytes from `offset` on: `length` of them, or what there is up to the end of the file. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Writes all of `bytes`, which nobody may change meanwhile. What lies between the old end and `offset` is zeros. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Cuts the file, or adds zeros without taking room for them. */
  resize(bytes: number): Promise<void>;
  /** Makes content and length durable. */
  sync(): Promise<void>;
  /**
   * Keeps everybody else, other processes too, from locking the file, until it is closed or the process ends.
   *
   * @returns false if somebody has it.
   */
  tryLock(): Promise<boolean>;
  /** Also ends the lock. Syncs nothing. */
  close(): Promise<void>;
}
