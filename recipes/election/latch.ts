/**
 * Leading by state: in the background a candidate stands, leads, and stands again; the
 * program asks whether it leads, or waits until it does.
 *
 * Right where there is no work that begins and ends with the leadership, only something that
 * the leader alone does when the occasion comes. Each occasion takes {@link
 * ElectionLatch.leader} once and writes through its `kv`.
 *
 * Source: Curator's `LeaderLatch`.
 *
 * @module
 */

import { AbortError, ClosedError } from '../../src/index.ts';
import { detached } from '../../src/telemetry/recipes.ts';
import type { Session } from '../session.ts';
import { type WaitOptions, waiting } from '../waiting.ts';
import type { Leadership } from './leadership.ts';
import type { CampaignOptions } from './options.ts';
import type { RunOptions } from './run.ts';

/** How to stand for election. */
export interface LatchOptions extends Omit<CampaignOptions, 'timeoutMs'> {
  /** Called when it has been elected. */
  readonly onStarted?: ((leader: Leadership) => void) | undefined;
  /** Called when a leadership is over, once for each that has started. */
  readonly onStopped?: ((leader: Leadership) => void) | undefined;
}

interface Runner {
  readonly name: string;
  run<T>(work: (leader: Leadership, signal: AbortSignal) => Promise<T>, options: RunOptions): Promise<T>;
}

/**
 * A candidate in the background, until it is closed or its session is over.
 *
 * @example
 * ```ts
 * await using latch = new Election(session, 'scheduler').latch({ value: address });
 * every(minute, async () => {
 *   await latch.leader?.kv.put('scheduler/tick', String(tick));
 * });
 * ```
 */
export class ElectionLatch implements AsyncDisposable {
  readonly name: string;
  readonly #session: Session;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<() => void>();
  readonly #running: Promise<void>;
  #leader: Leadership | undefined;
  #ended: { readonly error: unknown } | undefined;

  /** Internal: made by an Election. */
  constructor(election: Runner, session: Session, options: LatchOptions) {
    this.name = election.name;
    this.#session = session;
    const { signal } = options;
    const close = (): void => this.#stop.abort(signal?.reason);
    signal?.addEventListener('abort', close, { once: true });
    if (signal?.aborted) close();
    const lead = async (leader: Leadership, until: AbortSignal): Promise<void> => {
      this.#leader = leader;
      this.#wake();
      await aborted(until);
    };
    // It stands for as long as the program wants, and is no part of the request that made it.
    this.#running = detached(() => election.run(lead, { ...options, signal: this.#stop.signal, requeue: true }))
      .catch((error: unknown) => {
        this.#ended = { error: this.#stop.signal.aborted ? new ClosedError(`the latch of ${this.name}`) : error };
      })
      .finally(() => {
        signal?.removeEventListener('abort', close);
        this.#wake();
      });
  }

  /** The leadership, if it has one now, by the clock. */
  get leader(): Leadership | undefined {
    return this.#leader?.held ? this.#leader : undefined;
  }

  /** Whether it leads now, as far as can be told without asking the store. */
  get leading(): boolean {
    return this.leader !== undefined;
  }

  /** Why it has stopped standing; undefined while it stands or leads. */
  get error(): unknown {
    return this.#ended?.error;
  }

  /**
   * Waits until it leads.
   *
   * @throws what ended the latch (ClosedError when that was {@link ElectionLatch.close}),
   * WaitTimeoutError, AbortError, LostError when the session is lost.
   */
  async elected(options: WaitOptions = {}): Promise<Leadership> {
    this.#assertStanding();
    using wait = waiting(this.#session, options);
    for (;;) {
      const { leader } = this;
      if (leader !== undefined) return leader;
      this.#assertStanding();
      if (wait.signal.aborted) {
        const error = new AbortError('the wait is over', { cause: wait.signal.reason });
        throw wait.reason(`the leadership of ${this.name}`, error);
      }
      await this.#change(wait.signal);
    }
  }

  /** Gives up leading and standing. Resolves when nothing of it is left in the store. Can be called twice. */
  async close(): Promise<void> {
    this.#stop.abort(new ClosedError(`the latch of ${this.name}`));
    await this.#running;
  }

  /** See {@link ElectionLatch.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #assertStanding(): void {
    if (this.#ended !== undefined) throw this.#ended.error;
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiters.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiters.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
