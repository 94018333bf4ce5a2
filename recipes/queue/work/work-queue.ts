/**
 * The work queue: jobs that are done at least once, and whose effects in etcd happen once.
 *
 * A worker claims a job: its claim is a key on the worker's session. It settles the job by a
 * transaction that demands that this claim is still there, and that can carry the job's own
 * effects ({@link Job.ack}): then job and effects are settled together, or not at all. When
 * a worker dies, its claim goes with its session, and the job is given to another; whatever
 * the first one still tries, if it only was slow, is refused. board.ts has the keys,
 * keeper.ts says who gives jobs back.
 *
 * Round trips: put 1 (2 with `dedupe.seconds`); claim 1 for a job that was seen at an earlier
 * look or that has woken a worker that waited, else 2; ack, nack, bury, extend 1. When a
 * worker dies: its session's time to live, then 2 for the keeper.
 *
 * Guaranteed: a job that was put is worked on until it is acked, buried, or has failed
 * `maxAttempts` times; at each revision at most one worker can settle it, and the effects
 * that go with an ack happen exactly once. No call doubles or loses a job because an answer
 * was lost.
 *
 * Not guaranteed: that a job is worked on only once, or by one worker at a time (one that
 * was cut off may still be at it): effects outside of etcd have to bear repetition, or to be
 * fenced by {@link Job.token}. Nor is an order: workers take any of the first jobs, and what
 * failed comes again.
 *
 * Where etcd is the wrong tool: see queue.ts. Measured on one member on a small machine: 5000
 * puts a second by one client with fifty under way, 400 to 600 jobs a second claimed and
 * acked by four clients in one process.
 *
 * Source: kazoo's `LockingQueue` and Curator's `lockPath`, whose consumers may be two after a
 * session's death (CURATOR-605); visibility, attempts and dead letters as in Amazon SQS.
 *
 * @module
 */

import {
  type CallOptions,
  type Codec,
  InvalidArgumentError,
  type LeaseId,
  type Op,
  type Revision,
  utf8,
} from '../../../src/index.ts';
import { countQueue, doing } from '../../../src/telemetry/recipes.ts';
import { UnknownOutcomeError } from '../../errors.ts';
import { failure, takeInTurn } from '../../line.ts';
import type { Session } from '../../session.ts';
import { type WaitOptions, waiting } from '../../waiting.ts';
import { stampedKey, type WallClock } from '../stamps.ts';
import { Board, DEAD, DEDUPE, DELAYED_AT, type JobRecord, READY, STATE } from './board.ts';
import { Claims } from './claims.ts';
import { DeadLetters } from './dead-letters.ts';
import type { Job } from './job.ts';
import { Keeper } from './keeper.ts';
import { type JobHandler, type ProcessOptions, Worker } from './worker.ts';

/** How to use a work queue. Whoever uses the same one should use the same options. */
export interface WorkQueueOptions<V, In = V> {
  /** How values are written and read. Default: text. */
  readonly codec?: Codec<V, In> | undefined;
  /** After how many attempts a job goes to the dead letters. A worker's death counts as one. Default 5. */
  readonly maxAttempts?: number | undefined;
  /**
   * How long a job waits after a failed attempt, in milliseconds, by the number of attempts so far. Default: 1 s,
   * doubling, at most 60 s. A job whose worker was lost does not wait.
   */
  readonly retryDelayMs?: ((attempts: number) => number) | undefined;
  /**
   * How long a worker has for a job, in milliseconds, unless it extends that; then the job
   * is given to another. Default: as long as its session lives.
   */
  readonly visibilityMs?: number | undefined;
  /** By how much the wall clocks of two hosts may differ, in milliseconds: what is delayed waits that much longer. Default 0. */
  readonly maxClockSkewMs?: number | undefined;
  /** Tells the time of day, in milliseconds since the Unix epoch. Default: `Date.now`. */
  readonly wallClock?: WallClock | undefined;
}

/** How to put a job. */
export interface JobOptions {
  /** When it can be had: after so many milliseconds by the wall clocks of this process and the keeper's. Default: at once. */
  readonly delayMs?: number | undefined;
  /**
   * Puts no second job with this key: as long as the first is in the queue (dead letters
   * included), or, with `seconds`, that long from now, whatever becomes of the first.
   */
  readonly dedupe?: string | { readonly key: string; readonly seconds: number } | undefined;
}

/** How putting a job went. */
export type JobPut =
  | { readonly enqueued: true; readonly id: string; readonly revision: Revision }
  /** There is one with this dedupe key: `id`. */
  | { readonly enqueued: false; readonly id: string; readonly revision: Revision };

/** How many jobs there are. */
export interface WorkDepth {
  /** To be had now. */
  readonly ready: number;
  /** To be had later. */
  readonly delayed: number;
  /** In the hands of workers, or of workers that are gone. */
  readonly inFlight: number;
  /** Given up. */
  readonly dead: number;
  readonly revision: Revision;
}

/**
 * A queue of jobs for many workers.
 *
 * @example
 * ```ts
 * const invoices = new WorkQueue(session, 'invoices', { codec: json<Invoice>() });
 * await invoices.enqueue(invoice, { dedupe: invoice.number });
 * await invoices.process(
 *   async (job) => {
 *     await send(job.value);
 *     await job.ack({ then: [etcd.op.put(`sent/${job.value.number}`, 'yes')] });
 *   },
 *   { concurrency: 8, signal },
 * );
 * ```
 */
export class WorkQueue<V = string, In = V> {
  readonly name: string;
  /** The jobs that were given up. */
  readonly deadLetters: DeadLetters<V>;
  readonly #session: Session;
  readonly #board: Board<V, In>;
  readonly #claims: Claims<V>;
  readonly #keeper: Keeper;

  /** @throws InvalidArgumentError for an empty name, or an option that makes no sense. */
  constructor(session: Session, name: string, options: WorkQueueOptions<V, In> = {}) {
    const { maxAttempts = 5, retryDelayMs = defaultRetryDelay, visibilityMs, maxClockSkewMs = 0 } = options;
    if (!(Number.isSafeInteger(maxAttempts) && maxAttempts > 0)) {
      throw new InvalidArgumentError(`maxAttempts ${maxAttempts} is not a positive whole number`);
    }
    if (visibilityMs !== undefined && !(Number.isFinite(visibilityMs) && visibilityMs > 0)) {
      throw new InvalidArgumentError(`visibilityMs ${visibilityMs} is not a positive number`);
    }
    if (!(Number.isFinite(maxClockSkewMs) && maxClockSkewMs >= 0)) {
      throw new InvalidArgumentError(`maxClockSkewMs ${maxClockSkewMs} is not a number of at least 0`);
    }
    const wallClock = options.wallClock ?? Date.now;
    const rules = { maxAttempts, retryDelayMs, visibilityMs, maxClockSkewMs, wallClock };
    // Without a codec the type parameters are the default ones, which are text.
    const codec = options.codec ?? (utf8 as unknown as Codec<V, In>);
    this.name = name;
    this.#session = session;
    this.#board = new Board(session, name, codec, rules);
    const board = this.#board as unknown as Board<V, never>;
    this.#claims = new Claims(board);
    this.#keeper = new Keeper(board);
    this.deadLetters = new DeadLetters(board);
  }

  /**
   * Puts a job.
   *
   * @throws LostError when the session is over, AbortError, WaitTimeoutError, EtcdError when
   * the cluster refuses: there is no such job then. UnknownOutcomeError when nobody knows.
   */
  enqueue(value: In, options: JobOptions & WaitOptions = {}): Promise<JobPut> {
    return this.#doing('enqueue', () => this.#enqueue(value, options));
  }

  async #enqueue(value: In, options: JobOptions & WaitOptions): Promise<JobPut> {
    const { keys, receipts } = this.#board;
    using wait = waiting(this.#session, options);
    const what = `putting into the work queue ${this.name}`;
    const dedupe = dedupeOf(options);
    let lease: LeaseId | undefined;
    let used = false;
    try {
      if (dedupe?.seconds !== undefined) {
        lease = (await this.#session.etcd.leases.grant({ ttlSeconds: dedupe.seconds }, { signal: wait.signal })).id;
      }
      const { id, operations } = this.#putting(value, options, dedupe?.seconds === undefined ? dedupe?.key : undefined);
      const look = dedupe === undefined ? [] : [keys.op.get(dedupe.key)];
      const attempt = {
        receipt: id,
        if: dedupe === undefined ? [] : [keys.key(dedupe.key).missing],
        then: dedupe === undefined ? operations : [...operations, keys.op.put(dedupe.key, id, { lease })],
      };
      const done = await receipts.run(
        { what, look, first: attempt, next: ([first]) => (first === undefined ? attempt : undefined) },
        wait.signal,
      );
      used = done.done;
      if (done.done) return { enqueued: true, id, revision: done.revision };
      return { enqueued: false, id: done.seen[0]?.value ?? '', revision: done.revision };
    } catch (error) {
      used = error instanceof UnknownOutcomeError;
      throw failure(wait, what, error);
    } finally {
      if (lease !== undefined && !used) void this.#session.etcd.leases.revoke(lease).catch(() => {});
    }
  }

  /**
   * The operations that put a job, for a transaction of your own: with the effects of another
   * job ({@link Job.ack}), or with the change that makes the job necessary. Send them once;
   * each call makes another job.
   */
  operations(value: In, options: Pick<JobOptions, 'delayMs'> = {}): readonly Op<unknown>[] {
    return this.#putting(value, options, undefined).operations;
  }

  /**
   * Claims a job, and waits for one if there is none to be had.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is over or the place in the line was deleted: nothing
   * is claimed then. UnknownOutcomeError when nobody knows; the job is given back if need be.
   */
  claim(options: WaitOptions = {}): Promise<Job<V>> {
    return this.#doing('claim', () => this.#claim(options));
  }

  async #claim(options: WaitOptions): Promise<Job<V>> {
    using wait = waiting(this.#session, options);
    this.#keeper.start();
    try {
      return await takeInTurn<Job<V>, string>(this.#session, wait, {
        waiters: this.#board.waiters,
        items: this.#claims.items,
        attempt: (place, hint) => this.#claims.attempt(wait.signal, place, hint, true),
      });
    } catch (error) {
      throw failure(wait, `a job of the work queue ${this.name}`, error);
    }
  }

  /** Claims a job if there is one to be had. @throws as {@link WorkQueue.claim}. */
  tryClaim(options: WaitOptions = {}): Promise<Job<V> | undefined> {
    return this.#doing('tryClaim', () => this.#tryClaim(options));
  }

  async #tryClaim(options: WaitOptions): Promise<Job<V> | undefined> {
    using wait = waiting(this.#session, options);
    this.#keeper.start();
    try {
      const attempted = await this.#claims.attempt(wait.signal, undefined, undefined, false);
      return 'taken' in attempted ? attempted.taken : undefined;
    } catch (error) {
      throw failure(wait, `a job of the work queue ${this.name}`, error);
    }
  }

  /**
   * Works on jobs until `signal` fires: claims them, calls `handler`, and settles what the
   * handler has not settled: by an ack when it returns, a nack when it throws. Resolves when
   * the jobs under way are done (see {@link ProcessOptions.drainTimeoutMs}).
   *
   * @throws InvalidArgumentError for a handler that is no function, and a wrong option; LostError
   * when the session is lost, EtcdError when the cluster refuses, after the jobs under way have
   * come to an end.
   */
  async process(handler: JobHandler<V>, options: ProcessOptions<V> = {}): Promise<void> {
    const { concurrency = 1 } = options;
    // Every job would fail, and end among the dead letters.
    if (typeof handler !== 'function') throw new InvalidArgumentError('the handler is no function');
    if (!(Number.isSafeInteger(concurrency) && concurrency > 0)) {
      throw new InvalidArgumentError(`concurrency ${concurrency} is not a positive whole number`);
    }
    this.#session.assertAlive();
    await new Worker<V>(this.#session, (signal) => this.claim({ signal }), handler, options).run();
  }

  /** How many jobs there are, all at one revision. One round trip. */
  async depth(options: CallOptions = {}): Promise<WorkDepth> {
    const { keys } = this.#board;
    const count = (prefix: string) => keys.op.range({ prefix }, { countOnly: true });
    const done = await keys.txn({ then: [count(READY), count(DELAYED_AT), count(STATE), count(DEAD)] }, options);
    if (!done.succeeded) throw new TypeError('a transaction without conditions has no else');
    const [ready, delayed, inFlight, dead] = done.results;
    const { revision } = done;
    countQueue(this.#session.etcd, this.#traced, ready.count);
    return { ready: ready.count, delayed: delayed.count, inFlight: inFlight.count, dead: dead.count, revision };
  }

  get #traced(): { readonly recipe: string; readonly name: string } {
    return { recipe: 'WorkQueue', name: this.name };
  }

  #doing<T>(verb: string, work: () => Promise<T>): Promise<T> {
    return doing(this.#session.etcd, { ...this.#traced, verb }, work);
  }

  #putting(value: In, { delayMs }: JobOptions, dedupe: string | undefined): { id: string; operations: Op<unknown>[] } {
    if (delayMs !== undefined && !(Number.isFinite(delayMs) && delayMs >= 0)) {
      throw new InvalidArgumentError(`delayMs ${delayMs} is not a number of at least 0`);
    }
    const { jobs, stamps, rules } = this.#board;
    const now = rules.wallClock();
    const id = stampedKey(stamps.next());
    const record: JobRecord = { attempts: 0, enqueuedAt: now, dedupe };
    const atMs = delayMs === undefined || delayMs === 0 ? undefined : now + delayMs;
    return { id, operations: [jobs.op.put(id, value), this.#board.offer(id, record, atMs)] };
  }
}

function defaultRetryDelay(attempts: number): number {
  return Math.min(60_000, 1_000 * 2 ** Math.min(attempts - 1, 16));
}

function dedupeOf({ dedupe }: JobOptions): { key: string; seconds: number | undefined } | undefined {
  if (dedupe === undefined) return undefined;
  const { key, seconds } = typeof dedupe === 'string' ? { key: dedupe, seconds: undefined } : dedupe;
  if (key === '') throw new InvalidArgumentError('the dedupe key is empty');
  if (seconds !== undefined && !(Number.isSafeInteger(seconds) && seconds > 0)) {
    throw new InvalidArgumentError(`dedupe.seconds ${seconds} is not a positive whole number`);
  }
  return { key: `${DEDUPE}${key}`, seconds };
}
