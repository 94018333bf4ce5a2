/**
 * Chance, from a seed.
 *
 * All numbers come from 32-bit integer arithmetic, so they are the same on every engine. `fork` gives a stream of its
 * own for each purpose, named by a label: it depends on the seed and the labels alone, never on how much was drawn
 * before, so that one draw more for the network does not change what the disks do.
 *
 * Source: sfc32 of C. Doty-Humphrey's PractRand (128 bits of state, passes its tests); seeds are spread with the
 * finalizer of A. Appleby's MurmurHash3.
 */

/** Where chance comes from. */
export interface Random {
  /** A whole number from 0 up to 2^32 - 1. */
  uint32(): number;
  /** A whole number from 0 up to but without `bound`. */
  below(bound: number): number;
  /** A whole number from `low` up to and including `high`. */
  between(low: number, high: number): number;
  /** True with the given probability; draws nothing where it is 0. */
  chance(probability: number): boolean;
  /** One of the items, of which there must be one. */
  pick<T>(items: readonly T[]): T;
  /** A stream of its own. The same label gives the same one. */
  fork(label: string): Random;
}

/** Mixes one more 32-bit word into a hash. */
export function mix(hash: number, word: number): number {
  let h = Math.imul(hash ^ word, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

export class Sfc32 implements Random {
  readonly #key: number;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(key: number) {
    this.#key = key | 0;
    this.#a = mix(this.#key, 0x9e3779b9);
    this.#b = mix(this.#a, 0x243f6a88);
    this.#c = mix(this.#b, 0xb7e15162);
    for (let round = 0; round < 12; round += 1) this.uint32();
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  below(bound: number): number {
    return Math.floor((this.uint32() / 0x1_0000_0000) * bound);
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.uint32() < probability * 0x1_0000_0000;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  fork(label: string): Random {
    let key = mix(this.#key, label.length);
    for (let at = 0; at < label.length; at += 1) key = mix(key, label.charCodeAt(at));
    return new Sfc32(key);
  }
}
