import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Candidate } from '../../../../recipes/services/balance/balancer.ts';
import { Ejection, type EjectionOptions } from '../../../../recipes/services/balance/ejection.ts';
import {
  type OutlierOptions,
  outlierSettings,
  outliersAmong,
  type Tally,
} from '../../../../recipes/services/balance/outliers.ts';
import { bed, FAILURE, instances, SUCCESS } from './bed.ts';

/** a, b, … with so many failures in a hundred requests each. */
const tallies = (...failures: number[]): Tally[] =>
  failures.map((count, at) => ({ id: String.fromCharCode(97 + at), total: 100, failures: count }));

const among = (some: readonly Tally[], options: OutlierOptions = {}): string =>
  outliersAmong(some, outlierSettings(options)).join('');

describe('an outlier', () => {
  it('is so many deviations below the mean of all', () => {
    // One of five is at most two deviations off: at 1.9 it is taken, at 2 it is not.
    expect(among(tallies(1, 1, 30, 1, 1))).toBe('c');
    expect(among(tallies(1, 1, 30, 1, 1), { stdevFactor: 2 })).toBe('');
    expect(among(tallies(40, 1, 1, 50, 1, 1, 1, 1, 1, 1), { stdevFactor: 1 })).toBe('da');
  });

  it('is none where all fail alike, and where the difference is one of chance', () => {
    expect(among(tallies(30, 30, 30, 30, 30))).toBe('');
    expect(among(tallies(0, 0, 0, 0, 4))).toBe('');
    expect(among(tallies(0, 0, 0, 0, 4), { leastGap: 0.03 })).toBe('e');
  });

  it('is not looked for among too few, or by too few requests', () => {
    expect(among(tallies(1, 1, 1, 90))).toBe('');
    expect(among(tallies(1, 1, 1, 90), { minimumInstances: 4, stdevFactor: 1.5 })).toBe('d');
    const some = tallies(1, 1, 30, 1, 1);
    expect(among(some, { minimumRequests: 101 })).toBe('');
    // Neither is one with few requests compared, nor does it count as one of the five.
    const [first, ...others] = some as [Tally, ...Tally[]];
    expect(among([{ ...first, total: 99 }, ...others])).toBe('');
    expect(among([])).toBe('');
    expect(among([{ id: 'idle', total: 0, failures: 0 }], { minimumInstances: 1 })).toBe('');
  });

  it('is one only with options that make sense', () => {
    for (const wrong of [{ stdevFactor: 0 }, { leastGap: 1.1 }, { minimumInstances: -1 }, { minimumRequests: NaN }]) {
      expect(() => outlierSettings(wrong)).toThrow(RangeError);
    }
    expect(outlierSettings({ leastGap: 0 })).toMatchObject({ leastGap: 0, stdevFactor: 1.9 });
  });

  it('never is one of those that do better than the mean, and the worst comes first', () => {
    const some = fc.array(fc.nat(100), { minLength: 5, maxLength: 20 });
    fc.assert(
      fc.property(some, fc.double({ min: 0.1, max: 3, noNaN: true }), (failures, stdevFactor) => {
        const all = tallies(...failures);
        const found = outliersAmong(all, outlierSettings({ stdevFactor }));
        const mean = failures.reduce((sum, count) => sum + count, 0) / failures.length;
        const counts = found.map((id) => all.find((tally) => tally.id === id)!.failures);
        for (const count of counts) expect(count).toBeGreaterThan(mean);
        expect(counts).toEqual([...counts].sort((a, b) => b - a));
      }),
    );
  });
});

describe('with the ejection', () => {
  /** Each instance has a hundred requests, of which so many fail, spread evenly. */
  function load(failures: readonly number[], options: EjectionOptions) {
    const tools = bed();
    const all = instances(failures.length);
    const ejection = new Ejection<Candidate>(options, tools);
    ejection.update(all);
    const round = (): void => {
      for (let n = 0; n < 100; n++) {
        for (const [at, one] of all.entries()) {
          const fails = Math.floor(((n + 1) * failures[at]!) / 100) > Math.floor((n * failures[at]!) / 100);
          ejection.done(one, fails ? FAILURE : SUCCESS);
        }
      }
    };
    return { tools, ejection, round };
  }

  const ONE_IN_SIX = [1, 1, 40, 1, 1, 1];

  it('nobody is compared unless that is asked for', () => {
    const { ejection, round } = load(ONE_IN_SIX, {});
    round();
    round();
    expect(ejection.ejected).toEqual([]);
  });

  it('an outlier is taken out, tried, and let back like any other', () => {
    const { tools, ejection, round } = load(ONE_IN_SIX, { outliers: {} });
    round();
    tools.nowMs += 1_000;
    round();
    expect(ejection.ejected).toMatchObject([{ id: 'i002', state: 'out', reason: 'success-rate', times: 1 }]);
    tools.nowMs = ejection.ejected[0]!.untilMs;
    const [, , third] = instances(6);
    ejection.picked(third!);
    ejection.done(third!, { outcome: 'success', latencyMs: 0 });
    expect(ejection.ejected).toEqual([]);
  });

  it('one that is out does not hide the next one', () => {
    const { tools, ejection, round } = load([95, 30, 1, 1, 1, 1, 1, 1], {
      outliers: {},
      failureShare: 1,
      consecutiveFailures: Number.POSITIVE_INFINITY,
      ejectionMs: 60_000,
    });
    const outAfter = [1, 2, 3].map(() => {
      round();
      tools.nowMs += 1_000;
      return ejection.ejected.map(({ id }) => id);
    });
    expect(outAfter).toEqual([[], ['i000'], ['i000', 'i001']]);
  });

  it('never more than the share is out', () => {
    const { tools, ejection, round } = load([90, 90, 1, 1, 1, 1, 1, 1], {
      outliers: { stdevFactor: 0.5 },
      failureShare: 1,
      consecutiveFailures: Number.POSITIVE_INFINITY,
      maxShare: 0.125,
    });
    for (let turn = 0; turn < 3; turn++) {
      round();
      tools.nowMs += 1_000;
    }
    expect(ejection.ejected).toHaveLength(1);
  });
});
