/**
 * What changed in an informer, for a reader who may be slow.
 *
 * Changes that wait are kept one per key: a key that changed three times while the reader
 * was away is told once, from what the reader knew to what is now. So the memory is
 * bounded by the number of keys, and the reader always ends up with the current state.
 *
 * @module
 */

import { type Deferred, deferred } from '../../support/signals.ts';
import type { KeyValue } from '../kv/key-value.ts';

/** A key that changed. */
export interface InformerChange<V> {
  readonly key: string;
  /** What it is now; `undefined` when it is gone. */
  readonly current: KeyValue<V> | undefined;
  /** What it was when the reader was last told; `undefined` when it was not there. */
  readonly previous: KeyValue<V> | undefined;
}

/** The reading end. */
export class ChangeFeed<V> implements AsyncIterableIterator<InformerChange<V>> {
  readonly #pending = new Map<string, InformerChange<V>>();
  readonly #onReturn: () => void;
  /** Whoever waits for something to read, shared by all calls of `next` that wait. */
  #waiting: Deferred<void> | undefined;
  #ended = false;
  #error: unknown;

  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  /** Tells of a change. `id` tells keys apart by their bytes. */
  push(id: string, change: InformerChange<V>): void {
    if (this.#ended) return;
    const waiting = this.#pending.get(id);
    const merged = waiting === undefined ? change : { ...change, previous: waiting.previous };
    // Created and deleted again before anybody looked: nothing to tell.
    if (merged.current === undefined && merged.previous === undefined) this.#pending.delete(id);
    else this.#pending.set(id, merged);
    this.#wake();
  }

  /** Ends the feed, after what waits has been read; with an error, by throwing it. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  async next(): Promise<IteratorResult<InformerChange<V>>> {
    for (;;) {
      for (const [id, change] of this.#pending) {
        this.#pending.delete(id);
        return { done: false, value: change };
      }
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      this.#waiting ??= deferred();
      await this.#waiting.promise;
    }
  }

  #wake(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  async return(): Promise<IteratorResult<InformerChange<V>>> {
    this.#pending.clear();
    this.end();
    this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
