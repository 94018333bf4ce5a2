/**
 * What a member has on its disk: a log of records, files of snapshots, and perhaps its state machine.
 *
 * As in etcd, a record holds entries and then the hard state, so a torn one may have entries without it, and never the
 * other way round. A snapshot counts once the log has a mark for it, and its file is synced before the mark is
 * written. Log and files are streams of their own: a crash may keep one and lose the other.
 */
import type { ConfState, Entry, HardState, MemoryStorage, Snapshot } from '../../../src/server/raft/index.ts';
import type { Medium } from '../world/disk.ts';
import type { Random } from '../world/random.ts';
import { HashedLog } from './hashed-log.ts';
import { hashOf, stateBytes } from './snapshot.ts';

/** A snapshot takes the place of the log up to it; one that was received, of all of the log. */
export interface SnapshotMark {
  readonly index: number;
  readonly received: boolean;
}

/** One record of the log. Parts that are left out are not in it. */
export interface LogRecord {
  readonly kind: 'log';
  readonly mark?: SnapshotMark | undefined;
  readonly entries: readonly Entry[];
  readonly hardState?: HardState | undefined;
}

export interface SnapshotFile {
  readonly kind: 'snapshot';
  readonly snapshot: Snapshot;
}

/** How far the state machine is, for members that keep it on disk. */
export interface AppliedState {
  readonly kind: 'state';
  readonly index: number;
  readonly hash: number;
  readonly confState: ConfState;
}

export type ImageWrite = LogRecord | SnapshotFile | AppliedState;

export interface Image {
  hardState: HardState | undefined;
  /** The latest snapshot that the log has a mark for. */
  snapshot: Snapshot | undefined;
  /** Files that no mark has named yet. */
  files: Snapshot[];
  readonly log: HashedLog;
  state: AppliedState | undefined;
}

export function emptyImage(): Image {
  return { hardState: undefined, snapshot: undefined, files: [], log: new HashedLog(), state: undefined };
}

/** Whether nothing was ever written. */
export function isBlank({ hardState, snapshot, log }: Image): boolean {
  return hardState === undefined && snapshot === undefined && log.lastIndex === 0;
}

const STREAMS: Readonly<Record<ImageWrite['kind'], number>> = { log: 0, snapshot: 1, state: 2 };

/** How members write. */
export const imageMedium: Medium<Image, ImageWrite> = {
  stream: ({ kind }) => STREAMS[kind],
  commit(image, write) {
    if (write.kind === 'snapshot') image.files.push(write.snapshot);
    else if (write.kind === 'state') image.state = write;
    else commitRecord(image, write);
  },
  torn(write, random) {
    if (write.kind !== 'log' || write.entries.length === 0) return undefined;
    return cutRecord(write, random);
  },
};

function cutRecord({ mark, entries }: LogRecord, random: Random): LogRecord {
  return { kind: 'log', mark, entries: entries.slice(0, random.below(entries.length + 1)) };
}

function commitRecord(image: Image, { mark, entries, hardState }: LogRecord): void {
  if (mark) commitMark(image, mark);
  for (const entry of entries) if (entry.index > image.log.baseIndex) image.log.put(entry);
  if (hardState) image.hardState = hardState;
}

function commitMark(image: Image, { index, received }: SnapshotMark): void {
  if (index <= (image.snapshot?.index ?? 0)) return;
  const snapshot = image.files.find((file) => file.index === index);
  if (snapshot === undefined) throw new Error(`the log has a mark for snapshot ${index}, of which there is no file`);
  image.files = image.files.filter((file) => file.index > index);
  image.snapshot = snapshot;
  if (received) image.log.reset(index, snapshot.term, hashOf(snapshot));
  else image.log.compact(index);
}

/** Puts into `storage` what the program finds when it starts; gives its state machine, if that is ahead of the log's. */
export function recover({ hardState, snapshot, log, state }: Image, storage: MemoryStorage): AppliedState | undefined {
  if (snapshot) storage.applySnapshot(snapshot);
  storage.append(log.entries);
  if (hardState === undefined) return undefined;
  const kept = state !== undefined && state.index > log.baseIndex ? state : undefined;
  // The commit index is not synced for its own sake, so snapshot and state machine may be ahead of it.
  storage.setHardState({ ...hardState, commit: Math.max(hardState.commit, kept?.index ?? snapshot?.index ?? 0) });
  if (kept) storage.createSnapshot(kept.index, kept.confState, stateBytes(kept.hash));
  return kept;
}
