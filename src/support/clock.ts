/**
 * Time as the client sees it: monotonic, and replaceable.
 *
 * Nothing here reads the wall clock. A lease that looks alive because somebody set the
 * clock back is a lock held twice.
 *
 * @module
 */

/** A timer that can be called off. */
export interface Timer {
  /** Calls the timer off; harmless when it has fired. */
  cancel(): void;
}

/** Where the client gets the time from. Replace it to run on virtual time. */
export interface Clock {
  /** Milliseconds that have passed since some fixed moment; never goes back. */
  now(): number;
  /**
   * Calls `callback` once, no earlier than `delayMs` from now. With `background`, a
   * pending timer does not keep the process alive.
   */
  after(delayMs: number, callback: () => void, options?: { readonly background?: boolean }): Timer;
}

// setTimeout takes at most a signed 32-bit number of milliseconds; above that it fires at once.
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** The machine's monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback, options) {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), MAX_TIMEOUT_MS));
    if (options?.background) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
