/**
 * Software transactional memory: read, compute and write many keys as if nobody else were
 * there; the commit finds out whether that was so, and if not, it is all done again.
 *
 * Keys: the caller's own, and one marker for each commit under way (`markers.ts`).
 *
 * One commit is one etcd transaction: `if` every read is as it was (and, at the default
 * level, nobody wrote what is to be written), `then` the writes, `else` the reads again, so
 * that the next attempt begins where this one ended.
 *
 * Round trips: one for each read, all reads of one turn together one; the commit one; the
 * first retry only its commit, unless it reads something else. A transaction at the
 * serializable levels that writes nothing has no commit: what it has read was true at its
 * first read. One lease grant a minute goes on the markers, while there are commits.
 *
 * What is guaranteed:
 * 1. What {@link stm} returns was committed, once, at {@link StmResult.revision}.
 * 2. What it throws was not and will not be, except for {@link UnknownOutcomeError}, whose
 *    `applied` is 'maybe': the cluster could not be asked for longer than it was worth to wait.
 * 3. A range that was read is guarded against phantoms: `attempt.ts` says why.
 *
 * What is not: the work itself may run many times, and sees its own attempt only, so it
 * must have no effect but through the transaction. At 'repeatable-reads' and
 * 'read-committed' it can see values that never stood side by side.
 *
 * Where it is the wrong tool: a key that everybody writes. Every commit makes all others
 * under way fail, so at any moment one makes progress: 8 clients at one key took 2 attempts
 * for each commit and made 450 a second, against 950 with a key for each (one etcd 3.5 on a
 * busy machine of two cores). A hot counter is better handed out in blocks, and a long
 * transaction run under a lock. A server takes 128 operations in a list: a transaction that
 * writes can read at most 127 keys, and write as many.
 *
 * Source: the levels and their conditions are those of etcd's `concurrency` package
 * (`NewSTM`), after Shavit and Touitou, "Software Transactional Memory", 1995.
 *
 * @module
 */

import {
  AbortError,
  bytes,
  type Clock,
  type Etcd,
  EtcdError,
  InvalidArgumentError,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
  type TxnSpec,
  utf8,
} from '../../src/index.ts';
import { attempting, transacting } from '../../src/telemetry/recipes.ts';
import { isFull } from '../contender.ts';
import { RecipeError, UnknownOutcomeError, WaitTimeoutError } from '../errors.ts';
import type { Held } from '../held.ts';
import { throwIfFired } from '../waiting.ts';
import { Attempt, type AttemptContext, type CommitParts, type Isolation, type Prefetch } from './attempt.ts';
import { type Fate, MARKER_PREFIX, type Marker, Markers } from './markers.ts';
import { StmTransaction } from './transaction.ts';

export type { Isolation } from './attempt.ts';
export { type StmEntry, type StmPutOptions, type StmRangeOptions, StmTransaction } from './transaction.ts';

/** How to run a transaction. */
export interface StmOptions {
  /**
   * How far it is kept apart from others. Default 'serializable-snapshot'.
   *
   * - 'serializable-snapshot': all reads show one revision; the commit fails when something
   *   that was read has changed since, or something that is written has.
   * - 'serializable': all reads show one revision; the commit fails when something that was
   *   read has changed. A key that is only written is overwritten, whatever happened to it.
   * - 'repeatable-reads': reads may show different revisions, and come from a member that
   *   lags behind; the commit fails when one of them is not as it was read.
   * - 'read-committed': as before, and the commit never fails: what others wrote is lost.
   */
  readonly isolation?: Isolation | undefined;
  /** The most attempts. Default 100. */
  readonly maxAttempts?: number | undefined;
  /** Ends the transaction when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** The longest time for all attempts together, in milliseconds. Default: no limit. */
  readonly timeoutMs?: number | undefined;
  /** A lock or a leadership that must be held at the moment of the commit; the store decides. */
  readonly guard?: Held | undefined;
  /**
   * Where the markers go that make the outcome certain: a prefix that the user may write to.
   * Default 'etcdkit-stm/'. With `false` there are none: a commit whose answer is lost then
   * throws an EtcdError with `applied: 'maybe'`.
   */
  readonly markerPrefix?: string | false | undefined;
}

/** A transaction that was committed. */
export interface StmResult<T> {
  /** What the work returned. */
  readonly value: T;
  /** The revision of the commit; of the reads when there was nothing to commit, and then undefined without any. */
  readonly revision: Revision | undefined;
  /** How many attempts it took; 1 when nobody interfered. */
  readonly attempts: number;
}

/** Others changed what the transaction had read, or was to write, in every attempt it had. Nothing was written. */
export class StmConflictError extends RecipeError {
  override readonly name = 'StmConflictError';
  readonly attempts: number;
  /** How often each key stood in the way, as far as it is known. */
  readonly conflicts: ReadonlyMap<string, number>;
  constructor(attempts: number, conflicts: ReadonlyMap<string, number>) {
    super('conflict', `the transaction was interfered with by others in each of ${attempts} attempts`);
    this.attempts = attempts;
    this.conflicts = conflicts;
  }
}

const DEFAULT_MAX_ATTEMPTS = 100;

/** Pauses before the second and later retries: at most this, doubling, with full jitter. */
const BACKOFF_MS = { first: 2, max: 250 };

/** How long to find out what became of a commit whose answer was lost; the second, once the caller waits no longer. */
const RESOLVE_MS = { patient: 10_000, hurried: 2_000 };

const ISOLATIONS: ReadonlySet<string> = new Set<Isolation>([
  'serializable-snapshot',
  'serializable',
  'repeatable-reads',
  'read-committed',
]);

/**
 * Runs a transaction: calls `work`, commits what it wrote, and begins again when others
 * interfered. `work` may be called many times and must change nothing but through `tx`.
 * When it throws, nothing is written and its error is thrown.
 *
 * @example
 * ```ts
 * const { value } = await stm(etcd, async (tx) => {
 *   const [from, to] = await Promise.all([tx.get('accounts/a'), tx.get('accounts/b')]);
 *   if (Number(from) < 10) throw new Error('not enough');
 *   tx.put('accounts/a', String(Number(from) - 10));
 *   tx.put('accounts/b', String(Number(to) + 10));
 *   return Number(from) - 10;
 * });
 * ```
 * @throws StmConflictError after `maxAttempts`; WaitTimeoutError after `timeoutMs`; AbortError
 * when `signal` fires; LostError when `guard` is not held any more; InvalidArgumentError when it
 * is more than a server takes; EtcdError. Nothing was written then. UnknownOutcomeError when
 * that is not known.
 */
export async function stm<T>(
  etcd: Etcd,
  work: (tx: StmTransaction) => Promise<T> | T,
  options: StmOptions = {},
): Promise<StmResult<T>> {
  const known = checked(options);
  const run = new Run(etcd, known);
  try {
    return await transacting(etcd, known.isolation, () => run.attempts(work));
  } catch (error) {
    throw run.reason(error);
  } finally {
    run.end();
  }
}

interface CheckedOptions extends StmOptions {
  readonly isolation: Isolation;
  readonly maxAttempts: number;
  readonly markerPrefix: string | false;
}

function checked(options: StmOptions): CheckedOptions {
  const { isolation = 'serializable-snapshot', maxAttempts = DEFAULT_MAX_ATTEMPTS, timeoutMs } = options;
  const { markerPrefix = MARKER_PREFIX } = options;
  if (!ISOLATIONS.has(isolation)) throw new InvalidArgumentError(`isolation ${String(isolation)} is unknown`);
  if (!(Number.isSafeInteger(maxAttempts) && maxAttempts > 0)) {
    throw new InvalidArgumentError(`maxAttempts ${maxAttempts} is not a positive whole number`);
  }
  if (timeoutMs !== undefined && !(timeoutMs > 0)) {
    throw new InvalidArgumentError(`timeoutMs ${timeoutMs} is not a positive number`);
  }
  return { ...options, isolation, maxAttempts, markerPrefix };
}

/** How a commit went. */
type Commit =
  | { readonly committed: true; readonly revision: Revision }
  /** `next` is undefined when the next attempt has to read for itself. */
  | {
      readonly committed: false;
      readonly next: Prefetch | undefined;
      readonly marker?: KeyValue<Uint8Array> | undefined;
    };

type AnyTxn = TxnSpec<readonly Op<unknown>[], readonly Op<unknown>[]>;

/** One transaction with all its attempts. */
class Run {
  readonly #etcd: Etcd;
  readonly #options: CheckedOptions;
  readonly #stop = new AbortController();
  readonly #context: AttemptContext;
  readonly #conflicts = new Map<string, number>();
  readonly #cleanUps: (() => void)[] = [];
  #timedOut = false;

  constructor(etcd: Etcd, options: CheckedOptions) {
    this.#etcd = etcd;
    this.#options = options;
    const { isolation, signal, timeoutMs } = options;
    this.#context = {
      store: etcd.keyspace('', bytes),
      isolation,
      maxOps: etcd.maxTxnOps,
      signal: this.#stop.signal,
    };
    throwIfFired(signal);
    const onAbort = (): void => this.#stop.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#cleanUps.push(() => signal?.removeEventListener('abort', onAbort));
    if (timeoutMs === undefined) return;
    const timer = etcd.clock.after(timeoutMs, () => {
      this.#timedOut = true;
      this.#stop.abort(new DOMException('the time limit has passed', 'TimeoutError'));
    });
    this.#cleanUps.push(() => timer.cancel());
  }

  end(): void {
    for (const cleanUp of this.#cleanUps) cleanUp();
  }

  /** The error to throw for a run that failed with `error`. */
  reason(error: unknown): unknown {
    if (!this.#stop.signal.aborted || error instanceof UnknownOutcomeError) return error;
    if (error instanceof EtcdError && error.applied === 'maybe') return error;
    if (this.#timedOut) return new WaitTimeoutError('the commit of the transaction', this.#options.timeoutMs ?? 0);
    return new AbortError('the signal has fired', { cause: this.#stop.signal.reason });
  }

  async attempts<T>(work: (tx: StmTransaction) => Promise<T> | T): Promise<StmResult<T>> {
    const { maxAttempts, guard } = this.#options;
    let next: Prefetch | undefined;
    for (let attempts = 1; attempts <= maxAttempts; attempts++) {
      if (attempts > 2) await this.#backOff(attempts - 3);
      this.#stop.signal.throwIfAborted();
      guard?.assertHeld();
      // What was fetched with the refusal is fresh for the retry that follows at once, and for no later one.
      const attempt = new Attempt(this.#context, attempts > 1, attempts === 2 ? next : undefined);
      const done = await attempting(this.#etcd, attempts, () => this.#attempt(attempt, attempts, work));
      if (done.committed) {
        return { value: done.value, revision: done.revision ?? attempt.base, attempts };
      }
      next = done.next;
    }
    throw new StmConflictError(maxAttempts, this.#conflicts);
  }

  /** One attempt: the work, then its commit. */
  async #attempt<T>(
    attempt: Attempt,
    number: number,
    work: (tx: StmTransaction) => Promise<T> | T,
  ): Promise<
    | { readonly committed: true; readonly revision: Revision | undefined; readonly value: T }
    | { readonly committed: false; readonly next: Prefetch | undefined }
  > {
    const outcome = await this.#work(attempt, number, work);
    if (!outcome.finished) return { committed: false, next: undefined };
    const commit = await this.#commit(attempt);
    return commit.committed ? { ...commit, value: outcome.value } : commit;
  }

  /** Runs the work for one attempt; not finished means that the attempt has lost its chance meanwhile. */
  async #work<T>(
    attempt: Attempt,
    number: number,
    work: (tx: StmTransaction) => Promise<T> | T,
  ): Promise<{ readonly finished: true; readonly value: T } | { readonly finished: false }> {
    try {
      const tx = new StmTransaction(attempt, number, new Uint8Array(), utf8);
      const value = await untilAborted((async () => work(tx))(), this.#stop.signal);
      return attempt.doomed === undefined ? { finished: true, value } : { finished: false };
    } catch (error) {
      if (attempt.doomed === undefined || this.#stop.signal.aborted) throw error;
      return { finished: false };
    } finally {
      attempt.close();
    }
  }

  async #commit(attempt: Attempt): Promise<Commit | { readonly committed: true; readonly revision: undefined }> {
    const { markerPrefix, guard } = this.#options;
    if (attempt.isDone && guard === undefined) return { committed: true, revision: undefined };
    const marked = attempt.writes && markerPrefix !== false;
    // The marker is one more entry in each list; under a guard all of it is nested in another transaction.
    const parts = attempt.commitParts({ lists: marked ? 1 : 0, nesting: guard === undefined ? 0 : 1 });
    if (!marked) return this.#send(attempt, parts);
    const markers = Markers.of(this.#etcd, markerPrefix);
    let renewed = false;
    for (;;) {
      const marker = await untilAborted(markers.take(), this.#stop.signal);
      try {
        return await this.#commitMarked(attempt, parts, marker, markers);
      } catch (error) {
        if (!(error instanceof EtcdError && error.code === 'lease-not-found')) throw error;
        markers.forget(marker.lease);
        // Once more with a lease that is known to be there; then it is one of the transaction's own that is not.
        if (renewed) throw error;
        renewed = true;
      }
    }
  }

  /** Commits, and finds out what became of it when no answer came. */
  async #commitMarked(attempt: Attempt, parts: CommitParts, marker: Marker, markers: Markers): Promise<Commit> {
    const { condition, write } = marker.begin(this.#etcd);
    const whole = {
      conditions: [condition, ...parts.conditions],
      writes: [...parts.writes, write],
      rereads: [...parts.rereads, this.#context.store.op.range(marker.key)],
    };
    try {
      const commit = await this.#send(attempt, whole);
      if (commit.committed) marker.written(commit.revision);
      // Somebody has deleted the marker, so it says nothing any more: the next commit uses another.
      else if (!marker.isOurs(commit.marker)) markers.forget(marker.lease);
      markers.giveBack(marker);
      return commit;
    } catch (error) {
      if (!(error instanceof EtcdError && error.applied === 'maybe')) {
        if (!(error instanceof EtcdError && error.code === 'lease-not-found')) markers.giveBack(marker);
        throw error;
      }
      const full = isFull(error);
      const fate = full ? await marker.look(this.#etcd) : await this.#resolve(marker);
      if (fate.fate === 'unknown') throw new UnknownOutcomeError('the transaction', { cause: error });
      markers.giveBack(marker);
      if (fate.fate === 'applied') return { committed: true, revision: fate.revision };
      if (full) throw error;
      // It is certain now that nothing was written, so the end of the wait is all there is to tell.
      this.#stop.signal.throwIfAborted();
      return { committed: false, next: undefined };
    }
  }

  async #send(attempt: Attempt, { conditions, writes, rereads }: CommitParts): Promise<Commit> {
    const { guard } = this.#options;
    const spec: AnyTxn = { if: conditions, then: writes, else: rereads };
    const call = { signal: this.#stop.signal };
    const done = await (guard === undefined ? this.#etcd.txn(spec, call) : guard.guard(spec, call));
    if (done.succeeded) return { committed: true, revision: done.revision };
    const answers = done.results as readonly RangeResult<Uint8Array>[];
    const { next, changed } = attempt.compareReads(answers, done.revision);
    for (const key of changed) this.#conflicts.set(key, (this.#conflicts.get(key) ?? 0) + 1);
    // Where there is a marker, it is the last that is read.
    return { committed: false, next, marker: answers.at(-1)?.kvs[0] };
  }

  /** Asks what became of a commit, for as long as that may take. */
  async #resolve(marker: Marker): Promise<Fate> {
    const { clock } = this.#etcd;
    const startedAt = clock.now();
    let hurriedFrom = this.#stop.signal.aborted ? startedAt : undefined;
    for (let tries = 0; ; tries++) {
      if (this.#stop.signal.aborted) hurriedFrom ??= clock.now();
      const patientMs = startedAt + RESOLVE_MS.patient - clock.now();
      const leftMs =
        hurriedFrom === undefined ? patientMs : Math.min(patientMs, hurriedFrom + RESOLVE_MS.hurried - clock.now());
      if (leftMs <= 0) return { fate: 'unknown' };
      try {
        return await marker.resolve(this.#etcd, Math.min(leftMs, RESOLVE_MS.hurried));
      } catch {
        await pause(clock, Math.min(leftMs, this.#jittered(tries)));
      }
    }
  }

  #backOff(retry: number): Promise<void> {
    return pause(this.#etcd.clock, this.#jittered(retry), this.#stop.signal);
  }

  /** Full jitter finishes contended work with the fewest calls; a tenth is kept so that nobody hammers. */
  #jittered(retry: number): number {
    const bound = Math.min(BACKOFF_MS.max, BACKOFF_MS.first * 2 ** Math.min(retry, 16));
    return bound * (0.1 + 0.9 * this.#etcd.random());
  }
}

/** Waits for a promise, but not beyond the signal; what becomes of it then is nobody's concern. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(delayMs, done);
    signal?.addEventListener('abort', done, { once: true });
    if (signal?.aborted) done();
  });
}
