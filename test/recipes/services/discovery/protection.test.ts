/** Which removals are believed, by the pure part, on a clock that is a number. */
import { describe, expect, it } from 'vitest';
import { Protection, type ProtectOptions, protectSettings } from '../../../../recipes/services/discovery/protection.ts';

/** Ten instances, of which some vanish. */
function tenInstances(options: ProtectOptions | false = {}) {
  let nowMs = 1_000;
  const there = new Set(Array.from({ length: 10 }, (_, index) => `i${index}`));
  const protection = new Protection<string>(protectSettings(options), () => nowMs);
  return {
    protection,
    passed(ms: number): void {
      nowMs += ms;
    },
    vanish(...keys: string[]): string[] {
      for (const key of keys) there.delete(key);
      return [...protection.vanished(new Map(keys.map((key) => [key, key])), there.size).keys()].sort();
    },
  };
}

const all = Array.from({ length: 10 }, (_, index) => `i${index}`);

describe('a removal', () => {
  it('of half of the instances is believed', () => {
    const { vanish, protection } = tenInstances();
    expect(vanish('i0', 'i1', 'i2', 'i3', 'i4')).toEqual([]);
    expect(protection.suspects.size).toBe(0);
  });

  it('of more than half is not', () => {
    const { vanish } = tenInstances();
    expect(vanish(...all.slice(0, 6))).toEqual(all.slice(0, 6));
  });

  it('of all is not, also where there is one only', () => {
    const { vanish } = tenInstances();
    expect(vanish(...all)).toEqual(all);
    const one = new Protection<string>(protectSettings({}), () => 0);
    expect(one.vanished(new Map([['only', 'only']]), 0).size).toBe(1);
  });

  it('one by one within the window counts as one, and brings back those that were believed gone', () => {
    const { vanish, passed } = tenInstances();
    for (const key of all.slice(0, 5)) {
      expect(vanish(key)).toEqual([]);
      passed(2_000);
    }
    expect(vanish('i5')).toEqual(all.slice(0, 6));
    // What follows in the same burst is no different.
    expect(vanish('i6')).toEqual(['i6']);
  });

  it('one by one, further apart than the window, is believed', () => {
    const { vanish, passed } = tenInstances({ windowMs: 5_000 });
    for (const key of all.slice(0, 9)) {
      expect(vanish(key)).toEqual([]);
      passed(5_001);
    }
  });

  it('is always believed when protection is off, or the share is 1', () => {
    expect(tenInstances(false).vanish(...all)).toEqual([]);
    expect(tenInstances({ share: 1 }).vanish(...all)).toEqual([]);
    expect(tenInstances({ share: 0 }).vanish('i0')).toEqual(['i0']);
  });
});

describe('a suspect', () => {
  it('goes when its grace is over', () => {
    const { vanish, passed, protection } = tenInstances({ graceMs: 20_000 });
    vanish(...all);
    passed(19_999);
    expect(protection.expire()).toEqual([]);
    passed(1);
    expect(protection.expire()).toEqual(all);
    expect(protection.suspects.size).toBe(0);
  });

  it('has its grace from when the store was there again', () => {
    const { vanish, passed, protection } = tenInstances({ graceMs: 20_000 });
    vanish(...all);
    passed(15_000);
    protection.away();
    passed(19_999);
    expect(protection.expire()).toEqual([]);
    passed(1);
    expect(protection.expire()).toEqual(all);
  });

  it('is none any more when it has returned', () => {
    const { vanish, passed, protection } = tenInstances();
    vanish(...all);
    protection.returned('i3');
    expect([...protection.suspects.keys()]).not.toContain('i3');
    passed(60_000);
    expect(protection.expire()).not.toContain('i3');
  });
});

it.each([{ share: 1.5 }, { share: Number.NaN }, { windowMs: -1 }, { graceMs: Number.POSITIVE_INFINITY }])(
  'refuses %o',
  (options) => {
    expect(() => protectSettings(options)).toThrow(/protect\./);
  },
);
