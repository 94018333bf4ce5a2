/**
 * Notices that nothing moves any more.
 *
 * A timer says how late it is and not what happened: after the event loop was blocked it fires before what has come in
 * meanwhile is read. So the watch looks twice, and gives what is already there a turn in between.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';

/** Long enough for the event loop to read from all sockets. */
const SECOND_LOOK_MS = 1;

/** See the head of this file. Runs from its making until {@link StallWatch.stop}, or its one call of `stalled`. */
export class StallWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #stalled: () => void;
  #movedAt: number;
  #timer: Timer;

  constructor(clock: Clock, limitMs: number, stalled: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#stalled = stalled;
    this.#movedAt = clock.now();
    this.#timer = this.#look(limitMs);
  }

  /** Something has moved. */
  moved(): void {
    this.#movedAt = this.#clock.now();
  }

  /** It no longer matters. */
  stop(): void {
    this.#timer.cancel();
  }

  #look(afterMs: number): Timer {
    return this.#clock.after(
      afterMs,
      () => {
        const leftMs = this.#movedAt + this.#limitMs - this.#clock.now();
        this.#timer = leftMs > 0 ? this.#look(leftMs) : this.#lookAgain(this.#movedAt);
      },
      { background: true },
    );
  }

  #lookAgain(movedAt: number): Timer {
    return this.#clock.after(
      SECOND_LOOK_MS,
      () => {
        if (this.#movedAt === movedAt) this.#stalled();
        else this.#timer = this.#look(this.#movedAt + this.#limitMs - this.#clock.now());
      },
      { background: true },
    );
  }
}
