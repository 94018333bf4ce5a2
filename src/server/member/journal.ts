/**
 * Where a member keeps its log: on a disk, or nowhere.
 *
 * What is asked of it is what `wal/` promises: once `append` has resolved, its batch is durable, and what was appended
 * before it too, but for commit indexes. One that fails has failed for good.
 *
 * @module
 */
import type { WalBatch } from '../wal/index.ts';

/** See the head of this file. The write-ahead log is one. */
export interface Journal {
  /** Appends. Undefined: it is as durable as it will ever be. */
  append(batch: WalBatch): Promise<void> | undefined;
  /** Bytes that were written so far, for metrics. */
  readonly writtenBytes: number;
  /** Lets go of what nobody needs who has the snapshot at `index`. */
  release(index: number): Promise<void>;
  /** Writes what is left. Idempotent. */
  close(): Promise<void>;
}

/** Keeps nothing: for members that end with their process. */
export const noJournal: Journal = {
  append: () => undefined,
  writtenBytes: 0,
  async release() {},
  async close() {},
};
