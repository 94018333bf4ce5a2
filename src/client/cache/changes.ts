/**
 * What changed in an informer, for a reader who may be slow.
 *
 * Changes that wait are kept one per key: a key that changed three times while the reader
 * was away is told once, from what the reader knew to what is now. So the memory is
 * bounded by the number of keys, and the reader always ends up with the current state.
 *
 * @module
 */

import type { KeyValue } from '../kv/key-value.ts';
import { Feed } from './feed.ts';

/** A key that changed. */
export interface InformerChange<V> {
  readonly key: string;
  /** What it is now; `undefined` when it is gone. */
  readonly current: KeyValue<V> | undefined;
  /** What it was when the reader was last told; `undefined` when it was not there. */
  readonly previous: KeyValue<V> | undefined;
}

/** The reading end. */
export class ChangeFeed<V> extends Feed<InformerChange<V>> {
  readonly #pending = new Map<string, InformerChange<V>>();

  /** Tells of a change. `id` tells keys apart by their bytes. */
  push(id: string, change: InformerChange<V>): void {
    if (this.ended) return;
    const waiting = this.#pending.get(id);
    const merged = waiting === undefined ? change : { ...change, previous: waiting.previous };
    // Created and deleted again before anybody looked: nothing to tell.
    if (merged.current === undefined && merged.previous === undefined) this.#pending.delete(id);
    else this.#pending.set(id, merged);
    this.wake();
  }

  protected override take(): InformerChange<V> | undefined {
    for (const [id, change] of this.#pending) {
      this.#pending.delete(id);
      return change;
    }
    return undefined;
  }

  protected override clear(): void {
    this.#pending.clear();
  }
}
