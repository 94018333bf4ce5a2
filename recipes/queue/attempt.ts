/**
 * One try to take the first of some items: which one, and under which conditions.
 *
 * The conditions of the transaction are what keeps the order and gives an item to one
 * consumer only: the item is as it was seen, and since then nothing was put before it. If
 * one of them fails, the same transaction shows how things stand now.
 *
 * @module
 */

import type { Compare, Keyspace, KeyValue, Op, OpResults, RangeResult, Revision, WatchEvent } from '../../src/index.ts';
import type { Contender } from '../contender.ts';
import { LostError } from '../errors.ts';
import { isParticipant } from '../names.ts';
import type { Attempt, Task } from '../receipts.ts';
import type { Session } from '../session.ts';

/** How a kind of queue orders its items. */
export interface Order {
  /** The kind: a folder below the queue's name, so that kinds of one name do not meet. */
  readonly kind: string;
  /** Whether a key, without the prefix, is an item's. Other keys have strayed there, and are passed over. */
  readonly isItem: (key: string) => boolean;
  /** How long until an item may be taken, in milliseconds. Default: at once. */
  readonly dueInMs?: ((key: string) => number) | undefined;
  /** Whether the next item to take is the oldest, whatever the order. Default: never. */
  readonly oldestNext?: (() => boolean) | undefined;
}

/** An item that could be taken. */
export interface Candidate<V> {
  readonly kv: KeyValue<V>;
  /** Up to which revision it is known that nothing stands before it; undefined when that does not matter. */
  readonly firstAt: Revision | undefined;
}

/** What a look at a queue shows: the first items, the first of the line, and our own place in it. */
export type Look<V> = readonly [Op<RangeResult<V>>, Op<RangeResult<string>>, ...Op<KeyValue | undefined>[]];

/** Where and how to take. */
export interface AttemptOptions<V> {
  readonly session: Session;
  readonly items: Keyspace<V, never>;
  readonly waiters: string;
  readonly order: Order;
  /** How many items to look at: more than one only for the sake of strays. */
  readonly limit: number;
  /** The own place in the line, if there is one. */
  readonly place: Contender | undefined;
  /**
   * How to behave without a place. `polite` leaves the last item to those in the line, and joins them after some
   * tries at which others were quicker; `pushy` does neither.
   */
  readonly manners: 'polite' | 'pushy';
  /** What is done, for messages. */
  readonly what: string;
}

/** How often a polite one tries before it joins the line. */
const POLITE_TRIES = 8;

/** Enough of the line to see whether there is one. */
const LINE_LIMIT = 4;

/** One try, of one or more attempts. */
export class Taking<V> {
  readonly #options: AttemptOptions<V>;
  readonly #oldest: boolean;
  readonly #tried = new Map<string, KeyValue<V>>();
  #tries = 0;

  constructor(options: AttemptOptions<V>) {
    this.#options = options;
    this.#oldest = options.order.oldestNext?.() ?? false;
  }

  /** The task for the receipts. `known` is the first item, if somebody knows it without a look. */
  task(known: Candidate<V> | undefined): Task<Look<V>> {
    const { session, items, waiters, limit, place, what } = this.#options;
    const sort = this.#oldest ? ({ by: 'createRevision' } as const) : undefined;
    const look: Look<V> = [
      items.op.range({ all: true }, { limit, sort }),
      session.etcd.op.range({ prefix: waiters }, { limit: LINE_LIMIT, keysOnly: true }),
      ...(place === undefined ? [] : [session.etcd.op.get(place.key)]),
    ];
    const first = this.#oldest || known === undefined || !this.#due(known.kv) ? undefined : this.#attempt(known);
    return { what, look, first, lookAfter: true, next: (seen, revision) => this.#next(seen, revision) };
  }

  /** An item that was tried. */
  tried(key: string): KeyValue<V> {
    const kv = this.#tried.get(key);
    if (kv === undefined) throw new TypeError('an item was taken that nobody tried to take');
    return kv;
  }

  /** The first item there is. */
  best(seen: OpResults<Look<V>>, revision: Revision): Candidate<V> | undefined {
    const kv = seen[0].kvs.find(({ key }) => this.#options.order.isItem(key));
    return kv && { kv, firstAt: this.#oldest ? undefined : revision };
  }

  /** Whether there may be items behind the strays that were seen. */
  hidden(seen: OpResults<Look<V>>): boolean {
    return seen[0].more && !seen[0].kvs.some(({ key }) => this.#options.order.isItem(key));
  }

  /** The first item, for the next try; none if it had to be left to the line. */
  after(seen: OpResults<Look<V>>, revision: Revision): Candidate<V> | undefined {
    this.#tries = 0;
    return this.#oldest || this.#givesWay(seen) ? undefined : this.best(seen, revision);
  }

  /** Whether there is an item to be taken now, by us or by others. */
  available(seen: OpResults<Look<V>>, revision: Revision): boolean {
    const best = this.best(seen, revision);
    return best !== undefined && this.#due(best.kv);
  }

  #next(seen: OpResults<Look<V>>, revision: Revision): Attempt | undefined {
    const { place, manners } = this.#options;
    if (place !== undefined && seen[2]?.lease === undefined) throw new LostError('the place in the line', 'key-gone');
    if (place === undefined && manners === 'polite' && this.#givesWay(seen)) return undefined;
    const best = this.best(seen, revision);
    return best !== undefined && this.#due(best.kv) ? this.#attempt(best) : undefined;
  }

  /**
   * Whether to join the line. While there is more than one item, one is left for the first of the line, the only one
   * there that tries; to queue up behind the others all the same would make everybody wait for everybody.
   */
  #givesWay(seen: OpResults<Look<V>>): boolean {
    if (this.#tries >= POLITE_TRIES) return true;
    const { order } = this.#options;
    return this.#lineBefore(seen) && seen[0].kvs.filter(({ key }) => order.isItem(key)).length < 2;
  }

  #attempt({ kv, firstAt }: Candidate<V>): Attempt {
    const { session, items, place } = this.#options;
    this.#tries += 1;
    this.#tried.set(kv.key, kv);
    const conditions: Compare[] = [items.key(kv.key).unchangedSince(kv)];
    if (firstAt !== undefined) {
      // Also holds when there is no key before it, and for strays that were seen there.
      conditions.push(items.keys({ from: '', to: kv.key }).modRevision.lessThan((firstAt + 1n) as Revision));
    }
    const then: Op<unknown>[] = [items.op.delete(kv.key)];
    if (place !== undefined) {
      conditions.push(...place.conditions);
      then.push(session.etcd.op.delete(place.key));
    }
    return { receipt: kv.key, if: conditions, then };
  }

  #due(kv: KeyValue<V>): boolean {
    return (this.#options.order.dueInMs?.(kv.key) ?? 0) <= 0;
  }

  #lineBefore([, line]: OpResults<Look<V>>): boolean {
    const { waiters } = this.#options;
    return line.kvs.some((kv) => isParticipant(kv, waiters));
  }
}

/** The item that a watch has told of. Others of the same revision may stand before it, so it is the first only up to there. */
export function hinted<V>(event: WatchEvent<V> | undefined, order: Order): Candidate<V> | undefined {
  if (event?.type !== 'put' || !order.isItem(event.kv.key)) return undefined;
  return { kv: event.kv, firstAt: (event.revision - 1n) as Revision };
}
