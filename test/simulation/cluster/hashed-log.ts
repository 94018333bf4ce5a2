/**
 * A log whose every entry has the hash of all entries up to it.
 *
 * So two logs are equal up to an index if they have the same hash there: log matching, leader completeness and equal
 * states are each checked by comparing two numbers. The state of the simulated state machine is this hash too.
 */
import type { Entry } from '../../../src/server/raft/index.ts';
import { mix } from '../world/random.ts';

/** Hash of a log, or a state machine, without entries. */
export const EMPTY_HASH = 0;

/** The hash after one more entry. */
export function chain(hash: number, { term, index, type, data }: Entry): number {
  let h = mix(hash, term);
  h = mix(h, index);
  if (type !== 'EntryNormal') h = mix(h, type.length);
  for (const byte of data) h = Math.imul(h ^ byte, 0x01000193);
  return mix(h, data.length);
}

export class HashedLog {
  /** Index, term and hash of what is before the first entry. */
  #baseIndex = 0;
  #baseTerm = 0;
  #baseHash = EMPTY_HASH;
  #entries: Entry[] = [];
  #hashes: number[] = [];

  get baseIndex(): number {
    return this.#baseIndex;
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length;
  }

  /** Entries after the base. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  entryAt(index: number): Entry | undefined {
    return this.#entries[index - this.#baseIndex - 1];
  }

  /** Hash of all entries up to `index`; undefined before the base and after the end. */
  hashAt(index: number): number | undefined {
    return index === this.#baseIndex ? this.#baseHash : this.#hashes[index - this.#baseIndex - 1];
  }

  termAt(index: number): number | undefined {
    return index === this.#baseIndex ? this.#baseTerm : this.#entries[index - this.#baseIndex - 1]?.term;
  }

  /** Puts an entry into its place; what was there from it on is gone. It must not leave a gap. */
  put(entry: Entry): void {
    const place = entry.index - this.#baseIndex - 1;
    if (place < 0 || place > this.#entries.length) throw new Error(`entry ${entry.index} has no place in the log`);
    this.truncate(entry.index - 1);
    this.#hashes.push(chain(this.#hashes[place - 1] ?? this.#baseHash, entry));
    this.#entries.push(entry);
  }

  /** Drops what comes after `lastIndex`. */
  truncate(lastIndex: number): void {
    const length = lastIndex - this.#baseIndex;
    if (length >= this.#entries.length) return;
    this.#entries.length = length;
    this.#hashes.length = length;
  }

  /** Drops all; the log goes on after `index`. */
  reset(index: number, term: number, hash: number): void {
    this.#baseIndex = index;
    this.#baseTerm = term;
    this.#baseHash = hash;
    this.#entries = [];
    this.#hashes = [];
  }

  /** Drops the entries up to `index`, which is in the log. */
  compact(index: number): void {
    const count = index - this.#baseIndex;
    if (count <= 0) return;
    this.#baseTerm = this.termAt(index) as number;
    this.#baseHash = this.hashAt(index) as number;
    this.#baseIndex = index;
    this.#entries = this.#entries.slice(count);
    this.#hashes = this.#hashes.slice(count);
  }

  clone(): HashedLog {
    const copy = new HashedLog();
    copy.reset(this.#baseIndex, this.#baseTerm, this.#baseHash);
    copy.#entries = [...this.#entries];
    copy.#hashes = [...this.#hashes];
    return copy;
  }
}
