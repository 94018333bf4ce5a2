/**
 * What happens when, for many things at once: a binary heap whose items know their place,
 * so that one can be moved or taken out without looking for it.
 *
 * One timer then serves ten thousand leases, and a renewal costs two or three swaps.
 *
 * @module
 */

/** Something that waits for a moment. Both fields belong to the {@link Schedule} it is in. */
export interface Scheduled {
  /** The moment, in milliseconds on the client's clock. */
  at: number;
  /** The place in the heap; -1 while it is in none. */
  slot: number;
}

/** Items ordered by their moment. An item is in one schedule at most. */
export class Schedule<T extends Scheduled> {
  readonly #heap: T[] = [];

  /** The item whose moment comes first. */
  get first(): T | undefined {
    return this.#heap[0];
  }

  /** Puts an item in, or moves it to another moment. */
  set(item: T, at: number): void {
    item.at = at;
    if (item.slot < 0) {
      item.slot = this.#heap.length;
      this.#heap.push(item);
    }
    this.#up(item);
    this.#down(item);
  }

  /** Takes an item out; harmless when it is not in. */
  remove(item: T): void {
    const { slot } = item;
    if (slot < 0) return;
    item.slot = -1;
    const last = this.#heap.pop() as T;
    if (last === item) return;
    this.#place(last, slot);
    this.#up(last);
    this.#down(last);
  }

  #place(item: T, slot: number): void {
    this.#heap[slot] = item;
    item.slot = slot;
  }

  #up(item: T): void {
    while (item.slot > 0) {
      const above = this.#heap[(item.slot - 1) >> 1] as T;
      if (above.at <= item.at) return;
      this.#swap(item, above);
    }
  }

  #down(item: T): void {
    for (;;) {
      const left = this.#heap[2 * item.slot + 1];
      if (left === undefined) return;
      const right = this.#heap[2 * item.slot + 2];
      const below = right !== undefined && right.at < left.at ? right : left;
      if (item.at <= below.at) return;
      this.#swap(item, below);
    }
  }

  #swap(one: T, other: T): void {
    const { slot } = one;
    this.#place(one, other.slot);
    this.#place(other, slot);
  }
}
