/**
 * What is done beside requests, in slices: freeing what compactions have left, and bringing watchers up to date.
 *
 * Watchers that are behind read on when a sink asks for it, which has room again, and every {@link CATCH_UP_MS} as long
 * as some are behind. When none is, and nothing is to be freed, nothing runs here.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import type { StateMachine } from '../apply/machine.ts';
import { Refusals, RpcError } from '../refusals.ts';

/** How often watchers that are behind get a turn at least, in ms. */
const CATCH_UP_MS = 100;

/** How many turns watchers get at a time. */
const CATCH_UP_TURNS = 16;

/** How many records are freed at a time: well below a millisecond of work. */
const SWEEP_RECORDS = 1_000;

export interface UpkeepOptions {
  readonly clock: Clock;
  readonly state: StateMachine;
  readonly pause: () => Promise<void>;
  /** Something went wrong that can't be mended. */
  readonly failed: (error: unknown) => void;
}

/** See the head of this file. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #timer: Timer | undefined;
  #sweeping: Promise<void> | undefined;
  #catchingUp = false;
  #again = false;
  #stopped = false;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Entries were applied: there may be something to do. */
  applied(): void {
    const { state } = this.#options;
    if (state.store.sweeping && !this.#sweeping) this.#sweeping = this.#sweep().catch(this.#options.failed);
    if (this.#timer === undefined && state.watches.counts.behind > 0) this.#plan();
  }

  /** A watcher is new, or has room again. */
  wakeWatches(): void {
    if (this.#stopped) return;
    if (this.#catchingUp) this.#again = true;
    else this.#catchUp().catch(this.#options.failed);
  }

  /** Waits until what compactions have left behind so far is gone. @throws RpcError */
  async swept(signal?: AbortSignal): Promise<void> {
    this.applied();
    const sweeping = this.#sweeping;
    if (sweeping && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const unlisten = onAbort(signal, resolve);
        const done = (): void => {
          unlisten();
          resolve();
        };
        sweeping.then(done, done);
      });
    }
    if (this.#stopped) throw new RpcError(Refusals.Stopped);
    if (signal?.aborted) throw new RpcError(Refusals.Canceled);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #plan(): void {
    if (this.#stopped || this.#timer) return;
    const due = (): void => {
      this.#timer = undefined;
      this.wakeWatches();
    };
    this.#timer = this.#options.clock.after(CATCH_UP_MS, due, { background: true });
  }

  async #sweep(): Promise<void> {
    const { state, pause } = this.#options;
    try {
      do await pause();
      while (!this.#stopped && state.sweep(SWEEP_RECORDS));
    } finally {
      this.#sweeping = undefined;
    }
  }

  async #catchUp(): Promise<void> {
    const { state, pause } = this.#options;
    this.#catchingUp = true;
    let behind = true;
    try {
      do {
        this.#again = false;
        for (let turn = 0; turn < CATCH_UP_TURNS && behind && !this.#stopped; turn += 1) {
          // Not within the call that has asked for it.
          await pause();
          if (!this.#stopped) behind = state.watches.catchUp();
        }
      } while (this.#again && behind && !this.#stopped);
    } finally {
      this.#catchingUp = false;
    }
    if (behind) this.#plan();
  }
}
