/**
 * The loop of a worker: claims jobs, has them worked on, settles them.
 *
 * The end comes in this order: no more jobs are claimed; those under way are waited for; who
 * takes too long is told to stop by the job's signal, and waited for a little longer; what
 * is left then is given back. A job is not given back while its handler still runs and could
 * still finish in time.
 *
 * @module
 */

import { mayPass } from '../../contender.ts';
import { LostError, UnknownOutcomeError } from '../../errors.ts';
import { patiently } from '../../patience.ts';
import type { Session } from '../../session.ts';
import { pause, sessionEnd } from '../../waiting.ts';
import type { Job } from './job.ts';

/** Works on a job. Returning without settling it acks it; throwing gives it back as failed. */
export type JobHandler<V> = (job: Job<V>, signal: AbortSignal) => Promise<unknown>;

/** How to work. */
export interface ProcessOptions<V> {
  /** How many jobs are worked on at the same time. Default 1. */
  readonly concurrency?: number | undefined;
  /** Ends the work: no more jobs are claimed, and those under way are waited for. */
  readonly signal?: AbortSignal | undefined;
  /** How long those are waited for before their signals fire, in milliseconds. Default 30000. */
  readonly drainTimeoutMs?: number | undefined;
  /**
   * Told of what went wrong with a job: what its handler threw, and what settling it threw (a LostError when the
   * job was somebody else's by then). Must not throw.
   */
  readonly onError?: ((error: unknown, job: Job<V>) => void) | undefined;
}

const DRAIN_TIMEOUT_MS = 30_000;

/** How long a handler has after its signal has fired. */
const STOP_MS = 2_000;

/** @internal */
export class Worker<V> {
  readonly #session: Session;
  readonly #claim: (signal: AbortSignal) => Promise<Job<V>>;
  readonly #handler: JobHandler<V>;
  readonly #options: ProcessOptions<V>;
  readonly #running = new Map<Job<V>, Promise<void>>();
  /** Fires when handlers are to stop. */
  readonly #stop = new AbortController();

  constructor(
    session: Session,
    claim: (signal: AbortSignal) => Promise<Job<V>>,
    handler: JobHandler<V>,
    options: ProcessOptions<V>,
  ) {
    this.#session = session;
    this.#claim = claim;
    this.#handler = handler;
    this.#options = options;
  }

  /** Works until the signal fires; rejects when it cannot go on. */
  async run(): Promise<void> {
    const { signal = new AbortController().signal, concurrency = 1 } = this.#options;
    try {
      for (let tries = 0; !signal.aborted; tries++) {
        await this.#below(concurrency, signal);
        if (signal.aborted) break;
        try {
          const job = await this.#claim(signal);
          this.#running.set(job, this.#work(job));
          tries = -1;
        } catch (error) {
          if (signal.aborted) break;
          if (!this.#session.alive) throw new LostError('the work', 'session', { cause: sessionEnd(this.#session) });
          // What else there is may pass: a cluster that is away, a place in the line that was deleted.
          const gone = error instanceof LostError && error.reason === 'key-gone';
          if (!(mayPass(error) || gone || error instanceof UnknownOutcomeError)) throw error;
          await pause(this.#session, tries, signal);
        }
      }
    } finally {
      await this.#drain();
    }
  }

  /** Waits until fewer jobs than that are under way. */
  async #below(concurrency: number, signal: AbortSignal): Promise<void> {
    if (this.#running.size < concurrency) return;
    let onAbort: () => void = () => {};
    const aborted = new Promise<void>((resolve) => {
      onAbort = resolve;
      signal.addEventListener('abort', onAbort, { once: true });
    });
    await Promise.race([...this.#running.values(), aborted]);
    signal.removeEventListener('abort', onAbort);
  }

  async #work(job: Job<V>): Promise<void> {
    const onError = (error: unknown): void => this.#options.onError?.(error, job);
    const stop = AbortSignal.any([job.signal, this.#stop.signal]);
    try {
      await job.during(async () => {
        try {
          await this.#handler(job, stop);
        } catch (error) {
          onError(error);
          if (job.open) await job.nack({ reason: describe(error) });
          return;
        }
        if (job.open) await job.ack();
      });
    } catch (error) {
      onError(error);
    } finally {
      this.#running.delete(job);
    }
  }

  async #drain(): Promise<void> {
    const { clock } = this.#session;
    const all = (): Promise<unknown> => Promise.allSettled(this.#running.values());
    if (this.#running.size > 0) await patiently(clock, all(), this.#options.drainTimeoutMs ?? DRAIN_TIMEOUT_MS);
    this.#stop.abort();
    if (this.#running.size > 0) await patiently(clock, all(), STOP_MS);
    const left = [...this.#running.keys()].filter((job) => job.open);
    await Promise.allSettled(left.map((job) => job.handBack({ timeoutMs: STOP_MS })));
  }
}

/** What is kept with a failed job: enough to find the fault, and not a whole page. */
function describe(error: unknown): string {
  const text =
    error instanceof Error ? `${error.name}: ${error.message}` : 'the handler threw something else than an error';
  return text.slice(0, 500);
}
