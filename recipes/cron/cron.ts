/**
 * A cron for the whole cluster: each tick of a job is run once, by one of many processes.
 *
 * Keys: `<name>/<job>/…`, see `job-keys.ts`.
 *
 * Every process that runs the cron waits for the next tick by its own clock and then tries
 * to claim it: one transaction that creates the `(job, tick)` key of the history, moves the
 * job's `last` tick forward and puts the claim, if there is no such key and nobody has
 * moved `last` since. There is no leader, so there is none to be elected, to be late or to
 * be two. A process whose clock is slow comes to a tick that is settled; one whose clock is
 * fast claims early; neither runs it twice.
 *
 * Round trips: a tick costs its runner 3 (claim, outcome, release) and everybody else 1,
 * which writes nothing. Nothing in between; a start costs 1, the first ever 2.
 *
 * What is guaranteed: no tick is claimed twice, whatever leaders, clocks and connections
 * do; a process that lost the answer to its claim finds out, and before it claims anew it
 * sees to it that the old one cannot be applied later. What is claimed is run at most once:
 * when its process dies, the tick counts as lost and is not run again, since nobody can know
 * how far it got. What it must not do twice belongs under `run.held.guard`.
 *
 * What is not: that a handler has stopped when its session is lost. Its `held` says so
 * (signal, `assertHeld()`), and its guarded writes fail; what else it does is its own.
 * `skip` and `wait` keep runs of one job from overlapping as far as sessions go.
 *
 * Where it is the wrong tool: many jobs of many ticks. Each tick costs each process a
 * transaction: 1,000 jobs a minute in 10 processes are 170 a second, all at the same moment,
 * where one etcd refused some 2,000 a second (measured, two busy cores). Beyond that, one
 * job that puts work into a queue does better. With 'wait', all processes look again when
 * the run before is over, as they do at a tick.
 *
 * Source: the claim by a key for each tick is what the unique index of other schedulers'
 * databases does; misfire policies as in Quartz.
 *
 * @module
 */

import { type CallOptions, InvalidArgumentError } from '../../src/index.ts';
import { detached } from '../../src/telemetry/recipes.ts';
import { patiently } from '../patience.ts';
import type { Session } from '../session.ts';
import { expectMany, waiting } from '../waiting.ts';
import type { CronJob, CronOptions, ResolvedJob } from './job.ts';
import { type CronRecord, JobKeys } from './job-keys.ts';
import { JobLoop } from './job-loop.ts';
import { Schedule } from './schedule.ts';
import { systemWallClock } from './wall-clock.ts';

export type { CronJob, CronOptions, CronRun } from './job.ts';
export type { CronRecord, RunStatus } from './job-keys.ts';
export type { Misfire } from './schedule.ts';
export type { WallClock } from './wall-clock.ts';

/**
 * Runs jobs by the clock, each tick once in the whole cluster.
 *
 * @example
 * ```ts
 * const jobs = [{ name: 'invoices', schedule: '0 3 * * *', timeZone: 'Europe/Berlin', handler: sendInvoices }];
 * await supervise(etcd, { ttlSeconds: 15, signal }, (session, signal) =>
 *   new Cron(session, 'billing', jobs).run({ signal }),
 * );
 * ```
 */
export class Cron {
  readonly name: string;
  readonly #session: Session;
  readonly #jobs: ReadonlyMap<string, ResolvedJob>;
  readonly #drainTimeoutMs: number;

  /** @throws InvalidArgumentError for a job that makes no sense. */
  constructor(session: Session, name: string, jobs: readonly CronJob[], options: CronOptions = {}) {
    const { historyLimit = 20, onError = () => {}, drainTimeoutMs = 10_000 } = options;
    atLeast('historyLimit', historyLimit, 1, 100);
    atLeast('drainTimeoutMs', drainTimeoutMs, 0);
    const wallClock = options.wallClock ?? systemWallClock(session.clock);
    this.#session = session;
    this.name = name;
    this.#drainTimeoutMs = drainTimeoutMs;
    this.#jobs = new Map(jobs.map((job) => [job.name, { ...resolve(name, job), historyLimit, onError, wallClock }]));
    if (jobs.length === 0) throw new InvalidArgumentError('there are no jobs');
    if (this.#jobs.size < jobs.length) throw new InvalidArgumentError('two jobs have the same name');
  }

  /**
   * Runs the jobs until `signal` fires: then no more ticks are claimed, handlers are told to
   * stop and waited for, and it resolves.
   *
   * @throws LostError when the session is lost; EtcdError when the cluster refuses.
   */
  async run({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    using wait = waiting(this.#session, { signal });
    const stop = new AbortController();
    // Each job listens, and each of its runs.
    expectMany(stop.signal);
    const onEnd = (): void => stop.abort(wait.signal.reason ?? new DOMException('the cron ends', 'AbortError'));
    wait.signal.addEventListener('abort', onEnd, { once: true });
    const what = `the cron ${this.name}`;
    const loops = [...this.#jobs.values()].map((job) => new JobLoop(this.#session, job, stop.signal));
    try {
      // One that fails ends them all.
      await Promise.all(loops.map((loop) => detached(() => loop.run())));
    } catch (error) {
      if (!wait.signal.aborted) throw wait.reason(what, error);
    } finally {
      onEnd();
      wait.signal.removeEventListener('abort', onEnd);
      const drained = Promise.all(loops.map((loop) => loop.drained()));
      await patiently(this.#session.clock, drained, this.#drainTimeoutMs);
    }
    // That it was told to stop is no error; that it had to is one.
    const reason = wait.reason(what, undefined);
    if (reason !== undefined) throw reason;
  }

  /** The latest ticks of a job, newest first: one round trip. @throws InvalidArgumentError for an unknown job, EtcdError */
  async history(job: string, options: CallOptions = {}): Promise<CronRecord[]> {
    const { keys } = this.#job(job);
    return keys.records(keys.view(await this.#session.etcd.range({ prefix: keys.prefix }, options)));
  }

  /** When a job is due next, by the wall clock. @throws InvalidArgumentError for an unknown job. */
  next(job: string): Date | undefined {
    const { schedule, wallClock } = this.#job(job);
    const tick = schedule.next(wallClock.now());
    return tick === undefined ? undefined : new Date(tick);
  }

  /**
   * Deletes all that the store holds of a job which is no longer scheduled: its history and
   * its last tick. Answers false, and does nothing, while it is being run.
   *
   * @throws EtcdError
   */
  async forget(job: string, options: CallOptions = {}): Promise<boolean> {
    const { etcd } = this.#session;
    const keys = new JobKeys(this.name, job);
    const idle = etcd.keys({ prefix: keys.claims }).lease.equals(0n);
    const done = await etcd.txn({ if: [idle], then: [etcd.op.delete({ prefix: keys.prefix })] }, options);
    return done.succeeded;
  }

  #job(name: string): ResolvedJob {
    const job = this.#jobs.get(name);
    if (job === undefined) throw new InvalidArgumentError(`there is no job ${JSON.stringify(name)}`);
    return job;
  }
}

function resolve(cron: string, job: CronJob): Omit<ResolvedJob, 'historyLimit' | 'onError' | 'wallClock'> {
  const { name, handler, misfire = 'run-once', misfireAfterMs = 60_000, maxCatchUp = 10, jitterMs = 0 } = job;
  const { overlap = 'skip' } = job;
  if (typeof handler !== 'function') throw new InvalidArgumentError(`the handler of the job ${name} is no function`);
  if (!['skip', 'run-once', 'run-all'].includes(misfire))
    throw new InvalidArgumentError(`misfire ${misfire} is unknown`);
  if (!['skip', 'wait', 'allow'].includes(overlap)) throw new InvalidArgumentError(`overlap ${overlap} is unknown`);
  atLeast('misfireAfterMs', misfireAfterMs, 1);
  atLeast('maxCatchUp', maxCatchUp, 1, 1_000);
  atLeast('jitterMs', jitterMs, 0, misfireAfterMs);
  const schedule = new Schedule(job.schedule, job.timeZone ?? 'UTC');
  return {
    name,
    handler,
    schedule,
    misfire,
    misfireAfterMs,
    maxCatchUp,
    jitterMs,
    overlap,
    keys: new JobKeys(cron, name),
  };
}

function atLeast(name: string, value: number, least: number, most: number = Number.POSITIVE_INFINITY): void {
  if (value >= least && value <= most) return;
  throw new InvalidArgumentError(`${name} ${value} is not between ${least} and ${most}`);
}
