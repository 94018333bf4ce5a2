/**
 * Stretches of the key order, as byte strings.
 *
 * A transaction has to know which keys a range covers, to show its own writes in it and to
 * guard it. `end` is exclusive; without one the stretch goes to the end of the store.
 *
 * @module
 */

import { InvalidArgumentError, type Key, type Target, utf8 } from '../../src/index.ts';

/** All keys from `start` (inclusive) to `end` (exclusive). */
export interface Bounds {
  readonly start: Buffer;
  readonly end: Buffer | undefined;
}

/** A key as bytes, below a prefix. @throws InvalidArgumentError for a key that is empty, or no key. */
export function keyBelow(prefix: Uint8Array, key: Key): Buffer {
  const whole = below(prefix, key);
  if (whole.length === 0) throw new InvalidArgumentError('the key is empty');
  return whole;
}

/** The stretch that a target means below a prefix. @throws InvalidArgumentError for something that is no target. */
export function boundsOf(prefix: Uint8Array, target: Target): Bounds {
  if (typeof target === 'string' || target instanceof Uint8Array) {
    const start = keyBelow(prefix, target);
    return { start, end: after(start) };
  }
  if (typeof target === 'object' && target !== null) {
    if ('prefix' in target) return withPrefix(below(prefix, target.prefix));
    if ('from' in target) {
      const end = target.to === undefined ? prefixEnd(prefix) : below(prefix, target.to);
      return { start: below(prefix, target.from), end };
    }
    if ('all' in target && target.all === true) return withPrefix(Buffer.from(prefix));
  }
  throw new InvalidArgumentError('name the keys: a key, { prefix }, { from, to } or { all: true }');
}

/** What the client calls it. */
export function toTarget({ start, end }: Bounds): Target {
  return { from: start, to: end };
}

export function isWithin(key: Uint8Array, { start, end }: Bounds): boolean {
  return Buffer.compare(key, start) >= 0 && (end === undefined || Buffer.compare(key, end) < 0);
}

/** The next key in order: nothing lies between. */
export function after(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

function below(prefix: Uint8Array, key: Key): Buffer {
  return Buffer.concat([prefix, utf8.encode(key)]);
}

function withPrefix(start: Buffer): Bounds {
  return { start, end: prefixEnd(start) };
}

/** The first key after all keys with a prefix; none when there is no such key. */
function prefixEnd(prefix: Uint8Array): Buffer | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = Buffer.from(prefix.subarray(0, length));
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}
