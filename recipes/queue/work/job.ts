/**
 * A job in a worker's hands.
 *
 * Invariants:
 * 1. The claim is a key that hangs on the worker's session, and the revision that created it
 *    is the token. Whatever settles the job demands in the same transaction that this key
 *    is still there with that revision. So a worker that was believed dead, was suspended,
 *    or has lost its session changes nothing any more, neither at the job nor at what
 *    {@link Job.ack} and {@link Job.guard} were to write.
 * 2. `signal` fires when the claim is lost, by the clock if need be; it is a warning, and
 *    decides nothing.
 * 3. A job is settled once. A lost answer is found out about (receipts.ts).
 *
 * @module
 */

import {
  type CallOptions,
  type Compare,
  checkedSignal,
  type KeyValue,
  LeaseLostError,
  type Op,
  type OpResults,
  type Revision,
  type Timer,
  type TxnResult,
  type TxnSpec,
} from '../../../src/index.ts';
import { type LossReason, LostError, UnknownOutcomeError } from '../../errors.ts';
import { failure } from '../../line.ts';
import { ownerText } from '../../names.ts';
import { patiently } from '../../patience.ts';
import type { SessionUser } from '../../session.ts';
import { sessionEnd, type WaitOptions, waiting } from '../../waiting.ts';
import { type Board, type JobRecord, STATE } from './board.ts';

/** What to do together with an {@link Job.ack}: all of it or, with the job left as it is, nothing. */
export interface AckSpec<Then extends readonly Op<unknown>[]> {
  /** Conditions of your own. */
  readonly if?: readonly Compare[] | undefined;
  /** The job's effects. A few less than the server takes in one transaction (128), since the job needs six. */
  readonly then?: Then | undefined;
}

/** How an {@link Job.ack} went. */
export type AckResult<Then extends readonly Op<unknown>[]> =
  | {
      readonly acked: true;
      readonly revision: Revision;
      /** The results of `then`; undefined when the answer was lost, and the outcome found out later. */
      readonly results: OpResults<Then> | undefined;
    }
  /** One of your own conditions did not hold: nothing was done, the job is still yours. */
  | { readonly acked: false; readonly revision: Revision };

/** How to give a job back. */
export interface NackOptions extends WaitOptions {
  /** When it may be tried again, in milliseconds from now. Default: as the queue's `retryDelayMs` says. */
  readonly delayMs?: number | undefined;
  /** Why; kept with the job for people to read. */
  readonly reason?: string | undefined;
}

/** A claim, as it was made. @internal */
export interface Claim<V> {
  readonly id: string;
  readonly key: string;
  readonly token: Revision;
  readonly record: JobRecord;
  readonly payload: KeyValue<V>;
  /** When the claim was sent, by the session's clock. */
  readonly sentAt: number;
  /** Told when the job is settled or lost. */
  readonly onEnd: () => void;
}

/** How long the end of a session waits for what works on a job. */
const DRAIN_MS = 4_000;

/** What a claim's key holds. */
export function claimText(owner: string | undefined, visibilityMs: number | undefined): string {
  return ownerText(owner, visibilityMs === undefined ? {} : { visibilityMs });
}

/**
 * A job that this process works on until it is settled ({@link Job.ack}, {@link Job.nack},
 * {@link Job.bury}, {@link Job.handBack}) or lost.
 */
export class Job<V = string> implements AsyncDisposable, SessionUser {
  /** Names the job within its queue. */
  readonly id: string;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** The claim's key. */
  readonly key: string;
  /** The fencing token: the revision of the claim. Grows from attempt to attempt. */
  readonly token: Revision;
  /** When it was put, by its producer's wall clock. */
  readonly enqueuedAt: Date;
  readonly #board: Board<V, never>;
  readonly #record: JobRecord;
  readonly #payload: KeyValue<V>;
  readonly #onEnd: () => void;
  readonly #signal: ReturnType<typeof checkedSignal>;
  readonly #leaveSession: () => void;
  readonly #onSession = (): void => void this.#check();
  /** By the session's clock: when others may get the job, if it is not extended. */
  #endsAt: number;
  readonly #running = new Set<Promise<unknown>>();
  #timer: Timer | undefined;
  #moving = 0;
  #settled = false;
  #lost: LostError | undefined;
  #unknown: UnknownOutcomeError | undefined;

  /** @internal */
  constructor(board: Board<V, never>, claim: Claim<V>) {
    this.#board = board;
    this.id = claim.id;
    this.key = claim.key;
    this.token = claim.token;
    this.attempt = claim.record.attempts;
    this.enqueuedAt = new Date(claim.record.enqueuedAt);
    this.#record = claim.record;
    this.#payload = claim.payload;
    this.#onEnd = claim.onEnd;
    this.#endsAt = claim.sentAt + (board.rules.visibilityMs ?? Number.POSITIVE_INFINITY);
    this.#signal = checkedSignal(() => void this.#check());
    this.#leaveSession = board.session.use(this);
    board.session.signal.addEventListener('abort', this.#onSession, { once: true });
    this.#arm();
  }

  /** What was put, by the queue's codec. @throws DecodeError when the codec cannot read it. */
  get value(): V {
    return this.#payload.value;
  }

  /** The value's bytes, for one that the codec cannot read. */
  get valueBytes(): Uint8Array {
    return this.#payload.valueBytes;
  }

  /**
   * Fires when the job is settled or lost; the reason is a {@link LostError}. Fires before
   * anybody else can get it, unless an operator interferes. Reading its `aborted` looks at
   * the clock.
   */
  get signal(): AbortSignal {
    this.#check();
    return this.#signal.signal;
  }

  /** Whether the job is ours, as far as can be told without asking the store. */
  get held(): boolean {
    return this.#check() === undefined;
  }

  /** Whether the job can still be settled by us: also when its time is over, as long as nobody else has it. */
  get open(): boolean {
    const lost = this.#check();
    return !this.#settled && (lost === undefined || lost.reason === 'expired');
  }

  /** How long the job is certainly ours, in milliseconds; 0 when it is not. */
  remainingMs(): number {
    if (!this.held) return 0;
    const { session } = this.#board;
    return Math.min(session.remainingMs(), this.#endsAt - session.clock.now());
  }

  /** @throws LostError when the job is not ours any more. */
  assertHeld(): void {
    const lost = this.#check();
    if (lost !== undefined) throw lost;
  }

  /**
   * The conditions that the job is still ours, all of them, for transactions of your own: the
   * claim is the one that was made, and it hangs on a lease.
   */
  get conditions(): readonly Compare[] {
    const claim = this.#board.keys.key(this.key);
    return [claim.createRevision.equals(this.token), claim.lease.notEquals(0n)];
  }

  /**
   * A transaction that is done only if the job is still ours, which the store decides; for
   * effects before the last one, which belongs into {@link Job.ack}.
   *
   * @throws LostError, with nothing done, when it is not; EtcdError with `applied: 'maybe'`
   * when no answer came.
   */
  async guard<const Then extends readonly Op<unknown>[] = [], const Else extends readonly Op<unknown>[] = []>(
    spec: TxnSpec<Then, Else>,
    options: CallOptions = {},
  ): Promise<TxnResult<Then, Else>> {
    this.assertHeld();
    const { etcd } = this.#board.session;
    const done = await etcd.txn({ if: this.conditions, then: [etcd.op.txn(spec)] }, options);
    if (done.succeeded) return { ...done.results[0], revision: done.revision };
    throw this.lose('key-gone');
  }

  /**
   * Says that the job is done, together with its effects: one transaction, so that either
   * both happened, once, or neither. One round trip.
   *
   * @example
   * ```ts
   * await job.ack({ then: [etcd.op.put(`invoices/${job.value.id}`, 'sent')] });
   * ```
   * It goes on while the cluster cannot be reached, at most as long as the session lives.
   *
   * @throws LostError, with nothing done, when the job is not ours any more; AbortError,
   * WaitTimeoutError and EtcdError, with nothing done; UnknownOutcomeError when nobody knows.
   */
  async ack<const Then extends readonly Op<unknown>[] = []>(
    spec: AckSpec<Then> = {},
    options: WaitOptions = {},
  ): Promise<AckResult<Then>> {
    const then: readonly Op<unknown>[] = spec.then ?? [];
    const moves = [...then, ...this.#board.erase(this.id, this.#record)];
    const done = await this.#settle('ack', spec.if ?? [], moves, options);
    if (!done.settled) return { acked: false, revision: done.revision };
    const results = done.results?.slice(0, then.length) as OpResults<Then> | undefined;
    return { acked: true, revision: done.revision, results };
  }

  /**
   * Says that the attempt has failed. The job is tried again, later; after the last attempt
   * it goes to the dead letters. One round trip.
   *
   * @throws as {@link Job.ack}.
   */
  async nack(options: NackOptions = {}): Promise<void> {
    const { rules } = this.#board;
    const { delayMs = rules.retryDelayMs(this.attempt), reason = 'nack' } = options;
    await this.#settle('nack', [], [this.#board.afterFailure(this.id, this.#record, reason, delayMs)], options);
  }

  /** Gives the job up for good: to the dead letters. @throws as {@link Job.ack}. */
  async bury(reason: string, options: WaitOptions = {}): Promise<void> {
    await this.#settle('bury', [], [this.#board.bury(this.id, this.#record, reason)], options);
  }

  /** Gives the job back as if it had never been claimed: the attempt does not count. @throws as {@link Job.ack}. */
  async handBack(options: WaitOptions = {}): Promise<void> {
    const record = { ...this.#record, attempts: this.attempt - 1 };
    await this.#settle('hand-back', [], [this.#board.offer(this.id, record)], options);
  }

  /**
   * Keeps the job for `visibilityMs` from now on, by default the queue's; without either the
   * claim lasts as long as the session, and there is nothing to do. One round trip.
   *
   * @throws as {@link Job.ack}.
   */
  async extend(options: WaitOptions & { readonly visibilityMs?: number | undefined } = {}): Promise<void> {
    const { visibilityMs = this.#board.rules.visibilityMs } = options;
    if (visibilityMs === undefined) return this.assertHeld();
    const { keys, session } = this.#board;
    const sentAt = session.clock.now();
    const touch = keys.op.put(this.key, claimText(session.owner, visibilityMs), { ignoreLease: true });
    await this.#whileOurs('extend', [], [touch], options);
    this.#endsAt = sentAt + visibilityMs;
    this.#arm();
  }

  /**
   * Does some work on the job, and has the session, should it be closed meanwhile, wait for
   * the work's end (at most four seconds) before it gives the job to others.
   */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** For the session's end: tells who works on it to stop, then gives the job to others. */
  async release(): Promise<void> {
    if (this.#lost !== undefined) return;
    const { session } = this.#board;
    this.#signal.abort(new LostError(`the job ${this.id}`, 'session', { cause: sessionEnd(session) }));
    if (this.#running.size > 0) await patiently(session.clock, Promise.allSettled(this.#running), DRAIN_MS);
    if (this.#lost === undefined) await this.#quietlyBack();
  }

  /** Gives a job that was not settled to others: this attempt has failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#check() !== undefined) return;
    await this.nack({ reason: 'left unsettled' }).catch((error: unknown) => {
      if (!(error instanceof LostError)) throw error;
    });
  }

  /** @internal Declares the job lost; only the first time counts. */
  lose(reason: LossReason, cause?: unknown): LostError {
    if (this.#lost !== undefined) return this.#lost;
    const lost = new LostError(`the job ${this.id}`, reason, cause === undefined ? undefined : { cause });
    this.#lost = lost;
    this.#timer?.cancel();
    this.#board.session.signal.removeEventListener('abort', this.#onSession);
    this.#leaveSession();
    this.#onEnd();
    this.#signal.abort(lost);
    return lost;
  }

  /** @internal The claim's key was deleted. A move of ours under way finds out by itself whether it was that. */
  keyGone(): void {
    if (this.#moving === 0) this.lose('key-gone');
  }

  async #settle(what: string, conditions: readonly Compare[], moves: readonly Op<unknown>[], options: WaitOptions) {
    const { keys } = this.#board;
    const leave = [keys.op.delete(this.key), keys.op.delete(STATE + this.id)];
    const done = await this.#whileOurs(what, conditions, [...moves, ...leave], options);
    if (done.settled) {
      this.#settled = true;
      this.lose('released');
    }
    return done;
  }

  /** Does something if the job is still ours. The store decides that, whatever the clock says. */
  async #whileOurs(
    what: string,
    conditions: readonly Compare[],
    then: readonly Op<unknown>[],
    options: WaitOptions,
  ): Promise<{ settled: boolean; revision: Revision; results: readonly unknown[] | undefined }> {
    const lost = this.#check();
    if (this.#settled) throw new LostError(`the job ${this.id}`, 'released');
    if (lost !== undefined && lost.reason !== 'expired') throw this.#unknown ?? lost;
    const { session, keys, receipts } = this.#board;
    using wait = waiting(session, options);
    this.#moving += 1;
    try {
      const done = await receipts.run(
        {
          what: `${what} of the job ${this.id}`,
          look: [keys.op.get(this.key)],
          first: { receipt: what, if: [...this.conditions, ...conditions], then },
          next: () => undefined,
          patient: true,
        },
        wait.signal,
      );
      if (done.done) return { settled: true, revision: done.revision, results: done.results };
      const [claim] = done.seen;
      const ours = claim?.createRevision === this.token && claim.lease !== undefined;
      if (!ours) throw this.#unknown ?? this.lose('key-gone');
      return { settled: false, revision: done.revision, results: undefined };
    } catch (error) {
      if (error instanceof UnknownOutcomeError) this.#unknown = error;
      throw failure(wait, `the job ${this.id}`, error);
    } finally {
      this.#moving -= 1;
    }
  }

  async #quietlyBack(): Promise<void> {
    const { session, keys } = this.#board;
    const record = { ...this.#record, attempts: this.attempt - 1 };
    const moves = [keys.op.delete(this.key), keys.op.delete(STATE + this.id), this.#board.offer(this.id, record)];
    try {
      // Done or not: the session's end sees to it otherwise.
      await session.etcd.txn<readonly Op<unknown>[]>({ if: this.conditions, then: moves });
    } catch {
      // The claim goes with the lease, and the attempt counts then.
    } finally {
      this.lose('session', new LeaseLostError(session.id, 'revoked'));
    }
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#lost !== undefined || this.#endsAt === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#board.session;
    // A timer may be early by a fraction of a millisecond.
    const ring = (): void => void (this.#check() ?? this.#arm());
    this.#timer = clock.after(this.#endsAt - clock.now(), ring, { background: true });
  }

  #check(): LostError | undefined {
    if (this.#lost !== undefined) return this.#lost;
    const { session } = this.#board;
    if (!session.lease.alive) return this.lose('session', sessionEnd(session));
    return session.clock.now() >= this.#endsAt ? this.lose('expired') : undefined;
  }
}
