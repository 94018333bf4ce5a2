/**
 * The files of a log and their names.
 *
 * A log is a row of files, `<number>-<index>.wal`, both as 16 hexadecimal digits: numbers go up by one, and `index` is
 * one more than that of the last entry before the file. It may go back: a new leader replaces entries. Only the last
 * file is written to.
 * Files may be missing at the front, once a snapshot has made them needless, and nowhere else.
 *
 * @module
 */
import type { Disk } from '../storage/disk.ts';
import { WalError } from './errors.ts';

/** Ending of a file that is being made, and of one that was cut after a crash. Neither is part of the log. */
export const TEMPORARY = '.tmp';
export const BROKEN = '.broken';

const EXTENSION = '.wal';
const NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;

/** One file of the log. */
export interface Segment {
  readonly name: string;
  readonly number: number;
  /** Index that follows the last entry before this file; 0 in the first file. */
  readonly firstIndex: number;
}

export function segment(number: number, firstIndex: number): Segment {
  return { name: `${hex16(number)}-${hex16(firstIndex)}${EXTENSION}`, number, firstIndex };
}

function hex16(value: number): string {
  return value.toString(16).padStart(16, '0');
}

/**
 * All files of the log in a directory, in order. What has nothing to do with a log is passed over, as etcd does.
 *
 * @throws WalError `missing`, or `foreign` when the names don't make a row.
 */
export async function listSegments(disk: Disk, directory: string): Promise<Segment[]> {
  const names = (await disk.list(directory)) ?? [];
  const segments = names.filter((name) => name.endsWith(EXTENSION)).map((name) => parse(directory, name));
  if (segments.length === 0) {
    if (names.some((name) => !name.endsWith(TEMPORARY))) throw new WalError('foreign', `no log in ${directory}`);
    throw new WalError('missing', `no log in ${directory}`);
  }
  for (const [i, { name, number }] of segments.entries()) {
    const before = segments[i - 1];
    if (before !== undefined && number !== before.number + 1) {
      throw new WalError('foreign', 'the file before is missing', { file: `${directory}/${name}` });
    }
  }
  return segments;
}

function parse(directory: string, name: string): Segment {
  const [, number, firstIndex] = NAME.exec(name) ?? [];
  if (number === undefined || firstIndex === undefined) {
    throw new WalError('foreign', 'no name of a log', { file: `${directory}/${name}` });
  }
  return { name, number: Number.parseInt(number, 16), firstIndex: Number.parseInt(firstIndex, 16) };
}

/**
 * How many files at the front are needless to whoever reads from the entry after `index` on: the others have the last
 * version of all entries from there on, and the record of a snapshot at `index`.
 */
export function needless(segments: readonly Segment[], index: number): number {
  return Math.max(
    0,
    segments.findLastIndex(({ firstIndex }) => firstIndex <= index),
  );
}
