/**
 * Makes the end of a log fit to be written to again.
 *
 * Everything behind the last whole record becomes zeros: etcd does so too, since a part of what a crash left there
 * would, once overwritten by halves, look like damage. Bytes that stood for something are kept in a copy first, for
 * people to look at: `<name>.broken`, which etcd and this reader pass over.
 *
 * @module
 */
import type { Disk, DiskFile } from '../storage/disk.ts';
import { LENGTH_BYTES, writeLength } from './frame.ts';
import type { WalTail } from './reader.ts';
import { BROKEN } from './segments.ts';

const COPY_BYTES = 1024 * 1024;

/** A tail that was torn, and is not any more. */
export interface WalRepair {
  /** Path of the file. */
  readonly file: string;
  /** Where its last whole record ends, in bytes: what stood behind is gone from it. */
  readonly offset: number;
  /** Path of the file as it was. */
  readonly copy: string;
}

/**
 * Repairs the last file, which is open, and makes it as long as it is to be. Durable when done.
 *
 * @param segmentBytes length to give to the file; it stays longer if the log is.
 * @returns What was repaired; undefined if nothing was torn.
 */
export async function repairTail(
  disk: Disk,
  directory: string,
  file: DiskFile,
  tail: WalTail,
  segmentBytes: number,
): Promise<WalRepair | undefined> {
  const torn = tail.torn || tail.lostLengths.length > 0;
  const { name } = tail.segment;
  if (torn) await keepCopy(disk, directory, file, name + BROKEN);
  for (const { offset, recordBytes } of tail.lostLengths) {
    const length = Buffer.alloc(LENGTH_BYTES);
    writeLength(length, 0, recordBytes);
    await file.write(offset, length);
  }
  await file.resize(tail.offset);
  await file.resize(Math.max(tail.offset, segmentBytes));
  await file.sync();
  const path = `${directory}/${name}`;
  return torn ? { file: path, offset: tail.offset, copy: path + BROKEN } : undefined;
}

async function keepCopy(disk: Disk, directory: string, file: DiskFile, name: string): Promise<void> {
  const copy = await disk.open(`${directory}/${name}`, { mode: 'create' });
  try {
    const bytes = await file.size();
    for (let offset = 0; offset < bytes; offset += COPY_BYTES) {
      const piece = await file.read(offset, COPY_BYTES);
      // What is zeros anyway takes no room.
      if (piece.some((byte) => byte !== 0)) await copy.write(offset, piece);
    }
    await copy.resize(bytes);
    await copy.sync();
  } finally {
    await copy.close();
  }
  await disk.syncDirectory(directory);
}
