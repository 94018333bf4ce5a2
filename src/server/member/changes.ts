/**
 * Those who wait until something, anything, is different: another leader, another role, more that is applied.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';

/** See the head of this file. */
export class Changes {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #stopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something is different. */
  tell(): void {
    if (this.#waiting.size === 0) return;
    for (const end of [...this.#waiting]) end();
  }

  /** Waits for the next change, `timeoutMs` at most. Never rejects: look again at what was waited for. */
  next(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#stopped || timeoutMs <= 0 || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        if (!this.#waiting.delete(end)) return;
        timer.cancel();
        unlisten();
        resolve();
      };
      this.#waiting.add(end);
      const timer = this.#clock.after(timeoutMs, end, { background: true });
      const unlisten = onAbort(signal, end);
    });
  }

  /** Nothing changes any more. */
  stop(): void {
    this.#stopped = true;
    this.tell();
  }
}
