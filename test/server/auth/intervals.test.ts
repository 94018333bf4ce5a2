import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IntervalSet } from '../../../src/server/auth/intervals.ts';
import { contains } from '../../../src/server/mvcc/matcher.ts';
import type { KeyRange } from '../../../src/server/mvcc/store.ts';

/** All keys of up to three letters: enough to tell any two ranges of keys of up to two apart. */
const LETTERS = ['\0', 'a', 'b', 'ÿ'];
const TWO = ['', ...LETTERS].flatMap((first) => ['', ...LETTERS].map((second) => first + second));
const KEYS = [...new Set(TWO.flatMap((start) => ['', ...LETTERS].map((last) => start + last)))].filter((k) => k !== '');

const key = fc.string({ unit: fc.constantFrom(...LETTERS), minLength: 1, maxLength: 2 });
const range: fc.Arbitrary<KeyRange> = fc.oneof(
  key.map((one) => ({ key: one, end: '' })),
  fc.tuple(key, key).map(([from, end]) => ({ key: from, end })),
  key.map((from) => ({ key: from, end: '\0' })),
);

describe('a set of intervals', () => {
  it('covers what a naive look at every key says', () => {
    const counts = { covered: 0, by: 0 };
    fc.assert(
      fc.property(fc.array(range, { maxLength: 6, size: 'max' }), range, (ranges, wanted) => {
        const keys = KEYS.filter((one) => contains(wanted, one));
        // A range of no keys at all has a rule of its own.
        fc.pre(wanted.end === '' || wanted.end === '\0' || wanted.key < wanted.end);
        // A key of our alphabet stands for those of others next to it, but not beyond the last: there only a range
        // without end will do.
        const endless = ranges.filter(({ end }) => end === '\0');
        const naive =
          keys.every((one) => ranges.some((other) => contains(other, one))) &&
          (wanted.end !== '\0' || endless.length > 0);
        const covers = new IntervalSet(ranges).covers(wanted);
        expect(covers).toBe(naive);
        if (!covers) return;
        counts.covered += 1;
        if (!ranges.some((one) => new IntervalSet([one]).covers(wanted))) counts.by += 1;
      }),
      { numRuns: 20_000, seed: 7 },
    );
    expect(counts.covered).toBeGreaterThan(2_000);
    // Also by several together, none of which would do alone.
    expect(counts.by).toBeGreaterThan(50);
  });

  it('joins what touches, and only that', () => {
    const set = new IntervalSet([
      { key: 'c', end: 'e' },
      { key: 'a', end: 'c' },
      { key: 'e\0', end: 'g' },
    ]);
    expect(set.covers({ key: 'a', end: 'e' })).toBe(true);
    expect(set.covers({ key: 'a', end: 'e\0' })).toBe(false);
    expect(set.covers({ key: 'e', end: '' })).toBe(false);
    expect(set.covers({ key: 'e\0', end: '' })).toBe(true);
  });

  it('covers a range of no keys only if it has what lies between', () => {
    const set = new IntervalSet([{ key: 'b', end: 'd' }]);
    expect(set.covers({ key: 'c', end: 'c' })).toBe(true);
    expect(set.covers({ key: 'c', end: 'a' })).toBe(false);
    expect(set.covers({ key: 'x', end: 'c' })).toBe(false);
    expect(set.covers({ key: 'b', end: 'b' })).toBe(false);
  });

  it('of nothing, and of ranges that end before they begin, covers nothing', () => {
    expect(new IntervalSet([]).covers({ key: 'a', end: '' })).toBe(false);
    expect(new IntervalSet([{ key: 'b', end: 'a' }]).covers({ key: 'b', end: '' })).toBe(false);
  });
});
