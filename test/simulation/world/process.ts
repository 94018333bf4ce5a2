/**
 * One run of one program: it can stand still, and it can be killed.
 *
 * All that reaches a program (timers, messages, the disk's answers) comes through `run`. While the process stands
 * still it waits and then comes at once, in its order, as it does to a program whose machine was suspended or whose
 * event loop was blocked. Nothing reaches one that was killed.
 */
export class SimProcess {
  readonly #later: ((action: () => void) => void) | undefined;
  #alive = true;
  #paused = false;
  #waiting: (() => void)[] = [];

  /**
   * @param later Does something next, before anything else reaches the program. With it a program that goes on takes
   *   what has waited one by one, with its microtasks in between, as an event loop does; without it all in one go.
   */
  constructor(later?: (action: () => void) => void) {
    this.#later = later;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Lets the program do something: now, when it goes on, or never. */
  run(action: () => void): void {
    if (this.#paused) this.#waiting.push(action);
    else if (this.#alive) action();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    if (this.#later) {
      this.#later(() => this.#takeNext());
      return;
    }
    this.#paused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    // One of them may kill it.
    for (const action of waiting) this.run(action);
  }

  #takeNext(): void {
    if (!this.#paused) return;
    const next = this.#waiting.shift();
    if (next === undefined) this.#paused = false;
    else {
      next();
      this.#later?.(() => this.#takeNext());
    }
  }

  kill(): void {
    this.#alive = false;
    this.#paused = false;
    this.#waiting = [];
  }
}
