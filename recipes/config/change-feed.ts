/**
 * Changes of configurations, for a reader who may be slow.
 *
 * Changes that wait are merged, one for each name: from what the reader knew to what is now. So the memory is bounded, and
 * the reader ends up with the present state.
 *
 * @module
 */

/** A configuration that has another value. */
export interface ConfigChange<E> {
  /** Which: the key, or the name in a tree. */
  readonly name: string;
  /** What it is now; undefined when it is gone from a tree. */
  readonly current: E | undefined;
  /** What it was when the reader was last told; undefined when it was not there. */
  readonly previous: E | undefined;
}

/** The reading end. */
export class ConfigChangeFeed<E> implements AsyncIterableIterator<ConfigChange<E>> {
  readonly #onReturn: () => void;
  readonly #pending = new Map<string, ConfigChange<E>>();
  /** Those who wait for something to read. */
  #waiting: (() => void)[] = [];
  #ended = false;
  #error: unknown;

  /** `onReturn` is told when the reader has left its loop. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  /** Tells of a change. */
  push(change: ConfigChange<E>): void {
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
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async next(): Promise<IteratorResult<ConfigChange<E>>> {
    for (;;) {
      for (const [name, value] of this.#pending) {
        this.#pending.delete(name);
        return { done: false, value };
      }
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async return(): Promise<IteratorResult<ConfigChange<E>>> {
    this.#pending.clear();
    this.end();
    this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
