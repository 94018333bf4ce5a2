/**
 * What the leader holds: its term.
 *
 * A {@link Held} with the words of an election, and what only a leader can do: proclaim,
 * write under its term, resign when it is not healthy, and hand over to a candidate of its
 * choice.
 *
 * @module
 */

import { InvalidArgumentError, type Keyspace, type Revision } from '../../src/index.ts';
import type { Contender } from '../contender.ts';
import { LostError, RecipeError } from '../errors.ts';
import { FencedKv } from '../fenced-kv.ts';
import { Held } from '../held.ts';
import { OwnValue } from '../own-value.ts';
import { type Wait, type WaitOptions, waiting } from '../waiting.ts';
import { clearWay, takeBackOrder } from './hand-over.ts';
import type { Health } from './health.ts';
import type { ElectionCandidate } from './view.ts';

/** How long a hand-over may take by default, in milliseconds. */
const HAND_OVER_TIMEOUT_MS = 10_000;

/**
 * A leadership, until it is given up or lost. `signal`, `assertHeld()`, `guard()` and the
 * rest are {@link Held}'s; the token is the term.
 */
export class Leadership extends Held {
  /**
   * The store, for as long as this leads: every call is one transaction that is done only in
   * this term. See {@link FencedKv}.
   */
  readonly kv: FencedKv<string, string | Uint8Array>;
  readonly #contender: Contender;
  readonly #own: OwnValue;
  readonly #prefix: string;
  #value: string;
  #proclaiming: Promise<unknown> = Promise.resolve();
  #handingOver = false;

  /** Internal: made by an Election, of the candidate that is first. */
  constructor(
    election: { readonly name: string; readonly prefix: string },
    contender: Contender,
    value: string,
    health?: Health,
  ) {
    super(`the leadership of ${election.name}`, contender);
    this.#contender = contender;
    this.#own = new OwnValue(contender);
    this.#prefix = election.prefix;
    this.#value = value;
    this.kv = this.fence(contender.session.etcd);
    if (health !== undefined) void this.#watchHealth(health);
  }

  /** The term: the fencing token of this leadership. Grows from leader to leader. */
  get term(): Revision {
    return this.token;
  }

  /** What it has proclaimed last, or campaigned with. */
  get value(): string {
    return this.#value;
  }

  /** Some keys, for as long as this leads; see {@link Leadership.kv}. */
  fence<V, In>(keyspace: Keyspace<V, In>): FencedKv<V, In> {
    return new FencedKv(this, keyspace);
  }

  /**
   * Changes the value that observers see; the term stays. One round trip. Several calls are
   * done in their order, and what was said last stays. While the cluster cannot be reached it
   * tries again.
   *
   * @throws LostError when it does not lead any more; WaitTimeoutError after `timeoutMs`
   * (default: no limit) and AbortError when `signal` fires: the value may be either then.
   */
  proclaim(value: string, options: WaitOptions = {}): Promise<void> {
    const write = this.#proclaiming.then(() => this.#proclaim(value, options));
    this.#proclaiming = write.catch(() => {});
    return write;
  }

  /** Gives the leadership up; the oldest candidate leads then. Like {@link Held.release}. One round trip. */
  resign(): Promise<void> {
    return this.release();
  }

  /**
   * Hands over to a candidate: those who are ahead of it step back behind it, and then this
   * resigns, so that it leads next. Meanwhile, and if it does not come about, this leads on.
   *
   * Candidates of Go and etcdctl do not step back; it waits until they are gone. Round
   * trips: 3 when nobody is in between, else 1 more and one for each that steps back.
   *
   * @returns whether it has resigned in favour of the candidate; false when that one has
   * left the queue, and this leads on.
   * @throws WaitTimeoutError after `timeoutMs` (default 10 seconds) and AbortError when
   * `signal` fires: this leads on; LostError when it does not lead any more.
   */
  async handOver(to: Pick<ElectionCandidate, 'key' | 'token'>, options: WaitOptions = {}): Promise<boolean> {
    this.assertHeld();
    if (to.token <= this.token) throw new InvalidArgumentError('the leader hands over to a candidate that waits');
    if (this.#handingOver) throw new RecipeError('held-by-another', 'a hand-over is under way');
    this.#handingOver = true;
    const contender = this.#contender;
    try {
      const clear = await this.#waiting(
        { ...options, timeoutMs: options.timeoutMs ?? HAND_OVER_TIMEOUT_MS },
        'the hand-over',
        async (wait) => {
          let done = false;
          try {
            done = await clearWay(contender, this.#prefix, to, wait.signal);
          } finally {
            // No longer needed when all have stepped back, and not to be left when it has failed.
            await wait.patiently(takeBackOrder(contender, this.#prefix));
          }
          return done;
        },
      );
      if (clear) await this.release();
      return clear;
    } finally {
      this.#handingOver = false;
    }
  }

  async #proclaim(value: string, options: WaitOptions): Promise<void> {
    this.assertHeld();
    await this.#waiting(options, 'the proclamation', (wait) => this.#own.write(value, wait.signal));
    this.#value = value;
  }

  /** Does something that takes time, ended by the leadership's own end too. */
  async #waiting<T>(options: WaitOptions, what: string, work: (wait: Wait) => Promise<T>): Promise<T> {
    const signal = options.signal === undefined ? this.signal : AbortSignal.any([options.signal, this.signal]);
    using wait = waiting(this.#contender.session, { ...options, signal });
    try {
      return await work(wait);
    } catch (error) {
      if (error instanceof LostError && error.reason === 'key-gone') Held.holdingOf(this).lose('key-gone');
      this.assertHeld();
      throw wait.reason(what, error);
    }
  }

  async #watchHealth(health: Health): Promise<void> {
    const unhealthy = await health.untilUnhealthy(this.signal);
    if (unhealthy === undefined) return;
    const holding = Held.holdingOf(this);
    holding.lose('released', unhealthy);
    // What runs under it gets the time that a closing session would give it. A refusal to delete leaves it to the lease.
    await holding.release().catch(() => {});
  }
}
