/**
 * Virtual time.
 *
 * Timers fire in the order of their time, those of one moment in the order in which they were set. After each, whatever
 * it has set in motion comes to rest before time moves on: promises, and what passes through the sockets of a
 * `TestCluster` that goes by this clock. Other input and output is not waited for.
 *
 * @module
 */
import { nextTurn } from '../server/system.ts';
import type { Clock, Timer } from '../support/clock.ts';

interface VirtualTimer {
  readonly at: number;
  readonly order: number;
  readonly background: boolean;
  readonly callback: () => void;
}

/** Something that passes without a timer, such as bytes through a socket. */
export interface Activity {
  /** Grows with each thing that happens. */
  readonly count: number;
  /** Whether something is underway whose end will come by itself. */
  readonly busy: boolean;
}

/** How to wait for something under virtual time. */
export interface UntilOptions {
  /** How much virtual time may pass, in ms. Default: 60,000. */
  readonly limitMs?: number | undefined;
}

/** Promise chains that hop over process.nextTick and setImmediate need more than one turn. */
const TURNS = 3;
/** A byte takes a turn from socket to socket, and has four of them on its way to a member and back. */
const TURNS_OF_SOCKETS = 6;
/** Somebody who never rests does not hold time for ever. */
const MAX_TURNS = 2_000;
const UNTIL_LIMIT_MS = 60_000;

/**
 * A clock that moves only when told to, and does so at once: an hour of leases, elections and retries takes a moment. Give
 * it to a {@link TestCluster}; its clients go by it too.
 */
export class VirtualClock implements Clock {
  readonly #timers = new Set<VirtualTimer>();
  readonly #activities = new Set<Activity>();
  #now: number;
  #order = 0;

  /** @param startMs What {@link now} is at first: no round number, so that a forgotten offset shows. */
  constructor(startMs = 1_234_567) {
    this.#now = startMs;
  }

  /** Milliseconds of virtual time. */
  now(): number {
    return this.#now;
  }

  /** Calls back once this much virtual time has passed. */
  after(delayMs: number, callback: () => void, options: { readonly background?: boolean } = {}): Timer {
    const timer: VirtualTimer = {
      at: this.#now + Math.max(0, delayMs),
      order: this.#order++,
      background: options.background ?? false,
      callback,
    };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Timers that have not fired yet: all, and those that would keep a process alive. */
  get pending(): { readonly all: number; readonly foreground: number } {
    const foreground = [...this.#timers].filter((timer) => !timer.background).length;
    return { all: this.#timers.size, foreground };
  }

  /** Lets time pass: fires what comes due, in order, and lets things settle after each. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await this.settle();
    while (await this.#fire(end));
    this.#now = end;
    await this.settle();
  }

  /**
   * Lets as much time pass as it takes until a promise is settled, as for a call that is repeated after a pause.
   *
   * @returns What it resolves to.
   * @throws Error it is not settled when the limit is reached, or when no timer is left; or what it rejects with.
   */
  async until<T>(promise: Promise<T>, { limitMs = UNTIL_LIMIT_MS }: UntilOptions = {}): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    const end = this.#now + limitMs;
    await this.settle();
    while (!settled) {
      if (await this.#fire(end)) continue;
      if (settled) break;
      promise.catch(() => {});
      throw new Error(`it has not ended within ${limitMs} ms of virtual time`);
    }
    return promise;
  }

  /** Lets time pass without firing anything, as for code that runs right after the event loop was blocked. */
  block(ms: number): void {
    this.#now += ms;
  }

  /** Lets everything run that waits for no timer. */
  async settle(): Promise<void> {
    const turns = this.#activities.size > 0 ? TURNS_OF_SOCKETS : TURNS;
    let before = this.#activity();
    for (let still = 0, moved = 0; still < turns && moved < MAX_TURNS; ) {
      await nextTurn();
      const now = this.#activity();
      still = now === before ? still + 1 : 0;
      if (!Number.isNaN(now)) moved += 1;
      before = now;
    }
  }

  /** @internal Has something waited for before time moves on. @returns Ends that. */
  watch(activity: Activity): () => void {
    this.#activities.add(activity);
    return () => this.#activities.delete(activity);
  }

  /** How much has happened; something that is underway makes a number that equals none. */
  #activity(): number {
    let count = 0;
    for (const activity of this.#activities) count += activity.busy ? Number.NaN : activity.count;
    return count;
  }

  /** Fires the next timer, if it is due by then. */
  async #fire(end: number): Promise<boolean> {
    const next = this.#next();
    if (next === undefined || next.at > end) return false;
    this.#timers.delete(next);
    this.#now = Math.max(this.#now, next.at);
    next.callback();
    await this.settle();
    return true;
  }

  #next(): VirtualTimer | undefined {
    let next: VirtualTimer | undefined;
    for (const timer of this.#timers) {
      if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }
}
