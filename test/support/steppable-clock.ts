/**
 * The machine's clock, which can be made to jump: what a program sees of time after its event loop was blocked, or its
 * machine asleep. Timers that came due in the jump fire in the order of their times, each in a turn of its own, and not
 * before the code that runs on has had its turn, as after a real stall.
 */
import { type Clock, systemClock, type Timer } from '../../src/support/clock.ts';

interface Pending {
  readonly at: number;
  readonly callback: () => void;
  readonly background: boolean;
  handle: Timer;
}

export class SteppableClock implements Clock {
  readonly #pending = new Set<Pending>();
  #aheadMs = 0;

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  after(delayMs: number, callback: () => void, { background = false }: { readonly background?: boolean } = {}): Timer {
    const at = this.now() + Math.max(0, delayMs);
    const timer: Pending = { at, callback, background, handle: NEVER };
    this.#pending.add(timer);
    this.#arm(timer);
    return {
      cancel: () => {
        this.#pending.delete(timer);
        timer.handle.cancel();
      },
    };
  }

  /** Lets time jump. */
  step(ms: number): void {
    this.#aheadMs += ms;
    const inOrder = [...this.#pending].sort((a, b) => a.at - b.at);
    for (const timer of inOrder) {
      timer.handle.cancel();
      this.#arm(timer);
    }
  }

  #arm(timer: Pending): void {
    const fire = (): void => {
      this.#pending.delete(timer);
      timer.callback();
    };
    timer.handle = systemClock.after(timer.at - this.now(), fire, { background: timer.background });
  }
}

const NEVER: Timer = { cancel: () => {} };
