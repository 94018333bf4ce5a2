/**
 * Runs clusters under a virtual clock, with faults, and checks every step: of the Raft core alone or, with `--members`,
 * of whole members.
 *
 * Usage: `npm run simulate -- [--members] [--seeds N] [--seed S] [--faults A,B] [--digest]`, by default 100 seeds from 1
 * on. `--seeds 1 --seed S` runs one seed again, exactly; `--faults` with these classes of faults alone (`none`: without
 * any). A seed that fails prints its options, its last 200 events and the broken rule, then the fewest classes of
 * faults that it needs. `--digest` prints a hash of all events of each seed and of all: the same on every machine and
 * every version of Node.js. Ends with code 1 if anything was broken.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { runBatch } from '../test/simulation/batch.ts';
import {
  describeCounts,
  describeMembersFailure,
  describeMembersShrunk,
  runMembersBatch,
  shrinkMembers,
} from '../test/simulation/members/batch.ts';
import { MEMBER_FAULTS } from '../test/simulation/members/options.ts';
import { FAULTS } from '../test/simulation/options.ts';
import {
  describeDigest,
  describeFailure,
  describeShrunk,
  describeTotals,
  type Totals,
} from '../test/simulation/report.ts';
import { shrink } from '../test/simulation/shrink.ts';

const { values } = parseArgs({
  options: {
    members: { type: 'boolean', default: false },
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    faults: { type: 'string' },
    digest: { type: 'boolean', default: false },
  },
});

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} takes a whole number`);
  return number;
}

function faultsOf<F extends string>(all: readonly F[]): readonly F[] | undefined {
  if (values.faults === undefined) return undefined;
  const named = values.faults === 'none' ? [] : values.faults.split(',');
  const unknown = named.filter((name) => !(all as readonly string[]).includes(name));
  if (unknown.length > 0) throw new Error(`no such faults: ${unknown.join(', ')}; there are ${all.join(', ')}`);
  return all.filter((fault) => named.includes(fault));
}

/** The code that failed, so that the seed means something later. */
function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

function printDigest(seed: number, digest: number): void {
  if (values.digest) console.log(`seed ${seed} digest ${describeDigest(digest)}`);
}

function printFailure(failure: string, shrunk: string): void {
  console.log(failure);
  console.log(shrunk);
  console.log(`commit ${commit()}`);
}

const range = { seeds: wholeNumber('seeds', values.seeds), firstSeed: wholeNumber('seed', values.seed) };

function runCores(): Totals & { readonly digest: number } {
  return runBatch({
    ...range,
    faults: faultsOf(FAULTS),
    after: (result) => {
      printDigest(result.options.seed, result.digest);
      if (result.violation) printFailure(describeFailure(result), describeShrunk(shrink(result)));
    },
  });
}

async function runMembers(): Promise<Totals & { readonly digest: number }> {
  const totals = await runMembersBatch({
    ...range,
    faults: faultsOf(MEMBER_FAULTS),
    after: async (result) => {
      printDigest(result.options.seed, result.digest);
      if (result.broken)
        printFailure(describeMembersFailure(result), describeMembersShrunk(await shrinkMembers(result)));
      return true;
    },
  });
  console.log(describeCounts(totals.counts));
  return totals;
}

const startedAt = performance.now();
const cpuBefore = process.cpuUsage();
const totals = values.members ? await runMembers() : runCores();
const seconds = (performance.now() - startedAt) / 1000;
const { user, system } = process.cpuUsage(cpuBefore);
const cpuSeconds = (user + system) / 1_000_000;
if (values.digest) console.log(`total digest ${describeDigest(totals.digest)}`);
console.log(
  `${Math.round(totals.events / seconds)} events per second, ` +
    `${Math.round(totals.events / cpuSeconds)} per second of processor time`,
);
console.log(describeTotals(totals));
if (totals.violations > 0) process.exitCode = 1;
