/**
 * Which keys a call is about.
 *
 * A target is resolved under a keyspace's prefix, and the range it becomes never leaves it:
 * what is open at the end ends where the prefix does. Two things that etcd's wire format
 * cannot tell apart are kept apart here: a range that ends at the key of one zero byte,
 * and one that has no end.
 *
 * @module
 */

import {
  type ByteRange,
  concatBytes,
  isUnbounded,
  type Key,
  NO_BYTES,
  prefixEnd,
  prefixRange,
  toBytes,
  ZERO_BYTE,
} from '../../protocol/keys.ts';
import { InvalidArgumentError } from '../errors.ts';

/**
 * Some keys: one key, those with a prefix, those from one key (inclusive) to another
 * (exclusive; without it, to the end), or all of the keyspace.
 */
export type Target =
  | Key
  | { readonly prefix: Key }
  | { readonly from: Key; readonly to?: Key | undefined }
  | { readonly all: true };

/**
 * The range on the wire for some keys of a keyspace.
 *
 * @throws InvalidArgumentError for an empty key, or for something that is no target.
 */
export function toByteRange(target: Target, prefix: Uint8Array): ByteRange {
  if (typeof target === 'string' || target instanceof Uint8Array)
    return { key: toKeyBytes(target, prefix), end: NO_BYTES };
  if (typeof target === 'object' && target !== null) {
    const forms = Number('prefix' in target) + Number('from' in target || 'to' in target) + Number('all' in target);
    if (forms > 1) throw new InvalidArgumentError(`name the keys in one way: ${FORMS}`);
    if ('prefix' in target) return prefixRange(concatBytes(prefix, bytesOf(target.prefix, 'prefix')));
    if ('from' in target) return between(target.from, target.to, prefix);
    if ('all' in target && target.all === true) return prefixRange(prefix);
  }
  throw new InvalidArgumentError(`name the keys: ${FORMS}`);
}

const FORMS = 'a key, { prefix }, { from, to } or { all: true }';

function between(from: Key, to: Key | undefined, prefix: Uint8Array): ByteRange {
  const start = concatBytes(prefix, bytesOf(from, 'from'));
  // An empty start is the lowest key there is; on the wire that is one zero byte.
  const key = start.length === 0 ? ZERO_BYTE : start;
  if (to === undefined) return { key, end: prefixEnd(prefix) };
  const end = bytesOf(to, 'to');
  if (end.length === 0) throw new InvalidArgumentError('`to` is empty: leave it out to go to the end');
  // On the wire that would be "no end", and a delete of nothing would become one of nearly everything.
  if (isUnbounded(end)) throw new InvalidArgumentError('`to` is one zero byte: leave it out to go to the end');
  return { key, end: concatBytes(prefix, end) };
}

/** A single key's bytes under a prefix. @throws InvalidArgumentError for a key that is empty or no key. */
export function toKeyBytes(key: Key, prefix: Uint8Array): Uint8Array {
  const whole = concatBytes(prefix, bytesOf(key, 'the key'));
  if (whole.length === 0) throw new InvalidArgumentError('the key is empty');
  return whole;
}

/** The bytes of text or bytes; `what` names them in errors. @throws InvalidArgumentError for anything else. */
export function bytesOf(data: Key, what: string): Uint8Array {
  if (data instanceof Uint8Array) return data;
  if (typeof data !== 'string') throw new InvalidArgumentError(`${what} is neither a string nor bytes`);
  // Half a surrogate pair would become U+FFFD: another text, and for a key another key.
  if (!(data as WellFormedCheck).isWellFormed()) {
    throw new InvalidArgumentError(`${what} is not well-formed text: it holds half a surrogate pair`);
  }
  return toBytes(data);
}

/** Of ES2024: every supported Node has it, TypeScript's library for ES2023 does not. */
type WellFormedCheck = string & { isWellFormed(): boolean };
