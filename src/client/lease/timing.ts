/**
 * The arithmetic of a lease's time.
 *
 * The server counts a lease's time from when it handles a renewal; we count from when we
 * sent it, which is earlier. So our deadline comes before the server's, by the way there,
 * whatever the network does. The margin below is for what that leaves open: two clocks
 * that run at different rates, and a timer that fires late.
 *
 * @module
 */

/** The longest time to live that etcd grants, in seconds. Source: etcd `server/lease`, `MaxLeaseTTL`. */
export const MAX_TTL_SECONDS = 9_000_000_000;

/** NTP slews a clock by at most 0.05 %; a guest whose clock is off by twenty times as much is still covered. */
const DRIFT = 0.01;

/** What a timer of a busy, but not blocked, event loop may be late. */
const LATENESS_MS = 50;

/** How much sooner than the server a lease is given up, in ms: 1 % of its TTL, at least 50, at most a tenth. */
export function safetyMarginMs(ttlSeconds: number): number {
  const ttlMs = ttlSeconds * 1000;
  return Math.min(Math.max(ttlMs * DRIFT, LATENESS_MS), ttlMs / 10);
}

/**
 * How long after sending one renewal the next is sent, in milliseconds, and how long an answer may take before another
 * member is asked: a third of the time to live. So there is time for two tries after one that went unanswered.
 */
export function renewalIntervalMs(ttlSeconds: number): number {
  return (ttlSeconds * 1000) / 3;
}
