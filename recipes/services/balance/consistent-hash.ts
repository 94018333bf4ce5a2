/**
 * Consistent hashing with bounded loads.
 *
 * A key goes to the same instance for as long as the set stays as it is; when an instance goes, only its keys move, and when
 * one comes, it takes its share and nothing else moves. No instance has more requests under way than `loadFactor` times its
 * share: what would be too much goes to the key's second choice, then to its third. All clients that know the same instances
 * come to the same choice, apart from what their own load pushes elsewhere.
 *
 * By rendezvous (highest random weight) instead of a ring or Maglev's table. A key's choices are independent of each other,
 * so what one instance has too much, or leaves behind, is spread over all; on a ring its neighbour gets everything. Movement
 * is the least there can be, weights are exact, and there is nothing to build when the set changes: a ring for a thousand
 * instances has a hundred thousand points to sort. The price is O(n) for each pick, some microseconds for a thousand.
 *
 * Under little load the bound would be one request, and two requests of one user would go apart for nothing. So it is never
 * below `minimumBound`.
 *
 * Sources: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; Mirrokni, Thorup and Zadimoghaddam,
 * "Consistent Hashing with Bounded Loads", 2018; weights by Schindelhauer and Schomaker's logarithmic method, 2005.
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate, PickOptions } from './balancer.ts';
import { fraction, hash32, mixed32 } from './hash.ts';
import { type Member, Members } from './members.ts';
import { perArray } from './per-array.ts';
import { drawn, sharesOf } from './shares.ts';

/** How `consistent-hash` bounds the load. */
export interface ConsistentHashOptions {
  /** How much of its share of the requests under way an instance takes at most; 1 or more, `Infinity` for no bound. Default 1.25. */
  readonly loadFactor?: number | undefined;
  /** So many requests under way are no load that a key has to leave its instance for. Default 4. */
  readonly minimumBound?: number | undefined;
}

/** The hashes of some candidates, flat, because every pick goes over all of them. */
const hashesOf: (candidates: readonly Candidate[]) => Uint32Array = perArray((candidates: readonly Candidate[]) =>
  Uint32Array.from(candidates, ({ id }) => hash32(id, 1)),
);

/** Chooses by `hashKey`; without one at random. */
export class ConsistentHash<I extends Candidate> implements Balancer<I> {
  readonly #tools: BalancerTools;
  readonly #loadFactor: number;
  readonly #minimumBound: number;
  readonly #members = new Members<Member>(() => ({ inFlight: 0 }));

  constructor(options: ConsistentHashOptions, tools: BalancerTools) {
    this.#tools = tools;
    this.#loadFactor = options.loadFactor ?? 1.25;
    this.#minimumBound = options.minimumBound ?? 4;
    if (!(this.#loadFactor >= 1)) throw new RangeError('loadFactor must be 1 or more');
    if (!(this.#minimumBound >= 0)) throw new RangeError('minimumBound must be 0 or more');
  }

  update(instances: readonly I[]): void {
    this.#members.update(instances);
  }

  pick(candidates: readonly I[], options: PickOptions): I | undefined {
    const places = this.#members.of(candidates);
    const at =
      options.hashKey === undefined
        ? drawn(sharesOf(candidates), this.#tools.random())
        : this.#choose(candidates, places, hash32(options.hashKey));
    const place = places[at];
    if (place !== undefined) place.inFlight++;
    return candidates[at];
  }

  done(instance: I): void {
    this.#members.ended(instance.id);
  }

  #choose(candidates: readonly I[], places: readonly Member[], key: number): number {
    const { weights, total } = sharesOf(candidates);
    const hashes = hashesOf(candidates);
    let underWay: number | undefined;
    let best = -1;
    let highest = Number.NEGATIVE_INFINITY;
    for (let at = 0; at < hashes.length; at++) {
      const weight = weights[at] ?? 1;
      const u = fraction(mixed32(key ^ (hashes[at] ?? 0)));
      // A logarithm is dear, and never above this line; so nearly all are passed over here.
      if (u - 1 < highest * weight) continue;
      const score = Math.log(u) / weight;
      if (score < highest || (score === highest && !isAhead(candidates[at], candidates[best], key))) continue;
      const inFlight = places[at]?.inFlight ?? 0;
      if (inFlight >= this.#minimumBound) {
        underWay ??= sumOf(places);
        if (inFlight >= Math.ceil((this.#loadFactor * (underWay + 1) * weight) / total)) continue;
      }
      best = at;
      highest = score;
    }
    // The bounds' sum is above the number of requests; only rounding could leave nobody.
    return Math.max(best, 0);
  }
}

function sumOf(places: readonly Member[]): number {
  let sum = 0;
  for (const { inFlight } of places) sum += inFlight;
  return sum;
}

/** Which of two comes first whose hashes are the same: by hashes of another seed. */
function isAhead(one: Candidate | undefined, other: Candidate | undefined, key: number): boolean {
  if (one === undefined || other === undefined) return false;
  return mixed32(key ^ hash32(one.id, 2)) > mixed32(key ^ hash32(other.id, 2));
}
