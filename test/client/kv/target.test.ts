import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/client/errors.ts';
import { type Target, toByteRange, toKeyBytes } from '../../../src/client/kv/target.ts';
import { inRange, keyAfter, prefixEnd, prefixRange } from '../../../src/protocol/keys.ts';

/** Short keys of few distinct bytes, so that prefixes, neighbours and the extremes 0x00 and 0xff meet often. */
const bytes = fc
  .array(fc.constantFrom(0x00, 0x01, 0x61, 0x62, 0xfe, 0xff), { maxLength: 4 })
  .map((list) => Uint8Array.from(list));
const key = bytes.filter(({ length }) => length > 0);
/** As a Buffer, whose `slice` is a view and not a copy. */
const prefix = fc.oneof(
  bytes,
  bytes.map((list) => Buffer.from(list)),
);

function startsWith(whole: Uint8Array, start: Uint8Array): boolean {
  return Buffer.compare(whole.subarray(0, start.length), start) === 0 && whole.length >= start.length;
}

/** What the range of a target ought to hold, said of keys relative to the keyspace. */
function holds(target: Target, relative: Uint8Array): boolean {
  if (typeof target === 'string' || target instanceof Uint8Array)
    return Buffer.compare(relative, target as Uint8Array) === 0;
  if ('prefix' in target) return startsWith(relative, target.prefix as Uint8Array);
  if ('all' in target) return true;
  const { from, to } = target as { from: Uint8Array; to?: Uint8Array };
  return Buffer.compare(relative, from) >= 0 && (to === undefined || Buffer.compare(relative, to) < 0);
}

const target: fc.Arbitrary<Target> = fc.oneof(
  key,
  bytes.map((prefix) => ({ prefix })),
  fc.constant({ all: true } as const),
  bytes.map((from) => ({ from })),
  fc
    .tuple(
      bytes,
      key.filter((to) => !(to.length === 1 && to[0] === 0)),
    )
    .map(([from, to]) => ({ from, to })),
);

describe('toByteRange', () => {
  it('holds exactly the keys that the target names, inside the keyspace', () => {
    fc.assert(
      fc.property(prefix, target, key, (space, wanted, stored) => {
        const inSpace = startsWith(stored, space);
        const expected = inSpace && holds(wanted, stored.subarray(space.length));
        expect(inRange(toByteRange(wanted, space), stored)).toBe(expected);
      }),
      { numRuns: 20_000 },
    );
  });

  it('leaves what it was given alone', () => {
    fc.assert(
      fc.property(prefix, target, (space, wanted) => {
        const copy = Buffer.from(space);
        toByteRange(wanted, space);
        expect(Buffer.compare(space, copy)).toBe(0);
      }),
    );
  });

  it('ends a keyspace whose prefix ends in 0xff at the next prefix', () => {
    expect(toByteRange({ all: true }, Uint8Array.of(0x61, 0xff))).toEqual({
      key: Uint8Array.of(0x61, 0xff),
      end: Uint8Array.of(0x62),
    });
    expect(toByteRange({ all: true }, Uint8Array.of(0xff, 0xff)).end).toEqual(Uint8Array.of(0));
  });

  it('takes the key of one zero byte, which only outside a keyspace is the lowest', () => {
    const zero = Uint8Array.of(0);
    expect(inRange(toByteRange({ from: zero }, Buffer.from('a/')), Buffer.from('a/'))).toBe(false);
    expect(inRange(toByteRange({ from: zero }, Buffer.from('a/')), Buffer.from('a/\0'))).toBe(true);
  });

  it.each<[string, unknown]>([
    ['empty', ''],
    ['empty', new Uint8Array(0)],
    ['name the keys', undefined],
    ['name the keys', null],
    ['name the keys', 5],
    ['name the keys', {}],
    ['name the keys', { all: false }],
    ['name the keys in one way', { prefix: 'a', from: 'b' }],
    ['name the keys in one way', { prefix: 'a', to: 'b' }],
    ['prefix is neither', { prefix: undefined }],
    ['from is neither', { from: 7 }],
    ['to is neither', { from: 'a', to: 7 }],
    ['`to` is empty', { from: 'a', to: '' }],
    ['`to` is one zero byte', { from: 'a', to: '\0' }],
    ['half a surrogate pair', 'a\ud800'],
    ['half a surrogate pair', { prefix: '\udc00a' }],
  ])('says what is wrong: %s', (text, wrong) => {
    const attempt = (): unknown => toByteRange(wrong as Target, new Uint8Array(0));
    expect(attempt).toThrow(InvalidArgumentError);
    expect(attempt).toThrow(text);
  });

  it('lets the empty key stand for the prefix itself inside a keyspace', () => {
    expect(toKeyBytes('', Buffer.from('a/'))).toEqual(Uint8Array.from(Buffer.from('a/')));
    expect(() => toKeyBytes('', new Uint8Array(0))).toThrow(InvalidArgumentError);
  });
});

describe('key arithmetic', () => {
  it('prefixRange holds exactly the keys with the prefix', () => {
    fc.assert(
      fc.property(prefix, key, (start, stored) => {
        expect(inRange(prefixRange(start), stored)).toBe(startsWith(stored, start));
      }),
      { numRuns: 10_000 },
    );
  });

  it('prefixEnd copies, and never changes the prefix', () => {
    fc.assert(
      fc.property(prefix, (start) => {
        const before = Buffer.from(start);
        prefixEnd(start);
        expect(Buffer.compare(start, before)).toBe(0);
      }),
    );
  });

  it('keyAfter leaves no room between a key and the next', () => {
    fc.assert(
      fc.property(key, key, (one, other) => {
        const next = keyAfter(one);
        expect(Buffer.compare(next, one)).toBe(1);
        expect(Buffer.compare(other, one) > 0).toBe(Buffer.compare(other, next) >= 0);
      }),
    );
  });
});
