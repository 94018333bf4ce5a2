/**
 * Waiting for time to pass, or for one's own work, within limits.
 *
 * @module
 */

import type { Clock } from '../src/index.ts';

/** How long a call that has failed waits for its own cleaning up. */
const CLEANING_MS = 2_000;

/** Waits until something is done or has failed, but at most `limitMs`, by default two seconds; it goes on by itself. */
export function patiently(clock: Clock, work: Promise<unknown>, limitMs: number = CLEANING_MS): Promise<void> {
  return new Promise((resolve) => {
    const limit = clock.after(limitMs, resolve);
    const done = (): void => {
      limit.cancel();
      resolve();
    };
    work.then(done, done);
  });
}

/** Waits for a time, or until one of the signals fires. */
export function elapsed(clock: Clock, delayMs: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(delayMs, done);
    for (const signal of signals) signal?.addEventListener('abort', done, { once: true });
    if (signals.some((signal) => signal?.aborted)) done();
    function done(): void {
      timer.cancel();
      for (const signal of signals) signal?.removeEventListener('abort', done);
      resolve();
    }
  });
}
