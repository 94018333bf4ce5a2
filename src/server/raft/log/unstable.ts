/**
 * The end of the log that is not known to be durable: perhaps a snapshot, then entries from `offset` on.
 *
 * Part of it may be on its way to the disk already: entries below `offsetInProgress`, and the snapshot if
 * `snapshotInProgress`. Reports of the disk name term and index, since what was written may have been replaced
 * meanwhile: index 5 of term 2 being durable says nothing of index 5 of term 3.
 *
 * @module
 */
import { invariant } from '../errors.ts';
import type { Entry, EntryId, Snapshot } from '../types.ts';

/** What became of a report that entries are durable. `stable` is the good case. */
export type StableResult = 'stable' | 'missing' | 'snapshot' | 'mismatched';

export class Unstable {
  snapshot: Snapshot | undefined;
  /** Index of the first entry here; those before are in storage. */
  offset: number;
  /** Index of the first entry that was not handed to the disk yet. */
  offsetInProgress: number;
  snapshotInProgress = false;
  #entries: Entry[] = [];

  constructor(offset: number) {
    this.offset = offset;
    this.offsetInProgress = offset;
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** Index after the snapshot, if there is one: the log starts there. */
  firstIndex(): number | undefined {
    return this.snapshot === undefined ? undefined : this.snapshot.index + 1;
  }

  /** Index of the last entry, or of the snapshot; undefined if there is neither. */
  lastIndex(): number | undefined {
    return this.#entries.length > 0 ? this.offset + this.#entries.length - 1 : this.snapshot?.index;
  }

  /** Term of an entry that is here. */
  term(index: number): number | undefined {
    if (index < this.offset) return this.snapshot?.index === index ? this.snapshot.term : undefined;
    return this.#entries[index - this.offset]?.term;
  }

  /** Entries from `low` up to but without `high`. */
  slice(low: number, high: number): readonly Entry[] {
    const upper = this.offset + this.#entries.length;
    invariant(this.offset <= low && low <= high && high <= upper, () => {
      return `entries [${low}, ${high}) are not within the unstable ones [${this.offset}, ${upper})`;
    });
    return this.#entries.slice(low - this.offset, high - this.offset);
  }

  /** Entries that are not on their way to the disk yet. */
  nextEntries(): readonly Entry[] {
    return this.#entries.slice(this.offsetInProgress - this.offset);
  }

  hasNextEntries(): boolean {
    return this.offsetInProgress < this.offset + this.#entries.length;
  }

  /** The snapshot, if it is not on its way to the disk yet. */
  nextSnapshot(): Snapshot | undefined {
    return this.snapshotInProgress ? undefined : this.snapshot;
  }

  /** All that is here is on its way to the disk now. */
  acceptInProgress(): void {
    this.offsetInProgress = this.offset + this.#entries.length;
    if (this.snapshot !== undefined) this.snapshotInProgress = true;
  }

  /** The disk has the log up to that entry. A report about an entry that is here no more is ignored. */
  stableTo({ term, index }: EntryId): StableResult {
    const here = this.term(index);
    if (here === undefined) return 'missing';
    if (index < this.offset) return 'snapshot';
    if (here !== term) return 'mismatched';
    this.#entries = this.#entries.slice(index + 1 - this.offset);
    this.offset = index + 1;
    this.offsetInProgress = Math.max(this.offsetInProgress, this.offset);
    return 'stable';
  }

  /** The disk has the snapshot of that index. */
  stableSnapshotTo(index: number): void {
    if (this.snapshot?.index !== index) return;
    this.snapshot = undefined;
    this.snapshotInProgress = false;
  }

  /** Starts again from a snapshot. */
  restore(snapshot: Snapshot): void {
    this.offset = snapshot.index + 1;
    this.offsetInProgress = this.offset;
    this.#entries = [];
    this.snapshot = snapshot;
    this.snapshotInProgress = false;
  }

  /** Puts entries in, without a gap; what was there from the first of them on is gone. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const [first] = entries;
    if (first === undefined) return;
    const upper = this.offset + this.#entries.length;
    invariant(first.index <= upper, () => `the log ends at ${upper - 1}, entry ${first.index} leaves a gap`);
    // Ready holds slices, never this array itself, so it may be changed in place.
    if (first.index <= this.offset) {
      // Entries in storage are replaced too.
      this.#entries = [...entries];
      this.offset = first.index;
      this.offsetInProgress = first.index;
      return;
    }
    this.#entries.length = first.index - this.offset;
    for (const entry of entries) this.#entries.push(entry);
    this.offsetInProgress = Math.min(this.offsetInProgress, first.index);
  }
}
