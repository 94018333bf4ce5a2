/**
 * A clock that moves only when told to, and does so at once.
 *
 * Timers fire in the order of their time, those of one moment in the order they were set. After each, pending
 * microtasks and immediates run, so that what a timer set in motion has come to rest before time moves on; real I/O is
 * not waited for. Use it with fakes that answer without sockets.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock, Timer } from '../../src/support/clock.ts';

interface VirtualTimer {
  readonly at: number;
  readonly order: number;
  readonly background: boolean;
  readonly callback: () => void;
}

export class VirtualClock implements Clock {
  readonly #timers = new Set<VirtualTimer>();
  #now: number;
  #order = 0;

  /** Starts at a time that is no round number of anything, so that a forgotten offset shows. */
  constructor(startMs = 1_234_567) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

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
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.at > end) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await this.settle();
    }
    this.#now = end;
    await this.settle();
  }

  /** Lets time pass without firing anything, as for code that runs right after the event loop was blocked. */
  block(ms: number): void {
    this.#now += ms;
  }

  /** Lets everything run that waits for no timer. */
  async settle(): Promise<void> {
    // Promise chains that hop over process.nextTick and setImmediate need more than one turn.
    for (let i = 0; i < 3; i++) await turn();
  }

  #next(): VirtualTimer | undefined {
    let next: VirtualTimer | undefined;
    for (const timer of this.#timers) {
      if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }
}
