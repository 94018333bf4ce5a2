import { WireError } from './error.ts';
import { HIGH, halves, LOW, signed, unsigned } from './int64.ts';

/** Size of the memory that consecutive messages share. */
const CHUNK_BYTES = 64 * 1024;

/** A chunk larger than this serves one message only. */
const LARGEST_CHUNK_BYTES = 1024 * 1024;

/** Room for a tag (5 bytes) and a varint (10 bytes). */
const SCALAR_BYTES = 15;

/** Below this length a plain loop copies faster than a call of `set`. */
const SHORT_BYTES = 24;

/** Below this length a plain loop writes text faster than a call of `utf8Write`, if the text is ASCII. */
const SHORT_TEXT = 64;

/**
 * Writes protobuf from back to front.
 *
 * A nested message is preceded by its length. Written forwards, one has to measure it first or move it afterwards;
 * written backwards, its length is known by the time it is due, so one pass without copying does. Generated `write…`
 * functions therefore go through their fields, and through repeated values, in reverse.
 *
 * Finished messages are views into shared memory, each next to the one before; nothing is written there again.
 */
export class Writer {
  private chunk: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  /** Where the present message ends. */
  private limit = CHUNK_BYTES;
  /** Where the part written so far begins. */
  private pos = CHUNK_BYTES;

  /** Starts a message, forgetting one that was left unfinished by an error. */
  begin(): void {
    // A chunk that grew for one huge message would be kept alive by small ones after it.
    if (this.chunk.length > LARGEST_CHUNK_BYTES) {
      this.chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      this.limit = CHUNK_BYTES;
    }
    this.pos = this.limit;
  }

  /** Ends the message and returns it. */
  finish(): Buffer {
    const { pos, limit } = this;
    this.limit = pos;
    return this.chunk.subarray(pos, limit);
  }

  /** Number of bytes written: to be taken before a nested message and given to `close` after it. */
  size(): number {
    return this.limit - this.pos;
  }

  /** Puts length and tag before a nested message (or packed list) that began when `size` was `before`. */
  close(tag: number, before: number): void {
    const length = this.size() - before;
    this.reserve(SCALAR_BYTES);
    this.varint32(length);
    this.varint32(tag);
  }

  int64(tag: number, value: bigint): void {
    signed[0] = value;
    if (signed[0] !== value) throw outOfRange('int64', tag, value);
    this.reserve(SCALAR_BYTES);
    this.varint64();
    this.varint32(tag);
  }

  uint64(tag: number, value: bigint): void {
    unsigned[0] = value;
    if (unsigned[0] !== value) throw outOfRange('uint64', tag, value);
    this.reserve(SCALAR_BYTES);
    this.varint64();
    this.varint32(tag);
  }

  /** Also for enums. */
  int32(tag: number, value: number): void {
    if ((value | 0) !== value) throw outOfRange('int32', tag, value);
    this.reserve(SCALAR_BYTES);
    this.signed32(value);
    this.varint32(tag);
  }

  uint32(tag: number, value: number): void {
    if (value >>> 0 !== value) throw outOfRange('uint32', tag, value);
    this.reserve(SCALAR_BYTES);
    this.varint32(value);
    this.varint32(tag);
  }

  bool(tag: number, value: boolean): void {
    this.reserve(SCALAR_BYTES);
    this.chunk[--this.pos] = value ? 1 : 0;
    this.varint32(tag);
  }

  bytes(tag: number, value: Uint8Array): void {
    const length = value.length;
    this.reserve(length + SCALAR_BYTES);
    const chunk = this.chunk;
    const pos = this.pos - length;
    if (length < SHORT_BYTES) for (let i = 0; i < length; i++) chunk[pos + i] = value[i] as number;
    else chunk.set(value, pos);
    this.pos = pos;
    this.varint32(length);
    this.varint32(tag);
  }

  /** Lone surrogates become U+FFFD, as no UTF-8 can hold them. */
  string(tag: number, value: string): void {
    const length = this.ascii(value) ? value.length : this.utf8(value);
    this.varint32(length);
    this.varint32(tag);
  }

  /** Writes a short ASCII text; otherwise writes nothing and returns false. */
  private ascii(value: string): boolean {
    const length = value.length;
    if (length > SHORT_TEXT) return false;
    this.reserve(length + SCALAR_BYTES);
    const chunk = this.chunk;
    const pos = this.pos - length;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 127) return false;
      chunk[pos + i] = code;
    }
    this.pos = pos;
    return true;
  }

  private utf8(value: string): number {
    const length = Buffer.byteLength(value, 'utf8');
    this.reserve(length + SCALAR_BYTES);
    this.pos -= length;
    this.chunk.write(value, this.pos, length, 'utf8');
    return length;
  }

  /** Elements of packed lists, without a tag. */
  packedInt32(value: number): void {
    if ((value | 0) !== value) throw outOfRange('int32', 0, value);
    this.reserve(SCALAR_BYTES);
    this.signed32(value);
  }

  packedUint32(value: number): void {
    if (value >>> 0 !== value) throw outOfRange('uint32', 0, value);
    this.reserve(SCALAR_BYTES);
    this.varint32(value);
  }

  packedInt64(value: bigint): void {
    signed[0] = value;
    if (signed[0] !== value) throw outOfRange('int64', 0, value);
    this.reserve(SCALAR_BYTES);
    this.varint64();
  }

  packedUint64(value: bigint): void {
    unsigned[0] = value;
    if (unsigned[0] !== value) throw outOfRange('uint64', 0, value);
    this.reserve(SCALAR_BYTES);
    this.varint64();
  }

  packedBool(value: boolean): void {
    this.reserve(SCALAR_BYTES);
    this.chunk[--this.pos] = value ? 1 : 0;
  }

  private reserve(count: number): void {
    if (this.pos < count) this.grow(count);
  }

  /** Moves the message begun to the end of a larger chunk; what was finished stays where it is. */
  private grow(count: number): void {
    const size = this.size();
    const length = Math.max(CHUNK_BYTES, 3 * (size + count));
    const chunk = Buffer.allocUnsafeSlow(length);
    chunk.set(this.chunk.subarray(this.pos, this.limit), length - size);
    this.chunk = chunk;
    this.limit = length;
    this.pos = length - size;
  }

  private varint32(value: number): void {
    const chunk = this.chunk;
    if (value < 128) {
      chunk[--this.pos] = value;
      return;
    }
    let pos = this.pos - (value < 1 << 14 ? 2 : value < 1 << 21 ? 3 : value < 1 << 28 ? 4 : 5);
    this.pos = pos;
    let rest = value;
    while (rest > 127) {
      chunk[pos++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    chunk[pos] = rest;
  }

  /** A negative number is written as the int64 it equals, in ten bytes. */
  private signed32(value: number): void {
    if (value >= 0) {
      this.varint32(value);
      return;
    }
    halves[LOW] = value;
    halves[HIGH] = 0xffff_ffff;
    this.varint64();
  }

  /** Writes the number in the shared halves. */
  private varint64(): void {
    let low = halves[LOW] as number;
    let high = halves[HIGH] as number;
    if (high === 0) {
      this.varint32(low);
      return;
    }
    const chunk = this.chunk;
    let pos = this.pos - Math.ceil((64 - Math.clz32(high)) / 7);
    this.pos = pos;
    while (high !== 0) {
      chunk[pos++] = (low & 127) | 128;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    while (low > 127) {
      chunk[pos++] = (low & 127) | 128;
      low >>>= 7;
    }
    chunk[pos] = low;
  }
}

function outOfRange(type: string, tag: number, value: unknown): WireError {
  return new WireError(`${String(value)} is no ${type}${tag === 0 ? '' : ` (field ${tag >>> 3})`}`);
}
