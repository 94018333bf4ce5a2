/**
 * Something that is held: a lock, a leadership, a permit.
 *
 * There are three ways to know whether it still is, from the weakest to the strongest:
 * `signal` fires when it is lost; `assertHeld()` asks the clock at the moment of the call;
 * `guard()` lets the store decide, in the same transaction as the write. Only the last one
 * holds against a process that was suspended between the check and the write.
 *
 * @module
 */

import {
  type CallOptions,
  type Compare,
  checkedSignal,
  type Op,
  type Revision,
  type TxnResult,
  type TxnSpec,
} from '../src/index.ts';
import { whileHeld } from '../src/telemetry/recipes.ts';
import type { Contender } from './contender.ts';
import { LostError } from './errors.ts';
import { Holding, type HoldingOptions } from './holding.ts';

export type { HoldingOptions } from './holding.ts';

/**
 * Something held, until it is released or lost.
 *
 * Give its `token` along to every store that is not etcd, and have that store refuse a
 * token lower than the highest it has seen; write to etcd through {@link Held.guard}.
 * Source: Kleppmann, "How to do distributed locking", 2016.
 */
export class Held implements AsyncDisposable {
  /** What is held, for messages. */
  readonly name: string;
  /** The key in the store that stands for it. */
  readonly key: string;
  /**
   * The fencing token: the revision of the key's creation. Grows from holder to holder, and
   * never changes while it is held.
   */
  readonly token: Revision;
  readonly #holding: Holding;
  readonly #signal: ReturnType<typeof checkedSignal>;
  #lost: LostError | undefined;
  #released: Promise<void> | undefined;

  /**
   * Internal: made by the recipes, of the place that is first in its queue, or of a holding
   * that gets another handle.
   */
  constructor(name: string, source: Contender | Holding, options: HoldingOptions = {}) {
    this.name = name;
    this.#holding = source instanceof Holding ? source : new Holding(name, source, options);
    const { contender } = this.#holding;
    this.key = contender.key;
    this.token = contender.token;
    this.#signal = checkedSignal(() => void this.#check());
    this.#holding.join(this, (lost) => this.#lose(lost));
  }

  /** @internal */
  static holdingOf(held: Held): Holding {
    return held.#holding;
  }

  /**
   * Fires when it is lost or released; the reason is a {@link LostError}. Fires before the
   * server can give it to somebody else. Reading its `aborted` looks at the clock.
   */
  get signal(): AbortSignal {
    this.#check();
    return this.#signal.signal;
  }

  /** Whether it is held, as far as can be told without asking the store. */
  get held(): boolean {
    return this.#check() === undefined;
  }

  /** How long it is certainly held without another keepalive, in milliseconds; 0 when it is not. */
  remainingMs(): number {
    return this.held ? this.#holding.remainingMs() : 0;
  }

  /**
   * Does nothing while it is held. Call it before each step that matters, after any wait.
   *
   * @throws LostError when it is not held any more.
   */
  assertHeld(): void {
    const lost = this.#check();
    if (lost !== undefined) throw lost;
  }

  /**
   * The conditions that this is still held, all of them, for transactions that
   * {@link Held.guard} does not fit: the key is the one that was created, and it hangs on a
   * lease.
   */
  get conditions(): readonly Compare[] {
    return this.#holding.contender.conditions;
  }

  /**
   * A transaction that is done only if this is still held, which the store decides.
   *
   * @example
   * ```ts
   * await lock.guard({ then: [etcd.op.put('orders/last', '17')] });
   * ```
   * @throws LostError, with nothing done, when it is not held any more; EtcdError with
   * `applied: 'maybe'` when no answer came.
   */
  async guard<const Then extends readonly Op<unknown>[] = [], const Else extends readonly Op<unknown>[] = []>(
    spec: TxnSpec<Then, Else>,
    options: CallOptions = {},
  ): Promise<TxnResult<Then, Else>> {
    this.assertHeld();
    const { session } = this.#holding;
    const done = await session.etcd.txn({ if: this.conditions, then: [session.etcd.op.txn(spec)] }, options);
    if (done.succeeded) return { ...done.results[0], revision: done.revision };
    this.#holding.lose('key-gone');
    throw this.#lost ?? new LostError(this.name, 'key-gone');
  }

  /**
   * Does some work, and has the session, should it be closed meanwhile, wait for the work's
   * end (at most four seconds) before it gives this up. `work` hears of the end by
   * {@link Held.signal}.
   */
  during<T>(work: () => Promise<T>): Promise<T> {
    return this.#holding.during(whileHeld(this, work));
  }

  /**
   * Gives it up. Resolves when the store has taken it back; a second call gets the same
   * answer and does nothing.
   *
   * @throws LostError when it had been lost before: by the session's end, or because its
   * key was gone. Then what was done last may not have been alone.
   */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  /** Gives it up; one that was lost before is no error here. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch((error: unknown) => {
      if (!(error instanceof LostError)) throw error;
    });
  }

  async #release(): Promise<void> {
    const lostBefore = this.#check();
    this.#lose(new LostError(this.name, 'released'));
    const removal = await this.#holding.part(this);
    // The session's own end has released it, at the program's word.
    if (lostBefore !== undefined && lostBefore.reason !== 'released') throw lostBefore;
    if (removal === 'absent') throw new LostError(this.name, 'key-gone');
  }

  #check(): LostError | undefined {
    this.#holding.check();
    return this.#lost;
  }

  #lose(lost: LostError): void {
    if (this.#lost !== undefined) return;
    this.#lost = lost;
    this.#signal.abort(lost);
  }
}

/**
 * Does some work under what is held, and gives it up when the work is done.
 *
 * @throws what `work` throws; LostError when it was lost before the work was done.
 */
export async function runHeld<T>(held: Held, work: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await held.during(work);
  } catch (error) {
    await held[Symbol.asyncDispose]();
    throw error;
  }
  await held.release();
  return result;
}
