/** When jobs are due: time zones, clocks that change, and ticks that nobody ran. */
import { describe, expect, it, vi } from 'vitest';
import { planNext, Schedule } from '../../recipes/cron/schedule.ts';
import { systemWallClock } from '../../recipes/cron/wall-clock.ts';
import { InvalidArgumentError } from '../../src/index.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const at = (text: string): number => Date.parse(text);
const texts = (ticks: readonly number[]): string[] => ticks.map((tick) => new Date(tick).toISOString().slice(0, 16));

/** The ticks of a stretch, found forwards. */
function forwards(schedule: Schedule, after: number, until: number): number[] {
  const ticks: number[] = [];
  for (let tick = schedule.next(after); tick !== undefined && tick <= until; tick = schedule.next(tick))
    ticks.push(tick);
  return ticks;
}

describe('Schedule', () => {
  it('is due in its time zone, whatever the zone of the machine', () => {
    const from = at('2026-07-01T00:00:00Z');
    expect(texts([new Schedule('0 3 * * *', 'UTC').next(from)!])).toEqual(['2026-07-01T03:00']);
    expect(texts([new Schedule('0 3 * * *', 'Europe/Berlin').next(from)!])).toEqual(['2026-07-01T01:00']);
    expect(texts([new Schedule('0 3 * * *', 'Asia/Kolkata').next(from)!])).toEqual(['2026-07-01T21:30']);
  });

  it('counts the end of a stretch to it, and not its beginning', () => {
    const schedule = new Schedule('* * * * *', 'UTC');
    const [from, to] = [at('2026-07-01T00:00:00Z'), at('2026-07-01T00:03:00Z')];
    expect(texts(schedule.between(from, to, 10))).toEqual(['2026-07-01T00:01', '2026-07-01T00:02', '2026-07-01T00:03']);
    expect(texts(schedule.between(from, to - 1, 10))).toEqual(['2026-07-01T00:01', '2026-07-01T00:02']);
    expect(texts(schedule.between(from, to, 2))).toEqual(['2026-07-01T00:02', '2026-07-01T00:03']);
    expect(schedule.between(to, from, 10)).toEqual([]);
    expect(texts([schedule.next(to)!])).toEqual(['2026-07-01T00:04']);
  });

  it('runs a time of day that is skipped when the clocks have been put forward, once', () => {
    // Berlin, 29 March 2026: 02:00 is 03:00, at 01:00 UTC.
    const day = [at('2026-03-29T00:00:00Z'), at('2026-03-29T23:59:00Z')] as const;
    expect(texts(forwards(new Schedule('30 2 * * *', 'Europe/Berlin'), ...day))).toEqual(['2026-03-29T01:00']);
    expect(texts(forwards(new Schedule('0,30 2 * * *', 'Europe/Berlin'), ...day))).toEqual(['2026-03-29T01:00']);
    expect(texts(forwards(new Schedule('*/30 2 * * *', 'Europe/Berlin'), ...day))).toEqual([]);
  });

  it('runs a time of day that comes twice the first time, and intervals in both hours', () => {
    // Berlin, 25 October 2026: 03:00 is 02:00 again, at 01:00 UTC.
    const day = [at('2026-10-24T23:59:00Z'), at('2026-10-25T03:00:00Z')] as const;
    expect(texts(forwards(new Schedule('30 2 * * *', 'Europe/Berlin'), ...day))).toEqual(['2026-10-25T00:30']);
    expect(texts(forwards(new Schedule('*/30 2 * * *', 'Europe/Berlin'), ...day))).toEqual([
      '2026-10-25T00:00',
      '2026-10-25T00:30',
      '2026-10-25T01:00',
      '2026-10-25T01:30',
    ]);
    expect(forwards(new Schedule('0 * * * *', 'Europe/Berlin'), ...day)).toHaveLength(4);
  });

  it.each(['30 2 * * *', '*/20 * * * *', '0 2,3 * * *', '15 1-3 * * *', '59 23 * * 0', '0 0 29 2 *', '@weekly'])(
    'finds the same ticks backwards as forwards where clocks change: %s',
    (expression) => {
      for (const zone of ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'UTC']) {
        const schedule = new Schedule(expression, zone);
        for (const month of ['2026-03', '2026-04', '2026-10', '2026-11']) {
          const [from, to] = [at(`${month}-01T00:00:00Z`), at(`${month}-30T00:00:00Z`)];
          expect(schedule.between(from, to, 5_000)).toEqual(forwards(schedule, from, to));
        }
      }
    },
  );

  it('refuses what is no schedule', () => {
    for (const [expression, zone] of [
      ['', 'UTC'],
      ['61 * * * *', 'UTC'],
      ['* * * *', 'UTC'],
      ['2026-01-01T00:00:00', 'UTC'],
      ['0 0 30 2 *', 'UTC'],
      ['* * * * *', 'Mars/Olympus'],
    ] as const) {
      expect(() => new Schedule(expression, zone), expression).toThrow(InvalidArgumentError);
    }
  });
});

describe('planNext', () => {
  const schedule = new Schedule('* * * * *', 'UTC');
  const zero = at('2026-07-01T12:00:00Z');
  const minute = 60_000;
  const options = { misfireAfterMs: 90_000, maxCatchUp: 3 };
  const plan = (misfire: 'skip' | 'run-once' | 'run-all', now: number, last = 0) => {
    const next = planNext(schedule, zero + last * minute, zero + now, { ...options, misfire });
    return next && [(next.tick - zero) / minute, next.missed];
  };

  it('runs what is due in time one by one, whatever the policy', () => {
    for (const misfire of ['skip', 'run-once', 'run-all'] as const) {
      expect(plan(misfire, minute - 1)).toBeUndefined();
      expect(plan(misfire, minute)).toEqual([1, 0]);
      expect(plan(misfire, 2 * minute)).toEqual([1, 0]);
      expect(plan(misfire, 2 * minute, 1)).toEqual([2, 0]);
    }
  });

  it('passes over, runs one, or makes up for what was missed', () => {
    // At 12:10:10, the ticks of 12:09 and 12:10 are still in time.
    const now = 10 * minute + 10_000;
    expect(plan('skip', now)).toEqual([9, 8]);
    expect(plan('run-once', now)).toEqual([9, 8]);
    expect(plan('run-all', now)).toEqual([6, 5]);
    expect(plan('run-all', now, 6)).toEqual([7, 0]);
    expect(plan('run-all', now, 8)).toEqual([9, 0]);
  });

  it('runs the newest of those that were missed where none is in time', () => {
    const hourly = new Schedule('0 * * * *', 'UTC');
    const next = (misfire: 'skip' | 'run-once' | 'run-all') =>
      planNext(hourly, zero, zero + 5.5 * 60 * minute, { ...options, misfire });
    expect(next('skip')).toBeUndefined();
    expect(next('run-once')).toEqual({ tick: zero + 5 * 60 * minute, missed: 4 });
    expect(next('run-all')).toEqual({ tick: zero + 3 * 60 * minute, missed: 2 });
  });

  it('does not walk through years of seconds', () => {
    const secondly = new Schedule('* * * * * *', 'UTC');
    const next = planNext(secondly, 0, zero, { ...options, misfire: 'run-all' });
    expect(next?.missed).toBeLessThan(1_000);
    expect(zero - (next?.tick ?? 0)).toBeLessThan(100_000);
  });
});

describe('systemWallClock', () => {
  it('waits for the moment though the clock is put forward or back meanwhile, and can be called off', async () => {
    const clock = new VirtualClock();
    let wall = 1_000_000;
    const now = vi.spyOn(Date, 'now').mockImplementation(() => wall);
    try {
      const wallClock = systemWallClock(clock);
      const calls: string[] = [];
      wallClock.at(wall + 3_600_000, () => calls.push('hour'));
      const off = wallClock.at(wall + 1_000, () => calls.push('off'));
      off.cancel();
      const pass = async (ms: number): Promise<void> => {
        wall += ms;
        await clock.advance(ms);
      };
      await pass(60_000);
      // Back by ten minutes: an hour of real time is not enough.
      wall -= 600_000;
      for (let minutes = 0; minutes < 59; minutes++) await pass(60_000);
      expect(calls).toEqual([]);
      // Forward by a day: it is noticed soon.
      wall += 86_400_000;
      await pass(15_000);
      expect(calls).toEqual(['hour']);
      expect(clock.pending).toEqual({ all: 0, foreground: 0 });
    } finally {
      now.mockRestore();
    }
  });
});
