import { beforeEach, describe, expect, it } from 'vitest';
import { Lessor } from '../../../src/server/lease/lessor.ts';

const START = 1_234_567;
const MINUTE = 60_000;

describe('a lessor', () => {
  let lessor: Lessor;
  beforeEach(() => {
    lessor = new Lessor({ minTtlSeconds: 2 });
    lessor.promote(START, 0);
  });

  describe('grants', () => {
    it.each([
      ['less than the minimum', 1n, 2],
      ['nothing', 0n, 2],
      ['a negative time', -5n, 2],
      ['more than the minimum', 60n, 60],
      ['the most there is', 9_000_000_000n, 9_000_000_000],
    ])('%s', (_, asked, ttlSeconds) => {
      expect(lessor.grant(7n, asked, START)).toEqual({ id: 7n, ttlSeconds });
      expect(lessor.timeToLive(7n, START)).toEqual({ remainingSeconds: ttlSeconds, grantedSeconds: ttlSeconds });
    });

    it('any id but 0, once', () => {
      for (const id of [-1n, -(2n ** 63n), 2n ** 63n - 1n, 1n]) {
        expect(lessor.grant(id, 5n, START)).toMatchObject({ id });
        expect(lessor.grant(id, 5n, START)).toBe('lease-exists');
      }
      expect(lessor.grant(0n, 5n, START)).toBe('lease-not-found');
      expect(lessor.size).toBe(4);
    });

    it('no time beyond the limit, and says so before that the id is taken', () => {
      lessor.grant(1n, 5n, START);
      expect(lessor.grant(1n, 9_000_000_001n, START)).toBe('ttl-too-large');
      expect(lessor.grant(2n, 2n ** 63n - 1n, START)).toBe('ttl-too-large');
      expect(lessor.has(2n)).toBe(false);
    });
  });

  it('counts what was done, and nothing that was refused', () => {
    for (const id of [1n, 1n, 2n]) lessor.grant(id, 5n, START);
    for (const id of [1n, 9n]) lessor.renew(id, START + 1);
    lessor.renew(2n, START + MINUTE);
    for (const id of [2n, 2n]) lessor.revoke(id);
    expect(lessor.counts).toEqual({ granted: 2, renewed: 1, revoked: 1 });
  });

  it('gives the keys of a revoked lease in the order of their bytes, and forgets it', () => {
    lessor.grant(1n, 5n, START);
    for (const key of ['b', 'ÿ', 'a\0', 'a', 'ab']) lessor.attach(1n, key);
    lessor.detach(1n, 'ab');
    expect(lessor.revoke(1n)).toEqual(['a', 'a\0', 'b', 'ÿ']);
    expect(lessor.revoke(1n)).toBe('lease-not-found');
    expect(lessor.revoke(0n)).toBe('lease-not-found');
    expect(lessor.expired(START + MINUTE)).toEqual([]);
    // As the store does when it deletes these keys.
    lessor.detach(1n, 'a');
    lessor.attach(1n, 'c');
    expect([...lessor.keysOf(1n)]).toEqual([]);
  });

  it('tells the whole seconds left, down to 0, and -1 for what is long over', () => {
    lessor.grant(1n, 5n, START);
    const left = (ms: number) => lessor.timeToLive(1n, START + ms);
    expect([0, 1, 4_001, 5_500, 6_000, 99_000].map((ms) => left(ms))).toEqual(
      [5, 4, 0, 0, -1, -1].map((remainingSeconds) => ({ remainingSeconds, grantedSeconds: 5 })),
    );
    expect(Object.is((left(5_500) as { remainingSeconds: number }).remainingSeconds, 0)).toBe(true);
    expect(lessor.timeToLive(2n, START)).toBe('lease-not-found');
  });

  it('renews what has not ended, counting from then', () => {
    lessor.grant(1n, 5n, START);
    expect(lessor.renew(1n, START + 4_999)).toEqual({ ttlSeconds: 5, checkpoint: undefined });
    expect(lessor.expired(START + 9_998)).toEqual([]);
    expect(lessor.renew(1n, START + 9_999)).toBe('expired');
    expect(lessor.expired(START + 9_999)).toEqual([1n]);
    expect(lessor.renew(1n, START + 9_999)).toBe('expired');
    lessor.revoke(1n);
    expect(lessor.renew(1n, START + 9_999)).toBe('lease-not-found');
  });

  it('lists leases by the time they end, those of one time by id', () => {
    for (const [id, ttl] of [
      [3n, 30n],
      [1n, 50n],
      [2n, 30n],
      [-1n, 2n],
    ] as const) {
      lessor.grant(id, ttl, START);
    }
    expect(lessor.list()).toEqual([-1n, 2n, 3n, 1n]);
    lessor.renew(2n, START + 1_000);
    expect(lessor.list()).toEqual([-1n, 3n, 2n, 1n]);
    lessor.demote();
    expect(lessor.list()).toEqual([1n, 2n, 3n, -1n]);
  });

  it('tells of an ended lease again after a while, until it is gone', () => {
    lessor.grant(1n, 5n, START);
    expect(lessor.expired(START + 5_000)).toEqual([1n]);
    expect(lessor.expired(START + 11_999)).toEqual([]);
    expect(lessor.expired(START + 12_000)).toEqual([1n]);
    lessor.revoke(1n);
    expect(lessor.expired(START + 99_000)).toEqual([]);
  });

  it('tells of at most 500 at a time, the longest gone first', () => {
    for (let id = 1n; id <= 1_200n; id += 1n) lessor.grant(id, id === 1_200n ? 2n : 5n, START);
    const scans = [0, 500, 1_000, 1_500].map((ms) => lessor.expired(START + 5_000 + ms));
    expect(scans.map(({ length }) => length)).toEqual([500, 500, 200, 0]);
    expect(scans[0]?.slice(0, 2)).toEqual([1_200n, 1n]);
    expect(new Set(scans.flat()).size).toBe(1_200);
  });

  describe('that is not the primary', () => {
    beforeEach(() => {
      lessor.grant(1n, 5n, START);
      lessor.demote();
    });

    it('lets nothing end, renews nothing and tells no time', () => {
      lessor.grant(2n, 5n, START);
      expect(lessor.expired(START + 99 * MINUTE)).toEqual([]);
      expect(lessor.renew(1n, START)).toBe('not-primary');
      expect(lessor.renew(9n, START)).toBe('not-primary');
      expect(lessor.timeToLive(1n, START)).toBe('not-primary');
      expect(lessor.dueCheckpoints(START + 99 * MINUTE)).toEqual([]);
      expect(lessor.isPrimary).toBe(false);
    });

    it('gives each lease its whole time and more once it is', () => {
      lessor.promote(START + 60_000, 1_000);
      expect(lessor.timeToLive(1n, START + 60_000)).toMatchObject({ remainingSeconds: 6 });
      expect(lessor.expired(START + 65_999)).toEqual([]);
      expect(lessor.expired(START + 66_000)).toEqual([1n]);
    });
  });

  it.each([
    [999, 999],
    [1_000, 750],
    [3_000, 750],
  ])('that is made the primary of %i leases lets %i end in the first second', (count, first) => {
    lessor.demote();
    for (let id = 1; id <= count; id += 1) lessor.grant(BigInt(id), 60n, START);
    lessor.promote(START, 1_000);
    const ends = START + 61_000;
    expect(lessor.expired(ends - 1, Number.POSITIVE_INFINITY)).toEqual([]);
    expect(lessor.expired(ends + 999, Number.POSITIVE_INFINITY)).toHaveLength(first);
    const inTime = ends + Math.ceil(count / 750) * 1_000;
    expect(lessor.expired(inTime, Number.POSITIVE_INFINITY)).toHaveLength(count - first);
  });
});

describe('checkpoints', () => {
  const checkpointMs = 5 * MINUTE;
  let lessor: Lessor;
  beforeEach(() => {
    lessor = new Lessor({ minTtlSeconds: 2, checkpointMs });
    lessor.promote(START, 0);
    lessor.grant(1n, 700n, START);
    lessor.grant(2n, 300n, START);
    lessor.grant(3n, 301n, START);
  });

  it('are made of leases with more than five minutes left, every five minutes', () => {
    expect(lessor.dueCheckpoints(START + checkpointMs - 1)).toEqual([]);
    expect(lessor.dueCheckpoints(START + checkpointMs)).toEqual([
      { ID: 1n, remainingTTL: 400n },
      { ID: 3n, remainingTTL: 1n },
    ]);
    expect(lessor.dueCheckpoints(START + checkpointMs)).toEqual([]);
    expect(lessor.dueCheckpoints(START + 2 * checkpointMs)).toEqual([{ ID: 1n, remainingTTL: 100n }]);
    expect(lessor.dueCheckpoints(START + 3 * checkpointMs)).toEqual([]);
  });

  it('are counted from by the next primary', () => {
    lessor.checkpoint({ ID: 1n, remainingTTL: 400n });
    lessor.checkpoint({ ID: 99n, remainingTTL: 5n });
    lessor.promote(START + checkpointMs, 1_000);
    expect(lessor.timeToLive(1n, START + checkpointMs)).toMatchObject({ remainingSeconds: 401, grantedSeconds: 700 });
  });

  it('are taken back by a renewal, until the log says that they are', () => {
    const zero = { ID: 1n, remainingTTL: 0n };
    lessor.checkpoint({ ID: 1n, remainingTTL: 400n });
    expect(lessor.renew(1n, START)).toMatchObject({ ttlSeconds: 700, checkpoint: zero });
    expect(lessor.renew(1n, START)).toMatchObject({ checkpoint: zero });
    lessor.checkpoint(zero);
    expect(lessor.renew(1n, START)).toMatchObject({ checkpoint: undefined });
  });

  it('are taken back while they are still on their way, too', () => {
    const [due] = lessor.dueCheckpoints(START + checkpointMs);
    const { checkpoint } = lessor.renew(1n, START + checkpointMs) as { checkpoint: typeof due };
    expect(checkpoint).toEqual({ ID: 1n, remainingTTL: 0n });
    lessor.checkpoint(due!);
    lessor.checkpoint(checkpoint!);
    lessor.promote(START + checkpointMs, 0);
    expect(lessor.timeToLive(1n, START + checkpointMs)).toMatchObject({ remainingSeconds: 700 });
  });

  it('are not taken back by one that was on its way before', () => {
    lessor.checkpoint({ ID: 1n, remainingTTL: 400n });
    const { checkpoint } = lessor.renew(1n, START) as { checkpoint: { ID: bigint; remainingTTL: bigint } };
    lessor.dueCheckpoints(START + checkpointMs);
    lessor.checkpoint(checkpoint);
    expect(lessor.renew(1n, START + checkpointMs)).toMatchObject({ checkpoint: { ID: 1n } });
  });

  it('fit an entry of the log: 1000 at a time', () => {
    for (let id = 10n; id < 1_500n; id += 1n) lessor.grant(id, 900n, START);
    expect(lessor.dueCheckpoints(START + checkpointMs)).toHaveLength(1_000);
    expect(lessor.dueCheckpoints(START + checkpointMs)).toHaveLength(492);
  });

  it('are not made unless asked for', () => {
    const plain = new Lessor({ minTtlSeconds: 2 });
    plain.promote(START, 0);
    plain.grant(1n, 9_000_000_000n, START);
    expect(plain.dueCheckpoints(START + 8_000_000_000_000)).toEqual([]);
  });
});

describe('rows', () => {
  it('have what was granted and what was left, and come back as they were', () => {
    const lessor = new Lessor({ minTtlSeconds: 2 });
    for (const id of [5n, -5n, 1n]) lessor.grant(id, 60n, START);
    lessor.checkpoint({ ID: 5n, remainingTTL: 40n });
    const rows = lessor.rows();
    expect(rows).toEqual([
      { ID: 1n, TTL: 60n, RemainingTTL: 0n },
      { ID: 5n, TTL: 60n, RemainingTTL: 40n },
      { ID: -5n, TTL: 60n, RemainingTTL: 0n },
    ]);
    const other = new Lessor({ minTtlSeconds: 2 });
    other.promote(START, 0);
    other.grant(77n, 5n, START);
    const alive = [
      { key: 'a', lease: 5n },
      { key: 'b', lease: 0n },
      { key: 'c', lease: 404n },
    ];
    other.restore(rows, alive);
    expect(other.rows()).toEqual(rows);
    expect([other.isPrimary, other.has(77n), [...other.keysOf(5n)]]).toEqual([false, false, ['a']]);
    other.promote(START, 0);
    expect(other.timeToLive(5n, START)).toMatchObject({ remainingSeconds: 40 });
    expect(other.timeToLive(1n, START)).toMatchObject({ remainingSeconds: 60 });
  });

  it('of a server with a lower minimum get ours', () => {
    const lessor = new Lessor({ minTtlSeconds: 5 });
    lessor.restore([{ ID: 1n, TTL: 2n, RemainingTTL: -1n }], []);
    expect(lessor.rows()).toEqual([{ ID: 1n, TTL: 5n, RemainingTTL: 0n }]);
  });
});
