/**
 * Choosing one instance of those that a discovery sees, and hearing what came of it.
 *
 * Who may be chosen is decided in this order:
 * 1. Suspects (see protection.ts) stand back as long as somebody else is there, but for those that have answered a request
 *    within the last two seconds: an answer is better proof of life than a lease. So the load stays spread when the registry
 *    has forgotten instances that work, and one that died gets no request while another lives.
 * 2. Instances that requests fail on are ejected for a while.
 * 3. Those that have as many requests under way as they may are full. Where all are full, nobody is chosen: to turn to one
 *    that is suspected or ejected would be to send a request into a failure.
 * 4. The strategy chooses among the rest.
 *
 * The strategies may keep what they work out for an array of candidates, so the array is the same one until something
 * changes.
 *
 * @module
 */

import type { BalancerFactory, BalancerName, Outcome, PickOptions, Report } from '../balance/balancer.ts';
import { Ejection, type EjectionOptions } from '../balance/ejection.ts';
import { InFlightLimit } from '../balance/in-flight-limit.ts';
import { type BalancerOptions, balancer } from '../balance/strategies.ts';
import type { Picked } from '../discovered.ts';
import { authorityOf, type ServiceInstance } from '../instance.ts';

/** How instances are chosen. */
export interface PickerOptions extends BalancerOptions {
  /** The strategy. Default `p2c-ewma`. */
  readonly balance?: BalancerName | BalancerFactory | undefined;
  /** When instances that requests fail on are left out for a while; false for never. Default: the defaults of each part. */
  readonly ejection?: EjectionOptions | false | undefined;
  /**
   * How many requests of this discovery may be under way to one instance at a time, whatever its weight. When all have as
   * many, a pick is refused with the reason `all-busy`. Every pick has to be reported, or disposed of, or it counts for
   * ever. Default: no limit.
   */
  readonly maxInFlight?: number | undefined;
}

/** Where time and randomness come from: an `Etcd` will do for both. */
export interface PickerTools {
  readonly now: () => number;
  readonly random: () => number;
}

/**
 * How long an answer vouches for a suspect, in milliseconds. A key goes no earlier than two thirds of its lease after its
 * instance died, so an answer that recent came from one that is alive.
 */
const TRUST_MS = 2_000;

const NOBODY: ReadonlySet<string> = new Set();

/** See the head of this file. */
export class Picker<M> {
  readonly #now: () => number;
  readonly #balancer: ReturnType<typeof balancer<ServiceInstance<M>>>;
  readonly #ejection: Ejection<ServiceInstance<M>> | undefined;
  readonly #limit: InFlightLimit<ServiceInstance<M>> | undefined;
  /** When each instance last answered a request, by id; one that has failed since has not. */
  readonly #answeredAt = new Map<string, number>();
  /** What the strategy was told last. */
  #instances: readonly ServiceInstance<M>[] = [];
  #suspects: ReadonlySet<string> = new Set();
  /** Who does not have to stand back, as it was worked out last. */
  #eligible: readonly ServiceInstance<M>[] | undefined;
  /** Until when it holds. */
  #eligibleUntil = Number.NEGATIVE_INFINITY;

  constructor(options: PickerOptions, tools: PickerTools) {
    const { balance = 'p2c-ewma', ejection = {}, maxInFlight } = options;
    this.#now = tools.now;
    this.#balancer = balancer<ServiceInstance<M>>(balance, options, tools);
    this.#ejection = ejection === false ? undefined : new Ejection(ejection, tools);
    this.#limit = maxInFlight === undefined ? undefined : new InFlightLimit(maxInFlight);
  }

  /** The ids of the instances that have as many requests under way as they may. */
  get full(): ReadonlySet<string> {
    return this.#limit?.full ?? NOBODY;
  }

  /** The instances that are to be chosen from, and the ids of the suspects among them. */
  update(instances: readonly ServiceInstance<M>[], suspects: ReadonlySet<string>): void {
    this.#suspects = suspects;
    this.#eligible = undefined;
    this.#eligibleUntil = Number.NEGATIVE_INFINITY;
    if (instances === this.#instances) return;
    const ids = new Set(instances.map(({ id }) => id));
    for (const id of this.#answeredAt.keys()) if (!ids.has(id)) this.#answeredAt.delete(id);
    this.#ejection?.update(instances);
    // A program's own strategy may throw: then it is told again next time.
    this.#balancer.update(instances);
    this.#instances = instances;
  }

  /** Chooses one; undefined when there is none, or all are full. */
  pick(options: PickOptions): Picked<M> | undefined {
    const eligible = this.#whoMay();
    const admitted = this.#ejection?.admit(eligible) ?? eligible;
    const candidates = this.#limit?.admit(admitted) ?? admitted;
    const instance = candidates.length === 0 ? undefined : this.#balancer.pick(candidates, options);
    if (instance === undefined) return undefined;
    this.#ejection?.picked(instance);
    this.#limit?.began(instance);
    const startedAt = this.#now();
    return new PickedInstance(instance, (outcome) => {
      this.#done(instance, { outcome, latencyMs: this.#now() - startedAt });
    });
  }

  #done(instance: ServiceInstance<M>, report: Report): void {
    this.#limit?.ended(instance);
    if (report.outcome === 'success') this.#answeredAt.set(instance.id, this.#now());
    else if (report.outcome === 'failure') this.#answeredAt.delete(instance.id);
    if (this.#suspects.has(instance.id)) this.#eligibleUntil = Number.NEGATIVE_INFINITY;
    this.#balancer.done(instance, report);
    this.#ejection?.done(instance, report);
  }

  #whoMay(): readonly ServiceInstance<M>[] {
    if (this.#suspects.size === 0) return this.#instances;
    const now = this.#now();
    if (this.#eligible !== undefined && now < this.#eligibleUntil) return this.#eligible;
    this.#eligibleUntil = Number.POSITIVE_INFINITY;
    const eligible = this.#instances.filter(({ id }) => {
      if (!this.#suspects.has(id)) return true;
      const until = (this.#answeredAt.get(id) ?? Number.NEGATIVE_INFINITY) + TRUST_MS;
      if (until <= now) return false;
      this.#eligibleUntil = Math.min(this.#eligibleUntil, until);
      return true;
    });
    this.#eligible = eligible.length === 0 ? this.#instances : same(eligible, this.#eligible);
    return this.#eligible;
  }
}

/** The older of two arrays with the same contents. */
function same<T>(fresh: readonly T[], known: readonly T[] | undefined): readonly T[] {
  if (known?.length !== fresh.length || fresh.some((one, index) => one !== known[index])) return fresh;
  return known;
}

/** See {@link Picked}. */
class PickedInstance<M> implements Picked<M> {
  readonly instance: ServiceInstance<M>;
  #report: ((outcome: Outcome) => void) | undefined;

  constructor(instance: ServiceInstance<M>, report: (outcome: Outcome) => void) {
    this.instance = instance;
    this.#report = report;
  }

  get authority(): string {
    return authorityOf(this.instance);
  }

  done(outcome: Outcome): void {
    const report = this.#report;
    this.#report = undefined;
    report?.(outcome);
  }

  [Symbol.dispose](): void {
    this.done('cancelled');
  }
}
