/**
 * Random, in proportion to the weights.
 *
 * Nothing is remembered, so many clients need no agreement, and none of them falls into step with another. O(log n) for each
 * pick, O(1) where all weights are the same.
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate } from './balancer.ts';
import { drawn, sharesOf } from './shares.ts';

/** Chooses at random; an instance of weight 2 twice as often as one of weight 1. */
export class RandomChoice<I extends Candidate> implements Balancer<I> {
  readonly #tools: BalancerTools;

  constructor(tools: BalancerTools) {
    this.#tools = tools;
  }

  update(): void {}

  pick(candidates: readonly I[]): I | undefined {
    return candidates[drawn(sharesOf(candidates), this.#tools.random())];
  }

  done(): void {}
}
