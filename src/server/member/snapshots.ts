/**
 * Images of the state, so that the log can be cut off behind them.
 *
 * The order is what makes a crash between any two steps harmless: the image under a temporary name, synced, renamed,
 * the directory synced; then the log's record of it, synced; only then is anything let go. So the image that is found is
 * always whole, and whatever it lacks is in the log.
 *
 * The image is of the moment at which it is begun; it is written in steps while the member goes on. An image that can't
 * be written, such as on a full disk, costs nothing but room for the log: it is tried again after as many entries.
 *
 * What is let go of the log ends where a follower is that an image is on its way to, and for a while after: else it would
 * be behind again when it has that.
 *
 * @module
 */

import { EMPTY } from '../../protocol/wire.ts';
import type { AppliedState } from '../apply/state.ts';
import type { ConfState, MemoryStorage } from '../raft/index.ts';
import { writeBackend } from '../snapshot/backend-image.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import type { Disk } from '../storage/disk.ts';
import type { WalSnapshot } from '../wal/index.ts';
import { encodeConfState } from './boot.ts';
import { type DataDirPaths, saveImage } from './data-dir.ts';
import type { Journal } from './journal.ts';

export interface SnapshotsOptions {
  readonly state: AppliedState;
  readonly log: MemoryStorage;
  readonly journal: Journal;
  /** Writes the record of an image to the journal. */
  readonly record: (snapshot: WalSnapshot) => Promise<void>;
  /** Where images are kept; undefined: nowhere, only the log is cut off. */
  readonly files: { readonly disk: Disk; readonly paths: DataDirPaths } | undefined;
  readonly pause: () => Promise<void>;
  /** Monotonic time in ms. */
  readonly now: () => number;
  /** Entries from one image to the next. */
  readonly everyEntries: number;
  /** Entries that stay in the log behind an image, for followers that are not far behind. */
  readonly catchUpEntries: number;
  /** An image is in its place, after so long. */
  readonly saved: (index: number, bytes: number, ms: number) => void;
  /** One could not be written. */
  readonly failed: (error: unknown) => void;
}

/** See the head of this file. */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  #lastIndex: number;
  #running: Promise<void> | undefined;
  /** While this is not 0 none is begun. */
  #suspended = 0;
  /** What the log must keep the entries after. */
  readonly #holds = new Set<{ readonly index: number }>();
  #ended = false;

  /** @param lastIndex Index of the image that the member started from. */
  constructor(options: SnapshotsOptions, lastIndex: number) {
    this.#options = options;
    this.#lastIndex = lastIndex;
  }

  /** An image of the state as of now, for whoever wants one. */
  image(): Promise<BoltImage> {
    const { state, pause } = this.#options;
    return writeBackend(state.rows(), state.store, { pause });
  }

  /** Entries were applied: begins an image if it is time. */
  applied(): void {
    const { state, everyEntries } = this.#options;
    if (state.index - this.#lastIndex < everyEntries || this.#running || this.#suspended > 0 || this.#ended) return;
    this.#lastIndex = state.index;
    this.#running = this.#save()
      .catch(this.#options.failed)
      .finally(() => {
        this.#running = undefined;
      });
  }

  /** Keeps all entries after an index in the log. @returns Ends that. */
  holdLog(index: number): () => void {
    const hold = { index };
    this.#holds.add(hold);
    return () => this.#holds.delete(hold);
  }

  /** Begins no image until the returned function is called, and waits for the one that is underway. */
  async suspend(): Promise<() => void> {
    this.#suspended += 1;
    await this.#running;
    return () => {
      this.#suspended -= 1;
    };
  }

  /** There is an image at `index`, from another member. @param lacking It lacks something that the state has. */
  installed(index: number, lacking: boolean): void {
    // Then the next one is soon.
    this.#lastIndex = lacking ? index - this.#options.everyEntries : index;
  }

  /** Begins no more images, and waits for the one that is underway. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#running;
  }

  async #save(): Promise<void> {
    const { state, log, journal, record, files, pause, now, catchUpEntries, saved } = this.#options;
    const begunAt = now();
    const rows = state.rows();
    const { index, term } = state;
    const confState = rows.confState as ConfState | undefined;
    if (confState === undefined) return;
    if (files) {
      const image = await writeBackend(rows, state.store, { pause });
      await saveImage(files.disk, files.paths, image);
      await record({ index, term, confState: encodeConfState(confState) });
      saved(index, image.sizeBytes, now() - begunAt);
    }
    log.createSnapshot(index, confState, EMPTY);
    const held = Array.from(this.#holds, (hold) => hold.index);
    log.compact(Math.max(0, Math.min(index - catchUpEntries, ...held)));
    await journal.release(index);
  }
}
