/**
 * When a job is due: cron expressions in time zones.
 *
 * The expression is croner's business; here it is asked only two things: what comes after a
 * moment, and what lay between two. A time zone is part of the schedule and never the
 * machine's own, so that all processes mean the same moments.
 *
 * When clocks change, it is as in Vixie cron. A time of day (no `*` and no step in hours,
 * minutes and seconds) that is skipped is due at the moment the clocks have been put
 * forward; one that comes twice is due the first time. An interval (such as every half
 * hour) goes on by real time: it is due in both of the hours, and in none that is skipped.
 *
 * @module
 */

import { Cron } from 'croner';
import { InvalidArgumentError } from '../../src/index.ts';

/** Moments are milliseconds since 1970 in this folder; ISO 8601 in UTC in the store, where they sort as text. */
export function toText(ms: number): string {
  return new Date(ms).toISOString();
}

/** Reads a moment; undefined when the text is none. */
export function toMs(text: unknown): number | undefined {
  const ms = typeof text === 'string' ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

/** A cron expression in a time zone. */
export class Schedule {
  readonly #cron: Cron;

  /** @throws InvalidArgumentError for an expression that cannot be read or is never due, and for an unknown time zone. */
  constructor(expression: string, timeZone: string) {
    try {
      this.#cron = new Cron(expression, {
        paused: true,
        timezone: timeZone,
        mode: '5-or-6-parts',
        fixedTimeRule: 'no-wildcard',
      });
    } catch (cause) {
      throw new InvalidArgumentError(`the schedule ${JSON.stringify(expression)} is no cron expression`, { cause });
    }
    // The library takes a date for a job of one time.
    if (this.#cron.getOnce() !== null) throw new InvalidArgumentError('the schedule is a date and no cron expression');
    let first: number | undefined;
    try {
      first = this.next(0);
    } catch (cause) {
      throw new InvalidArgumentError(`the time zone ${JSON.stringify(timeZone)} is unknown`, { cause });
    }
    if (first === undefined) throw new InvalidArgumentError(`the schedule ${JSON.stringify(expression)} is never due`);
  }

  /** The first tick after a moment. */
  next(afterMs: number): number | undefined {
    return this.#cron.nextRun(new Date(afterMs))?.getTime();
  }

  /** The ticks after one moment up to another, in order; of more than `max` the newest. */
  between(afterMs: number, untilMs: number, max: number): number[] {
    const ticks: number[] = [];
    // Backwards, so that a long time away costs no more than `max` steps. The second argument is exclusive.
    for (let before = untilMs + 1; ticks.length < max; ) {
      const [tick] = this.#cron.previousRuns(1, new Date(before));
      if (tick === undefined || tick.getTime() <= afterMs) break;
      ticks.push(tick.getTime());
      before = tick.getTime();
    }
    return ticks.reverse();
  }
}

/** What to do with ticks that nobody ran in time; see `CronJob.misfire`. */
export type Misfire = 'skip' | 'run-once' | 'run-all';

/** How to plan. */
export interface PlanOptions {
  readonly misfire: Misfire;
  readonly misfireAfterMs: number;
  readonly maxCatchUp: number;
}

/** What is to be run next. */
export interface Plan {
  readonly tick: number;
  /** How many ticks before it are passed over, counted to a thousand. */
  readonly missed: number;
}

/** How far back a plan looks. */
const MAX_TICKS = 1_000;

/** The next tick to run, if any is due, when all up to `last` are settled. */
export function planNext(schedule: Schedule, last: number, now: number, options: PlanOptions): Plan | undefined {
  const due = schedule.between(last, now, MAX_TICKS);
  const inTime = due.findIndex((tick) => now - tick <= options.misfireAfterMs);
  const late = inTime === -1 ? due.length : inTime;
  const catchUp = { skip: 0, 'run-once': inTime === -1 ? 1 : 0, 'run-all': options.maxCatchUp }[options.misfire];
  const index = Math.max(0, late - catchUp);
  const tick = due[index];
  return tick === undefined ? undefined : { tick, missed: index };
}
