/**
 * Runs a batch of seeds of whole members, and makes failing ones small and readable; see `../batch.ts`, `../shrink.ts`
 * and `../report.ts`, which do so for the core alone.
 */
import { describeOptions } from '../report.ts';
import { mix } from '../world/random.ts';
import { type MemberFault, type MemberSimOptions, memberOptionsOf, withoutFault } from './options.ts';
import { type MembersRunOptions, type MembersRunResult, simulateMembers } from './simulation.ts';

export interface MembersBatch {
  /** How many seeds, and the first of them. */
  readonly seeds: number;
  readonly firstSeed: number;
  /** The classes of faults that may happen. Default: what each seed draws. */
  readonly faults?: readonly MemberFault[] | undefined;
  /** What else is different from what each seed draws. */
  readonly change?: ((options: MemberSimOptions) => MemberSimOptions) | undefined;
  readonly run?: MembersRunOptions | undefined;
  /** Called after each seed; false ends the batch. */
  readonly after?: ((result: MembersRunResult) => Promise<boolean> | boolean) | undefined;
}

/** Sums over a batch. */
export interface MembersTotals {
  readonly seeds: number;
  readonly virtualUs: number;
  readonly events: number;
  readonly violations: number;
  /** An unsigned 32-bit hash of the digests of all seeds. */
  readonly digest: number;
  readonly counts: Readonly<Record<string, number>>;
}

export async function runMembersBatch(batch: MembersBatch): Promise<MembersTotals> {
  const { seeds, firstSeed, faults, change, run, after } = batch;
  const totals = { seeds: 0, virtualUs: 0, events: 0, violations: 0, digest: 0 };
  const counts: Record<string, number> = {};
  for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
    const drawn = memberOptionsOf(seed);
    const mixed = faults ? { ...drawn, faults } : drawn;
    const result = await simulateMembers(change?.(mixed) ?? mixed, run);
    totals.seeds += 1;
    totals.virtualUs += result.virtualUs;
    totals.events += result.events;
    totals.digest = mix(totals.digest, result.digest);
    if (result.broken) totals.violations += 1;
    for (const [what, count] of Object.entries(result.counts)) counts[what] = (counts[what] ?? 0) + count;
    if ((await after?.(result)) === false) break;
  }
  return { ...totals, digest: totals.digest >>> 0, counts };
}

/** The run with the fewest classes of faults that breaks the same rule; `failing` itself if none can be left out. */
export async function shrinkMembers(failing: MembersRunResult, run: MembersRunOptions = {}): Promise<MembersRunResult> {
  const { broken, options } = failing;
  if (broken === undefined) return failing;
  // What healing and the checks after it find needs the whole run.
  const capped = broken.atUs < options.durationUs ? { ...run, endUs: broken.atUs } : run;
  let smallest = failing;
  // What could not go may be able to once others have gone.
  for (let before = -1; before !== smallest.options.faults.length; ) {
    before = smallest.options.faults.length;
    for (const fault of smallest.options.faults) {
      const result = await simulateMembers(withoutFault(smallest.options, fault), capped);
      if (result.broken?.rule === broken.rule) smallest = result;
    }
  }
  return smallest;
}

/** A failing run: what was drawn, the last events, and the rule that broke. */
export function describeMembersFailure({ options, broken, lines }: MembersRunResult): string {
  if (broken === undefined) return `seed ${options.seed}: nothing is broken`;
  return [
    `seed ${options.seed} breaks a rule at ${(broken.atUs / 1000).toFixed(3)} ms`,
    describeOptions(options),
    'last events:',
    ...lines(),
    `broken: ${broken.rule}: ${broken.detail}`,
  ].join('\n');
}

/** Which faults a failing run needs, and how to run it with these alone. */
export function describeMembersShrunk({ options, broken }: MembersRunResult): string {
  const faults = options.faults.join(',');
  const needs = faults === '' ? 'no faults at all' : `only ${faults.replaceAll(',', ', ')}`;
  const flags = `--members --seeds 1 --seed ${options.seed} --faults ${faults === '' ? 'none' : faults}`;
  const how = `npm run simulate -- ${flags}`;
  return `shrunk: it needs ${needs}, and breaks then as: ${broken?.rule}: ${broken?.detail}\n  ${how}`;
}

/** What happened in a batch, counted. */
export function describeCounts(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([what, count]) => `${what} ${count}`)
    .join(', ');
}
