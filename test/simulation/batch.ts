/**
 * Runs a batch of seeds, one after the other.
 */
import { type Fault, type Options, optionsOf } from './options.ts';
import type { Totals } from './report.ts';
import { type RunOptions, type RunResult, simulate } from './simulation.ts';
import { mix } from './world/random.ts';

export interface Batch {
  /** How many seeds, and the first of them. */
  readonly seeds: number;
  readonly firstSeed: number;
  /** The classes of faults that may happen. Default: what each seed draws. */
  readonly faults?: readonly Fault[] | undefined;
  /** What else is different from what each seed draws. */
  readonly change?: ((options: Options) => Options) | undefined;
  readonly run?: RunOptions | undefined;
  /** Called after each seed. */
  readonly after?: ((result: RunResult) => void) | undefined;
}

/** {@link Totals}, and an unsigned 32-bit hash of the digests of all seeds. */
export interface BatchResult extends Totals {
  readonly digest: number;
}

export function runBatch({ seeds, firstSeed, faults, change, run, after }: Batch): BatchResult {
  let virtualUs = 0;
  let events = 0;
  let violations = 0;
  let digest = 0;
  for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
    const drawn = optionsOf(seed);
    const mixed = faults ? { ...drawn, faults } : drawn;
    const result = simulate(change?.(mixed) ?? mixed, run);
    virtualUs += result.virtualUs;
    events += result.events;
    digest = mix(digest, result.digest);
    if (result.violation) violations += 1;
    after?.(result);
  }
  return { seeds, virtualUs, events, violations, digest: digest >>> 0 };
}
