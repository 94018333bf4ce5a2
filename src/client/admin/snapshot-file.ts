/**
 * Backups in a file.
 *
 * Invariant: `path` is either what it was before or a whole, checked backup that survives a
 * crash of the machine; never a part of one. The bytes go to a file of their own beside it,
 * which only the owner can read (a backup holds every value and password hash), are synced,
 * and take the name in one step.
 *
 * @module
 */

import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Caller } from '../connection/caller.ts';
import { EtcdError } from '../errors.ts';
import { openSnapshot, type SnapshotOptions } from './snapshot.ts';

/** How far a backup is. */
export interface SnapshotProgress {
  /** Bytes written so far. */
  readonly bytes: number;
  /** Bytes that there will be. */
  readonly totalBytes: number;
}

/** How to save a backup. */
export interface SaveSnapshotOptions extends SnapshotOptions {
  /** Called after each piece, some 32 KiB. What it throws ends the backup. */
  readonly onProgress?: ((progress: SnapshotProgress) => void) | undefined;
}

/** A backup that was saved. */
export interface SavedSnapshot {
  /** The size of the file. */
  readonly bytes: number;
  /** The SHA-256 of the database in hexadecimal, which is also the file's last 32 bytes. */
  readonly sha256Hex: string;
  /** The version of the member that made it. Since 3.6; undefined from older servers. */
  readonly version: string | undefined;
}

/**
 * Saves a backup to `path`, replacing a file of that name. While it is made it is called
 * `<path>.<8 hex digits>.part`; a process that is killed leaves that behind, and nothing else ever does.
 *
 * @throws EtcdError as {@link openSnapshot} and its stream do; the file system's own errors as they are.
 */
export async function saveSnapshot(caller: Caller, path: string, options: SaveSnapshotOptions): Promise<SavedSnapshot> {
  const { onProgress, ...snapshotOptions } = options;
  const suffix = Math.floor(caller.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0');
  const part = `${path}.${suffix}.part`;
  const file = await open(part, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    let saved: SavedSnapshot;
    try {
      saved = await writeTo(file, caller, snapshotOptions, onProgress);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
    await syncFolder(dirname(path));
    return saved;
  } catch (error) {
    await rm(part, { force: true }).catch(() => {}); // the first error is the one to tell
    throw error;
  }
}

async function writeTo(
  file: FileHandle,
  caller: Caller,
  options: SnapshotOptions,
  onProgress: SaveSnapshotOptions['onProgress'],
): Promise<SavedSnapshot> {
  const snapshot = await openSnapshot(caller, options);
  const { totalBytes, version } = snapshot;
  let bytes = 0;
  // Leaving the loop by an error destroys the stream.
  for await (const piece of snapshot as AsyncIterable<Uint8Array>) {
    await file.appendFile(piece);
    bytes += piece.length;
    onProgress?.({ bytes, totalBytes });
  }
  const { sha256Hex } = snapshot;
  // A stream that was destroyed without an error ends a loop quietly.
  if (sha256Hex === undefined) throw new EtcdError('checksum-mismatch', 'the snapshot ended before it was checked');
  return { bytes, sha256Hex, version };
}

/** Makes the new name itself durable. Windows has no such thing. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
