/**
 * The priority queue: the most urgent item first, and among equals the one that was put
 * first.
 *
 * Keys, below `<name>/priority/`: `items/<priority>/<stamp>-<nonce>`, the rest as in the
 * {@link Queue}. The order of the keys is the order of the items, so there is nothing to
 * count and no key that all producers write: producers of different priorities never meet.
 * An item is put on condition that it is the last of its own priority; it is taken on
 * condition that nothing stands before it at that moment, so what is taken is the most
 * urgent one there is, also by a consumer that has waited.
 *
 * Round trips: as the queue's.
 *
 * Not guaranteed: that an item of low priority is ever taken while more urgent ones keep
 * coming, unless `oldestEvery` is set. The rest as for the queue: at most once.
 *
 * Source: the recipe of etcd's `experimental/recipes` for what it does, not how.
 *
 * @module
 */

import { type CallOptions, InvalidArgumentError } from '../../src/index.ts';
import { Turns } from '../line.ts';
import type { Session } from '../session.ts';
import type { WaitOptions } from '../waiting.ts';
import { appending, codecOf, type QueueOptions } from './queue.ts';
import { Stamps, stampOf } from './stamps.ts';
import { type Enqueued, type QueueItem, Taker } from './taker.ts';

/** How to use a priority queue. */
export interface PriorityQueueOptions<V, In = V> extends QueueOptions<V, In> {
  /**
   * Of the items that this object takes, every how many is the oldest one whatever its
   * priority, so that none waits for ever. Such a take reads all items on the server's side
   * (about 2 ms for a thousand). Default: none is.
   */
  readonly oldestEvery?: number | undefined;
}

/** The least urgent priority. */
export const LOWEST_PRIORITY = 65_535;

const ITEM = /^\d{5}\/(.*)$/;

/**
 * A queue ordered by urgency: 0 comes before 1, as in Go's recipe.
 *
 * @example
 * ```ts
 * const queue = new PriorityQueue(session, 'alarms');
 * await queue.enqueue('fire', { priority: 0 });
 * const { value, priority } = await queue.dequeue({ signal });
 * ```
 */
export class PriorityQueue<V = string, In = V> {
  readonly name: string;
  readonly #taker: Taker<V, In>;
  readonly #stamps: Stamps;
  readonly #turns = new Turns();
  #takes = 0;

  /** @throws InvalidArgumentError for an empty name, or an `oldestEvery` that is no positive whole number. */
  constructor(session: Session, name: string, options: PriorityQueueOptions<V, In> = {}) {
    const { oldestEvery } = options;
    if (oldestEvery !== undefined && !(Number.isSafeInteger(oldestEvery) && oldestEvery > 0)) {
      throw new InvalidArgumentError(`oldestEvery ${oldestEvery} is not a positive whole number`);
    }
    this.name = name;
    this.#stamps = new Stamps(options.wallClock ?? Date.now);
    this.#taker = new Taker<V, In>(session, name, codecOf(options), {
      kind: 'priority',
      isItem: (key) => priorityOf(key) !== undefined,
      oldestNext: oldestEvery === undefined ? undefined : () => (this.#takes + 1) % oldestEvery === 0,
    });
  }

  /**
   * Puts an item. `priority` is a whole number from 0, the most urgent, to
   * {@link LOWEST_PRIORITY}; default 0.
   *
   * @throws InvalidArgumentError for another priority; otherwise as {@link Queue.enqueue}.
   */
  async enqueue(value: In, options: WaitOptions & { readonly priority?: number | undefined } = {}): Promise<Enqueued> {
    const { priority = 0 } = options;
    if (!(Number.isSafeInteger(priority) && priority >= 0 && priority <= LOWEST_PRIORITY)) {
      throw new InvalidArgumentError(`priority ${priority} is not a whole number from 0 to ${LOWEST_PRIORITY}`);
    }
    const folder = `${String(priority).padStart(5, '0')}/`;
    return await this.#taker.put(options, () => appending(this.#taker, folder, this.#stamps, value), this.#turns);
  }

  /** Takes the most urgent item, and waits for one if there is none. @throws as {@link Queue.dequeue}. */
  async dequeue(options: WaitOptions = {}): Promise<PriorityItem<V>> {
    return this.#taken(await this.#taker.take(options));
  }

  /** Takes the most urgent item if there is one. @throws as {@link Queue.dequeue}. */
  async tryDequeue(options: WaitOptions = {}): Promise<PriorityItem<V> | undefined> {
    const item = await this.#taker.tryTake(options);
    return item && this.#taken(item);
  }

  /** The most urgent item, left where it is. */
  async peek(options: CallOptions = {}): Promise<PriorityItem<V> | undefined> {
    const item = await this.#taker.peek(options);
    return item && withPriority(item);
  }

  /** How many items are in the queue. */
  count(options: CallOptions = {}): Promise<number> {
    return this.#taker.count(options);
  }

  #taken(item: QueueItem<V>): PriorityItem<V> {
    this.#takes += 1;
    return withPriority(item);
  }
}

/** An item and how urgent it is. */
export type PriorityItem<V> = QueueItem<V> & { readonly priority: number };

function withPriority<V>(item: QueueItem<V>): PriorityItem<V> {
  return Object.assign(item, { priority: priorityOf(item.id) ?? 0 });
}

function priorityOf(key: string): number | undefined {
  const rest = ITEM.exec(key)?.[1];
  const priority = Number.parseInt(key, 10);
  return rest === undefined || stampOf(rest) === undefined || priority > LOWEST_PRIORITY ? undefined : priority;
}
