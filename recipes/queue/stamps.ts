/**
 * Numbers that give keys their order: microseconds of the wall clock, made to grow.
 *
 * Nothing is decided by them. A queue that promises an order has the store check, in the
 * transaction that puts an item, that its key is the last one; the stamp is only the guess
 * that makes this succeed at the first try. A clock that is behind those of others learns
 * from the first refusal by how much, and guesses right from then on (a hybrid logical
 * clock: Kulkarni et al., "Logical Physical Clocks", 2014).
 *
 * @module
 */

import { randomBytes } from 'node:crypto';

/** Tells the time of day, in milliseconds since the Unix epoch. Default: the machine's. */
export type WallClock = () => number;

/** Sixteen digits, so that the order of the keys is that of the numbers; up to the year 2255. */
const DIGITS = 16;
const MAX_STAMP = Number.MAX_SAFE_INTEGER - 1;

/** A key that begins with a stamp. */
const STAMPED = /^(\d{16})-([0-9a-f]{12})$/;

/** Makes stamps. */
export class Stamps {
  readonly #now: WallClock;
  #aheadMicros = 0;
  #last = 0;

  constructor(now: WallClock) {
    this.#now = now;
  }

  /** A stamp greater than all before it. */
  next(): number {
    const hinted = Math.floor(this.#now() * 1_000) + this.#aheadMicros;
    this.#last = Math.min(Math.max(hinted, this.#last + 1, 0), MAX_STAMP);
    return this.#last;
  }

  /** Takes note of somebody else's stamp: the next will be greater. */
  saw(stamp: number): void {
    if (stamp < this.#last) return;
    this.#last = Math.min(stamp, MAX_STAMP);
    this.#aheadMicros = Math.max(this.#aheadMicros, stamp + 1 - Math.floor(this.#now() * 1_000));
  }
}

/** A number as the beginning of a key. */
export function stampText(stamp: number): string {
  return String(Math.min(Math.max(Math.round(stamp), 0), MAX_STAMP)).padStart(DIGITS, '0');
}

/** A key of its own: nobody else makes the same. */
export function stampedKey(stamp: number): string {
  return `${stampText(stamp)}-${randomBytes(6).toString('hex')}`;
}

/** The stamp that a key begins with; undefined for one that was not made here. */
export function stampOf(key: string): number | undefined {
  const digits = STAMPED.exec(key)?.[1];
  return digits === undefined || Number(digits) > MAX_STAMP ? undefined : Number(digits);
}
