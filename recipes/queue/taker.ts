/**
 * What the queues of items have in common: an item is one key in `items/`, the order is
 * that of the keys (so the server reads no more of them than `limit` says), and whoever
 * takes an item deletes its key.
 *
 * Round trips: taking an item costs 1 while there are more, since the transaction that takes
 * one also reads the next; 2 without that knowledge. A consumer that has to wait costs 2
 * (a look, and a place in the line), two watches, and 1 when it is woken.
 *
 * @module
 */

import type { CallOptions, Codec, Keyspace, KeyValue, Op, Revision, WatchEvent } from '../../src/index.ts';
import { countQueue, doing } from '../../src/telemetry/recipes.ts';
import type { Contender } from '../contender.ts';
import { type Attempted, type Awaited, failure, Turns, takeInTurn } from '../line.ts';
import { recipePrefix } from '../names.ts';
import { Receipts, type Task } from '../receipts.ts';
import type { Session } from '../session.ts';
import { type WaitOptions, waiting } from '../waiting.ts';
import { type Candidate, hinted, type Order, Taking } from './attempt.ts';

/** What was in a queue. */
export class QueueItem<V = string> {
  /** Names the item within its queue. */
  readonly id: string;
  /** The revision that put it there. */
  readonly revision: Revision;
  readonly #kv: KeyValue<V>;

  /** @internal */
  constructor(kv: KeyValue<V>) {
    this.id = kv.key;
    this.revision = kv.createRevision;
    this.#kv = kv;
  }

  /** What was put, by the queue's codec. @throws DecodeError when the codec cannot read it. */
  get value(): V {
    return this.#kv.value;
  }

  /** The value's bytes, for one that the codec cannot read. */
  get valueBytes(): Uint8Array {
    return this.#kv.valueBytes;
  }
}

/** An item was put. */
export interface Enqueued {
  /** Names the item within its queue. */
  readonly id: string;
  /** The revision that put it there. */
  readonly revision: Revision;
}

/** How many items are read at first: more than one only for the sake of strays. */
const FIRST_LOOK = 4;

/** @internal The items of a queue. */
export class Taker<V, In> {
  readonly session: Session;
  readonly items: Keyspace<V, In>;
  readonly #what: string;
  readonly #name: string;
  readonly #order: Order;
  readonly #prefix: string;
  readonly #waiters: string;
  readonly #receipts: Receipts;
  readonly #turns = new Turns();
  #limit = FIRST_LOOK;
  /** The first item, as far as the last one that was taken lets us know. */
  #next: Candidate<V> | undefined;

  constructor(session: Session, name: string, codec: Codec<V, In>, order: Order) {
    const prefix = `${recipePrefix(name)}${order.kind}/`;
    this.session = session;
    this.#name = name;
    this.#what = `the queue ${name}`;
    this.#order = order;
    this.#prefix = `${prefix}items/`;
    this.#waiters = `${prefix}waiters/`;
    this.items = session.etcd.keyspace(this.#prefix, codec);
    this.#receipts = new Receipts(session, `${prefix}receipts/`);
  }

  /** Puts an item, in its turn if there are turns. */
  put<const L extends readonly Op<unknown>[]>(
    options: WaitOptions,
    makeTask: () => Omit<Task<L>, 'what'>,
    turns?: Turns,
  ): Promise<Enqueued> {
    return this.#doing('enqueue', () => this.#put(options, makeTask, turns));
  }

  async #put<const L extends readonly Op<unknown>[]>(
    options: WaitOptions,
    makeTask: () => Omit<Task<L>, 'what'>,
    turns: Turns | undefined,
  ): Promise<Enqueued> {
    using wait = waiting(this.session, options);
    const what = `putting into ${this.#what}`;
    try {
      using _turn = await turns?.take(wait.signal);
      const done = await this.#receipts.run({ ...makeTask(), what }, wait.signal);
      if (!done.done) throw new TypeError('an item is put sooner or later');
      return { id: done.receipt, revision: done.revision };
    } catch (error) {
      throw failure(wait, what, error);
    }
  }

  /** Takes the first item; waits until there is one. */
  take(options: WaitOptions): Promise<QueueItem<V>> {
    return this.#doing('dequeue', () => this.#take(options));
  }

  async #take(options: WaitOptions): Promise<QueueItem<V>> {
    using wait = waiting(this.session, options);
    try {
      using _turn = await this.#turns.take(wait.signal);
      return await takeInTurn<QueueItem<V>, V>(this.session, wait, {
        waiters: this.#waiters,
        items: this.#readOnly,
        attempt: (place, hint) => this.#attempt(wait.signal, place, hint),
      });
    } catch (error) {
      throw failure(wait, `an item of ${this.#what}`, error);
    }
  }

  /** Takes the first item if there is one, whoever else waits for it. */
  tryTake(options: WaitOptions): Promise<QueueItem<V> | undefined> {
    return this.#doing('tryDequeue', () => this.#tryTake(options));
  }

  async #tryTake(options: WaitOptions): Promise<QueueItem<V> | undefined> {
    using wait = waiting(this.session, options);
    try {
      const attempted = await this.#attempt(wait.signal, undefined, undefined, 'pushy');
      return 'taken' in attempted ? attempted.taken : undefined;
    } catch (error) {
      throw failure(wait, `an item of ${this.#what}`, error);
    }
  }

  /** The first item, left where it is, whether it is due or not. */
  async peek(options: CallOptions): Promise<QueueItem<V> | undefined> {
    for (;;) {
      const { kvs, more } = await this.items.range({ all: true }, { ...options, limit: this.#limit });
      const kv = kvs.find(({ key }) => this.#order.isItem(key));
      if (kv !== undefined) return new QueueItem(kv);
      if (!more) return undefined;
      this.#limit *= 8;
    }
  }

  /** How many keys there are among the items. */
  async count(options: CallOptions): Promise<number> {
    const count = await this.items.count({ all: true }, options);
    countQueue(this.session.etcd, this.#traced, count);
    return count;
  }

  get #traced(): { readonly recipe: string; readonly name: string } {
    return { recipe: 'Queue', name: this.#name };
  }

  #doing<T>(verb: string, work: () => Promise<T>): Promise<T> {
    const attributes = { 'etcd.queue.kind': this.#order.kind };
    return doing(this.session.etcd, { ...this.#traced, verb, attributes }, work);
  }

  get #readOnly(): Keyspace<V, never> {
    return this.items;
  }

  async #attempt(
    signal: AbortSignal,
    place: Contender | undefined,
    hint: WatchEvent<V> | undefined,
    manners: 'polite' | 'pushy' = 'polite',
  ): Promise<Attempted<QueueItem<V>>> {
    for (;;) {
      const taking = new Taking<V>({
        session: this.session,
        items: this.#readOnly,
        waiters: this.#waiters,
        order: this.#order,
        limit: this.#limit,
        place,
        manners,
        what: `taking from ${this.#what}`,
      });
      const known = place === undefined ? this.#next : hinted(hint, this.#order);
      this.#next = undefined;
      const late = (receipt: string): Promise<void> => this.#putBack(taking.tried(receipt));
      const patient = manners === 'polite';
      const done = await this.#receipts.run({ ...taking.task(known), late, patient }, signal);
      if (done.done) {
        this.#next = done.seen && taking.after(done.seen, done.revision);
        return { taken: new QueueItem(taking.tried(done.receipt)) };
      }
      if (taking.hidden(done.seen)) {
        this.#limit *= 8;
        continue;
      }
      const awaited = this.#awaited(taking.best(done.seen, done.revision), done.revision);
      return { awaited, contended: taking.available(done.seen, done.revision) };
    }
  }

  #awaited(best: Candidate<V> | undefined, revision: Revision): Awaited {
    const from = (revision + 1n) as Revision;
    const { dueInMs } = this.#order;
    if (best === undefined || dueInMs === undefined) return { target: { all: true }, from };
    const { key } = best.kv;
    // What is put behind the first item changes nothing, so it wakes nobody.
    return { target: { from: '', to: key }, from, dueInMs: () => dueInMs(key) };
  }

  /** Puts an item back that was taken after its taker had gone: where it was, and once. */
  async #putBack(kv: KeyValue<V>): Promise<void> {
    const { etcd } = this.session;
    const key = `${this.#prefix}${kv.key}`;
    const first = { receipt: kv.key, if: [etcd.key(key).missing], then: [etcd.op.put(key, kv.valueBytes)] };
    const task = { what: 'putting back', look: [], first, next: () => undefined, patient: true };
    await this.#receipts.run(task, new AbortController().signal);
  }
}
