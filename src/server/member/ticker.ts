/**
 * The member's ticks: one after each heartbeat interval.
 *
 * A member that starts would wait for a whole election timeout before it stands, or notices that nobody leads. It need
 * not once it is connected with another one: a leader, if there is one, is heard within a heartbeat or two. So most of
 * the first timeout is skipped then; who stands too early is not elected, for the others hear the leader.
 *
 * Source: etcd's `--initial-election-tick-advance`.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';

/** How long after the start ticks are skipped, in ms. */
const SKIP_WITHIN_MS = 5_000;

export interface TickerOptions {
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly electionTicks: number;
  /** One tick. */
  readonly tick: () => void;
  /** Whether ticks may be skipped now: another member is connected, and no leader known. */
  readonly hurries: () => boolean;
}

/** See the head of this file. */
export class Ticker {
  readonly #options: TickerOptions;
  readonly #startedAt: number;
  #timer: Timer | undefined;
  #skipped = false;

  /** @param advance Whether ticks are ever skipped. */
  constructor(options: TickerOptions, advance: boolean) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#skipped = !advance;
    this.#plan();
  }

  stop(): void {
    this.#skipped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #plan(): void {
    const { clock, heartbeatMs } = this.#options;
    this.#timer = clock.after(heartbeatMs, () => this.#due(), { background: true });
  }

  #due(): void {
    const { electionTicks, tick } = this.#options;
    this.#plan();
    tick();
    if (!this.#maySkip()) return;
    this.#skipped = true;
    // One is always left, in which a leader can be heard.
    for (let skipped = 0; skipped < electionTicks - 2; skipped += 1) tick();
  }

  #maySkip(): boolean {
    if (this.#skipped) return false;
    const { clock, hurries } = this.#options;
    if (clock.now() - this.#startedAt <= SKIP_WITHIN_MS) return hurries();
    this.#skipped = true;
    return false;
  }
}
