/**
 * A newcomer warms up.
 *
 * A process that has just started is slow: its code is not compiled yet, its caches are empty, its connections not open. So
 * for some time it takes a growing part of what the strategy would give it, from a tenth up to all, and the rest goes to those
 * who are warm. It is done on top of any strategy: a pick that falls on a newcomer is taken back with the chance that its youth
 * gives, and made again among the others. If nobody is warm, nobody is spared.
 *
 * The instances of the first list are no newcomers, they were there before. Requests with a `hashKey` go where they belong.
 *
 * Source: Envoy's slow start mode, with its linear growth and its smallest weight of a tenth.
 *
 * @module
 */

import type { BalancerTools, Candidate } from './balancer.ts';

/** How newcomers are spared. */
export interface SlowStartOptions {
  /** How long, in milliseconds, a new instance takes to come to its full share. Default 0: it has it at once. */
  readonly slowStartMs?: number | undefined;
}

const LEAST_PART = 0.1;

/** Who is new, and what that means for a pick. */
export class SlowStart<I extends Candidate> {
  readonly #windowMs: number;
  readonly #tools: BalancerTools;
  /** When newcomers were seen first. */
  readonly #since = new Map<string, number>();
  #known: ReadonlySet<string> = new Set();
  #warm: { readonly from: readonly I[]; readonly result: readonly I[] } | undefined;

  constructor(options: SlowStartOptions, tools: BalancerTools) {
    this.#windowMs = options.slowStartMs ?? 0;
    this.#tools = tools;
    if (!(this.#windowMs >= 0)) throw new RangeError('slowStartMs must be 0 or more');
  }

  /** The instances there are from now on. */
  update(instances: readonly I[]): void {
    if (this.#windowMs === 0) return;
    const now = this.#tools.now();
    const ids = new Set(instances.map(({ id }) => id));
    for (const id of [...this.#since.keys()]) if (!ids.has(id)) this.#since.delete(id);
    if (this.#known.size > 0) for (const id of ids) if (!this.#known.has(id)) this.#since.set(id, now);
    this.#known = ids;
    this.#warm = undefined;
  }

  /** Whether an instance is to be spared the request that a strategy would give it. */
  spares(instance: I): boolean {
    const since = this.#since.get(instance.id);
    if (since === undefined) return false;
    const part = (this.#tools.now() - since) / this.#windowMs;
    if (part < 1) return this.#tools.random() >= Math.max(part, LEAST_PART);
    this.#since.delete(instance.id);
    this.#warm = undefined;
    return false;
  }

  /** Those of the candidates that are warm; the same array as before while nothing changes. */
  warm(candidates: readonly I[]): readonly I[] {
    if (this.#warm?.from !== candidates) {
      this.#warm = { from: candidates, result: candidates.filter(({ id }) => !this.#since.has(id)) };
    }
    return this.#warm.result;
  }
}
