/**
 * Random numbers that repeat: the same seed gives the same ones.
 *
 * Source: "mulberry32" of Tommy Ettinger, in the public domain. Good enough for tests, and for nothing that is secret.
 *
 * @module
 */

/** A source of numbers that are at least 0 and below 1. @param seed A whole number; only its lower 32 bits count. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
