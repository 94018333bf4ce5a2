/**
 * Changes of a service's instances, for a reader who may be slow.
 *
 * What waits is merged, one change per instance: from what the reader knew to what is now. So the memory is bounded by
 * the number of instances, and the reader always ends up with the present state.
 *
 * @module
 */

import type { DiscoveryChange } from '../discovered.ts';

/** What became of an instance: from `previous`, absent before, to `instance`, absent afterwards. */
interface Pending<M> {
  readonly previous: DiscoveryChange<M>['previous'];
  readonly current: DiscoveryChange<M>['previous'];
}

/** The reading end. */
export class DiscoveryFeed<M> implements AsyncIterableIterator<DiscoveryChange<M>> {
  readonly #onReturn: () => void;
  readonly #pending = new Map<string, Pending<M>>();
  /** Those who wait for something to read. */
  readonly #waiting = new Set<() => void>();
  #ended = false;
  #error: unknown;

  /** `onReturn` is told when the reader has left its loop. */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  push(change: DiscoveryChange<M>): void {
    if (this.#ended) return;
    const { id } = change.instance;
    const waiting = this.#pending.get(id);
    const previous = waiting === undefined ? change.previous : waiting.previous;
    const current = change.type === 'removed' ? undefined : change.instance;
    // Come and gone before anybody looked: nothing to tell.
    if (previous === undefined && current === undefined) this.#pending.delete(id);
    else this.#pending.set(id, { previous, current });
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

  async next(): Promise<IteratorResult<DiscoveryChange<M>>> {
    for (;;) {
      const value = this.#take();
      if (value !== undefined) return { done: false, value };
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #take(): DiscoveryChange<M> | undefined {
    for (const [id, { previous, current }] of this.#pending) {
      this.#pending.delete(id);
      if (current === undefined)
        return { type: 'removed', instance: previous as NonNullable<typeof previous>, previous };
      return { type: previous === undefined ? 'added' : 'updated', instance: current, previous };
    }
    return undefined;
  }

  async return(): Promise<IteratorResult<DiscoveryChange<M>>> {
    this.#pending.clear();
    this.end();
    this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
