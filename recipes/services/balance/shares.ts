/**
 * What weights mean, in one place.
 *
 * A weight is a share relative to the others. 0 takes nothing, unless all have 0: then all are alike, because to send a request
 * to somebody is better than to nobody. Whatever is no positive, finite number counts as 0.
 *
 * Strategies are asked with what {@link eligible} has left over: either all weights are positive, or none is. So to them
 * {@link weightOf} is always positive.
 *
 * @module
 */

import type { Candidate } from './balancer.ts';
import { perArray } from './per-array.ts';

/** The weights of some candidates, worked out. */
export interface Shares {
  /** By the candidates' order; all positive. */
  readonly weights: Float64Array;
  /** The sum up to each candidate, itself included. */
  readonly sums: Float64Array;
  readonly total: number;
  /** Whether all weights are the same. */
  readonly equal: boolean;
}

/** The weight a strategy reckons with. */
export function weightOf(candidate: Candidate): number {
  return isPositive(candidate.weight) ? candidate.weight : 1;
}

/** Weights and their sums. */
export const sharesOf: (candidates: readonly Candidate[]) => Shares = perArray((candidates: readonly Candidate[]) => {
  const weights = Float64Array.from(candidates, weightOf);
  const sums = new Float64Array(weights.length);
  let total = 0;
  weights.forEach((weight, index) => {
    total += weight;
    sums[index] = total;
  });
  return { weights, sums, total, equal: weights.every((weight) => weight === weights[0]) };
});

/** An index drawn in proportion to the weights. O(log n). @param u From 0 to below 1. */
export function drawn(shares: Shares, u: number): number {
  const { sums, total, equal, weights } = shares;
  if (equal) return Math.floor(u * weights.length);
  const mark = u * total;
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sums[middle] ?? 0) > mark) high = middle;
    else low = middle + 1;
  }
  return low;
}

const withWeight: (candidates: readonly Candidate[]) => readonly Candidate[] = perArray(
  (candidates: readonly Candidate[]) => {
    const some = candidates.filter(({ weight }) => isPositive(weight));
    return some.length === 0 || some.length === candidates.length ? candidates : some;
  },
);

/**
 * The candidates that a strategy is to choose from: with a weight, and not to be avoided; if that leaves none, the avoidance is
 * given up first. The same array as before for the same candidates and nothing to avoid.
 */
export function eligible<I extends Candidate>(
  candidates: readonly I[],
  avoid: ReadonlySet<string> | undefined,
): readonly I[] {
  const weighted = withWeight(candidates) as readonly I[];
  if (avoid === undefined || avoid.size === 0) return weighted;
  const others = weighted.filter(({ id }) => !avoid.has(id));
  if (others.length === weighted.length) return weighted;
  return others.length > 0 ? others : weighted;
}

function isPositive(weight: number): boolean {
  return weight > 0 && weight < Number.POSITIVE_INFINITY;
}
