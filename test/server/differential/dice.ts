/** Chance that repeats with its seed. */

/** The dice of one run. */
export interface Dice {
  /** A whole number from 0 up to but without `bound`. */
  below(bound: number): number;
  /** One of these. */
  of<T>(items: readonly T[]): T;
  /** Yes, so many times in a hundred. */
  chance(percent: number): boolean;
  /** So many of what is made, at most. */
  some<T>(most: number, make: () => T): T[];
  /** One of these, each as often as its weight says. */
  weighted<T>(items: readonly (readonly [weight: number, item: T])[]): T;
}

/** Mulberry32. */
export function dice(seed: number): Dice {
  let state = seed;
  const below = (bound: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
  const of = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  return {
    below,
    of,
    chance: (percent) => below(100) < percent,
    some: (most, make) => Array.from({ length: below(most + 1) }, make),
    weighted(items) {
      let left = below(items.reduce((sum, [weight]) => sum + weight, 0));
      for (const [weight, item] of items) {
        left -= weight;
        if (left < 0) return item;
      }
      throw new Error('nothing to choose from');
    },
  };
}
