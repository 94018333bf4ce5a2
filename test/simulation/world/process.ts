/**
 * One run of one program: it can stand still, and it can be killed.
 *
 * All that reaches a program (timers, messages, the disk's answers) comes through `run`. While the process stands
 * still it waits and then comes at once, in its order, as it does to a program whose machine was suspended or whose
 * event loop was blocked. Nothing reaches one that was killed.
 */
export class SimProcess {
  #alive = true;
  #paused = false;
  #waiting: (() => void)[] = [];

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
    this.#paused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    // One of them may kill it.
    for (const action of waiting) this.run(action);
  }

  kill(): void {
    this.#alive = false;
    this.#paused = false;
    this.#waiting = [];
  }
}
