import { describe, expect, it } from 'vitest';
import { balancer } from '../../../../recipes/services/balance/strategies.ts';
import { seededRandom } from '../../../../src/testing/seeded-random.ts';
import { type Bed, bed, countsOf, drive, failure, instance, instances, type Load, sequence, success } from './bed.ts';

/** Where the requests go, instance by instance. */
function shares(tools: Bed, count: number, load: Load, weight?: (at: number) => number): Record<string, number> {
  const all = instances(count, weight);
  const balance = balancer('p2c-ewma', {}, tools);
  balance.update(all);
  return countsOf(drive(tools, balance, all, load));
}

/** Latencies around 10 ms, as they vary in the field. Where all were the same, a thousandth more would decide. */
const usual: () => number = (() => {
  const random = seededRandom(5);
  return () => 5 + 10 * random();
})();

const [SLOW, OTHER] = ['i000', 'i001'];

describe('p2c-ewma', () => {
  it('keeps away from an instance that is slow, but goes on trying it', () => {
    const load = { requests: 10_000, everyMs: 5, answer: (id: string) => success(id === SLOW ? 500 : 10) };
    const counts = shares(bed(), 5, load);
    // 50 s in which nothing but a try each few seconds, and what forgetting brings, is due.
    expect(counts[SLOW]).toBeGreaterThanOrEqual(5);
    expect(counts[SLOW]).toBeLessThan(50);
    expect(counts[OTHER]).toBeGreaterThan(2_000);
  });

  it('comes back to one that has become fast again', () => {
    const load: Load = {
      requests: 20_000,
      everyMs: 5,
      answer: (id, startedAt) => success(id === SLOW && startedAt < 10_000 ? 500 : usual()),
    };
    const tools = bed();
    const all = instances(5);
    const balance = balancer('p2c-ewma', {}, tools);
    balance.update(all);
    const late = countsOf(drive(tools, balance, all, load).slice(-5_000));
    expect(late[SLOW]).toBeGreaterThan(600);
    expect(late[SLOW]).toBeLessThan(1_400);
  });

  it('gives one that hangs no more, however much there is to do', () => {
    const tools = bed();
    const all = instances(5);
    const balance = balancer('p2c-ewma', {}, tools);
    balance.update(all);
    const answer: Load['answer'] = (id, at) => (id === SLOW && at > 5_000 ? undefined : success(10));
    const hanging = countsOf(drive(tools, balance, all, { requests: 5_000, everyMs: 5, answer }).slice(800));
    expect(hanging[SLOW] ?? 0).toBeLessThan(10);
    const burst = countsOf(Array.from({ length: 1_000 }, () => balance.pick(all, {})!.id));
    expect(burst[SLOW] ?? 0).toBe(0);
  });

  it('forgets with time what was slow, also without many requests', () => {
    const tools = bed();
    const [slow, fast] = [instance('slow'), instance('fast')];
    const balance = balancer('p2c-ewma', { forcedPickMs: Number.POSITIVE_INFINITY }, tools);
    balance.update([slow, fast]);
    const answer: Load['answer'] = (id) => success(id === 'slow' ? 500 : 10);
    drive(tools, balance, [slow], { requests: 1, everyMs: 1, answer });
    drive(tools, balance, [fast], { requests: 1, everyMs: 1_000, answer });
    const picked = drive(tools, balance, [slow, fast], { requests: 24, everyMs: 5_000, answer });
    expect(picked.indexOf('slow')).toBeGreaterThan(4);
  });

  it('does not take one that refuses everything at once for the fastest', () => {
    const load = { requests: 10_000, everyMs: 5, answer: (id: string) => (id === SLOW ? failure(1) : success(50)) };
    expect(shares(bed(), 5, load)[SLOW]).toBeLessThan(50);
  });

  it('forgives a single failure', () => {
    let failed = false;
    const load: Load = {
      requests: 8_000,
      everyMs: 5,
      answer: (id) => {
        if (id !== SLOW || failed) return success(usual());
        failed = true;
        return failure(1);
      },
    };
    const tools = bed();
    const all = instances(5);
    const balance = balancer('p2c-ewma', {}, tools);
    balance.update(all);
    // In the last ten of forty seconds it has its 400 again.
    const late = countsOf(drive(tools, balance, all, load).slice(-2_000));
    expect(failed).toBe(true);
    expect(late[SLOW]).toBeGreaterThan(280);
  });

  it('tries a newcomer with one request at a time until it has answered', () => {
    const tools = bed();
    const [a, b, late] = [instance('a'), instance('b'), instance('late')];
    const balance = balancer('p2c-ewma', {}, tools);
    balance.update([a, b]);
    drive(tools, balance, [a, b], { requests: 100, everyMs: 20, answer: () => success(10) });
    const all = [a, b, late];
    balance.update(all);
    const picked = Array.from({ length: 100 }, () => balance.pick(all, {})!.id);
    expect(countsOf(picked)['late']).toBe(1);
    tools.nowMs += 10;
    balance.done(late, success(10));
    expect(Array.from({ length: 10 }, () => balance.pick(all, {})!.id)).toContain('late');
  });

  it('divides in proportion to the weights under load', () => {
    // 4000 requests each second of 100 ms are 400 at the same time.
    const load = { requests: 20_000, everyMs: 0.25, answer: () => success(100) };
    const counts = shares(bed(), 4, load, (at) => (at < 2 ? 1 : 3));
    for (const [id, share] of Object.entries({ i000: 2_500, i001: 2_500, i002: 7_500, i003: 7_500 })) {
      expect(Math.abs(counts[id]! / share - 1), id).toBeLessThan(0.1);
    }
  });

  it('keeps the load even where all are alike', () => {
    const load = { requests: 20_000, everyMs: 1, answer: () => success(50) };
    for (const count of Object.values(shares(bed(), 10, load))) expect(Math.abs(count / 2_000 - 1)).toBeLessThan(0.1);
  });

  it('picks by force no more than one of twenty, however few requests there are', () => {
    const tools = bed();
    const balance = balancer('p2c-ewma', { decayMs: 1e9 }, tools);
    const all = [instance('slow'), instance('fast')];
    balance.update(all);
    const load = { requests: 400, everyMs: 3_000, answer: (id: string) => success(id === 'slow' ? 500 : 10) };
    const counts = countsOf(drive(tools, balance, all, load));
    expect(counts['slow']).toBeGreaterThan(10);
    expect(counts['slow']).toBeLessThanOrEqual(1 + 400 / 20);
  });

  it('learns nothing from a request that was cancelled', () => {
    const tools = bed();
    const all = [instance('a'), instance('b')];
    const balance = balancer('p2c-ewma', {}, tools);
    balance.update(all);
    for (const one of [...all, ...all]) {
      balance.pick([one], {});
      balance.done(one, success(one.id === 'a' ? 10 : 12));
    }
    balance.pick([all[0]!], {});
    balance.done(all[0]!, { outcome: 'cancelled', latencyMs: 9_000 });
    expect(sequence(balance, all, 5)).toEqual(['a', 'a', 'a', 'a', 'a']);
  });
});
