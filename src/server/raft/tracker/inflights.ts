/**
 * The window of appends that a follower has not answered yet: a ring of their last indexes and payload bytes.
 *
 * The count is a hard limit. The bytes are a soft one: the append that crosses it is still sent, the next one waits.
 *
 * @module
 */
import { invariant } from '../errors.ts';

export class Inflights {
  /** Most appends in flight. */
  readonly size: number;
  /** Payload bytes in flight from which on no further append is sent. Infinite: no limit. */
  readonly maxBytes: number;
  #start = 0;
  #count = 0;
  #bytes = 0;
  // Grows as needed: most windows are far larger than what is ever in flight.
  #indexes: number[] = [];
  #sizes: number[] = [];

  constructor(size: number, maxBytes: number = Number.POSITIVE_INFINITY) {
    this.size = size;
    this.maxBytes = maxBytes;
  }

  /** Appends in flight. */
  get count(): number {
    return this.#count;
  }

  /** Payload bytes in flight. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether no further append may be sent. */
  get full(): boolean {
    return this.#count === this.size || this.#bytes >= this.maxBytes;
  }

  /** Notes an append whose last entry is `index`. Indexes ascend. */
  add(index: number, bytes: number): void {
    invariant(!this.full, () => 'an append was sent although the window is full');
    if (this.#count === this.#indexes.length) this.#grow();
    const place = (this.#start + this.#count) % this.#indexes.length;
    this.#indexes[place] = index;
    this.#sizes[place] = bytes;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** Forgets the appends up to `index`: the follower has them. */
  freeUpTo(index: number): void {
    while (this.#count > 0 && (this.#indexes[this.#start] as number) <= index) {
      this.#bytes -= this.#sizes[this.#start] as number;
      this.#start = (this.#start + 1) % this.#indexes.length;
      this.#count -= 1;
    }
  }

  /** Forgets everything. */
  reset(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  /** Another window with the same content. */
  clone(): Inflights {
    const copy = new Inflights(this.size, this.maxBytes);
    for (let nth = 0; nth < this.#count; nth += 1) {
      const place = (this.#start + nth) % this.#indexes.length;
      copy.add(this.#indexes[place] as number, this.#sizes[place] as number);
    }
    return copy;
  }

  #grow(): void {
    const inOrder = (ring: number[]): number[] => [...ring.slice(this.#start), ...ring.slice(0, this.#start)];
    const capacity = Math.min(this.size, Math.max(8, this.#indexes.length * 2));
    const room = new Array<number>(capacity - this.#count).fill(0);
    this.#indexes = [...inOrder(this.#indexes), ...room];
    this.#sizes = [...inOrder(this.#sizes), ...room];
    this.#start = 0;
  }
}
