/**
 * Which instances fail far more often than the others.
 *
 * A fixed share of failures does not tell an instance that loses one request in three from a service in which every third
 * request fails: the first is to be left out, in the second there is nowhere else to go. So each is measured by all: the
 * mean of the shares of successes, less so many standard deviations, is what an instance must not fall below.
 *
 * Two things keep chance out. Instances with few requests are neither judged nor counted among the others. And where all are
 * nearly the same a deviation is next to nothing, so that somebody always lies below: therefore an outlier is also below
 * the mean by an amount that matters.
 *
 * One of n can lie at most √(n−1) deviations below the mean, so with fewer than five instances none ever lies below 1.9.
 *
 * Sources: the success rate ejection of Envoy's outlier detection, and of gRPC's proposal A50; the least gap is ours.
 *
 * @module
 */

/** When an instance is taken out for failing more often than the others. */
export interface OutlierOptions {
  /** By how many standard deviations its share of successes is below the mean of all. Default 1.9. */
  readonly stdevFactor?: number | undefined;
  /** By how much it is below the mean at the least, from 0 to 1. Default 0.05. */
  readonly leastGap?: number | undefined;
  /** With fewer instances to compare, nobody is taken out. Default 5. */
  readonly minimumInstances?: number | undefined;
  /** Who had fewer requests in the window is not compared. Default 100. */
  readonly minimumRequests?: number | undefined;
}

/** The options, checked. */
export type OutlierSettings = typeof DEFAULTS;

/** What the requests of one instance came to. */
export interface Tally {
  readonly id: string;
  readonly total: number;
  readonly failures: number;
}

const DEFAULTS = { stdevFactor: 1.9, leastGap: 0.05, minimumInstances: 5, minimumRequests: 100 };

/** The options with their defaults. @throws RangeError when one makes no sense. */
export function outlierSettings(options: OutlierOptions): OutlierSettings {
  const all = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS) as (keyof OutlierSettings)[]) {
    const value = options[name] ?? DEFAULTS[name];
    if (!(value > 0 || (name === 'leastGap' && value === 0)) || (name === 'leastGap' && value > 1)) {
      throw new RangeError(`outliers.${name} is out of range`);
    }
    all[name] = value;
  }
  return all;
}

/** The ids of those that are outliers, the worst first. O(n log n). */
export function outliersAmong(tallies: readonly Tally[], settings: OutlierSettings): string[] {
  const { stdevFactor, leastGap, minimumInstances, minimumRequests } = settings;
  const rates = tallies
    .filter(({ total }) => total > 0 && total >= minimumRequests)
    .map(({ id, total, failures }) => ({ id, rate: (total - failures) / total }));
  if (rates.length === 0 || rates.length < minimumInstances) return [];
  const mean = rates.reduce((sum, { rate }) => sum + rate, 0) / rates.length;
  const variance = rates.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / rates.length;
  const line = mean - Math.max(stdevFactor * Math.sqrt(variance), leastGap);
  const below = rates.filter(({ rate }) => rate < line).sort((a, b) => a.rate - b.rate);
  return below.map(({ id }) => id);
}
