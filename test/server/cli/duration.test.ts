import { describe, expect, it } from 'vitest';
import { parseDuration } from '../../../src/server/cli/duration.ts';

describe('durations of Go', () => {
  it.each([
    ['0', 0],
    ['0s', 0],
    ['5s', 5_000],
    ['10ms', 10],
    ['1.5h', 5_400_000],
    ['2h45m', 9_900_000],
    ['.5s', 500],
    ['1.s', 1_000],
    ['-1.5s', -1_500],
    ['+3m', 180_000],
    ['100us', 0.1],
    ['100µs', 0.1],
    ['1000000ns', 1],
    ['1h1m1s1ms', 3_661_001],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBeCloseTo(ms, 9);
  });

  it.each(['', '-', '5', 's', '5 s', '5sec', '1h-5m', 'abc', '.s', '1e3s', '5s ', '9999999999h'])(
    '%j is none',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );
});
