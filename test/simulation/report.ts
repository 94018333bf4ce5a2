/**
 * Failing runs as text, and batches of runs as figures.
 */
import type { RunResult } from './simulation.ts';

/** Sums over a batch. */
export interface Totals {
  readonly seeds: number;
  readonly virtualUs: number;
  readonly events: number;
  readonly violations: number;
}

/** The options of a run, one on a line. */
export function describeOptions(options: object): string {
  return Object.entries(options)
    .map(([name, value]) => `  ${name}: ${describeValue(value)}`)
    .join('\n');
}

function describeValue(value: unknown): string {
  if (Array.isArray(value)) return value.join(' ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, inner]) => `${name} ${String(inner)}`)
    .join(', ');
}

/** A failing run: what was drawn, the last events, and the rule that broke. */
export function describeFailure(result: RunResult): string {
  const { options, violation } = result;
  if (violation === undefined) return `seed ${options.seed}: nothing is broken`;
  const at = `${(violation.atUs / 1000).toFixed(3)} ms`;
  return [
    `seed ${options.seed} breaks a rule at ${at}`,
    describeOptions(options),
    'last events:',
    ...result.lines(),
    `broken: ${violation.detail}`,
  ].join('\n');
}

/** Which faults a failing run needs, and how to run it with these alone. */
export function describeShrunk({ options, violation }: RunResult): string {
  const faults = options.faults.join(',');
  const needs = faults === '' ? 'no faults at all' : `only ${faults.replaceAll(',', ', ')}`;
  const command = `npm run simulate -- --seeds 1 --seed ${options.seed} --faults ${faults === '' ? 'none' : faults}`;
  return `shrunk: it needs ${needs}, and breaks then as: ${violation?.detail}\n  ${command}`;
}

/** A digest as eight hexadecimal digits. */
export function describeDigest(digest: number): string {
  return digest.toString(16).padStart(8, '0');
}

/** The last line of a batch. */
export function describeTotals({ seeds, virtualUs, events, violations }: Totals): string {
  const hours = (virtualUs / 3_600_000_000).toFixed(2);
  return `seeds ${seeds}, virtual hours ${hours}, events ${events}, violations ${violations}`;
}
