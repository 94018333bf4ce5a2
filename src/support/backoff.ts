/**
 * Capped exponential back-off with full jitter.
 *
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants
 * compared there, full jitter finishes contended work with the fewest calls.
 *
 * @module
 */

/** How long to wait between attempts. */
export interface BackoffOptions {
  /** Upper bound of the first wait, in milliseconds. */
  readonly initialMs: number;
  /** Upper bound of every wait, in milliseconds. */
  readonly maxMs: number;
}

/**
 * The wait before retry number `retry` (0 is the first), in milliseconds: uniform between
 * a tenth of the bound and the bound, which doubles with each retry up to `maxMs`.
 * The tenth keeps a lucky draw from hammering a server that just refused.
 */
export function backoffMs(options: BackoffOptions, retry: number, random: () => number): number {
  const bound = Math.min(options.maxMs, options.initialMs * 2 ** Math.min(retry, 30));
  return bound * (0.1 + 0.9 * random());
}
