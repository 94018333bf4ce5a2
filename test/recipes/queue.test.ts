/** The parts of the queues that need no etcd. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Stamps, stampedKey, stampOf, stampText } from '../../recipes/queue/stamps.ts';
import { claimedOf, delayedOf, jobIdOf, readRecord } from '../../recipes/queue/work/board.ts';
import type { KeyValue } from '../../src/index.ts';

describe('stamps', () => {
  it('always grow, whatever the clock does and whatever others have stamped', () => {
    const step = fc.oneof(
      fc.record({ clock: fc.integer({ min: -5_000_000, max: 5_000_000 }) }),
      fc.record({ saw: fc.integer({ min: -10_000, max: 10_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        let now = 1_800_000_000_000;
        const stamps = new Stamps(() => now);
        let last = 0;
        for (const each of steps) {
          if ('clock' in each) now += each.clock;
          else {
            last = Math.max(last, last + each.saw);
            stamps.saw(last);
          }
          const next = stamps.next();
          expect(next).toBeGreaterThan(last);
          last = next;
        }
      }),
    );
  });

  it('make keys whose order is theirs, to the end of their time', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31), fc.nat(2 ** 31), (a, b) => {
        const [one, other] = [a * 4_000_000, b * 4_000_000];
        expect(Math.sign(one - other)).toBe(Math.sign(stampText(one).localeCompare(stampText(other))));
        expect(stampOf(stampedKey(one))).toBe(one);
      }),
    );
    const end = new Stamps(() => Number.MAX_VALUE);
    expect(stampOf(stampedKey(end.next()))).toBe(Number.MAX_SAFE_INTEGER - 1);
    expect(stampText(-5)).toBe('0000000000000000');
  });

  it('are not read out of keys that have strayed', () => {
    const strays = [
      '',
      'last',
      '0017-aaaaaaaaaaaa',
      '9999999999999999-aaaaaaaaaaaa',
      '0000000000000001-AAAAAAAAAAAA',
      '0000000000000001',
    ];
    expect(strays.map(stampOf)).toEqual(strays.map(() => undefined));
    expect(stampOf('0000000000000001-aaaaaaaaaaaa')).toBe(1);
  });
});

describe('the keys of a work queue', () => {
  const id = '0000000000000001-aaaaaaaaaaaa';

  it('are told from strays', () => {
    expect(jobIdOf(`ready/${id}`, 'ready/')).toBe(id);
    expect(jobIdOf(`ready/${id}/x`, 'ready/')).toBeUndefined();
    expect(jobIdOf(`other/${id}`, 'ready/')).toBeUndefined();
    expect(delayedOf(`delayed/0000000000001500-${id}`)).toEqual({ id, dueMs: 2 });
    expect(delayedOf(`delayed/${id}`)).toBeUndefined();
    expect(claimedOf(`inflight/claims/1f/${id}`)).toBe(id);
    expect(claimedOf(`inflight/state/${id}`)).toBeUndefined();
  });

  it('hold records that are read as far as they can be', () => {
    const kv = (value: string): KeyValue => ({ value }) as KeyValue;
    for (const spoiled of ['', 'x', 'null', '[]', '{"attempts":"9"}', '{"attempts":null,"enqueuedAt":{}}']) {
      expect(readRecord(kv(spoiled))).toMatchObject({ attempts: 0, enqueuedAt: 0 });
    }
    expect(readRecord(kv('{"attempts":3,"enqueuedAt":5,"reason":"r"}'))).toMatchObject({ attempts: 3, reason: 'r' });
  });
});
