import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codecOf, messages, plain, theirDecode, theirEncode, types } from './reflection.ts';

const RUNS = { numRuns: 30 };

describe('against protobufjs', () => {
  it('covers the whole contract', () => {
    expect(types.length).toBeGreaterThan(100);
  });

  it.each(types.map((type) => [type.fullName.slice(1), type] as const))('%s', (_, type) => {
    const codec = codecOf(type);
    fc.assert(
      fc.property(messages(type), (message) => {
        const ours = codec.encode(message);
        expect(plain(theirDecode(type, ours))).toEqual(plain(codec.decode(ours)));
        const theirs = theirEncode(type, message);
        expect(plain(codec.decode(theirs))).toEqual(plain(theirDecode(type, theirs)));
        // Both byte strings mean the same, and what is decoded encodes to the same bytes again.
        expect(plain(codec.decode(theirs))).toEqual(plain(codec.decode(ours)));
        expect(codec.encode(codec.decode(ours))).toEqual(ours);
      }),
      RUNS,
    );
  });
});

describe('decoded messages', () => {
  it.each(types.map((type) => [type.fullName.slice(1), type] as const))('%s has one shape', (_, type) => {
    const codec = codecOf(type);
    const names = type.fieldsArray.toSorted((a, b) => a.id - b.id).map((field) => field.name);
    expect(Object.keys(codec.decode(new Uint8Array(0)))).toEqual(names);
    fc.assert(
      fc.property(messages(type), (message) => {
        expect(Object.keys(codec.decode(codec.encode(message)))).toEqual(names);
      }),
      { numRuns: 3 },
    );
  });
});
