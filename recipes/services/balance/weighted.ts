/**
 * Smooth weighted round robin.
 *
 * Everyone has a credit. At each pick every candidate earns its weight, the richest is picked and pays what all have earned. So
 * the credits' sum stays the same, each has had its share of the turns after one round, and the turns of a heavy one lie
 * spread: weights 5, 1, 1 give a a b a c a a.
 *
 * Credits stay through changes of the set, but they are as large as the turns' price, so they are scaled with it. Else, after
 * most instances have gone, one that had its turn just before would wait for hundreds, to pay off the price of then. Someone
 * left out for a while neither earns nor pays meanwhile.
 *
 * O(n) for each pick: one addition for each candidate, some microseconds for a thousand.
 *
 * Source: nginx's upstream round robin ("smooth weighted round-robin balancing", 2012).
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate } from './balancer.ts';
import { type Member, Members } from './members.ts';
import { sharesOf } from './shares.ts';

interface Account extends Member {
  credit: number;
}

/** The most turns that are skipped to begin somewhere in the round. */
const MAX_SKIPPED = 100;

/** Gives turns in proportion to the weights, evenly spread. */
export class WeightedRoundRobin<I extends Candidate> implements Balancer<I> {
  readonly #tools: BalancerTools;
  readonly #members = new Members<Account>(() => ({ inFlight: 0, credit: 0 }));
  #begun = false;
  /** What the last turn has cost; 0 before the first. */
  #price = 0;

  constructor(tools: BalancerTools) {
    this.#tools = tools;
  }

  update(instances: readonly I[]): void {
    this.#members.update(instances);
  }

  pick(candidates: readonly I[]): I | undefined {
    if (!this.#begun && candidates.length > 0) {
      // Clients that start together shall not all begin with the heaviest.
      this.#begun = true;
      const skipped = Math.floor(this.#tools.random() * Math.min(candidates.length, MAX_SKIPPED));
      for (let n = 0; n < skipped; n++) this.#turn(candidates);
    }
    return this.#turn(candidates);
  }

  done(): void {}

  #turn(candidates: readonly I[]): I | undefined {
    const accounts = this.#members.of(candidates);
    const { weights, total } = sharesOf(candidates);
    if (total !== this.#price) this.#scale(total);
    let richest: Account | undefined;
    let chosen: I | undefined;
    for (let at = 0; at < accounts.length; at++) {
      const account = accounts[at] as Account;
      account.credit += weights[at] ?? 0;
      if (richest === undefined || account.credit > richest.credit) {
        richest = account;
        chosen = candidates[at];
      }
    }
    if (richest !== undefined) richest.credit -= total;
    return chosen;
  }

  #scale(price: number): void {
    if (this.#price > 0) for (const account of this.#members.all()) account.credit *= price / this.#price;
    this.#price = price;
  }
}
