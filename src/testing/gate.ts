/**
 * What stands between one run of a member and the world: its timers, its messages, its disk.
 *
 * Held, it lets nothing in, as a process that was stopped with SIGSTOP hears nothing; time goes on meanwhile, and all
 * that has come is let in at once, in its order, when it is opened again. Closed, nothing ever comes in any more, so that
 * the run is as dead as a process that was killed: what its promises wait for never comes.
 *
 * @module
 */
import type { Clock, Timer } from '../support/clock.ts';

/** See the head of this file. */
export class Gate {
  readonly #timers = new Set<Timer>();
  readonly #waiting: (() => void)[] = [];
  #state: 'open' | 'held' | 'closed' = 'open';

  get held(): boolean {
    return this.#state === 'held';
  }

  /** Lets the member do something: at once, later, or never. */
  run(action: () => void): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'held' || this.#waiting.length > 0) this.#waiting.push(action);
    else action();
  }

  /** Nothing comes in until {@link open}. */
  hold(): void {
    if (this.#state === 'open') this.#state = 'held';
  }

  /** Lets in what has waited, and what comes. */
  open(): void {
    if (this.#state === 'held') this.#state = 'open';
    while (this.#state === 'open') {
      const [action] = this.#waiting;
      if (action === undefined) return;
      // It counts as waiting while it runs: what it sets in motion comes after what was there before.
      action();
      this.#waiting.shift();
    }
  }

  /** Nothing comes in ever again. */
  close(): void {
    this.#state = 'closed';
    this.#waiting.length = 0;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  /** The same time, with timers that fire through this gate. */
  clock(base: Clock): Clock {
    return {
      now: () => base.now(),
      after: (delayMs, callback, options) => {
        if (this.#state === 'closed') return { cancel() {} };
        let over = false;
        const due = (): void => {
          this.#timers.delete(timer);
          this.run(() => over || callback());
        };
        const timer = base.after(delayMs, due, options);
        this.#timers.add(timer);
        return {
          cancel: () => {
            over = true;
            timer.cancel();
            this.#timers.delete(timer);
          },
        };
      },
    };
  }

  /** The same outcome, through this gate. */
  pass<T>(outcome: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      outcome.then(
        (value) => this.run(() => resolve(value)),
        (error: unknown) => this.run(() => reject(error)),
      );
    });
  }
}
