/**
 * The delay queue: items that are not to be had before their time; then the one that is due
 * first comes first.
 *
 * Keys, below `<name>/delay/`: `items/<due>-<nonce>`, where `due` is the moment in
 * microseconds since the Unix epoch; the rest as in the {@link Queue}.
 *
 * Whose clock: the producer's wall clock turns a delay into a moment; the consumer's wall
 * clock says whether that moment has come. etcd has no say in it: its only timer is the
 * lease, which a change of leader sets back to its whole length. So an item is early or late
 * by the difference of the two clocks. `maxClockSkewMs` makes consumers wait that much
 * longer, after which no item is early if no two clocks differ by more. A clock that is set
 * while a consumer sleeps is noticed within 30 seconds.
 *
 * The first of the consumers in line sleeps until the first item is due, or until one is put
 * that is due earlier; what is put behind it wakes nobody. Nothing is polled.
 *
 * Round trips: put 1, always; take as the queue's; 2 for a consumer that is woken by the time.
 *
 * Not guaranteed: an order among items due at the same microsecond. The rest as for the
 * queue: at most once.
 *
 * Source: Curator's `DistributedDelayQueue` for what it does.
 *
 * @module
 */

import { type CallOptions, InvalidArgumentError } from '../../src/index.ts';
import type { Session } from '../session.ts';
import type { WaitOptions } from '../waiting.ts';
import { codecOf, type QueueOptions } from './queue.ts';
import { stampedKey, stampOf, type WallClock } from './stamps.ts';
import { type Enqueued, type QueueItem, Taker } from './taker.ts';

/** How to use a delay queue. */
export interface DelayQueueOptions<V, In = V> extends QueueOptions<V, In> {
  /** By how much the wall clocks of two hosts may differ, in milliseconds. Default 0. */
  readonly maxClockSkewMs?: number | undefined;
}

/** When an item may be taken: after a time, or at a moment. */
export type Due =
  | { readonly delayMs: number; readonly at?: undefined }
  | { readonly at: Date; readonly delayMs?: undefined };

/** An item and when it was due. */
export type DelayedItem<V> = QueueItem<V> & { readonly dueAt: Date };

/**
 * A queue whose items wait for their time.
 *
 * @example
 * ```ts
 * const queue = new DelayQueue(session, 'reminders');
 * await queue.enqueue('call Ada', { delayMs: 60_000 });
 * const { value, dueAt } = await queue.dequeue({ signal });
 * ```
 */
export class DelayQueue<V = string, In = V> {
  readonly name: string;
  readonly #taker: Taker<V, In>;
  readonly #now: WallClock;

  /** @throws InvalidArgumentError for an empty name, or a skew that is no number of at least 0. */
  constructor(session: Session, name: string, options: DelayQueueOptions<V, In> = {}) {
    const { maxClockSkewMs = 0, wallClock = Date.now } = options;
    if (!(Number.isFinite(maxClockSkewMs) && maxClockSkewMs >= 0)) {
      throw new InvalidArgumentError(`maxClockSkewMs ${maxClockSkewMs} is not a number of at least 0`);
    }
    this.name = name;
    this.#now = wallClock;
    this.#taker = new Taker<V, In>(session, name, codecOf(options), {
      kind: 'delay',
      isItem: (key) => stampOf(key) !== undefined,
      dueInMs: (key) => dueMs(key) + maxClockSkewMs - wallClock(),
    });
  }

  /**
   * Puts an item that is due after `delayMs`, or at a moment; one in the past is due at once.
   *
   * @throws InvalidArgumentError for a time that is none; otherwise as {@link Queue.enqueue}.
   */
  async enqueue(value: In, options: Due & WaitOptions): Promise<Enqueued> {
    const atMs = options.at === undefined ? this.#now() + options.delayMs : options.at.getTime();
    if (!Number.isFinite(atMs)) throw new InvalidArgumentError('delayMs or at is not a time');
    const { items } = this.#taker;
    return await this.#taker.put(options, () => {
      const attempt = (key: string) => ({
        receipt: key,
        if: [items.key(key).missing],
        then: [items.op.put(key, value)],
      });
      const make = () => attempt(stampedKey(atMs * 1_000));
      return { look: [], first: make(), next: make };
    });
  }

  /** Takes the first item that is due, and waits for one if there is none. @throws as {@link Queue.dequeue}. */
  async dequeue(options: WaitOptions = {}): Promise<DelayedItem<V>> {
    return withTime(await this.#taker.take(options));
  }

  /** Takes the first item that is due, if there is one. @throws as {@link Queue.dequeue}. */
  async tryDequeue(options: WaitOptions = {}): Promise<DelayedItem<V> | undefined> {
    const item = await this.#taker.tryTake(options);
    return item && withTime(item);
  }

  /** The item that is due first, left where it is; it may not be due yet. */
  async peek(options: CallOptions = {}): Promise<DelayedItem<V> | undefined> {
    const item = await this.#taker.peek(options);
    return item && withTime(item);
  }

  /** How many items are in the queue, due or not. */
  count(options: CallOptions = {}): Promise<number> {
    return this.#taker.count(options);
  }
}

function withTime<V>(item: QueueItem<V>): DelayedItem<V> {
  return Object.assign(item, { dueAt: new Date(dueMs(item.id)) });
}

/** Rounded up to the millisecond, so that nothing is early by a fraction. */
function dueMs(key: string): number {
  return Math.ceil((stampOf(key) ?? 0) / 1_000);
}
