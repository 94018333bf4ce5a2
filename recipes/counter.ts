/**
 * The counter: an integer that many add to.
 *
 * Keys: `<name>/value`, an integer in decimal text, without a lease. `<name>/receipts/…` hang
 * on sessions' leases, and make certain what became of each call (receipts.ts).
 *
 * Round trips: get 1. Add, set and compare-and-set 1 as long as the value is what this
 * object saw last, or there is none yet; 2 when it is not. When others are quicker a second
 * time, it steps back for some milliseconds and begins again.
 *
 * Guaranteed: an add that returned is applied once. One whose answer is lost is resolved,
 * never sent as another; one that throws is not applied, nor will be, except when the error
 * is an UnknownOutcomeError.
 *
 * Not for hot counters: every add is a commit of the cluster, and of those who add at the
 * same time one wins. Measured with one etcd 3.5 on a machine with two busy cores: one
 * client adds some 1,300 times a second, eight clients on one counter 2,000 times in all,
 * 32 clients 1,300 times. Half of these adds took half a millisecond, but who had bad luck
 * waited up to three seconds. For what counts requests or clicks, add up in memory and add
 * the sum now and then, or use another store.
 *
 * Source: `DistributedAtomicLong` of Curator; the certain outcome is ours.
 *
 * @module
 */

import {
  type CallOptions,
  type Compare,
  DecodeError,
  InvalidArgumentError,
  type KeyValue,
  type Op,
} from '../src/index.ts';
import { doing } from '../src/telemetry/recipes.ts';
import { failure, Turns } from './line.ts';
import { recipePrefix } from './names.ts';
import { elapsed } from './patience.ts';
import { type Attempt, type Done, Receipts } from './receipts.ts';
import type { Session } from './session.ts';
import { type WaitOptions, waiting } from './waiting.ts';

/** What a counter starts with. */
export interface CounterOptions {
  /** What it is while nobody has written it. Must be the same for all who use the name. Default 0. */
  readonly initial?: bigint | undefined;
}

/** How a conditional change went; `value` is what the counter is now. */
export interface CounterSwap {
  readonly swapped: boolean;
  readonly value: bigint;
}

/** The look at a counter. */
type Read = Op<KeyValue<string> | undefined>;

/** What to write when the counter is `value`; nothing: leave it. */
type Change = (value: bigint) => bigint | undefined;

/**
 * A counter that sessions share by its name. It has no bounds: values may be negative, and
 * may outgrow 64 bits. Calls of one object go one after another, in their order.
 *
 * @example
 * ```ts
 * const orders = new Counter(session, 'orders');
 * const total = await orders.add(1n);
 * ```
 */
export class Counter {
  readonly name: string;
  readonly #session: Session;
  readonly #key: string;
  readonly #initial: bigint;
  readonly #receipts: Receipts;
  readonly #turns = new Turns();
  /** The text seen last, or none: a guess, for the first attempt. */
  #known: string | undefined;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string, { initial = 0n }: CounterOptions = {}) {
    this.#session = session;
    this.name = name;
    const prefix = recipePrefix(name);
    this.#key = `${prefix}value`;
    this.#initial = integer('initial', initial);
    this.#receipts = new Receipts(session, `${prefix}receipts/`);
  }

  /** What it is. @throws DecodeError when somebody has written something else than an integer. */
  async get(options: CallOptions = {}): Promise<bigint> {
    return this.#parse((await this.#session.etcd.get(this.#key, options))?.value);
  }

  /**
   * Adds, and returns the sum.
   *
   * @throws WaitTimeoutError, AbortError, LostError (the session), EtcdError: it is not
   * applied, nor will be. UnknownOutcomeError when nobody knows; that takes an etcd that has
   * not answered for seconds. DecodeError when the value is no integer.
   */
  async add(by: bigint = 1n, options: WaitOptions = {}): Promise<bigint> {
    integer('by', by);
    return (await this.#doing('add', () => this.#change((value) => value + by, options))).value;
  }

  /** Writes a value, whatever was there. Returns it. @throws what {@link Counter.add} throws, but no DecodeError. */
  async set(value: bigint, options: WaitOptions = {}): Promise<bigint> {
    integer('value', value);
    return (await this.#doing('set', () => this.#change(() => value, options, 'whatever it is'))).value;
  }

  /** Writes `value` if the counter is `expected`. @throws what {@link Counter.add} throws. */
  async compareAndSet(expected: bigint, value: bigint, options: WaitOptions = {}): Promise<CounterSwap> {
    integer('expected', expected);
    integer('value', value);
    const swap = (current: bigint): bigint | undefined => (current === expected ? value : undefined);
    return this.#doing('compareAndSet', () => this.#change(swap, options));
  }

  #doing<T>(verb: string, work: () => Promise<T>): Promise<T> {
    return doing(this.#session.etcd, { recipe: 'Counter', name: this.name, verb }, work);
  }

  async #change(change: Change, options: WaitOptions, when?: 'whatever it is'): Promise<CounterSwap> {
    using wait = waiting(this.#session, options);
    try {
      using _turn = await this.#turns.take(wait.signal);
      const done = await this.#run(change, when, wait.signal);
      this.#known = done.done ? done.receipt : done.seen[0]?.value;
      return { swapped: done.done, value: this.#parse(this.#known) };
    } catch (error) {
      throw failure(wait, this.#title, error);
    }
  }

  #run(change: Change, when: 'whatever it is' | undefined, signal: AbortSignal): Promise<Done<readonly [Read]>> {
    const put = (value: bigint, conditions: readonly Compare[]): Attempt => {
      const text = String(value);
      return { receipt: text, if: conditions, then: [this.#session.etcd.op.put(this.#key, text)] };
    };
    const attempt = (text: string | undefined): Attempt | undefined => {
      if (text !== undefined && !INTEGER.test(text)) return undefined;
      const value = change(this.#parse(text));
      return value === undefined ? undefined : put(value, [this.#is(text)]);
    };
    const blind = when === undefined ? undefined : change(0n);
    let guessed = true;
    let conflicts = 0;
    const next = async ([kv]: readonly [KeyValue<string> | undefined]): Promise<Attempt | undefined> => {
      const made = attempt(kv?.value);
      // Refused although it had just been read: others are at it. After the wait this value is old, a guess again.
      if (!guessed && made !== undefined) await this.#stepBack(conflicts++, signal);
      guessed = !guessed;
      return made;
    };
    return this.#receipts.run(
      {
        what: `changing ${this.#title}`,
        look: [this.#read()] as const,
        first: blind === undefined ? attempt(this.#known) : put(blind, []),
        next,
      },
      signal,
    );
  }

  /** Lets the others go first. */
  #stepBack(conflicts: number, signal: AbortSignal): Promise<void> {
    const { clock, etcd } = this.#session;
    const boundMs = Math.min(CONFLICT_BACKOFF_MS.max, CONFLICT_BACKOFF_MS.first * 2 ** Math.min(conflicts, 16));
    return elapsed(clock, boundMs * (0.1 + 0.9 * etcd.random()), signal);
  }

  #read(): Read {
    return this.#session.etcd.op.get(this.#key);
  }

  #is(text: string | undefined): Compare {
    const key = this.#session.etcd.key(this.#key);
    return text === undefined ? key.missing : key.value.equals(text);
  }

  #parse(text: string | undefined): bigint {
    if (text === undefined) return this.#initial;
    if (!INTEGER.test(text)) throw new DecodeError(`${this.#title} is not an integer in decimal text`);
    return BigInt(text);
  }

  get #title(): string {
    return `the counter ${this.name}`;
  }
}

/** How long to wait after a conflict: full jitter, as in the client's own back-off. */
const CONFLICT_BACKOFF_MS = { first: 2, max: 250 };

const INTEGER = /^-?\d{1,1000}$/;

function integer(name: string, value: bigint): bigint {
  if (typeof value !== 'bigint') throw new InvalidArgumentError(`${name} is not a bigint`);
  return value;
}
