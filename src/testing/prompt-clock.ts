/**
 * A clock on which what is to happen at once does so in a turn of the event loop, without a timer.
 *
 * Members of one process hear each other so: faster than any timer of the machine, and without virtual time having to
 * pass. All else goes by the clock below.
 *
 * @module
 */
import { nextTurn } from '../server/system.ts';
import type { Clock, Timer } from '../support/clock.ts';
import type { Activity } from './virtual-clock.ts';

/** See the head of this file. */
export class PromptClock implements Clock, Activity {
  /** How often something was called back without a timer. */
  count = 0;
  readonly busy = false;
  readonly #base: Clock;
  #queue: (() => void)[] = [];

  constructor(base: Clock) {
    this.#base = base;
  }

  now(): number {
    return this.#base.now();
  }

  after(delayMs: number, callback: () => void, options?: { readonly background?: boolean }): Timer {
    if (delayMs > 0) return this.#base.after(delayMs, callback, options);
    let over = false;
    this.#queue.push(() => over || callback());
    if (this.#queue.length === 1) void nextTurn().then(() => this.#flush());
    return {
      cancel: () => {
        over = true;
      },
    };
  }

  #flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.count += queue.length;
    for (const callback of queue) callback();
  }
}
