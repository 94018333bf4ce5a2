/**
 * The log: what is in storage, what is not durable yet, and how far it is committed and applied.
 *
 * Always `applied <= applying <= committed <= lastIndex`. Entries up to `committed` are never replaced. Committed
 * entries are handed out for applying in pages: no more while pages that were handed out and are not applied yet hold
 * `maxApplyingBytes` or more.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5.3.
 *
 * @module
 */
import { invariant, type LogGap } from '../errors.ts';
import { entriesSize, limitSize, NO_LIMIT } from '../size.ts';
import type { Entry, EntryId, Snapshot } from '../types.ts';
import type { Storage } from './storage.ts';
import { Unstable } from './unstable.ts';

const NOTHING: readonly Entry[] = [];

export class RaftLog {
  readonly storage: Storage;
  readonly unstable: Unstable;
  /** Highest index known to be on a quorum's disks. */
  committed: number;
  /** Highest index handed out for applying. */
  applying: number;
  /** Highest index that the application has applied. */
  applied: number;
  readonly maxApplyingBytes: number;
  #applyingBytes = 0;
  #applyingPaused = false;

  constructor(storage: Storage, maxApplyingBytes: number = NO_LIMIT) {
    this.storage = storage;
    this.maxApplyingBytes = maxApplyingBytes;
    const before = storage.firstIndex() - 1;
    this.unstable = new Unstable(storage.lastIndex() + 1);
    this.committed = before;
    this.applying = before;
    this.applied = before;
  }

  firstIndex(): number {
    return this.unstable.firstIndex() ?? this.storage.firstIndex();
  }

  lastIndex(): number {
    return this.unstable.lastIndex() ?? this.storage.lastIndex();
  }

  /** The last entry, or that of the snapshot. */
  lastEntryId(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    invariant(typeof term === 'number', () => `the last entry, ${index}, is ${term}`);
    return { term, index };
  }

  /** Term of an entry. That of the entry before the first one is known too. */
  term(index: number): number | LogGap {
    const here = this.unstable.term(index);
    if (here !== undefined) return here;
    if (index + 1 < this.firstIndex()) return 'compacted';
    if (index > this.lastIndex()) return 'unavailable';
    return this.storage.term(index);
  }

  matches({ term, index }: EntryId): boolean {
    return this.term(index) === term;
  }

  /** Whether a log with that last entry lacks nothing that this one could have committed. §5.4.1 of the paper. */
  isUpToDate({ term, index }: EntryId): boolean {
    const last = this.lastEntryId();
    return term > last.term || (term === last.term && index >= last.index);
  }

  /** Entries from `from` on, as many as fit; the first one always does. */
  entriesFrom(from: number, maxBytes: number): readonly Entry[] | LogGap {
    return from > this.lastIndex() ? NOTHING : this.slice(from, this.lastIndex() + 1, maxBytes);
  }

  /** Entries from `low` up to but without `high`, as many as fit; the first one always does. */
  slice(low: number, high: number, maxBytes: number): readonly Entry[] | LogGap {
    invariant(low <= high, () => `entries [${low}, ${high}) are asked for`);
    if (low < this.firstIndex()) return 'compacted';
    invariant(
      high <= this.lastIndex() + 1,
      () => `entries up to ${high} are asked for, the last is ${this.lastIndex()}`,
    );
    if (low === high) return NOTHING;
    const { offset } = this.unstable;
    if (low >= offset) return limitSize(this.unstable.slice(low, high), maxBytes);
    const cut = Math.min(high, offset);
    const stable = this.storage.entries(low, cut, maxBytes);
    if (typeof stable === 'string' || high <= offset || stable.length < cut - low) return stable;
    const left = maxBytes - entriesSize(stable);
    if (left <= 0) return stable;
    const [first, ...rest] = limitSize(this.unstable.slice(offset, high), left);
    // The first one comes along whatever its size, and here it is not the first.
    if (first === undefined || (rest.length === 0 && entriesSize([first]) > left)) return stable;
    return [...stable, first, ...rest];
  }

  /**
   * Takes entries that follow `previous`, if that one is here; those that are here already stay.
   *
   * @returns Index of the last one, or undefined if the logs don't meet.
   */
  maybeAppend(previous: EntryId, entries: readonly Entry[], committed: number): number | undefined {
    if (!this.matches(previous)) return undefined;
    const last = previous.index + entries.length;
    const fresh = entries.findIndex((entry) => !this.matches(entry));
    if (fresh >= 0) this.append(fresh === 0 ? entries : entries.slice(fresh));
    this.commitTo(Math.min(committed, last));
    return last;
  }

  /** Puts entries in, without a gap; what was there from the first of them on is gone. */
  append(entries: readonly Entry[]): void {
    const [first] = entries;
    if (first === undefined) return;
    invariant(first.index > this.committed, () => {
      return `entry ${first.index} would replace a committed one, committed is ${this.committed}`;
    });
    this.unstable.truncateAndAppend(entries);
  }

  /**
   * The last entry up to `index` whose term is at most `term`: above it, a log that has `term` at `index` can't meet
   * this one. Its term is 0 where this log does not know it.
   */
  findConflictByTerm(index: number, term: number): EntryId {
    for (let at = index; at > 0; at -= 1) {
      const ours = this.term(at);
      if (typeof ours === 'string') return { term: 0, index: at };
      if (ours <= term) return { term: ours, index: at };
    }
    return { term: 0, index: 0 };
  }

  /** Entries up to `index` are committed, says the leader. It never goes back. */
  commitTo(index: number): void {
    if (index <= this.committed) return;
    invariant(index <= this.lastIndex(), () => {
      return `commit ${index} is out of the log, last ${this.lastIndex()}: was it truncated or lost?`;
    });
    this.committed = index;
  }

  /** Commits up to an entry of the leader's own term; entries of earlier terms only along with one. §5.4.2. */
  maybeCommit({ term, index }: EntryId): boolean {
    if (index <= this.committed || !this.matches({ term, index })) return false;
    this.commitTo(index);
    return true;
  }

  /** Starts again from a snapshot. */
  restore(snapshot: Snapshot): void {
    this.unstable.restore(snapshot);
    this.committed = snapshot.index;
  }

  /** The latest snapshot; undefined if it can't be had for the moment. */
  snapshot(): Snapshot | undefined {
    return this.unstable.snapshot ?? this.storage.snapshot();
  }

  /** Committed entries to hand out next. `allowUnstable`: also those that are not on the own disk yet. */
  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return NOTHING;
    const left = this.maxApplyingBytes - this.#applyingBytes;
    const entries = this.slice(this.applying + 1, this.#appliable(allowUnstable) + 1, left);
    invariant(typeof entries !== 'string', () => `entries after ${this.applying} are ${entries as string}`);
    return entries;
  }

  hasNextCommitted(allowUnstable: boolean): boolean {
    // A snapshot has to be applied before entries after it.
    if (this.#applyingPaused || this.unstable.snapshot !== undefined) return false;
    return this.applying < this.#appliable(allowUnstable);
  }

  /** Entries up to `index`, of `bytes` encoded, are handed out for applying. */
  acceptApplying(index: number, bytes: number, allowUnstable: boolean): void {
    invariant(index <= this.committed, () => `entry ${index} is applied before it is committed, at ${this.committed}`);
    this.applying = index;
    this.#applyingBytes += bytes;
    // What did not fit waits until something is applied.
    this.#applyingPaused = this.#applyingBytes >= this.maxApplyingBytes || index < this.#appliable(allowUnstable);
  }

  /** Entries up to `index`, of `bytes` encoded, are applied. */
  appliedTo(index: number, bytes: number): void {
    invariant(this.applied <= index && index <= this.committed, () => {
      return `applied ${index} is not between applied ${this.applied} and committed ${this.committed}`;
    });
    this.applied = index;
    this.applying = Math.max(this.applying, index);
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes);
    this.#applyingPaused = this.#applyingBytes >= this.maxApplyingBytes;
  }

  /** Whether entries that are committed and not applied yet include a change of configuration. */
  hasUnappliedConfChange(): boolean {
    for (let low = this.applied + 1; low <= this.committed; ) {
      const page = this.slice(low, this.committed + 1, this.maxApplyingBytes);
      invariant(typeof page !== 'string', () => `committed entry ${low} is ${page as string}`);
      if (page.some(({ type }) => type !== 'EntryNormal')) return true;
      low += page.length;
    }
    return false;
  }

  #appliable(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);
  }
}
