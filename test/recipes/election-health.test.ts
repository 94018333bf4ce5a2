import { describe, expect, it } from 'vitest';
import { Health, UnhealthyError } from '../../recipes/election/health.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

describe('the health of a leader', () => {
  it('is lost after so many answers of no in a row, and not before', async () => {
    const clock = new VirtualClock();
    const answers = [false, false, true, false, false, false];
    let asked = 0;
    const health = new Health(clock, { check: () => answers[asked++]!, intervalMs: 1_000, failures: 3 });
    const over = health.untilUnhealthy(new AbortController().signal);
    let told: unknown;
    void over.then((reason) => {
      told = reason;
    });
    await clock.advance(5_999);
    expect(asked).toBe(5);
    expect(told).toBeUndefined();
    await clock.advance(1);
    expect(told).toBeInstanceOf(UnhealthyError);
    expect(clock.pending.all).toBe(0);
  });

  it('counts an answer that does not come, and one that is thrown, as no', async () => {
    const clock = new VirtualClock();
    const cause = new Error('the database is away');
    const signals: AbortSignal[] = [];
    const checks = [
      (): Promise<boolean> => new Promise(() => {}),
      (): Promise<boolean> => Promise.reject(cause),
      (): boolean => {
        throw cause;
      },
    ];
    const health = new Health(clock, {
      check: (signal) => {
        signals.push(signal);
        return checks[signals.length - 1]!();
      },
      intervalMs: 1_000,
      timeoutMs: 300,
      failures: 3,
    });
    const over = health.untilUnhealthy(new AbortController().signal);
    await clock.advance(1_000);
    expect(signals[0]!.aborted).toBe(false);
    await clock.advance(300);
    expect(signals[0]!.aborted).toBe(true);
    await clock.advance(2_000);
    expect((await over)!.cause).toBe(cause);
    expect(clock.pending.all).toBe(0);
  });

  it('is waited for before standing, and asked about no more when nobody wants to know', async () => {
    const clock = new VirtualClock();
    let healthy = false;
    let asked = 0;
    const health = new Health(clock, {
      check: () => {
        asked++;
        return healthy;
      },
      intervalMs: 1_000,
    });
    const ready = health.untilHealthy(new AbortController().signal).then(() => 'healthy');
    await clock.advance(2_500);
    expect(asked).toBe(3);
    healthy = true;
    await clock.advance(500);
    expect(await ready).toBe('healthy');
    const stop = new AbortController();
    const over = health.untilUnhealthy(stop.signal);
    stop.abort();
    expect(await over).toBeUndefined();
    expect(clock.pending.all).toBe(0);
    healthy = false;
    const waiting = new AbortController();
    const given = health.untilHealthy(waiting.signal);
    await clock.advance(100);
    waiting.abort();
    await given;
    expect(clock.pending.all).toBe(0);
  });

  it.each([{ intervalMs: 0 }, { timeoutMs: -1 }, { failures: Number.NaN }])('refuses %o', (options) => {
    expect(() => new Health(new VirtualClock(), { check: () => true, ...options })).toThrow(/not a positive number/);
  });
});
