/**
 * Runs whole clusters of the Raft core under a virtual clock, with faults, and checks every step.
 *
 * Usage: `npm run simulate -- [--seeds N] [--seed S] [--faults A,B] [--digest]`, by default 100 seeds from 1 on.
 * `--seeds 1 --seed S` runs one seed again, exactly; `--faults` with these classes of faults alone (`none`: without
 * any). A seed that fails prints its options, its last 200 events and the broken rule, then the fewest classes of
 * faults that it needs. `--digest` prints a hash of all events of each seed and of all: the same on every machine and
 * every version of Node.js. Ends with code 1 if anything was broken.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { runBatch } from '../test/simulation/batch.ts';
import { FAULTS, type Fault } from '../test/simulation/options.ts';
import { describeDigest, describeFailure, describeShrunk, describeTotals } from '../test/simulation/report.ts';
import { shrink } from '../test/simulation/shrink.ts';
import type { RunResult } from '../test/simulation/simulation.ts';

const { values } = parseArgs({
  options: {
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

function faultsOf(text: string): readonly Fault[] {
  if (text === 'none') return [];
  const named = text.split(',');
  const unknown = named.filter((name) => !(FAULTS as readonly string[]).includes(name));
  if (unknown.length > 0) throw new Error(`no such faults: ${unknown.join(', ')}; there are ${FAULTS.join(', ')}`);
  return FAULTS.filter((fault) => named.includes(fault));
}

/** The code that failed, so that the seed means something later. */
function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

function after(result: RunResult): void {
  if (values.digest) console.log(`seed ${result.options.seed} digest ${describeDigest(result.digest)}`);
  if (result.violation === undefined) return;
  console.log(describeFailure(result));
  console.log(describeShrunk(shrink(result)));
  console.log(`commit ${commit()}`);
}

const startedAt = performance.now();
const cpuBefore = process.cpuUsage();
const totals = runBatch({
  seeds: wholeNumber('seeds', values.seeds),
  firstSeed: wholeNumber('seed', values.seed),
  faults: values.faults === undefined ? undefined : faultsOf(values.faults),
  after,
});
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
