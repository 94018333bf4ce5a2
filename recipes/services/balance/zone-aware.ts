/**
 * The own zone first.
 *
 * Requests stay in the caller's zone as far as it can carry them, for latency and for the bill. If callers everywhere did so
 * whatever happens, a zone with many callers and few instances would be overrun. So each zone is given what it can carry:
 *
 * - The capacity of a zone is its share of the candidates' weight. Instances that are ejected or down are no candidates, so a
 *   zone that fails loses capacity.
 * - The demand of a zone is its share of all requests. It is not known here; every zone with instances counts alike, unless
 *   `origins` says otherwise.
 * - If the own zone's capacity (and `tolerance` on top) is at least its demand, everything stays. If not, as much stays as it
 *   can carry, and the rest goes to the others in proportion to what they have beyond their own demand.
 *
 * With equal callers in each zone no zone then gets more than its capacity and the tolerance. A caller whose zone is not known
 * goes to all in proportion to their capacity; one in a zone without instances goes to the others.
 *
 * Within a zone an inner strategy chooses, one for each zone, so that one zone's turns do not disturb another's. With a
 * `hashKey` the zone is chosen by it too, and a key stays where it is.
 *
 * O(zones) for each pick, and the inner strategy's.
 *
 * Source: Envoy's zone aware routing; the tolerance is that of Kubernetes' topology hints.
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate, PickOptions, Report } from './balancer.ts';
import { fraction, hash32 } from './hash.ts';
import { perArray } from './per-array.ts';
import { weightOf } from './shares.ts';

/** How `zone-aware` divides the requests. */
export interface ZoneAwareOptions {
  /** The caller's zone. Default: none, then all zones are alike. */
  readonly zone?: string | undefined;
  /**
   * Where the requests come from: each zone's part, in any unit, for example the number of callers there. Default: from all
   * zones that have instances, and the own, alike.
   */
  readonly origins?: Readonly<Record<string, number>> | undefined;
  /** By how much of its capacity a zone may be overloaded before its requests go elsewhere. Default 0.2. */
  readonly tolerance?: number | undefined;
}

/** A zone's name; undefined for instances that say none. */
type Zone = string | undefined;

type Part = readonly [zone: Zone, part: number];

/** Which zone a request goes to: the first whose `upTo` is above a random number. */
type Routes = readonly { readonly zone: Zone; readonly upTo: number }[];

interface Groups<I> {
  readonly byZone: ReadonlyMap<Zone, readonly I[]>;
  /** The routes by the caller's zone, worked out when they are asked for. */
  readonly routes: Map<Zone, Routes>;
}

const HASH_SEED = 3;

/** Chooses a zone, and lets a strategy choose within it. */
export class ZoneAware<I extends Candidate> implements Balancer<I> {
  readonly #options: ZoneAwareOptions;
  readonly #tools: BalancerTools;
  readonly #tolerance: number;
  readonly #makeInner: () => Balancer<I>;
  readonly #inner = new Map<Zone, Balancer<I>>();
  /** Zones that have instances, also such that are no candidates now. */
  #zones: readonly string[] = [];
  #groups = perArray(groups<I>);

  constructor(options: ZoneAwareOptions, tools: BalancerTools, makeInner: () => Balancer<I>) {
    this.#options = options;
    this.#tools = tools;
    this.#tolerance = options.tolerance ?? 0.2;
    if (!(this.#tolerance >= 0)) throw new RangeError('tolerance must be 0 or more');
    if (Object.values(options.origins ?? {}).some((part) => !(part >= 0))) {
      throw new RangeError('origins must be 0 or more');
    }
    this.#makeInner = makeInner;
  }

  update(instances: readonly I[]): void {
    const { byZone } = groups(instances);
    this.#zones = [...byZone.keys()].filter((zone) => zone !== undefined);
    for (const zone of [...this.#inner.keys()]) if (!byZone.has(zone)) this.#inner.delete(zone);
    for (const [zone, members] of byZone) this.#innerOf(zone).update(members);
    // Routes depend on the zones there are.
    this.#groups = perArray(groups<I>);
  }

  pick(candidates: readonly I[], options: PickOptions): I | undefined {
    const own = options.zone ?? this.#options.zone;
    const { byZone, routes } = this.#groups(candidates);
    let known = routes.get(own);
    if (known === undefined) {
      known = this.#routesFrom(own, byZone);
      routes.set(own, known);
    }
    const u = options.hashKey === undefined ? this.#tools.random() : fraction(hash32(options.hashKey, HASH_SEED));
    const route = known.find(({ upTo }) => u < upTo) ?? known.at(-1);
    return this.#innerOf(route?.zone).pick(byZone.get(route?.zone) ?? [], options);
  }

  done(instance: I, report: Report): void {
    this.#inner.get(instance.zone)?.done(instance, report);
  }

  #innerOf(zone: Zone): Balancer<I> {
    let inner = this.#inner.get(zone);
    if (inner === undefined) {
      inner = this.#makeInner();
      this.#inner.set(zone, inner);
    }
    return inner;
  }

  #routesFrom(own: Zone, byZone: ReadonlyMap<Zone, readonly I[]>): Routes {
    const capacity = inShares([...byZone].map(([zone, members]) => [zone, sumOf(members.map(weightOf))]));
    if (own === undefined) return routesOf([...capacity]);
    const demand = this.#demand(own);
    const capacityOf = (zone: Zone): number => capacity.get(zone) ?? 0;
    const demandOf = (zone: Zone): number => demand.get(zone) ?? 0;
    const carried = capacityOf(own) * (1 + this.#tolerance);
    const local = capacityOf(own) === 0 ? 0 : Math.min(1, carried / demandOf(own));
    const others = [...byZone.keys()].filter((zone) => zone !== own);
    const spare = others.map((zone): Part => [zone, Math.max(capacityOf(zone) - demandOf(zone), 0)]);
    // Where nobody has anything to spare all share alike.
    const parts =
      sumOf(spare.map(([, part]) => part)) > 0 ? spare : others.map((zone): Part => [zone, capacityOf(zone)]);
    return routesOf([[own, local], ...[...inShares(parts)].map(([zone, part]): Part => [zone, part * (1 - local)])]);
  }

  #demand(own: string): ReadonlyMap<Zone, number> {
    const { origins } = this.#options;
    if (origins !== undefined && sumOf(Object.values(origins)) > 0) return inShares(Object.entries(origins));
    return inShares([...new Set([...this.#zones, own])].map((zone) => [zone, 1]));
  }
}

function groups<I extends Candidate>(candidates: readonly I[]): Groups<I> {
  const byZone = new Map<Zone, I[]>();
  for (const candidate of candidates) {
    const group = byZone.get(candidate.zone);
    if (group === undefined) byZone.set(candidate.zone, [candidate]);
    else group.push(candidate);
  }
  return { byZone, routes: new Map() };
}

/** Parts of 1. */
function inShares(parts: readonly Part[]): Map<Zone, number> {
  const total = sumOf(parts.map(([, part]) => part));
  return new Map(parts.map(([zone, part]) => [zone, part / total]));
}

function routesOf(parts: readonly Part[]): Routes {
  let upTo = 0;
  const routes: { zone: Zone; upTo: number }[] = [];
  for (const [zone, part] of parts) {
    upTo += part;
    if (part > 0) routes.push({ zone, upTo });
  }
  return routes;
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}
