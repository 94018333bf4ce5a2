/**
 * The clock of one program in the simulated world: it may run fast or slow, and stands still with the program.
 *
 * It is a `Clock` like the machine's own, so that whatever takes one can live here.
 */
import type { Clock, Timer } from '../../../src/support/clock.ts';
import type { SimProcess } from './process.ts';
import type { Scheduler } from './scheduler.ts';

export class SimClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #process: SimProcess;
  /** Local microseconds per true one. */
  #rate: number;
  /** Local and true time of the last change of rate. */
  #localUs = 0;
  #sinceUs: number;

  constructor(scheduler: Scheduler, process: SimProcess, rate = 1) {
    this.#scheduler = scheduler;
    this.#process = process;
    this.#rate = rate;
    this.#sinceUs = scheduler.nowUs;
  }

  now(): number {
    return this.#nowUs() / 1000;
  }

  after(delayMs: number, callback: () => void): Timer {
    let cancelled = false;
    // Never early: who looks at the time when it is due must find it due.
    const trueUs = Math.ceil((Math.max(0, delayMs) * 1000) / this.#rate);
    this.#scheduler.after(trueUs, () =>
      this.#process.run(() => {
        if (!cancelled) callback();
      }),
    );
    return {
      cancel: () => {
        cancelled = true;
      },
    };
  }

  /** Makes it run at another rate: 1.1 is a tenth too fast. Timers that run already keep their moment. */
  setRate(rate: number): void {
    this.#localUs = this.#nowUs();
    this.#sinceUs = this.#scheduler.nowUs;
    this.#rate = rate;
  }

  #nowUs(): number {
    return this.#localUs + (this.#scheduler.nowUs - this.#sinceUs) * this.#rate;
  }
}
