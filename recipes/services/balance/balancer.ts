/**
 * How one instance is chosen among many: the seam between the discovery and the strategies.
 *
 * A balancer is pure: it is told which instances there are, asked for one, and told what came of it. Time and randomness are
 * handed to it; it starts no timer. What must not be chosen (filters, drained or ejected instances) is left out by its caller,
 * through `candidates` of each pick; the set given by `update` is what long-lived structures (a ring, a subset) are built on.
 *
 * Hand over the same array for as long as the candidates are the same, and never change one: strategies work out sums and
 * groups once for each array, told apart by identity. A new array for each pick is right too, but costs O(n log n).
 *
 * @module
 */

import type { ServiceInstance } from '../instance.ts';

/** What a pick may depend on. */
export interface PickOptions {
  /** For consistent hashing: what belongs together, a user or a session. Without one, hashing picks at random. */
  readonly hashKey?: string | undefined;
  /** For zone awareness: where the caller is. Default: the zone that the balancer was made with. */
  readonly zone?: string | undefined;
  /** Ids of instances not to take if there is another: those that a request has failed on already. */
  readonly avoid?: ReadonlySet<string> | undefined;
}

/** What came of a request. */
export type Outcome =
  /** It was answered. */
  | 'success'
  /** The instance failed: no connection, a broken one, a 5xx, `UNAVAILABLE`, a deadline. Counts towards its ejection. */
  | 'failure'
  /** It ended for a reason that says nothing of the instance: it was cancelled. */
  | 'cancelled';

/** What a balancer is told of a request that has ended. */
export interface Report {
  readonly outcome: Outcome;
  /** How long it took, in milliseconds. */
  readonly latencyMs: number;
}

/** A strategy. `I` is the instance, or what a program has in its place. */
export interface Balancer<I extends Candidate = ServiceInstance<unknown>> {
  /** The instances there are from now on, in any order. State of those that stay is kept. */
  update(instances: readonly I[]): void;
  /**
   * Chooses among the candidates, a part of what `update` told last; never undefined when there is one. The request counts
   * as under way until `done` is called for it.
   */
  pick(candidates: readonly I[], options: PickOptions): I | undefined;
  /** A request to this instance has ended. Called once for each pick; also for an instance that has gone meanwhile. */
  done(instance: I, report: Report): void;
}

/** The part of an instance that a strategy looks at. */
export type Candidate = Pick<ServiceInstance<unknown>, 'id' | 'weight' | 'zone'>;

/** What a strategy is given. */
export interface BalancerTools {
  /** The time in milliseconds, monotonic. */
  readonly now: () => number;
  /** A number from 0 to below 1. */
  readonly random: () => number;
}

/** Makes a balancer. What `balance: …` of the options takes besides the names of the strategies. */
export type BalancerFactory = (tools: BalancerTools) => Balancer<Candidate>;

/** The strategies by name. */
export type BalancerName =
  | 'round-robin'
  | 'random'
  | 'weighted'
  | 'least-connections'
  | 'p2c-ewma'
  | 'consistent-hash'
  | 'zone-aware';
