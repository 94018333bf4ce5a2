/** What the tests of the cron share: a time of day that is told when to move, and processes that run the cron. */
import { Cron, type CronJob, type CronOptions, type CronRun, type WallClock } from '../../recipes/cron/cron.ts';
import type { Timer } from '../../src/index.ts';
import type { Actor } from './lock-bed.ts';

export const NOON = Date.parse('2026-07-01T12:00:00Z');
export const MINUTE = 60_000;

/** A time of day that moves when it is told to. */
export class ManualWall implements WallClock {
  readonly #waiting = new Set<{ readonly ms: number; readonly callback: () => void }>();
  #now: number;

  constructor(now = NOON) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  /** How many wait for a moment. */
  get waiting(): number {
    return this.#waiting.size;
  }

  at(ms: number, callback: () => void): Timer {
    const entry = { ms, callback };
    if (ms <= this.#now) queueMicrotask(callback);
    else this.#waiting.add(entry);
    return { cancel: () => this.#waiting.delete(entry) };
  }

  set(minutes: number): void {
    this.#now = NOON + minutes * MINUTE;
    for (const entry of this.#waiting) {
      if (entry.ms > this.#now) continue;
      this.#waiting.delete(entry);
      entry.callback();
    }
  }
}

/** A process that runs the cron. */
export class Node implements AsyncDisposable {
  readonly cron: Cron;
  readonly actor: Actor;
  readonly ended: Promise<unknown>;
  readonly #stop = new AbortController();
  #over = false;

  constructor(actor: Actor, name: string, job: CronJob, options: CronOptions) {
    this.actor = actor;
    this.cron = new Cron(actor.session, name, [job], options);
    this.ended = this.cron.run({ signal: this.#stop.signal }).then(
      () => undefined,
      (error: unknown) => error,
    );
    void this.ended.then(() => {
      this.#over = true;
    });
  }

  get over(): boolean {
    return this.#over;
  }

  async stop(): Promise<unknown> {
    this.#stop.abort();
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.actor[Symbol.asyncDispose]();
  }
}

/** A job every minute that notes its ticks, in minutes since noon. */
export function noting(ran: number[], more: Partial<CronJob> = {}): CronJob {
  const handler = (run: CronRun): void => {
    ran.push((run.tick.getTime() - NOON) / MINUTE);
  };
  return { name: 'tidy', schedule: '* * * * *', handler, ...more };
}

/** Resolves, from outside, what somebody waits for. */
export function gate(): { readonly open: () => void; readonly passed: Promise<void> } {
  let open!: () => void;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}
