/**
 * How many requests may be under way to one instance.
 *
 * An instance that has as many as it may is left out of the choice until one of them ends; the others are chosen from as
 * ever. Where all have as many, nobody is chosen, and the caller is told so: a request that is refused at once can be
 * answered otherwise, one in a queue before an instance that is overrun makes that longer.
 *
 * The requests of one discovery are counted, not those of other processes: the limit keeps one client from overrunning an
 * instance, and from having all it can do bound up in one that hangs. What goes on at an instance that has left the list
 * still counts when it comes back.
 *
 * O(1) for each pick while nobody is full, else O(n).
 *
 * Sources: Envoy's circuit breaking (`max_requests`), gRPC's proposal A32; there for a service as a whole, here for each
 * instance.
 *
 * @module
 */

import type { Candidate } from './balancer.ts';

/** Counts requests, and leaves out who is full. Tell it of every request, once when it begins and once when it ends. */
export class InFlightLimit<I extends Pick<Candidate, 'id'>> {
  readonly #max: number;
  /** Requests under way, by id; those with none are not there. */
  readonly #counts = new Map<string, number>();
  readonly #full = new Set<string>();
  #admitted: { readonly from: readonly I[]; readonly result: readonly I[] } | undefined;

  /** @param max `Infinity` for no limit. @throws RangeError when it is no whole number above 0. */
  constructor(max: number) {
    if (!(max >= 1 && (Number.isInteger(max) || max === Number.POSITIVE_INFINITY))) {
      throw new RangeError('maxInFlight must be a whole number above 0');
    }
    this.#max = max;
  }

  /** The ids of those that have as many as they may. */
  get full(): ReadonlySet<string> {
    return this.#full;
  }

  /** The candidates that are not full; possibly none. The same array as before while nothing changes. */
  admit(candidates: readonly I[]): readonly I[] {
    if (this.#full.size === 0) return candidates;
    if (this.#admitted?.from !== candidates) {
      const open = candidates.filter(({ id }) => !this.#full.has(id));
      this.#admitted = { from: candidates, result: open.length === candidates.length ? candidates : open };
    }
    return this.#admitted.result;
  }

  /** A request goes to this instance. */
  began({ id }: I): void {
    const count = (this.#counts.get(id) ?? 0) + 1;
    this.#counts.set(id, count);
    if (count < this.#max) return;
    this.#full.add(id);
    this.#admitted = undefined;
  }

  /** One of its requests has ended. */
  ended({ id }: I): void {
    const count = (this.#counts.get(id) ?? 0) - 1;
    if (count > 0) this.#counts.set(id, count);
    else this.#counts.delete(id);
    if (count < this.#max && this.#full.delete(id)) this.#admitted = undefined;
  }
}
