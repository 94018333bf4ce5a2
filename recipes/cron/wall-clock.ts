/**
 * The wall clock: the one place of the project where the time of day matters.
 *
 * It may be put forward and back while it is waited for, and a machine may sleep. So a wait
 * for a moment looks at the clock again and again, by timers of the monotonic clock.
 *
 * @module
 */

import type { Clock, Timer } from '../../src/index.ts';

/** The time of day. Replace it in tests. */
export interface WallClock {
  /** Milliseconds since 1970, UTC. */
  now(): number;
  /** Calls `callback` once, when it is that moment or later. Does not keep the process alive. */
  at(epochMs: number, callback: () => void): Timer;
}

/** How long a clock that was put forward can go unnoticed. */
const LOOK_MS = 15_000;

/** The machine's wall clock, waited for with timers of `clock`. */
export function systemWallClock(clock: Clock): WallClock {
  // eslint-disable-next-line no-restricted-properties -- the time of day is what is asked for
  const now = (): number => Date.now();
  return {
    now,
    at(epochMs, callback) {
      let timer: Timer;
      const wait = (): void => {
        const leftMs = epochMs - now();
        timer = clock.after(Math.min(Math.max(leftMs, 0), LOOK_MS), leftMs <= 0 ? callback : wait, {
          background: true,
        });
      };
      wait();
      return { cancel: () => timer.cancel() };
    },
  };
}
