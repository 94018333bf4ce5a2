/**
 * What counters were when this client saw them last: a guess that saves a read.
 *
 * A guess is never trusted: each write compares the value. So it does not matter how old one
 * is, or that one is forgotten to make room.
 *
 * @module
 */

import type { KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import { DecodeError } from '../errors.ts';

/** An integer, and the bytes that say it. */
export interface Count {
  readonly value: bigint;
  readonly bytes: Uint8Array;
}

/** How many counters are remembered. Who has more of them pays a second round trip for some. */
const MOST_KEYS = 1_000;

/** Remembers the counters that were used last. */
export class LastCounts {
  /** By key, in Latin-1; the one used longest ago is first. */
  readonly #counts = new Map<string, Count>();

  /** What a counter was; undefined: not there, or not known. */
  get(key: Uint8Array): Count | undefined {
    return this.#counts.get(toLatin1(key));
  }

  set(key: Uint8Array, count: Count | undefined): void {
    const name = toLatin1(key);
    this.#counts.delete(name);
    if (count === undefined) return;
    this.#counts.set(name, count);
    if (this.#counts.size <= MOST_KEYS) return;
    const [oldest] = this.#counts.keys();
    this.#counts.delete(oldest as string);
  }
}

/** Reads a counter; one that is not there is 0. @throws DecodeError when it is no integer. */
export function toCount(kv: WireKeyValue | undefined): Count | undefined {
  if (kv === undefined) return undefined;
  const text = toLatin1(kv.value);
  if (!/^[+-]?\d{1,1000}$/.test(text)) throw new DecodeError('the counter is not an integer in decimal text');
  // A copy: what was decoded is a part of the whole answer.
  return { value: BigInt(text), bytes: Buffer.from(kv.value) };
}
