/**
 * The stable part of the log as the core reads it, and an implementation in memory.
 *
 * Only who runs the core writes it, in the order that `Ready` asks for. That something is missing is a value
 * ({@link LogGap}), not an exception: a leader meets it whenever a follower is behind.
 *
 * @module
 */

import { EMPTY } from '../../../protocol/wire.ts';
import { invariant, type LogGap } from '../errors.ts';
import { limitSize } from '../size.ts';
import {
  type ConfState,
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  type Snapshot,
} from '../types.ts';

/** What the core reads of the stable log. Answers don't change what was answered before. */
export interface Storage {
  /** What was durable when the member started. */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /**
   * Entries from `low` up to but without `high`, cut where their encoded size would pass `maxBytes`; the first one is
   * always among them.
   */
  entries(low: number, high: number, maxBytes: number): readonly Entry[] | LogGap;
  /** Term of an entry. That of the entry before {@link firstIndex} is known too. */
  term(index: number): number | LogGap;
  /** Index of the first entry that is there; one after the last one if there is none. */
  firstIndex(): number;
  /** Index of the last entry, or of the snapshot if there is none after it. */
  lastIndex(): number;
  /** The latest snapshot; undefined if it can't be had for the moment. */
  snapshot(): Snapshot | undefined;
}

/** A stable log in memory. Starts with a snapshot of nothing. */
export class MemoryStorage implements Storage {
  #hardState: HardState = EMPTY_HARD_STATE;
  #snapshot: Snapshot = { data: EMPTY, index: 0, term: 0, confState: EMPTY_CONF_STATE };
  /** Index and term of the entry before the first one. */
  #compactedIndex = 0;
  #compactedTerm = 0;
  #entries: Entry[] = [];

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.confState };
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState;
  }

  entries(low: number, high: number, maxBytes: number): readonly Entry[] | LogGap {
    if (low <= this.#compactedIndex) return 'compacted';
    invariant(
      high <= this.lastIndex() + 1,
      () => `entries up to ${high} are asked for, the last is ${this.lastIndex()}`,
    );
    if (this.#entries.length === 0) return 'unavailable';
    const first = this.firstIndex();
    return limitSize(this.#entries.slice(low - first, high - first), maxBytes);
  }

  term(index: number): number | LogGap {
    if (index < this.#compactedIndex) return 'compacted';
    if (index === this.#compactedIndex) return this.#compactedTerm;
    return this.#entries[index - this.firstIndex()]?.term ?? 'unavailable';
  }

  firstIndex(): number {
    return this.#compactedIndex + 1;
  }

  lastIndex(): number {
    return this.#compactedIndex + this.#entries.length;
  }

  snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** Replaces everything by a snapshot, unless a later one is there already. */
  applySnapshot(snapshot: Snapshot): void {
    if (this.#snapshot.index >= snapshot.index) return;
    this.#snapshot = snapshot;
    this.#compactedIndex = snapshot.index;
    this.#compactedTerm = snapshot.term;
    this.#entries = [];
  }

  /** Keeps a snapshot of the state at `index`; the log stays. Nothing happens if a later one is there already. */
  createSnapshot(index: number, confState: ConfState, data: Uint8Array): void {
    if (index <= this.#snapshot.index) return;
    const term = this.term(index);
    invariant(typeof term === 'number', () => `a snapshot at ${index} is out of the log, last ${this.lastIndex()}`);
    this.#snapshot = { index, term, confState, data };
  }

  /** Drops the entries up to and including `index`; those that are dropped already are fine. */
  compact(index: number): void {
    if (index <= this.#compactedIndex) return;
    const term = this.term(index);
    invariant(typeof term === 'number', () => `compaction at ${index} is out of the log, last ${this.lastIndex()}`);
    this.#entries = this.#entries.slice(index - this.#compactedIndex);
    this.#compactedIndex = index;
    this.#compactedTerm = term;
  }

  /** Puts entries into their places; what was there from the first of them on is gone. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const place = entry.index - this.firstIndex();
      // What a snapshot stands for already is not wanted back.
      if (place < 0) continue;
      invariant(
        place <= this.#entries.length,
        () => `the log ends at ${this.lastIndex()}, entry ${entry.index} leaves a gap`,
      );
      this.#entries.length = place;
      this.#entries.push(entry);
    }
  }
}
