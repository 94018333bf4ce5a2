/**
 * The messages of one snapshot call, each waited for no longer than it should be.
 *
 * Obligation: whoever makes a source closes it, however things end; until then it holds a
 * read transaction open on the server, a timer, and a listener on the caller's signal.
 *
 * @module
 */

import { Maintenance, type SnapshotResponse } from '../../protocol/generated/etcdserverpb.ts';
import { backoffMs } from '../../support/backoff.ts';
import type { Timer } from '../../support/clock.ts';
import { onAbort, sleep } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { abortError } from '../connection/failures.ts';
import { streamMessages } from '../connection/server-stream.ts';
import { DeadlineError, EtcdError, InvalidArgumentError } from '../errors.ts';
import { Budget } from './budget.ts';
import { LOCAL_READ } from './traits.ts';

/** How to take a snapshot. */
export interface SnapshotOptions extends CallOptions {
  /** How long the whole transfer may take. Default: no limit, since a large database takes long. */
  readonly timeoutMs?: number | undefined;
  /** How long the server may take for its next piece once it was asked for one. Default 30,000. */
  readonly idleTimeoutMs?: number | undefined;
}

/** An open source and its first message; undefined when it ended before it began. */
export interface OpenedSource {
  readonly source: SnapshotSource;
  readonly first: SnapshotResponse | undefined;
}

const IDLE_TIMEOUT_MS = 30_000;
const MAX_ATTEMPTS = 3;
const BACKOFF = { initialMs: 50, maxMs: 1_000 };

export class SnapshotSource {
  readonly #caller: Caller;
  readonly #idleTimeoutMs: number;
  readonly #stop = new AbortController();
  readonly #messages: AsyncGenerator<SnapshotResponse, void, void>;
  readonly #offAbort: () => void;
  readonly #deadline: Timer | undefined;
  /** Why it was stopped before its time. */
  #reason: EtcdError | undefined;
  /** Told when it is stopped from outside, whether or not somebody waits for a message. */
  onStopped: ((reason: EtcdError) => void) | undefined;

  private constructor(caller: Caller, options: SnapshotOptions, budget: Budget | undefined) {
    const { signal, timeoutMs, idleTimeoutMs = IDLE_TIMEOUT_MS } = options;
    if (!(idleTimeoutMs > 0)) throw new InvalidArgumentError(`idleTimeoutMs ${idleTimeoutMs} is not a positive number`);
    this.#caller = caller;
    this.#idleTimeoutMs = idleTimeoutMs;
    const call = { ...(budget?.next() ?? options), signal: this.#stop.signal };
    // A member without a leader can be backed up. A learner too, but only since 3.5, and only if it is asked for.
    this.#messages = streamMessages(caller, Maintenance.snapshot, {}, LOCAL_READ, call);
    this.#offAbort = onAbort(signal, () => this.#giveUp(abortError(signal as AbortSignal)));
    if (budget !== undefined) {
      const late = new DeadlineError(`no whole snapshot within ${Math.round(timeoutMs as number)} ms`);
      this.#deadline = caller.clock.after(budget.leftMs, () => this.#giveUp(late));
    }
  }

  /**
   * Opens a snapshot and waits for its first message. Until that has come nothing is lost
   * by starting over, so a broken connection or a worn-out token gets two more tries.
   */
  static async open(caller: Caller, options: SnapshotOptions): Promise<OpenedSource> {
    const { timeoutMs = Number.POSITIVE_INFINITY } = options;
    // One for all tries: whoever waits has waited for those before, too.
    const budget = timeoutMs === Number.POSITIVE_INFINITY ? undefined : new Budget(caller.clock, options, timeoutMs);
    for (let attempt = 1; ; attempt++) {
      const source = new SnapshotSource(caller, options, budget);
      try {
        return { source, first: await source.next() };
      } catch (error) {
        source.close();
        // No attempt was made if there was nobody to connect to; that has had its time.
        const passing = error instanceof EtcdError && PASSING.has(error.code) && error.attempts > 0;
        if (!passing || attempt >= MAX_ATTEMPTS) throw error;
        await sleep(caller.clock, backoffMs(BACKOFF, attempt - 1, caller.random), options.signal);
      }
    }
  }

  /** The next message; undefined at the end. Rejects with an EtcdError. */
  async next(): Promise<SnapshotResponse | undefined> {
    const idleMs = this.#idleTimeoutMs;
    const late = (): void =>
      this.#giveUp(new DeadlineError(`the snapshot made no progress for ${Math.round(idleMs)} ms`));
    const timer = this.#caller.clock.after(idleMs, late);
    try {
      const step = await this.#messages.next();
      if (this.#reason !== undefined) throw this.#reason;
      return step.done ? undefined : step.value;
    } catch (error) {
      throw this.#reason ?? error;
    } finally {
      timer.cancel();
    }
  }

  #giveUp(reason: EtcdError): void {
    this.#reason ??= reason;
    this.#stop.abort(reason);
    this.onStopped?.(this.#reason);
  }

  /** Ends the call. May be called again. */
  close(): void {
    this.#offAbort();
    this.#deadline?.cancel();
    this.#stop.abort();
    this.#messages.return().catch(() => {});
  }
}

const PASSING: ReadonlySet<EtcdError['code']> = new Set(['unavailable', 'unauthenticated']);
