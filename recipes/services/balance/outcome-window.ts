/**
 * How many requests went well or not in the last seconds.
 *
 * Time is cut into slices; a count covers the slice that runs and those before it, so it goes back by up to one slice less than
 * the whole window.
 *
 * @module
 */

/** Into how many slices a window is cut. */
export const SLICES = 10;

/** Counts outcomes over a window that moves. */
export class OutcomeWindow {
  readonly #sliceMs: number;
  readonly #successes = new Uint32Array(SLICES);
  readonly #failures = new Uint32Array(SLICES);
  /** The number of the newest slice, counted from time 0. */
  #newest = Number.NEGATIVE_INFINITY;

  /** @param windowMs Its length in milliseconds. */
  constructor(windowMs: number) {
    this.#sliceMs = windowMs / SLICES;
  }

  /** Counts one. @param now In milliseconds; it does not go back. */
  add(now: number, isFailure: boolean): void {
    const at = this.#turnTo(now);
    const counts = isFailure ? this.#failures : this.#successes;
    counts[at] = (counts[at] ?? 0) + 1;
  }

  /** What the window holds. */
  counts(now: number): { readonly total: number; readonly failures: number } {
    this.#turnTo(now);
    const failures = this.#failures.reduce((sum, count) => sum + count, 0);
    return { total: this.#successes.reduce((sum, count) => sum + count, failures), failures };
  }

  clear(): void {
    this.#successes.fill(0);
    this.#failures.fill(0);
  }

  /** Empties the slices that have come since; gives the index of the one that runs. */
  #turnTo(now: number): number {
    const slice = Math.floor(now / this.#sliceMs);
    const first = Math.max(this.#newest + 1, slice - SLICES + 1, 0);
    for (let number = first; number <= slice; number++) {
      this.#successes[number % SLICES] = 0;
      this.#failures[number % SLICES] = 0;
    }
    this.#newest = Math.max(this.#newest, slice);
    return this.#newest % SLICES;
  }
}
