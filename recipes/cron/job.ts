/**
 * Jobs, and how they are run.
 *
 * @module
 */

import type { Held } from '../held.ts';
import type { JobKeys } from './job-keys.ts';
import type { Misfire, Schedule } from './schedule.ts';
import type { WallClock } from './wall-clock.ts';

/** A run of a job. */
export interface CronRun {
  /** The job's name. */
  readonly job: string;
  /** When it was due, which may be a while ago. The same for this tick in every process. */
  readonly tick: Date;
  /** How many ticks before this one were passed over because nobody was there to run them; counted to 1,000. */
  readonly missed: number;
  /** The claim: write through its `guard`, and give its token along to other stores. */
  readonly held: Held;
  /** Fires when the claim is lost, and when the cron is to stop. */
  readonly signal: AbortSignal;
}

/** A job. All processes have to mean the same by one name. */
export interface CronJob {
  /** Unique in its cron. */
  readonly name: string;
  /**
   * When: a cron expression of five fields, or six with seconds first, or `@daily` and the
   * like. All that croner reads: lists, ranges, steps, `L`, `W`, `#`.
   */
  readonly schedule: string;
  /** The time zone the expression is in, by its IANA name. Default UTC, not the machine's. */
  readonly timeZone?: string | undefined;
  /** What to do. Its end is the end of the run; a rejection makes it a failed one. */
  readonly handler: (run: CronRun) => Promise<void> | void;
  /**
   * What to do with ticks that nobody ran in time, since no process was there or the
   * cluster could not be reached. Default 'run-once'.
   *
   * - 'skip': nothing.
   * - 'run-once': runs the newest of them, for all, unless a later tick is due in time.
   * - 'run-all': runs them one after another, at most the newest `maxCatchUp`.
   */
  readonly misfire?: Misfire | undefined;
  /** How late a tick may be run as if nothing had happened, in milliseconds. Default 60000. */
  readonly misfireAfterMs?: number | undefined;
  /** How many ticks 'run-all' makes up for at most. Default 10, at most 1000. */
  readonly maxCatchUp?: number | undefined;
  /**
   * What to do when a tick comes due while the job still runs, here or elsewhere. Default
   * 'skip'. Ticks that were due before, and are made up for, run one after another all the
   * same, unless this says 'allow'.
   *
   * - 'skip': passes the tick over.
   * - 'wait': runs it afterwards; by then it may have misfired.
   * - 'allow': runs it beside the other.
   */
  readonly overlap?: 'skip' | 'wait' | 'allow' | undefined;
  /**
   * Waits a random time up to this before a claim, in milliseconds, so that jobs of the same
   * moment do not all begin at once. Less than `misfireAfterMs`. Default 0.
   */
  readonly jitterMs?: number | undefined;
}

/** How a cron runs. */
export interface CronOptions {
  /** How many ticks of each job the history keeps. Default 20, at most 100. */
  readonly historyLimit?: number | undefined;
  /** Told what a handler threw. What this throws in turn ends the cron. Default: the history alone says that it failed. */
  readonly onError?: ((error: unknown, run: CronRun) => void) | undefined;
  /** How long the end of the cron waits for handlers, in milliseconds. Default 10000. */
  readonly drainTimeoutMs?: number | undefined;
  /** The time of day. Default: the machine's. */
  readonly wallClock?: WallClock | undefined;
}

/** A {@link CronJob} with nothing missing. */
export interface ResolvedJob {
  readonly name: string;
  readonly schedule: Schedule;
  readonly handler: CronJob['handler'];
  readonly misfire: Misfire;
  readonly misfireAfterMs: number;
  readonly maxCatchUp: number;
  readonly overlap: 'skip' | 'wait' | 'allow';
  readonly jitterMs: number;
  readonly historyLimit: number;
  readonly keys: JobKeys;
  readonly onError: (error: unknown, run: CronRun) => void;
  readonly wallClock: WallClock;
}
