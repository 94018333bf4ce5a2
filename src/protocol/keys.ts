/**
 * Key and range arithmetic on bytes.
 *
 * etcd orders keys bytewise and knows four shapes of range: one key, `[key, end)`,
 * everything from a key (`end` is one zero byte), and everything (`key` and `end`
 * are one zero byte each).
 *
 * @module
 */

/** A key as the caller has it: text is taken as UTF-8. */
export type Key = string | Uint8Array;

/** A range of keys on the wire: `key` inclusive, `end` exclusive; an empty `end` means the one key. */
export interface ByteRange {
  readonly key: Uint8Array;
  readonly end: Uint8Array;
}

/** No bytes at all; as an end of a range: just the one key. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** One zero byte; as an end of a range: no upper bound. As a key: the lowest key there is. */
export const ZERO_BYTE: Uint8Array = Uint8Array.of(0);

/** The bytes of a key or value: text as UTF-8, bytes as they are. */
export function toBytes(data: Key): Uint8Array {
  return typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
}

/** The same memory as a `Buffer`, which knows text encodings. */
export function viewAsBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes as text, one character for each: keeps their order, loses nothing, and is quick as a key of a `Map`. */
export function toLatin1(bytes: Uint8Array): string {
  return viewAsBuffer(bytes).toString('latin1');
}

/** The bytes of such text. */
export function fromLatin1(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

/**
 * The end of the range that holds all keys with this prefix: the prefix with its last
 * byte below 0xff raised by one and what follows it cut off. A prefix of nothing but
 * 0xff (or of nothing) has no upper bound.
 */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const byte = prefix[i] as number;
    if (byte === 0xff) continue;
    const end = new Uint8Array(prefix.subarray(0, i + 1)); // a copy: `slice` of a Buffer would be a view
    end[i] = byte + 1;
    return end;
  }
  return ZERO_BYTE;
}

/** The range of all keys that start with `prefix`; of all keys when it is empty. */
export function prefixRange(prefix: Uint8Array): ByteRange {
  return prefix.length === 0 ? { key: ZERO_BYTE, end: ZERO_BYTE } : { key: prefix, end: prefixEnd(prefix) };
}

/** The lowest key above `key`: the same with a zero byte behind it. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** Whether an end means "no upper bound". */
export function isUnbounded(end: Uint8Array): boolean {
  return end.length === 1 && end[0] === 0;
}

/** Whether two byte strings are the same. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** `prefix` followed by `key`. */
export function concatBytes(prefix: Uint8Array, key: Uint8Array): Uint8Array {
  if (prefix.length === 0) return key;
  const whole = new Uint8Array(prefix.length + key.length);
  whole.set(prefix);
  whole.set(key, prefix.length);
  return whole;
}

/** Whether a key lies in a range. */
export function inRange(range: ByteRange, key: Uint8Array): boolean {
  if (range.end.length === 0) return bytesEqual(range.key, key);
  return Buffer.compare(key, range.key) >= 0 && (isUnbounded(range.end) || Buffer.compare(key, range.end) < 0);
}
