/**
 * One deadline for a piece of work that is made of several calls.
 *
 * @module
 */

import type { Clock } from '../../support/clock.ts';
import type { CallOptions } from '../call-options.ts';
import { abortError, deadlineError } from '../connection/failures.ts';
import { InvalidArgumentError } from '../errors.ts';

/** The time that a piece of work has left. */
export class Budget {
  readonly #clock: Clock;
  readonly #options: CallOptions;
  readonly #timeoutMs: number;
  readonly #deadlineAt: number;

  /** @throws InvalidArgumentError unless the time is positive; it may be infinite. */
  constructor(clock: Clock, options: CallOptions, defaultTimeoutMs: number) {
    this.#clock = clock;
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    if (!(this.#timeoutMs > 0)) throw new InvalidArgumentError(`timeoutMs ${this.#timeoutMs} is not a positive number`);
    this.#deadlineAt = clock.now() + this.#timeoutMs;
  }

  /** The time left, in milliseconds; never negative. */
  get leftMs(): number {
    return Math.max(0, this.#deadlineAt - this.#clock.now());
  }

  /**
   * Options for the next call: what is left of the time, or less.
   *
   * @throws DeadlineError when nothing is left, AbortError when the signal has fired.
   */
  next(extra: Pick<CallOptions, 'endpoint' | 'timeoutMs' | 'requireLeader'> = {}): CallOptions {
    this.check();
    const timeoutMs = Math.min(this.leftMs, extra.timeoutMs ?? Number.POSITIVE_INFINITY);
    return { ...this.#options, ...extra, timeoutMs };
  }

  /** @throws DeadlineError when nothing is left, AbortError when the signal has fired. */
  check(): void {
    const { signal } = this.#options;
    if (signal?.aborted) throw abortError(signal);
    if (this.leftMs <= 0) throw deadlineError(this.#timeoutMs, {});
  }
}
