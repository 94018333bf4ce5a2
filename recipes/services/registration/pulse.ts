/**
 * Telling that something has changed, to whoever waits for that.
 *
 * Who waits takes {@link Pulse.next} first, then looks, then waits: so no change falls between the look and the wait.
 *
 * @module
 */

import { expectMany } from '../../waiting.ts';

/** A source of signals, each of which says once: look again. */
export class Pulse {
  #next = new AbortController();

  /** Fires at the next change. */
  get next(): AbortSignal {
    return this.#next.signal;
  }

  /** Something has changed. */
  beat(): void {
    const now = this.#next;
    this.#next = new AbortController();
    now.abort();
  }
}

/** Waits until one of the signals fires. */
export function untilAny(...signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const signal of signals) signal.removeEventListener('abort', done);
      resolve();
    };
    for (const signal of signals) {
      expectMany(signal);
      signal.addEventListener('abort', done, { once: true });
    }
    if (signals.some((signal) => signal.aborted)) done();
  });
}
