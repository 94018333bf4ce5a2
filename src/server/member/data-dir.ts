/**
 * A member's data directory, laid out as etcd's: `member/wal` the log, `member/snap/db` the last image.
 *
 * Reading changes nothing in it. What is damaged, or not ours, is an error that names the file and why, never what is
 * in it; an operator who gets one still has all that was there.
 *
 * @module
 */
import { viewAsBuffer } from '../../protocol/keys.ts';
import type { KvStore, LeaseBook } from '../mvcc/store.ts';
import { type LoadedState, readBackendState, readStore } from '../snapshot/backend-reader.ts';
import { BoltFile } from '../snapshot/bolt/reader.ts';
import type { BoltSource } from '../snapshot/bolt/source.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import type { Disk } from '../storage/disk.ts';
import { parentOf } from '../storage/paths.ts';

/** Ends of the names of images that are not in place yet: own ones, and those from other members. */
const OWN = '.tmp';
const FROM_PEER = '.peer.';

/** Why a data directory can't be used. */
export class DataDirError extends Error {
  override name = 'DataDirError';
  /** The file or directory that is to blame. */
  readonly file: string;

  constructor(file: string, reason: string, options?: ErrorOptions) {
    super(`data directory: ${reason} (${file})`, options);
    this.file = file;
  }
}

/** Where things are in a data directory. */
export interface DataDirPaths {
  readonly wal: string;
  readonly snap: string;
  readonly image: string;
}

/** Where things are below `root`. The log may be elsewhere. */
export function dataDirPaths(root: string, wal = `${root}/member/wal`): DataDirPaths {
  const snap = `${root}/member/snap`;
  return { wal, snap, image: `${snap}/db` };
}

/** An image that is open. */
export interface OpenImage {
  readonly state: LoadedState;
  /**
   * Reads the keys.
   *
   * @param leases hears which of them hang on which lease.
   * @throws {@link DataDirError}
   */
  readonly readKeys: (leases: LeaseBook) => Promise<KvStore>;
  readonly close: () => Promise<void>;
}

/**
 * Opens the image, if there is one, and reads all of it but the keys.
 *
 * @throws {@link DataDirError}
 */
export async function openImage(disk: Disk, paths: DataDirPaths): Promise<OpenImage | undefined> {
  const names = await disk.list(paths.snap);
  return names?.includes('db') ? openImageFile(disk, paths.image) : undefined;
}

/** Opens an image that is in a file, and reads all of it but the keys. @throws {@link DataDirError} */
export async function openImageFile(disk: Disk, path: string): Promise<OpenImage> {
  const file = await disk.open(path);
  const read = async (at: number, size: number) => viewAsBuffer(await file.read(at, size));
  return openImageSource({ sizeBytes: await file.size(), read }, path, () => file.close());
}

/** Opens an image, wherever it is. @param path says in errors where that is. @throws {@link DataDirError} */
export async function openImageSource(
  source: BoltSource,
  path: string,
  close: () => Promise<void>,
): Promise<OpenImage> {
  const refuse = (cause: unknown): never => {
    throw new DataDirError(path, cause instanceof Error ? cause.message : 'it can not be read', { cause });
  };
  try {
    const bolt = await BoltFile.open(source);
    const state = await readBackendState(bolt);
    return { state, readKeys: (leases) => readStore(bolt, leases).catch(refuse), close };
  } catch (cause) {
    await close();
    return refuse(cause);
  }
}

/** Writes an image in place of the one that is there: durably, and wholly or not at all. */
export async function saveImage(disk: Disk, paths: DataDirPaths, image: BoltImage): Promise<void> {
  const temporary = `${paths.image}${OWN}`;
  await keepImage(disk, paths, temporary, image.chunks);
  await adoptImage(disk, paths, temporary);
}

/** Where an image from another member is until it is wanted. @param count tells those of one life apart. */
export function peerImagePath({ image }: DataDirPaths, count: number): string {
  return `${image}${FROM_PEER}${count}`;
}

/** Writes an image into a file: durably, or not at all. */
export async function keepImage(
  disk: Disk,
  paths: DataDirPaths,
  file: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  await disk.makeDirectory(paths.snap);
  try {
    await writeImage(disk, file, chunks);
  } catch (error) {
    // On a full disk the log needs the room.
    await disk.remove(file).catch(() => {});
    throw error;
  }
}

/** Removes images that were never put in place: their writer died. To be called once the directory is locked. */
export async function removeLeftovers(disk: Disk, paths: DataDirPaths): Promise<void> {
  for (const name of (await disk.list(paths.snap)) ?? []) {
    if (name === `db${OWN}` || name.startsWith(`db${FROM_PEER}`)) await disk.remove(`${paths.snap}/${name}`);
  }
}

/** Puts an image in place of the one that is there. */
export async function adoptImage(disk: Disk, paths: DataDirPaths, file: string): Promise<void> {
  await disk.rename(file, paths.image);
  await disk.syncDirectory(paths.snap);
  // The directory itself may be as new as the image.
  await disk.syncDirectory(parentOf(paths.snap));
}

async function writeImage(disk: Disk, path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await disk.open(path, { mode: 'create' });
  try {
    let at = 0;
    for await (const chunk of chunks) {
      await file.write(at, chunk);
      at += chunk.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
