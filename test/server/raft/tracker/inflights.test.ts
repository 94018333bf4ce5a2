import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../../src/server/raft/errors.ts';
import { Inflights } from '../../../../src/server/raft/tracker/inflights.ts';

/** A window with appends 0, 1, … of 100, 101, … bytes. */
function filled(size: number, appends: number, maxBytes?: number): Inflights {
  const window = new Inflights(size, maxBytes);
  for (let index = 0; index < appends; index += 1) window.add(index, 100 + index);
  return window;
}

describe('Inflights', () => {
  it.each<[size: number, maxBytes: number | undefined, appends: number]>([
    [3, undefined, 3],
    [1, undefined, 1],
    [300, undefined, 300],
    [5, 303, 3],
    // The one that passes the limit of bytes still goes out.
    [5, 202, 3],
    [5, 50, 1],
  ])('of size %d and %s bytes is full after %d appends, and not before', (size, maxBytes, appends) => {
    expect(filled(size, appends - 1, maxBytes).full).toBe(false);
    const window = filled(size, appends, maxBytes);
    expect(window.full).toBe(true);
    expect(() => window.add(appends, 100)).toThrow(RaftInvariantError);
    expect(window.count).toBe(appends);
  });

  it('has no limit of bytes unless told', () => {
    const window = new Inflights(2);
    window.add(1, Number.MAX_SAFE_INTEGER);
    expect(window.full).toBe(false);
  });

  it('counts appends and their bytes', () => {
    const window = filled(10, 5);
    expect([window.count, window.bytes]).toEqual([5, 510]);
  });

  it('forgets the appends up to an index, with their bytes, and what is behind stays', () => {
    const window = filled(10, 10);
    const state = () => [window.count, window.bytes];
    window.freeUpTo(0);
    expect(state()).toEqual([9, 945]);
    window.freeUpTo(4);
    expect(state()).toEqual([5, 535]);
    // A stale answer frees nothing.
    window.freeUpTo(2);
    expect(state()).toEqual([5, 535]);
    window.freeUpTo(8);
    expect(state()).toEqual([1, 109]);
    for (let index = 10; index < 15; index += 1) window.add(index, 100 + index);
    window.freeUpTo(12);
    expect(state()).toEqual([2, 227]);
    window.freeUpTo(14);
    expect(state()).toEqual([0, 0]);
  });

  it('opens again when bytes are freed', () => {
    const window = filled(10, 3, 300);
    window.freeUpTo(0);
    expect(window.full).toBe(false);
    window.add(3, 1_000);
    expect(window.full).toBe(true);
  });

  it('forgets everything on reset, the bytes too: they would close the window for ever', () => {
    const window = filled(10, 3, 303);
    window.freeUpTo(0);
    window.reset();
    expect([window.count, window.bytes, window.full]).toEqual([0, 0, false]);
    for (let index = 0; index < 3; index += 1) window.add(index, 101);
    expect([window.count, window.bytes, window.full]).toEqual([3, 303, true]);
    window.freeUpTo(1);
    expect([window.count, window.bytes]).toEqual([1, 101]);
  });

  it('grows while it is turned round, and keeps its order', () => {
    const window = filled(300, 8);
    window.freeUpTo(2);
    for (let index = 8; index < 40; index += 1) window.add(index, 100 + index);
    for (let index = 3; index < 40; index += 1) {
      window.freeUpTo(index);
      expect(window.count).toBe(39 - index);
    }
    expect(window.bytes).toBe(0);
  });

  it('copies a window that has turned round, and the copy lives on its own', () => {
    const window = filled(8, 8);
    window.freeUpTo(5);
    for (let index = 8; index < 12; index += 1) window.add(index, 100 + index);
    const copy = window.clone();
    expect([copy.size, copy.maxBytes, copy.count, copy.bytes]).toEqual([8, window.maxBytes, 6, window.bytes]);
    copy.freeUpTo(8);
    expect([copy.count, copy.bytes]).toEqual([3, 109 + 110 + 111]);
    expect(window.count).toBe(6);
  });

  it('is a list from which answers take a beginning, whatever the order of things', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ add: fc.integer({ min: 0, max: 40 }) }) },
      { weight: 3, arbitrary: fc.record({ free: fc.integer({ min: -2, max: 4 }) }) },
      { weight: 1, arbitrary: fc.record({ other: fc.constantFrom('reset', 'clone') }) },
    );
    const limits = fc.record({ size: fc.integer({ min: 1, max: 40 }), maxBytes: fc.integer({ min: 1, max: 2_000 }) });
    fc.assert(
      fc.property(limits, fc.array(step, { maxLength: 120 }), ({ size, maxBytes }, steps) => {
        let window = new Inflights(size, maxBytes);
        let list: { index: number; bytes: number }[] = [];
        let last = 0;
        const sum = () => list.reduce((total, { bytes }) => total + bytes, 0);
        const full = () => list.length === size || sum() >= maxBytes;
        for (const what of steps) {
          if ('add' in what && !full()) {
            last += 1 + (what.add % 3);
            window.add(last, what.add);
            list.push({ index: last, bytes: what.add });
          } else if ('free' in what) {
            const upTo = (list[0]?.index ?? last) + what.free;
            window.freeUpTo(upTo);
            list = list.filter(({ index }) => index > upTo);
          } else if ('other' in what && what.other === 'reset') {
            window.reset();
            list = [];
          } else if ('other' in what) window = window.clone();
          expect([window.count, window.bytes, window.full]).toEqual([list.length, sum(), full()]);
        }
      }),
      { numRuns: 500 },
    );
  });
});
