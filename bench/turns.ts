/**
 * Two who do the same in turn, and what is printed of it: the median of the rounds' ratios.
 *
 * @module
 */

/** Figures of one measurement, by name. */
export type Result = Readonly<Record<string, number>>;

/** One comparison. */
export interface Comparison<Name extends string> {
  readonly name: string;
  /** The figure whose ratio, ours to the peer's, is the result. */
  readonly figure: string;
  readonly ours: Name;
  readonly peer: Name;
  readonly atLeast?: number | undefined;
  readonly atMost?: number | undefined;
}

/** Runs a comparison and prints its lines. */
export async function takeTurns<Name extends string>(
  { name, figure, ours, peer, atLeast, atMost }: Comparison<Name>,
  rounds: number,
  measure: (who: Name) => Promise<Result>,
): Promise<void> {
  const results = { ours: [] as Result[], peer: [] as Result[] };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    // Who goes first changes, so that neither always has the warmer machine.
    const order = round % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const);
    for (const who of order) results[who].push(await measure(who === 'ours' ? ours : peer));
    ratios.push((results.ours[round]?.[figure] ?? 0) / (results.peer[round]?.[figure] ?? 1));
  }
  const ratio = median(ratios);
  const met = atLeast === undefined ? ratio <= (atMost ?? Infinity) : ratio >= atLeast;
  const target = atLeast === undefined ? (atMost === undefined ? 'none' : `<= ${atMost}`) : `>= ${atLeast}`;
  process.stdout.write(
    `${met ? 'met   ' : 'MISSED'} ${name}: ${figure} ratio ${ratio.toFixed(2)} (target ${target})\n` +
      `         ${ours}: ${shown(results.ours)}\n         ${peer}: ${shown(results.peer)}\n`,
  );
}

function shown(results: readonly Result[]): string {
  return Object.keys(results[0] ?? {})
    .map((figure) => `${figure} ${median(results.map((result) => result[figure] ?? 0)).toPrecision(4)}`)
    .join(', ');
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
