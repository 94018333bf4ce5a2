/**
 * The queue: first in, first out, each item handed to one consumer.
 *
 * Keys, below `<name>/queue/`: `items/<stamp>-<nonce>` hold the items; `waiters/…` and
 * `receipts/…` hang on their session's lease and stand for consumers that wait, and for what
 * producers and consumers have under way. Compared with Go's recipe, a queue called `job`
 * does not touch one called `jobs`, and no key is made from a clock alone.
 *
 * Putting: one transaction puts the item on condition that no item's key is greater. So
 * whatever was put before, by whichever process, comes out before. The key is guessed from
 * the wall clock; a clock that is wrong costs a second round trip, and nothing else.
 * Taking: one transaction deletes the first item on condition that it is unchanged and
 * still the first. Consumers that find nothing, or others at work, stand in line (line.ts).
 *
 * Round trips: put 1 (2 for who meets another producer, or has a clock behind the last
 * one's); take 1 while there are more, else 2, and 1 for each item that another was quicker
 * to take, at most eight; a consumer that waited: 1 from the wake-up.
 *
 * Guaranteed: an item that was put comes out once, in the order of putting, unless its
 * consumer dies after taking it. No call doubles an item or loses one because an answer was
 * lost (receipts.ts).
 *
 * Not guaranteed: that an item is worked on. It is out of the queue before its consumer has
 * seen it (at most once); use {@link WorkQueue} where that matters. Nor does a queue get
 * faster by more consumers, since the order lets only one take at a time.
 *
 * Where etcd is the wrong tool: each put and each take is a commit of the whole cluster, and
 * what waits is in the memory and in the snapshot of each member. Measured on one member on
 * a small machine with a fast disk: about 1000 puts and 1000 takes a second for one process,
 * 500 takes for four or twelve that compete; 630 bytes of database for a waiting job of 200
 * bytes, and its history besides until it is compacted, against a quota of 2 GiB. So tens
 * of thousands of items that wait are fine. For millions, or thousands a second, take a
 * message broker.
 *
 * Source: the recipe of etcd's `experimental/recipes`, with ZooKeeper's line of waiters.
 *
 * @module
 */

import { type CallOptions, type Codec, EtcdError, type RangeResult, type Revision, utf8 } from '../../src/index.ts';
import { Turns } from '../line.ts';
import type { Attempt } from '../receipts.ts';
import type { Session } from '../session.ts';
import type { WaitOptions } from '../waiting.ts';
import { Stamps, stampedKey, stampOf, type WallClock } from './stamps.ts';
import { type Enqueued, type QueueItem, Taker } from './taker.ts';

/** How to use a queue. */
export interface QueueOptions<V, In = V> {
  /** How values are written and read. Default: text. */
  readonly codec?: Codec<V, In> | undefined;
  /** Tells the time of day, in milliseconds since the Unix epoch. Default: `Date.now`. */
  readonly wallClock?: WallClock | undefined;
}

/** How many of the items behind the guessed key are read: more than one only for the sake of strays. */
const TAIL_LIMIT = 100;

/**
 * A queue that many processes put into and take from. One object may have many calls under
 * way; its puts are done in the order of the calls, and so are its takes.
 *
 * @typeParam V What values are when they are taken.
 * @typeParam In What they are when they are put.
 *
 * @example
 * ```ts
 * const queue = new Queue(session, 'mails', { codec: json<Mail>() });
 * await queue.enqueue({ to: 'ada@example.com' });
 * const { value } = await queue.dequeue({ signal });
 * ```
 */
export class Queue<V = string, In = V> {
  readonly name: string;
  readonly #taker: Taker<V, In>;
  readonly #stamps: Stamps;
  readonly #turns = new Turns();

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string, options: QueueOptions<V, In> = {}) {
    this.name = name;
    this.#stamps = new Stamps(options.wallClock ?? Date.now);
    this.#taker = new Taker<V, In>(session, name, codecOf(options), {
      kind: 'queue',
      isItem: (key) => stampOf(key) !== undefined,
    });
  }

  /**
   * Puts an item at the end.
   *
   * @throws LostError when the session is over, AbortError, WaitTimeoutError, EtcdError when
   * the cluster refuses: the item is not in the queue then. UnknownOutcomeError when nobody
   * knows; that takes an etcd that has not answered for seconds.
   */
  enqueue(value: In, options: WaitOptions = {}): Promise<Enqueued> {
    return this.#taker.put(options, () => this.#putting(value), this.#turns);
  }

  /**
   * Takes the first item, and waits for one if there is none.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is over or the place in the line was deleted: nothing
   * is taken then. UnknownOutcomeError when nobody knows; the item is put back if it can be.
   */
  dequeue(options: WaitOptions = {}): Promise<QueueItem<V>> {
    return this.#taker.take(options);
  }

  /** Takes the first item if there is one. @throws what {@link Queue.dequeue} throws. */
  tryDequeue(options: WaitOptions = {}): Promise<QueueItem<V> | undefined> {
    return this.#taker.tryTake(options);
  }

  /** The first item, left where it is. */
  peek(options: CallOptions = {}): Promise<QueueItem<V> | undefined> {
    return this.#taker.peek(options);
  }

  /** How many items are in the queue. */
  count(options: CallOptions = {}): Promise<number> {
    return this.#taker.count(options);
  }

  #putting(value: In): ReturnType<typeof appending> {
    return appending(this.#taker, '', this.#stamps, value);
  }
}

/** The codec of a queue; text if none was given. */
export function codecOf<V, In>({ codec }: QueueOptions<V, In>): Codec<V, In> {
  // Without a codec the type parameters are the default ones, which are text.
  return codec ?? (utf8 as unknown as Codec<V, In>);
}

/** @internal The task of putting an item behind all others of a folder. */
export function appending<V, In>({ items }: Taker<V, In>, folder: string, stamps: Stamps, value: In) {
  const start = `${folder}${stampedKey(stamps.next())}`;
  // What begins with no digit is none of ours, wherever it stands.
  const end = `${folder}:`;
  const attempt = (key: string, known: bigint): Attempt => ({
    receipt: key,
    // Nothing stands behind it, but for strays that were seen there.
    if: [items.keys({ from: key, to: end }).modRevision.lessThan((known + 1n) as Revision)],
    then: [items.op.put(key, value)],
  });
  const newest = { sort: { by: 'key', order: 'descending' }, limit: TAIL_LIMIT, keysOnly: true } as const;
  return {
    look: [items.op.range({ from: start, to: end }, newest)] as const,
    first: attempt(start, 0n),
    next([tail]: readonly [RangeResult<V>], revision: Revision): Attempt {
      const stamp = tail.kvs.map(({ key }) => stampOf(key.slice(folder.length))).find((found) => found !== undefined);
      if (stamp === undefined && tail.more)
        throw new EtcdError('server', 'keys of others are in the way of every item');
      if (stamp !== undefined) stamps.saw(stamp);
      return attempt(`${folder}${stampedKey(stamps.next())}`, revision);
    },
  };
}
