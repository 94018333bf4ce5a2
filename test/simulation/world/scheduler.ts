/**
 * Virtual time, and what is to happen when.
 *
 * Time is in whole microseconds from 0. What is due at the same moment happens in the order in which it was planned,
 * so that a run depends on nothing but its seed. Nothing is ever called off: who plans something checks, when it
 * comes, whether it still applies.
 */

interface Planned {
  readonly atUs: number;
  readonly order: number;
  readonly action: () => void;
}

export class Scheduler {
  #nowUs = 0;
  #order = 0;
  /** A binary heap: the parent of place n is at (n - 1) >> 1. */
  readonly #heap: Planned[] = [];

  get nowUs(): number {
    return this.#nowUs;
  }

  /** Calls `action` in `delayUs` microseconds. */
  after(delayUs: number, action: () => void): void {
    this.at(this.#nowUs + delayUs, action);
  }

  /** Calls `action` at `atUs`, or as soon as possible if that is over. */
  at(atUs: number, action: () => void): void {
    const heap = this.#heap;
    const planned = { atUs: Math.max(atUs, this.#nowUs), order: this.#order, action };
    this.#order += 1;
    let place = heap.length;
    heap.push(planned);
    while (place > 0) {
      const parentPlace = (place - 1) >> 1;
      const parent = heap[parentPlace] as Planned;
      if (!before(planned, parent)) break;
      heap[place] = parent;
      place = parentPlace;
    }
    heap[place] = planned;
  }

  /** Does what comes next, unless it comes after `endUs`. Says whether anything was done; if not, it is `endUs` now. */
  step(endUs: number): boolean {
    const next = this.#heap[0];
    if (next === undefined || next.atUs > endUs) {
      this.#nowUs = Math.max(this.#nowUs, endUs);
      return false;
    }
    this.#removeFirst();
    this.#nowUs = next.atUs;
    next.action();
    return true;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop() as Planned;
    const { length } = heap;
    if (length === 0) return;
    let place = 0;
    for (let child = 1; child < length; child = 2 * place + 1) {
      const right = child + 1;
      if (right < length && before(heap[right] as Planned, heap[child] as Planned)) child = right;
      if (!before(heap[child] as Planned, last)) break;
      heap[place] = heap[child] as Planned;
      place = child;
    }
    heap[place] = last;
  }
}

function before(a: Planned, b: Planned): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}
