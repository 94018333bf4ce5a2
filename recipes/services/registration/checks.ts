/**
 * The checks of an instance by itself: whether it can do its work.
 *
 * Each check runs for itself, one run after the other, and tells when it changes its mind: it fails after `fall` runs in a
 * row have failed, it passes after `rise` in a row have passed. Before it has passed for the first time it counts as
 * failing, for it is not known to pass. A run that takes longer than `timeoutMs` has failed, and is told so by its signal;
 * what it does afterwards is not looked at.
 *
 * Source: thresholds as in HAProxy (`rise`, `fall`) and Consul (`success_before_passing`, `failures_before_critical`).
 *
 * @module
 */

import { type Clock, InvalidArgumentError } from '../../../src/index.ts';
import { elapsed } from '../../patience.ts';

/** Something that can be asked whether it is well. `httpCheck`, `tcpCheck` and `grpcHealthCheck` make such. */
export interface Check {
  /**
   * Passes by returning, or resolving to, anything but `false`; fails by `false`, and by throwing. The signal fires when
   * nobody waits for the answer any more.
   */
  run(signal: AbortSignal): unknown;
}

/** A check, and how often to run it. */
export interface CheckOptions {
  /** What to ask: a check, or a function as {@link Check.run}. */
  readonly check: Check | Check['run'];
  /** What it is called where its state is shown. Default: `check` and its number, from 1. */
  readonly name?: string | undefined;
  /** The pause after a run, in milliseconds. Default 5000. */
  readonly intervalMs?: number | undefined;
  /** How long a run may take, in milliseconds. Default: `intervalMs`, at most 2000. */
  readonly timeoutMs?: number | undefined;
  /** How many runs in a row must pass for the check to pass. Default 1. */
  readonly rise?: number | undefined;
  /** How many runs in a row must fail for the check to fail. Default 3. */
  readonly fall?: number | undefined;
}

/** How a check stands. */
export interface CheckState {
  readonly name: string;
  readonly passing: boolean;
  /** What the last run that failed threw; a CheckFailedError when it threw nothing. Undefined once a run has passed. */
  readonly lastError: unknown;
}

/** A run of a check has failed: it said `false`, or gave no answer in time. */
export class CheckFailedError extends Error {
  override readonly name = 'CheckFailedError';
}

interface RunningCheck {
  readonly check: Check;
  readonly name: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly rise: number;
  readonly fall: number;
  passing: boolean;
  lastError: unknown;
}

const DEFAULT_INTERVAL_MS = 5_000;
const MAX_DEFAULT_TIMEOUT_MS = 2_000;

/** The checks of one instance. */
export class Checks {
  readonly #clock: Clock;
  readonly #checks: readonly RunningCheck[];

  /** @throws InvalidArgumentError */
  constructor(clock: Clock, checks: readonly CheckOptions[]) {
    this.#clock = clock;
    this.#checks = checks.map(toRunning);
  }

  /** Whether all of them pass; so it is when there are none. */
  get passing(): boolean {
    return this.#checks.every(({ passing }) => passing);
  }

  /** How each of them stands, in the order they were given. */
  get states(): readonly CheckState[] {
    return this.#checks.map(({ name, passing, lastError }) => ({ name, passing, lastError }));
  }

  /** Runs them until the signal fires; `onChange` is called whenever one has changed its mind. Never rejects. */
  async run(signal: AbortSignal, onChange: () => void): Promise<void> {
    await Promise.all(this.#checks.map((check) => this.#runOne(check, signal, onChange)));
  }

  async #runOne(check: RunningCheck, signal: AbortSignal, onChange: () => void): Promise<void> {
    let inRow = 0;
    while (!signal.aborted) {
      const failure = await this.#ask(check, signal);
      if (signal.aborted) return;
      const passed = failure === undefined;
      check.lastError = failure?.error;
      inRow = passed === check.passing ? 0 : inRow + 1;
      if (inRow >= (passed ? check.rise : check.fall)) {
        check.passing = passed;
        inRow = 0;
        onChange();
      }
      await elapsed(this.#clock, check.intervalMs, signal);
    }
  }

  /** One run: undefined when it has passed. */
  async #ask(
    { check, timeoutMs }: RunningCheck,
    signal: AbortSignal,
  ): Promise<{ readonly error: unknown } | undefined> {
    const over = new AbortController();
    const abort = (): void => over.abort(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    const unanswered = new Promise<never>((_resolve, reject) => {
      over.signal.addEventListener('abort', () => reject(over.signal.reason), { once: true });
    });
    const timer = this.#clock.after(
      timeoutMs,
      () => over.abort(new CheckFailedError(`no answer within ${timeoutMs} ms`)),
      { background: true },
    );
    try {
      // In an async function, so that what `run` throws at once is caught here too.
      const answer = (async () => check.run(over.signal))();
      const passed = await Promise.race([unanswered, answer]);
      return passed === false ? { error: new CheckFailedError('the check said no') } : undefined;
    } catch (error) {
      return { error };
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', abort);
      unanswered.catch(() => {});
      over.abort();
    }
  }
}

function toRunning(options: CheckOptions, index: number): RunningCheck {
  const { check, name = `check ${index + 1}`, intervalMs = DEFAULT_INTERVAL_MS, rise = 1, fall = 3 } = options;
  const { timeoutMs = Math.min(intervalMs, MAX_DEFAULT_TIMEOUT_MS) } = options;
  for (const [field, value] of Object.entries({ intervalMs, timeoutMs, rise, fall })) {
    if (!(value > 0)) throw new InvalidArgumentError(`${field} of ${name} is not a positive number`);
  }
  const asked = typeof check === 'function' ? { run: check } : check;
  if (typeof asked?.run !== 'function') throw new InvalidArgumentError(`${name} is neither a check nor a function`);
  return { check: asked, name, intervalMs, timeoutMs, rise, fall, passing: false, lastError: undefined };
}
