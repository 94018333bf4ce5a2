/**
 * Those who wait until an index is applied.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';

/** How a wait has ended. */
export type WaitOutcome = 'applied' | 'timeout' | 'stopped' | 'aborted';

interface Wait {
  readonly index: number;
  readonly end: (outcome: WaitOutcome) => void;
}

/** See the head of this file. */
export class AppliedWaits {
  readonly #clock: Clock;
  readonly #applied: () => number;
  readonly #waits = new Set<Wait>();
  #stopped = false;

  constructor({ clock, applied }: { readonly clock: Clock; readonly applied: () => number }) {
    this.#clock = clock;
    this.#applied = applied;
  }

  /** Waits until `index` is applied, `timeoutMs` at most. Never rejects. */
  until(index: number, timeoutMs: number, signal?: AbortSignal): Promise<WaitOutcome> {
    if (index <= this.#applied()) return Promise.resolve('applied');
    if (this.#stopped) return Promise.resolve('stopped');
    if (signal?.aborted) return Promise.resolve('aborted');
    return new Promise((resolve) => {
      const wait: Wait = {
        index,
        end: (outcome) => {
          if (!this.#waits.delete(wait)) return;
          timer.cancel();
          unlisten();
          resolve(outcome);
        },
      };
      this.#waits.add(wait);
      const timer = this.#clock.after(timeoutMs, () => wait.end('timeout'), { background: true });
      const unlisten = onAbort(signal, () => wait.end('aborted'));
    });
  }

  /** More was applied. */
  applied(): void {
    if (this.#waits.size === 0) return;
    const index = this.#applied();
    for (const wait of this.#waits) if (wait.index <= index) wait.end('applied');
  }

  /** Ends all waiting, now and from now on. */
  stop(): void {
    this.#stopped = true;
    for (const wait of this.#waits) wait.end('stopped');
  }
}
