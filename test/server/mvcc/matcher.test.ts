import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromLatin1, prefixEnd, toLatin1 } from '../../../src/protocol/keys.ts';
import { contains, Matcher } from '../../../src/server/mvcc/matcher.ts';
import type { KeyRange } from '../../../src/server/mvcc/store.ts';

/** Keys of few bytes, the lowest and highest among them, so that ranges meet. */
const key = fc.string({ unit: fc.constantFrom('\0', 'a', 'b', 'ÿ'), minLength: 1, maxLength: 4 });
const range: fc.Arbitrary<KeyRange> = fc.oneof(
  key.map((one) => ({ key: one, end: '' })),
  key.map((prefix) => ({ key: prefix, end: toLatin1(prefixEnd(fromLatin1(prefix))) })),
  fc.tuple(key, key).map(([from, end]) => ({ key: from, end })),
  fc.constant({ key: '\0', end: '\0' }),
  key.map((from) => ({ key: from, end: '\0' })),
);

describe('a matcher', () => {
  it('finds whose range has a key, each once, as comparing with everybody does', () => {
    let found = 0;
    fc.assert(
      fc.property(
        fc.array(fc.record({ range, keep: fc.boolean() }), { maxLength: 30, size: 'max' }),
        fc.array(key, { minLength: 5, maxLength: 20 }),
        (items, keys) => {
          const matcher = new Matcher<(typeof items)[number]>();
          for (const item of items) matcher.add(item);
          for (const item of items) if (!item.keep) matcher.delete(item);
          for (const item of items) if (!item.keep) matcher.delete(item);
          const left = items.filter(({ keep }) => keep);
          expect(matcher.size).toBe(left.length);
          expect(new Set(matcher)).toEqual(new Set(left));
          for (const wanted of keys) {
            const here: (typeof items)[number][] = [];
            matcher.match(wanted, (item) => here.push(item));
            found += here.length;
            expect(here.length).toBe(new Set(here).size);
            expect(new Set(here)).toEqual(new Set(left.filter((item) => contains(item.range, wanted))));
          }
        },
      ),
      { numRuns: 500, seed: 11 },
    );
    expect(found).toBeGreaterThan(1000);
  });
});
