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
  checkedSignal,
  CompactedError,
  EtcdError,
  type CallOptions,
  type Op,
  type Revision,
  type TxnResult,
  type TxnSpec,
} from '../src/index.ts';
import type { Contender } from './contender.ts';
import { LostError, type LossReason } from './errors.ts';
import type { Session, SessionUser } from './session.ts';

/**
 * Something held, until it is released or lost.
 *
 * Give its `token` along to every store that is not etcd, and have that store refuse a
 * token lower than the highest it has seen; write to etcd through {@link Held.guard}.
 * Source: Kleppmann, "How to do distributed locking", 2016.
 */
export class Held implements AsyncDisposable, SessionUser {
  /** What is held, for messages. */
  readonly name: string;
  /** The key in the store that stands for it. */
  readonly key: string;
  /**
   * The fencing token: the revision of the key's creation. Grows from holder to holder, and
   * never changes while it is held.
   */
  readonly token: Revision;
  readonly #contender: Contender;
  readonly #session: Session;
  readonly #signal: ReturnType<typeof checkedSignal>;
  readonly #stopWatching = new AbortController();
  readonly #leaveSession: () => void;
  readonly #offSession: () => void;
  #lost: LostError | undefined;
  #released: Promise<void> | undefined;

  /** @internal */
  constructor(name: string, contender: Contender) {
    this.name = name;
    this.key = contender.key;
    this.token = contender.token;
    this.#contender = contender;
    const { session } = contender;
    this.#session = session;
    this.#signal = checkedSignal(() => void this.#check());
    this.#leaveSession = session.use(this);
    const onSession = (): void => this.#lose('session', session.lease.signal.reason);
    session.signal.addEventListener('abort', onSession, { once: true });
    this.#offSession = () => session.signal.removeEventListener('abort', onSession);
    void this.#watchOwnKey();
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
    return this.held ? this.#session.remainingMs() : 0;
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
   * A transaction that is done only if this is still held, which the store decides.
   *
   * @example
   * ```ts
   * await lock.guard({ then: [etcd.op.put('orders/last', '17')] });
   * ```
   * @throws LostError, with nothing done, when it is not held any more.
   */
  async guard<const Then extends readonly Op<unknown>[] = [], const Else extends readonly Op<unknown>[] = []>(
    spec: TxnSpec<Then, Else>,
    options: CallOptions = {},
  ): Promise<TxnResult<Then, Else>> {
    this.assertHeld();
    const { etcd } = this.#session;
    const done = await etcd.txn({ if: [this.#contender.held], then: [etcd.op.txn(spec)] }, options);
    if (done.succeeded) return { ...done.results[0], revision: done.revision };
    this.#lose('key-gone');
    throw this.#lost ?? new LostError(this.name, 'key-gone');
  }

  /**
   * Gives it up. Resolves when the store has taken it back; a second call changes nothing.
   *
   * @throws LostError when it had been lost before.
   */
  async release(): Promise<void> {
    if (this.#released === undefined) {
      const lostBefore = this.#check();
      this.#lose('released');
      this.#released = this.#contender.leave();
      await this.#released;
      if (lostBefore !== undefined) throw lostBefore;
    }
    await this.#released;
  }

  /** Gives it up; one that was lost before is no error here. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch((error: unknown) => {
      if (!(error instanceof LostError)) throw error;
    });
  }

  #check(): LostError | undefined {
    if (this.#lost === undefined && !this.#session.lease.alive) this.#lose('session', this.#session.lease.signal.reason);
    return this.#lost;
  }

  #lose(reason: LossReason, cause?: unknown): void {
    if (this.#lost !== undefined) return;
    this.#lost = new LostError(this.name, reason, cause === undefined ? undefined : { cause });
    this.#offSession();
    this.#leaveSession();
    this.#stopWatching.abort();
    this.#signal.abort(this.#lost);
    // Lost by an operator's hand or a doubtful session: what is left of the key must not block others.
    if (reason !== 'released') this.#released = this.#contender.leave();
  }

  /** Notices when the key is deleted behind our back. */
  async #watchOwnKey(): Promise<void> {
    const { signal } = this.#stopWatching;
    const { etcd } = this.#session;
    let from = (this.token + 1n) as Revision;
    while (!signal.aborted) {
      try {
        for await (const event of etcd.watch(this.key, { from, only: 'delete', signal })) {
          if (event.type === 'delete') return this.#lose('key-gone');
        }
        return;
      } catch (error) {
        if (signal.aborted || !(error instanceof CompactedError)) return;
        const looked = await this.#lookAfterCompaction();
        if (looked === undefined) return;
        from = (looked + 1n) as Revision;
      }
    }
  }

  async #lookAfterCompaction(): Promise<Revision | undefined> {
    const { etcd } = this.#session;
    try {
      const done = await etcd.txn({ if: [this.#contender.held] }, { signal: this.#stopWatching.signal });
      if (done.succeeded) return done.revision;
      this.#lose('key-gone');
      return undefined;
    } catch (error) {
      // Guards and the session still tell; only this early warning is gone.
      if (error instanceof EtcdError) return undefined;
      throw error;
    }
  }
}
