import { describe, expect, it } from 'vitest';
import { MAX_TTL_SECONDS, renewalIntervalMs, safetyMarginMs } from '../../../src/client/lease/timing.ts';

describe('the safety margin', () => {
  it.each([
    [1, 50],
    [2, 50],
    [5, 50],
    [15, 150],
    [60, 600],
    [MAX_TTL_SECONDS, MAX_TTL_SECONDS * 10],
  ])('of a TTL of %d s is %d ms', (ttlSeconds, marginMs) => {
    expect(safetyMarginMs(ttlSeconds)).toBeCloseTo(marginMs, 6);
  });

  it('is never more than a tenth of the time to live', () => {
    expect(safetyMarginMs(0.1)).toBe(10);
  });

  it('leaves room for three renewals', () => {
    for (const ttl of [1, 2, 15]) expect(2 * renewalIntervalMs(ttl)).toBeLessThan(ttl * 1000 - safetyMarginMs(ttl));
  });
});
