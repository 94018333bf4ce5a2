/**
 * What metrics are counted in: plain numbers, since most of it changes in every call, and reading them is rare.
 *
 * Nothing here knows names or formats of metrics: `families.ts` does, which is loaded when somebody asks for them.
 *
 * @module
 */

/** Buckets that double, from `first` on. */
export function doubling(first: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => first * 2 ** i);
}

/** Durations by how long they were: a histogram. */
export class Durations {
  /** The most that each bucket takes, in seconds, in rising order. */
  readonly bounds: readonly number[];
  /** How many were no longer than their bound and longer than the one before; the last one: longer than all. */
  readonly counts: number[];
  sumSeconds = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(seconds: number): void {
    let at = 0;
    while (at < this.bounds.length && seconds > (this.bounds[at] as number)) at += 1;
    this.counts[at] = (this.counts[at] as number) + 1;
    this.sumSeconds += seconds;
  }
}

/** One {@link Durations} for each label. */
export class LabelledDurations {
  readonly #bounds: readonly number[];
  readonly #byLabel = new Map<string, Durations>();

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** Those of a label; from the first call on they are there. */
  of(label: string): Durations {
    let durations = this.#byLabel.get(label);
    if (durations === undefined) {
      durations = new Durations(this.#bounds);
      this.#byLabel.set(label, durations);
    }
    return durations;
  }

  [Symbol.iterator](): Iterator<[string, Durations]> {
    return this.#byLabel.entries();
  }
}

/** A number for each label. */
export class LabelledCounts {
  readonly #byLabel = new Map<string, number>();

  add(label: string, count = 1): void {
    this.#byLabel.set(label, (this.#byLabel.get(label) ?? 0) + count);
  }

  [Symbol.iterator](): Iterator<[string, number]> {
    return this.#byLabel.entries();
  }
}
