/**
 * Whether a leader is fit to lead, by its own judgement.
 *
 * A process can hold its leadership while it can do nothing with it: its database is away,
 * its disk is full. Then it had better make room. So a candidate that is not healthy does
 * not enter, and a leader that stays unhealthy resigns.
 *
 * Source: client-go's `leaderelection` has `HealthzAdaptor` for this; it only tells the
 * process's liveness probe, so that the leadership ends with the process.
 *
 * @module
 */

import { AbortError, type Clock, InvalidArgumentError } from '../../src/index.ts';
import { elapsed } from '../patience.ts';

/** How to judge. */
export interface HealthOptions {
  /** Answers whether this process could lead now. What it throws counts as no. The signal fires when nobody asks any more. */
  readonly check: (signal: AbortSignal) => boolean | Promise<boolean>;
  /** The pause between checks, in milliseconds. Default 5000. */
  readonly intervalMs?: number | undefined;
  /** How long an answer may take before it counts as no, in milliseconds. Default: `intervalMs`. */
  readonly timeoutMs?: number | undefined;
  /** How many times in a row the answer must be no for the leader to resign. Default 3. */
  readonly failures?: number | undefined;
}

/**
 * Why a leader resigned by itself: the cause of the LostError that its signal fires with; or
 * why a candidate that was not to wait did not stand.
 */
export class UnhealthyError extends Error {
  override readonly name = 'UnhealthyError';
}

/** The checks of one candidate. */
export class Health {
  readonly #clock: Clock;
  readonly #check: HealthOptions['check'];
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  readonly #failures: number;

  /** @throws InvalidArgumentError */
  constructor(clock: Clock, { check, intervalMs = 5_000, timeoutMs = intervalMs, failures = 3 }: HealthOptions) {
    for (const [name, value] of Object.entries({ intervalMs, timeoutMs, failures })) {
      if (!(value > 0)) throw new InvalidArgumentError(`health.${name} ${value} is not a positive number`);
    }
    this.#clock = clock;
    this.#check = check;
    this.#intervalMs = intervalMs;
    this.#timeoutMs = timeoutMs;
    this.#failures = failures;
  }

  /** Checks once. @throws UnhealthyError when the check says no; AbortError when the signal fires. */
  async assertHealthy(signal: AbortSignal): Promise<void> {
    const no = await this.#ask(signal);
    if (signal.aborted) throw new AbortError('the wait is over', { cause: signal.reason });
    if (no !== undefined) throw new UnhealthyError('the health check said no', { cause: no.cause });
  }

  /** Resolves when a check says yes, or when the signal fires. */
  async untilHealthy(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if ((await this.#ask(signal)) === undefined) return;
      await elapsed(this.#clock, this.#intervalMs, signal);
    }
  }

  /** Resolves with the reason when checks have said no too many times in a row; undefined when the signal fires. */
  async untilUnhealthy(signal: AbortSignal): Promise<UnhealthyError | undefined> {
    for (let failed = 0; ; ) {
      await elapsed(this.#clock, this.#intervalMs, signal);
      if (signal.aborted) return undefined;
      const no = await this.#ask(signal);
      if (signal.aborted) return undefined;
      failed = no === undefined ? 0 : failed + 1;
      if (failed >= this.#failures) {
        return new UnhealthyError(`the health check said no ${failed} times in a row`, { cause: no?.cause });
      }
    }
  }

  /** One check: undefined for yes. */
  async #ask(signal: AbortSignal): Promise<{ readonly cause: unknown } | undefined> {
    const over = new AbortController();
    const abort = (): void => over.abort(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    const timer = this.#clock.after(this.#timeoutMs, () => over.abort(), { background: true });
    const late = new Promise<false>((resolve) => {
      over.signal.addEventListener('abort', () => resolve(false), { once: true });
      if (over.signal.aborted) resolve(false);
    });
    try {
      const healthy = await Promise.race([late, this.#check(over.signal)]);
      return healthy ? undefined : { cause: undefined };
    } catch (cause) {
      return { cause };
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', abort);
      over.abort();
    }
  }
}
