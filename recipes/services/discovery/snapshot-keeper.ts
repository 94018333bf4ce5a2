/**
 * Keeps the snapshot of one service up to date: soon after a change, and not for each of many.
 *
 * One write at a time; what changes during a write is written by the next. A list without entries is not written: the
 * snapshot is for a start without the store, and to such a start nothing is worth less than what there was.
 *
 * @module
 */

import type { Clock, Timer } from '../../../src/index.ts';
import { type RawEntry, readSnapshot, snapshotPath, writeSnapshot } from './snapshot.ts';

/** How long changes are collected before they are written, in milliseconds. */
const COLLECT_MS = 1_000;

/** See the head of this file. */
export class SnapshotKeeper {
  readonly #folder: string;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #entries: () => readonly RawEntry[];
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #problem: Error | undefined;

  /** `prefix` is what the keys begin with; `entries` is asked for what to write. */
  constructor(folder: string, prefix: string, clock: Clock, entries: () => readonly RawEntry[]) {
    this.#folder = folder;
    this.#prefix = prefix;
    this.#clock = clock;
    this.#entries = entries;
  }

  /** Why the file could not be read, or not be written the last time. */
  get problem(): Error | undefined {
    return this.#problem;
  }

  /** What the file holds; undefined when there is none, or it can't be used. */
  async read(): Promise<readonly RawEntry[] | undefined> {
    try {
      return await readSnapshot(snapshotPath(this.#folder, this.#prefix), this.#prefix);
    } catch (error) {
      this.#problem = error as Error;
      return undefined;
    }
  }

  /** Something has changed. */
  touch(): void {
    this.#timer ??= this.#clock.after(COLLECT_MS, () => void this.flush(), { background: true });
  }

  /** Writes what has not been written yet, and waits for that. */
  flush(): Promise<void> {
    if (this.#timer !== undefined) {
      this.#timer.cancel();
      this.#timer = undefined;
      this.#writing = this.#writing.then(() => this.#write());
    }
    return this.#writing;
  }

  async #write(): Promise<void> {
    const entries = this.#entries();
    if (entries.length === 0) return;
    try {
      await writeSnapshot(this.#folder, this.#prefix, entries);
      this.#problem = undefined;
    } catch (error) {
      this.#problem = error as Error;
    }
  }
}
