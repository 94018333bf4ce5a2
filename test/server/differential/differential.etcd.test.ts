/**
 * The same random requests, good and bad, to this server and to a real etcd 3.5: every answer is the same, headers and
 * error texts included. `npm run differential` does more of it, with other seeds.
 */
import { describe, expect, it } from 'vitest';
import { hasRealEtcd } from './real-etcd.ts';
import { describeDifference, runSeed, STEPS_PER_SEED } from './run.ts';

/** Two of them with users. */
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11] as const;

describe.skipIf(!hasRealEtcd)('side by side with etcd 3.5', () => {
  const seen = new Map<string, number>();

  it.each(SEEDS)('answers %i: a thousand requests the same', async (seed) => {
    const { difference, seen: now, requests } = await runSeed(seed);
    expect(difference && describeDifference(difference)).toBeUndefined();
    expect(requests).toBe(STEPS_PER_SEED);
    for (const [kind, times] of now) seen.set(kind, (seen.get(kind) ?? 0) + times);
  });

  it('has asked for everything, and been refused for all kinds of reasons', () => {
    const answered = [...seen.keys()].filter((kind) => kind.startsWith('/'));
    const refused = [...seen.keys()].filter((kind) => /^\d/.test(kind));
    expect(answered.length).toBeGreaterThan(38);
    expect(refused.length).toBeGreaterThan(30);
  });
});
