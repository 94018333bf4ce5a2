/**
 * An AbortSignal that can be trusted when it is read, not only when it fires.
 *
 * A signal fires from a timer, and after the event loop was blocked the user's code may run
 * before any timer does: it would read `aborted === false` on a lease that ran out seconds
 * ago. So reading this signal looks at the clock first. That holds for the signal itself;
 * one derived from it (`AbortSignal.any`) fires in the same moment but is not checked when
 * it is read.
 *
 * @module
 */

import { setMaxListeners } from 'node:events';

/** A signal and the means to fire it. */
export interface CheckedSignal {
  readonly signal: AbortSignal;
  /** Fires the signal. */
  readonly abort: (reason: unknown) => void;
}

const readAborted = getter('aborted');
const readReason = getter('reason');

/**
 * Makes a signal that calls `check` before each answer. `check` may call `abort`; what
 * `abort` runs may read the signal again, so `check` has to cope with being entered twice.
 */
export function checkedSignal(check: () => void): CheckedSignal {
  const controller = new AbortController();
  const { signal } = controller;
  setMaxListeners(0, signal); // everything that works under a lease listens to it: many is no leak
  Object.defineProperties(signal, {
    aborted: {
      get() {
        check();
        return readAborted.call(signal);
      },
    },
    reason: {
      get() {
        check();
        return readReason.call(signal);
      },
    },
    throwIfAborted: {
      value() {
        check();
        AbortSignal.prototype.throwIfAborted.call(signal);
      },
    },
  });
  return { signal, abort: (reason) => controller.abort(reason) };
}

function getter(name: 'aborted' | 'reason'): () => unknown {
  return Object.getOwnPropertyDescriptor(AbortSignal.prototype, name)?.get as () => unknown;
}
