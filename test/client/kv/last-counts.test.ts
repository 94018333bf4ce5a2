import { describe, expect, it } from 'vitest';
import { DecodeError } from '../../../src/client/errors.ts';
import { LastCounts, toCount } from '../../../src/client/kv/last-counts.ts';
import { wireKv } from './fake-member.ts';

const key = (n: number): Uint8Array => Buffer.from(`counter-${n}`);

describe('LastCounts', () => {
  it('remembers the thousand counters that were used last', () => {
    const counts = new LastCounts();
    for (let n = 0; n < 1_000; n++) counts.set(key(n), toCount(wireKv('k', `${n}`)));
    // Used again, and gone.
    counts.set(key(0), toCount(wireKv('k', '77')));
    counts.set(key(5), undefined);
    for (let n = 1_000; n < 1_003; n++) counts.set(key(n), toCount(wireKv('k', `${n}`)));
    const known = Array.from({ length: 1_003 }, (_, n) => n).filter((n) => counts.get(key(n)) !== undefined);
    expect(known).toHaveLength(1_000);
    expect([1, 2, 5].some((n) => known.includes(n))).toBe(false);
    expect(counts.get(key(0))?.value).toBe(77n);
  });

  it('keeps nothing of the answer that a value came in', () => {
    const answer = new Uint8Array(Buffer.from('xx41xx'));
    const count = toCount({ ...wireKv('k'), value: answer.subarray(2, 4) });
    answer.fill(0);
    expect(count).toEqual({ value: 41n, bytes: Buffer.from('41') });
    expect(toCount(undefined)).toBeUndefined();
    expect(() => toCount(wireKv('k', '4.1'))).toThrow(DecodeError);
  });
});
