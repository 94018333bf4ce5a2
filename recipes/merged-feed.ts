/**
 * Changes of named things, for a reader who may be slow.
 *
 * What waits is merged, one change for each name: from what the reader knew to what is now. So the memory is bounded by the
 * number of names, and the reader always ends up with the present state. An end comes after what waits.
 *
 * @module
 */

/** Something has changed since the reader was last told of it. */
export interface Merged<E> {
  readonly name: string;
  /** What it is now; undefined when it is gone. */
  readonly current: E | undefined;
  /** What it was when the reader was last told; undefined when it was not there. */
  readonly previous: E | undefined;
}

/** The reading end; `T` is what the reader is told of a change. */
export class MergedFeed<E, T> implements AsyncIterableIterator<T> {
  readonly #tell: (change: Merged<E>) => T;
  readonly #onReturn: () => void;
  readonly #pending = new Map<string, Merged<E>>();
  /** Those who wait for something to read. */
  readonly #waiting = new Set<() => void>();
  #ended = false;
  #error: unknown;

  /** `onReturn` is told when the reader has left its loop. */
  constructor(tell: (change: Merged<E>) => T, onReturn: () => void) {
    this.#tell = tell;
    this.#onReturn = onReturn;
  }

  /** Tells of a change. */
  push(change: Merged<E>): void {
    if (this.#ended) return;
    const waiting = this.#pending.get(change.name);
    const merged = waiting === undefined ? change : { ...change, previous: waiting.previous };
    // Come and gone before anybody looked: nothing to tell.
    if (merged.current === undefined && merged.previous === undefined) this.#pending.delete(change.name);
    else this.#pending.set(change.name, merged);
    this.#wake();
  }

  /** Ends the feed, after what waits has been read; with an error, by throwing it. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      for (const [name, change] of this.#pending) {
        this.#pending.delete(name);
        return { done: false, value: this.#tell(change) };
      }
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  async return(): Promise<IteratorResult<T>> {
    this.#pending.clear();
    this.end();
    this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
