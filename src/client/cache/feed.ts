/**
 * The reading end of something that goes on in an informer, for a reader who may be slow.
 *
 * What waits to be read is kept by the subclass, and merged there, so that its memory is
 * bounded however long the reader is away. An end comes after what waits.
 *
 * @module
 */

import { type Deferred, deferred } from '../../support/signals.ts';

export abstract class Feed<T> implements AsyncIterableIterator<T> {
  readonly #onReturn: () => void;
  /** Whoever waits for something to read, shared by all calls of `next` that wait. */
  #waiting: Deferred<void> | undefined;
  #ended = false;
  #error: unknown;

  /** `onReturn` is told when the reader has left its loop. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  /** Takes what is to be read next; undefined when nothing waits. */
  protected abstract take(): T | undefined;

  /** Forgets what waits. */
  protected abstract clear(): void;

  protected get ended(): boolean {
    return this.#ended;
  }

  /** To be called when something waits. */
  protected wake(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  /** Ends the feed, after what waits has been read; with an error, by throwing it. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.wake();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      const value = this.take();
      if (value !== undefined) return { done: false, value };
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

  async return(): Promise<IteratorResult<T>> {
    this.clear();
    this.end();
    this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
