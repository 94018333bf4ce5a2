/**
 * The strategies by their names, and the rules that hold for every one.
 *
 * 1. Weight 0 takes nothing, unless all candidates have it.
 * 2. What is to be avoided is taken only if there is nothing else.
 * 3. One of the candidates is chosen if there is one.
 * 4. A newcomer is spared for a time, if that is asked for (slow-start.ts).
 *
 * A strategy of one's own is held to the same: it is asked with what the first two rules leave over, and if it gives nothing
 * the first of them is taken.
 *
 * @module
 */

import type {
  Balancer,
  BalancerFactory,
  BalancerName,
  BalancerTools,
  Candidate,
  PickOptions,
  Report,
} from './balancer.ts';
import { ConsistentHash, type ConsistentHashOptions } from './consistent-hash.ts';
import { LeastConnections } from './least-connections.ts';
import { P2cEwma, type P2cEwmaOptions } from './p2c-ewma.ts';
import { RandomChoice } from './random.ts';
import { RoundRobin } from './round-robin.ts';
import { eligible } from './shares.ts';
import { SlowStart, type SlowStartOptions } from './slow-start.ts';
import { WeightedRoundRobin } from './weighted.ts';
import { ZoneAware, type ZoneAwareOptions } from './zone-aware.ts';

/** What the strategies can be told; each takes what concerns it. */
export interface BalancerOptions extends P2cEwmaOptions, ConsistentHashOptions, ZoneAwareOptions, SlowStartOptions {
  /** For `zone-aware`: how to choose within a zone. Default `p2c-ewma`. */
  readonly inner?: Exclude<BalancerName, 'zone-aware'> | BalancerFactory | undefined;
}

/**
 * Makes a balancer.
 *
 * - `round-robin`: one after the other, whatever their weights.
 * - `random`: at random, in proportion to the weights.
 * - `weighted`: in turns, in proportion to the weights.
 * - `least-connections`: where this client has the fewest requests under way.
 * - `p2c-ewma`: where the answer is likely to come first. The best for most.
 * - `consistent-hash`: by `hashKey`, the same key to the same instance.
 * - `zone-aware`: in the own zone first.
 *
 * @throws RangeError when an option makes no sense.
 */
export function balancer<I extends Candidate>(
  strategy: BalancerName | BalancerFactory,
  options: BalancerOptions,
  tools: BalancerTools,
): Balancer<I> {
  return new Ruled<I>(made(strategy, options, tools), new SlowStart(options, tools));
}

function made<I extends Candidate>(
  strategy: BalancerName | BalancerFactory,
  options: BalancerOptions,
  tools: BalancerTools,
): Balancer<I> {
  // A program's own strategy chooses among what it is handed, so it gives back what it was handed.
  if (typeof strategy === 'function') return strategy(tools) as Balancer<I>;
  switch (strategy) {
    case 'round-robin':
      return new RoundRobin(tools);
    case 'random':
      return new RandomChoice(tools);
    case 'weighted':
      return new WeightedRoundRobin(tools);
    case 'least-connections':
      return new LeastConnections(tools);
    case 'p2c-ewma':
      return new P2cEwma(options, tools);
    case 'consistent-hash':
      return new ConsistentHash(options, tools);
    case 'zone-aware':
      return new ZoneAware(options, tools, () => made<I>(options.inner ?? 'p2c-ewma', options, tools));
  }
  // A program without types.
  throw new RangeError(`no such strategy: ${String(strategy satisfies never)}`);
}

/** What a strategy is told of a pick that is taken back. */
const TAKEN_BACK: Report = { outcome: 'cancelled', latencyMs: 0 };

/** Keeps the rules for a strategy. */
class Ruled<I extends Candidate> implements Balancer<I> {
  readonly #strategy: Balancer<I>;
  readonly #slowStart: SlowStart<I>;

  constructor(strategy: Balancer<I>, slowStart: SlowStart<I>) {
    this.#strategy = strategy;
    this.#slowStart = slowStart;
  }

  update(instances: readonly I[]): void {
    this.#slowStart.update(instances);
    this.#strategy.update(instances);
  }

  pick(candidates: readonly I[], options: PickOptions): I | undefined {
    if (candidates.length === 0) return undefined;
    const choice = eligible(candidates, options.avoid);
    const picked = this.#strategy.pick(choice, options);
    if (picked === undefined) return choice[0];
    if (options.hashKey !== undefined || !this.#slowStart.spares(picked)) return picked;
    const warm = this.#slowStart.warm(choice);
    if (warm.length === 0) return picked;
    this.#strategy.done(picked, TAKEN_BACK);
    return this.#strategy.pick(warm, options) ?? warm[0];
  }

  done(instance: I, report: Report): void {
    this.#strategy.done(instance, report);
  }
}
