/**
 * One job in one process: waits for ticks, claims them, runs them, says what became of them.
 *
 * Invariants:
 * 1. What a tick's claim is decided by is one transaction; `#view` is only what the next one
 *    is made from. A view that is out of date makes it fail, and brings the new one along.
 * 2. A run that was begun is waited for (`drained`), unless it takes longer than allowed.
 * 3. A claim that was given up without an answer must not be applied later, or its tick would
 *    be settled and never run. So before the next one, `last` is written once more as it is:
 *    every claim demands that it has not been.
 *
 * @module
 */

import type { Op, RangeResult, Revision } from '../../src/index.ts';
import { handling } from '../../src/telemetry/recipes.ts';
import { Contender, mayPass, untilDeleted } from '../contender.ts';
import { Held } from '../held.ts';
import { ownerText } from '../names.ts';
import type { Session } from '../session.ts';
import type { CronRun, ResolvedJob } from './job.ts';
import type { JobView, StoredRun } from './job-keys.ts';
import { type Plan, planNext, toText } from './schedule.ts';

/** Pauses after a failure that may pass. */
const RETRY_MS = { first: 50, max: 5_000 };

/** How long a claim that is under way may take once the cron is to stop. */
const LAST_CLAIM_MS = 2_000;

export class JobLoop {
  readonly #session: Session;
  readonly #job: ResolvedJob;
  readonly #stop: AbortSignal;
  readonly #running = new Set<Promise<void>>();
  #looping: Promise<void> | undefined;
  #failed: ((error: unknown) => void) | undefined;
  /** Whether a claim of ours may still be on its way. */
  #straggling = false;

  constructor(session: Session, job: ResolvedJob, stop: AbortSignal) {
    this.#session = session;
    this.#job = job;
    this.#stop = stop;
  }

  /** Runs until it is stopped. @throws what a handler's end could not be dealt with, or a new try does not mend. */
  async run(): Promise<void> {
    const failure = new Promise<never>((_, reject) => {
      this.#failed = reject;
    });
    this.#looping = this.#loop();
    await Promise.race([this.#looping, failure]);
  }

  /** Resolves when it has stopped, and no handler runs any more. */
  async drained(): Promise<void> {
    await this.#looping?.catch(() => {});
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  async #loop(): Promise<void> {
    let view: JobView | undefined;
    let failures = 0;
    while (!this.#stop.aborted) {
      try {
        view = await this.#step(view);
        failures = 0;
      } catch (error) {
        if (this.#stop.aborted || !mayPass(error)) throw error;
        // What was seen may be long past when the cluster is back.
        view = undefined;
        await this.#pause(failures++);
      }
    }
  }

  /** One thing after another: looks, waits for a tick, claims it. */
  async #step(view: JobView | undefined): Promise<JobView | undefined> {
    const { keys, schedule, wallClock, jitterMs } = this.#job;
    if (view === undefined) return keys.view(await this.#range());
    const { lastTick } = view;
    if (lastTick === undefined) return this.#begin(view);
    const now = wallClock.now();
    const plan = planNext(schedule, lastTick, now, this.#job);
    if (plan !== undefined && this.#straggling) return this.#shutOutStraggler({ ...view, lastTick });
    if (plan !== undefined) return this.#claim(view, plan);
    const next = schedule.next(Math.max(now, lastTick));
    await this.#until(next === undefined ? undefined : next + this.#session.etcd.random() * jitterMs);
    return view;
  }

  /** Nobody has run the job before: its first tick is the next. */
  async #begin(view: JobView): Promise<JobView> {
    const { etcd } = this.#session;
    const { keys, wallClock } = this.#job;
    const done = await etcd.txn(
      {
        if: [etcd.key(keys.last).unchangedSince(view.last)],
        then: [etcd.op.put(keys.last, toText(wallClock.now())), keys.look(etcd)],
        else: [keys.look(etcd)],
      },
      { signal: this.#stop },
    );
    return keys.view(done.succeeded ? done.results[1] : done.results[0]);
  }

  async #claim(view: JobView, plan: Plan): Promise<JobView | undefined> {
    const { etcd } = this.#session;
    const { keys, overlap, wallClock } = this.#job;
    const run = keys.run(plan.tick);
    const started: StoredRun = { status: 'running', startedAt: toText(wallClock.now()), missed: plan.missed };
    const idle = overlap === 'allow' ? [] : [etcd.keys({ prefix: keys.claims }).lease.equals(0n)];
    using claiming = this.#claimSignal();
    this.#straggling = true;
    const entry = await Contender.enter(this.#session, {
      prefix: keys.claims,
      value: this.#value({ tick: toText(plan.tick), startedAt: started.startedAt }),
      signal: claiming.signal,
      if: [etcd.key(run).missing, etcd.key(keys.last).unchangedSince(view.last), ...idle],
      also: [etcd.op.put(keys.last, toText(plan.tick)), etcd.op.put(run, this.#value(started))],
      look: () => keys.look(etcd),
    });
    this.#straggling = !entry.entered && entry.mayStillEnter;
    if (this.#straggling) return view;
    if (!entry.entered) return this.#refused(view, keys.view(entry.seen), plan);
    const seen = entry.seen === undefined ? undefined : keys.view(entry.seen);
    const running = this.#run(entry.contender, plan, started, seen)
      .catch((error: unknown) => this.#failed?.(error))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return seen;
  }

  /** Sees to it that no claim made so far can be applied any more. */
  async #shutOutStraggler({ last, lastTick }: JobView & { readonly lastTick: number }): Promise<JobView> {
    const { etcd } = this.#session;
    const { keys } = this.#job;
    const done = await etcd.txn(
      {
        if: [etcd.key(keys.last).unchangedSince(last)],
        then: [etcd.op.put(keys.last, toText(lastTick)), keys.look(etcd)],
        else: [keys.look(etcd)],
      },
      { signal: this.#stop },
    );
    // That somebody else has written it comes to the same.
    this.#straggling = false;
    return keys.view(done.succeeded ? done.results[1] : done.results[0]);
  }

  /** Somebody else was first, or the job still runs. */
  async #refused(before: JobView, seen: JobView, plan: Plan): Promise<JobView> {
    const { etcd } = this.#session;
    const { keys, overlap } = this.#job;
    if (seen.last?.modRevision !== before.last?.modRevision) return seen;
    // What was due before the other run began did not come due while it ran: it is next.
    const isNext = plan.tick <= (keys.latestStart(seen) ?? Number.NEGATIVE_INFINITY);
    if (seen.claims.length > 0 && (overlap === 'wait' || isNext)) {
      const from = (seen.revision + 1n) as Revision;
      const targets = seen.claims.map((kv) => kv.key);
      await untilDeleted(this.#session, targets, from, this.#stop);
      return keys.view(await this.#range());
    }
    // The tick is settled without a run: the job still runs, or the history has the tick already.
    const busy = seen.claims.length > 0;
    const skipped: StoredRun = { status: 'skipped', missed: plan.missed };
    const record = busy ? [etcd.op.put(keys.run(plan.tick), this.#value(skipped))] : [];
    const trim = this.#trim(seen);
    const done = await etcd.txn<readonly Op<unknown>[], readonly [Op<RangeResult<string>>]>(
      {
        if: [etcd.key(keys.last).unchangedSince(seen.last)],
        then: [etcd.op.put(keys.last, toText(plan.tick)), ...trim, ...record, keys.look(etcd)],
        else: [keys.look(etcd)],
      },
      { signal: this.#stop },
    );
    return keys.view(done.results.at(-1) as RangeResult<string>);
  }

  async #run(contender: Contender, plan: Plan, started: StoredRun, seen: JobView | undefined): Promise<void> {
    const { name, handler, onError } = this.#job;
    const held = new Held(`the run of ${name}`, contender);
    const stop = new AbortController();
    const end = (): void => stop.abort(held.signal.aborted ? held.signal.reason : this.#stop.reason);
    held.signal.addEventListener('abort', end, { once: true });
    this.#stop.addEventListener('abort', end, { once: true });
    if (this.#stop.aborted) end();
    const run: CronRun = { job: name, tick: new Date(plan.tick), missed: plan.missed, held, signal: stop.signal };
    const attributes = { 'etcd.cron.tick': toText(plan.tick), 'etcd.cron.missed': plan.missed };
    const which = { recipe: 'Cron', name, verb: 'run', attributes };
    try {
      await held.during(async () => {
        let status: StoredRun['status'] = 'done';
        try {
          await handling(this.#session.etcd, which, async () => handler(run));
        } catch (error) {
          status = 'failed';
          onError(error, run);
        } finally {
          await this.#settle(held, plan.tick, { ...started, status }, seen);
        }
      });
    } finally {
      held.signal.removeEventListener('abort', end);
      this.#stop.removeEventListener('abort', end);
      await held[Symbol.asyncDispose]();
    }
  }

  /** Says in the history how it went, while the claim stands: else it has been told already that the run is lost. */
  async #settle(held: Held, tick: number, run: StoredRun, seen: JobView | undefined): Promise<void> {
    const { etcd } = this.#session;
    const { keys, wallClock } = this.#job;
    const record = etcd.op.put(keys.run(tick), this.#value({ ...run, finishedAt: toText(wallClock.now()) }));
    const trim = seen === undefined ? [] : this.#trim(seen);
    for (let tries = 0; this.#session.lease.alive; tries++) {
      try {
        await etcd.txn({ if: held.conditions, then: [...trim, record] });
        return;
      } catch (error) {
        // The history is for people: nothing depends on it, so a refusal is no reason to end.
        if (!mayPass(error)) return;
        await this.#pause(tries, this.#session.lease.signal);
      }
    }
  }

  #trim(view: JobView): Op<unknown>[] {
    const old = this.#job.keys.old(view.runs, this.#job.historyLimit);
    return old === undefined ? [] : [this.#session.etcd.op.delete(old)];
  }

  async #range(): Promise<RangeResult<string>> {
    return this.#session.etcd.range({ prefix: this.#job.keys.prefix }, { signal: this.#stop });
  }

  /** What this process writes into a key: who it is, and some more. */
  #value(more: object): string {
    return JSON.stringify({ ...(JSON.parse(ownerText(this.#session.owner)) as object), ...more });
  }

  /** Waits for a moment by the wall clock, or for the end. */
  #until(epochMs: number | undefined): Promise<void> {
    return this.#wait(this.#stop, (done) =>
      epochMs === undefined ? { cancel: () => {} } : this.#job.wallClock.at(epochMs, done),
    );
  }

  #pause(tries: number, signal: AbortSignal = this.#stop): Promise<void> {
    const bound = Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** Math.min(tries, 16));
    const delayMs = bound * (0.5 + this.#session.etcd.random() / 2);
    return this.#wait(signal, (done) => this.#session.clock.after(delayMs, done));
  }

  #wait(signal: AbortSignal, begin: (done: () => void) => { cancel(): void }): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = begin(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }

  /** A claim that is under way when the cron is to stop is waited for: what was claimed must not be left unrun. */
  #claimSignal(): Disposable & { readonly signal: AbortSignal } {
    const late = new AbortController();
    let timer: { cancel(): void } | undefined;
    const onStop = (): void => {
      timer = this.#session.clock.after(LAST_CLAIM_MS, () => late.abort(this.#stop.reason));
    };
    this.#stop.addEventListener('abort', onStop, { once: true });
    return {
      signal: late.signal,
      [Symbol.dispose]: () => {
        this.#stop.removeEventListener('abort', onStop);
        timer?.cancel();
      },
    };
  }
}
