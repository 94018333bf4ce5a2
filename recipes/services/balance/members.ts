/**
 * What a strategy remembers of each instance, and how many requests are under way to it.
 *
 * State belongs to an id. It stays through changes of the set; that of an instance that has gone stays until its last request
 * has ended, so an instance that comes back meanwhile is not taken for idle. A request that ends for one who is not known any
 * more changes nothing.
 *
 * @module
 */

import type { Candidate } from './balancer.ts';

/** What is kept of every instance. */
export interface Member {
  /** Requests under way. */
  inFlight: number;
}

/** The states of the instances of one balancer. */
export class Members<S extends Member> {
  readonly #create: (id: string) => S;
  #present = new Map<string, S>();
  /** Those who have gone with requests under way. */
  #leaving = new Map<string, S>();
  /** States in the order of a candidates' array, for as long as the set is the same. */
  #aligned = new WeakMap<readonly Candidate[], readonly S[]>();

  constructor(create: (id: string) => S) {
    this.#create = create;
  }

  /** The instances there are from now on. */
  update(instances: readonly Candidate[]): void {
    const present = new Map<string, S>();
    for (const { id } of instances) present.set(id, this.#known(id) ?? this.#create(id));
    for (const [id, state] of this.#present) if (state.inFlight > 0 && !present.has(id)) this.#leaving.set(id, state);
    for (const id of present.keys()) this.#leaving.delete(id);
    this.#present = present;
    this.#aligned = new WeakMap();
  }

  /** The states of the candidates, in their order. One that was never announced is taken in. */
  of(candidates: readonly Candidate[]): readonly S[] {
    const known = this.#aligned.get(candidates);
    if (known !== undefined) return known;
    const states = candidates.map(({ id }) => {
      const state = this.#known(id) ?? this.#create(id);
      if (!this.#present.has(id)) this.#present.set(id, state);
      return state;
    });
    this.#aligned.set(candidates, states);
    return states;
  }

  /** All that are present. */
  all(): Iterable<S> {
    return this.#present.values();
  }

  /** A request has ended. @returns The state, if there is one. */
  ended(id: string): S | undefined {
    const state = this.#known(id);
    if (state === undefined) return undefined;
    if (state.inFlight > 0) state.inFlight--;
    if (state.inFlight === 0) this.#leaving.delete(id);
    return state;
  }

  #known(id: string): S | undefined {
    return this.#present.get(id) ?? this.#leaving.get(id);
  }
}
