/**
 * The ticks at which the watchers of a stream hear that nothing has happened.
 *
 * One timer for a stream, and only while one of its watchers wants it. The ticks of streams that were opened at once
 * spread over a tenth of the interval, so that they don't come at once.
 *
 * @module
 */
import type { ServingMember } from '../member/serving.ts';
import type { ApiOptions } from './guard.ts';

/** The shortest interval, in ms. */
const LEAST_MS = 100;

/** By how much of itself an interval is longer at most. */
const JITTER = 0.1;

/** See the head of this file. */
export class ProgressTicker {
  readonly #member: ServingMember;
  readonly #intervalMs: number;
  readonly #tick: () => void;
  #callOff: (() => void) | undefined;

  constructor(member: ServingMember, { watchProgressMs, random }: ApiOptions, tick: () => void) {
    const interval = Math.max(watchProgressMs, LEAST_MS);
    this.#member = member;
    this.#intervalMs = interval + random() * interval * JITTER;
    this.#tick = tick;
  }

  /** Lets it tick, if it does not yet. */
  start(): void {
    this.#callOff ??= this.#arm();
  }

  stop(): void {
    this.#callOff?.();
    this.#callOff = undefined;
  }

  #arm(): () => void {
    return this.#member.after(this.#intervalMs, () => {
      this.#callOff = this.#arm();
      this.#tick();
    });
  }
}
