/**
 * Where the fewest requests are under way, relative to the weight.
 *
 * Equals, all idle ones for example, are picked in turns that are in proportion to the weights. Without that a client with
 * little to do would send everything to the first in the list.
 *
 * The turns are start-time fair queueing: the earliest start is picked, and moves by 1/weight, counted from the start of the
 * last who was served if it lay behind that. So one that comes back has no turns to make up for. A newcomer's start is drawn,
 * or all clients would begin with the same instance, and all send their next request to a new one.
 *
 * Each client counts its own requests only. Where many clients have few requests each, all of them see idle instances, and
 * two choices (`p2c-ewma`) serve better.
 *
 * O(n) for each pick: a comparison for each candidate, some microseconds for a thousand.
 *
 * Sources: nginx's `least_conn`; Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate } from './balancer.ts';
import { type Member, Members } from './members.ts';
import { sharesOf } from './shares.ts';

interface Line extends Member {
  /** In turns divided by weight. */
  start: number;
}

/** Chooses the one with the fewest requests under way. */
export class LeastConnections<I extends Candidate> implements Balancer<I> {
  readonly #members: Members<Line>;
  /** The start of the last who was served. */
  #served = 0;

  constructor(tools: BalancerTools) {
    this.#members = new Members<Line>(() => ({ inFlight: 0, start: this.#served + tools.random() }));
  }

  update(instances: readonly I[]): void {
    this.#members.update(instances);
  }

  pick(candidates: readonly I[]): I | undefined {
    const lines = this.#members.of(candidates);
    const { weights } = sharesOf(candidates);
    let best = 0;
    for (let at = 1; at < lines.length; at++) {
      const line = lines[at] as Line;
      const rival = lines[best] as Line;
      const gap = line.inFlight / (weights[at] ?? 1) - rival.inFlight / (weights[best] ?? 1);
      if (gap < 0 || (gap === 0 && line.start < rival.start)) best = at;
    }
    const line = lines[best];
    if (line === undefined) return undefined;
    const start = Math.max(line.start, this.#served);
    this.#served = start;
    line.start = start + 1 / (weights[best] ?? 1);
    line.inFlight++;
    return candidates[best];
  }

  done(instance: I): void {
    this.#members.ended(instance.id);
  }
}
