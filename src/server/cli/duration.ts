/**
 * Durations as Go writes them: `300ms`, `1.5h`, `2h45m`.
 *
 * Source: Go, package time, `ParseDuration`.
 *
 * @module
 */

const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  // Both signs that look like a small mu.
  '\u00b5s': 1e-3,
  '\u03bcs': 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

const PART = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/y;

/** Longest that fits into Go's signed 64-bit nanoseconds, in ms. */
const LONGEST_MS = 2 ** 63 / 1e6;

/** @returns Milliseconds, or undefined if the text is no duration. `0` needs no unit. */
export function parseDuration(text: string): number | undefined {
  const [, sign, rest = ''] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  if (rest === '0') return 0;
  if (rest === '') return undefined;
  let totalMs = 0;
  PART.lastIndex = 0;
  while (PART.lastIndex < rest.length) {
    const part = PART.exec(rest);
    if (!part) return undefined;
    totalMs += Number(part[1]) * (UNITS_MS[part[2] ?? ''] ?? Number.NaN);
  }
  if (totalMs >= LONGEST_MS) return undefined;
  return sign === '-' ? -totalMs : totalMs;
}
