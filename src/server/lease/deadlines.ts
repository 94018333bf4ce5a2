/**
 * What comes due first, with entries that can move.
 *
 * A binary heap in which each entry knows its place, so that a renewed lease moves in O(log n) and a revoked one leaves
 * nothing behind. It is ours since the libraries are worse for this: heaps on npm find an entry by searching for it,
 * and a B-tree needs a new key (time and id) for each move, garbage on the path of every keepalive.
 *
 * Invariants: no entry is due before the one above it; entries of the same time come in the order of their `order`, so
 * that a run can be repeated. The heap alone writes `at` and `place`.
 *
 * @module
 */

/** Place of an entry that is in no heap. */
const NOWHERE = -1;

/** Something that comes due; in one heap at most. */
export class Deadline<T> {
  readonly owner: T;
  /** Decides between entries of the same time: the lower first. */
  readonly order: bigint;
  /** When it is due, in ms. Means nothing while it waits in no heap. */
  at = 0;
  /** Where in the heap it is. The heap's own. */
  place: number = NOWHERE;

  constructor(owner: T, order: bigint) {
    this.owner = owner;
    this.order = order;
  }

  /** Whether it waits in a heap. */
  get waiting(): boolean {
    return this.place !== NOWHERE;
  }
}

export class DeadlineHeap<T> {
  #entries: Deadline<T>[] = [];

  get size(): number {
    return this.#entries.length;
  }

  /** What comes due first. */
  get first(): Deadline<T> | undefined {
    return this.#entries[0];
  }

  /** Puts an entry in, or moves it to another time. */
  set(entry: Deadline<T>, at: number): void {
    entry.at = at;
    if (entry.waiting) {
      this.#sink(entry, this.#rise(entry, entry.place));
      return;
    }
    this.#entries.push(entry);
    this.#rise(entry, this.#entries.length - 1);
  }

  /** Takes an entry out; one that is not in is left alone. */
  delete(entry: Deadline<T>): void {
    if (!entry.waiting) return;
    const { place } = entry;
    entry.place = NOWHERE;
    const last = this.#entries.pop() as Deadline<T>;
    if (last !== entry) this.#sink(last, this.#rise(last, place));
  }

  /** Takes all entries out. */
  clear(): void {
    for (const entry of this.#entries) entry.place = NOWHERE;
    this.#entries = [];
  }

  /** Writes an entry to `place` or as far above it as it belongs. Returns where. */
  #rise(entry: Deadline<T>, place: number): number {
    let at = place;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const other = this.#entries[above] as Deadline<T>;
      if (!before(entry, other)) break;
      this.#write(other, at);
      at = above;
    }
    this.#write(entry, at);
    return at;
  }

  #sink(entry: Deadline<T>, place: number): void {
    let at = place;
    for (;;) {
      const left = this.#entries[2 * at + 1];
      const right = this.#entries[2 * at + 2];
      if (!left) break;
      const least = right && before(right, left) ? right : left;
      if (!before(least, entry)) break;
      const from = least.place;
      this.#write(least, at);
      at = from;
    }
    this.#write(entry, at);
  }

  #write(entry: Deadline<T>, place: number): void {
    this.#entries[place] = entry;
    entry.place = place;
  }
}

function before<T>(a: Deadline<T>, b: Deadline<T>): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
