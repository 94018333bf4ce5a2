/**
 * One after the other.
 *
 * The instances stand in a circle, in the order of their ids, and what is remembered is the id that was picked last, not a
 * position: so whoever comes or goes, nobody is passed over and nobody has two turns in one round. The first turn is drawn, or
 * all clients that start together would begin with the same instance. Weights make no difference here, except 0.
 *
 * O(log n) for each pick.
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate } from './balancer.ts';
import { perArray } from './per-array.ts';

const inOrder: (candidates: readonly Candidate[]) => readonly Candidate[] = perArray(
  (candidates: readonly Candidate[]) => [...candidates].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)),
);

/** Gives each candidate its turn. */
export class RoundRobin<I extends Candidate> implements Balancer<I> {
  readonly #tools: BalancerTools;
  #last: string | undefined;

  constructor(tools: BalancerTools) {
    this.#tools = tools;
  }

  update(): void {}

  pick(candidates: readonly I[]): I | undefined {
    if (candidates.length === 0) return undefined;
    const circle = inOrder(candidates) as readonly I[];
    const at =
      this.#last === undefined
        ? Math.floor(this.#tools.random() * circle.length)
        : firstAfter(circle, this.#last) % circle.length;
    const next = circle[at];
    this.#last = next?.id;
    return next;
  }

  done(): void {}
}

/** Where the first one stands whose id is greater; the length if there is none. */
function firstAfter(circle: readonly Candidate[], id: string): number {
  let low = 0;
  let high = circle.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((circle[middle]?.id ?? '') > id) high = middle;
    else low = middle + 1;
  }
  return low;
}
