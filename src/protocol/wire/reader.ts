import { type FieldNames, WireError } from './error.ts';
import { HIGH, halves, LOW, signed, unsigned } from './int64.ts';

/** How deep groups and self-containing messages may nest; protobuf's usual limit. */
export const MAX_DEPTH = 100;

/** Stands for every absent `bytes` field. */
export const EMPTY: Uint8Array = new Uint8Array(0);

/** `bigint`s of one-byte varints, ready made: versions, counts and flags are mostly small. */
const SMALL: readonly bigint[] = Array.from({ length: 128 }, (_, value) => BigInt(value));

/**
 * Reads protobuf from one buffer, front to back.
 *
 * Generated `read…` functions drive it: while `pos` is before the end of their message they take a tag and then the
 * value. Reads are checked against the end of the whole buffer only; a nested message whose fields run past its own
 * end is caught by `finish`.
 */
export class Reader {
  /** Index of the next byte. */
  pos = 0;

  /** Length of the input. */
  readonly end: number;

  private readonly input: Buffer;
  private readonly memory: ArrayBuffer;
  private readonly start: number;
  private depth = 0;

  constructor(bytes: Uint8Array) {
    this.memory = bytes.buffer as ArrayBuffer;
    this.start = bytes.byteOffset;
    this.input = Buffer.isBuffer(bytes) ? bytes : Buffer.from(this.memory, this.start, bytes.length);
    this.end = bytes.length;
  }

  /** Field number and wire type. The caller has checked that there is a byte left. */
  tag(): number {
    const byte = this.input[this.pos] as number;
    if (byte < 128) {
      this.pos++;
      return byte;
    }
    this.varint();
    if (halves[HIGH] !== 0) throw this.error('field number too large');
    return halves[LOW] as number;
  }

  int64(): bigint {
    const byte = this.peek();
    if (byte < 128) {
      this.pos++;
      return SMALL[byte] as bigint;
    }
    this.varint();
    return signed[0] as bigint;
  }

  uint64(): bigint {
    const byte = this.peek();
    if (byte < 128) {
      this.pos++;
      return SMALL[byte] as bigint;
    }
    this.varint();
    return unsigned[0] as bigint;
  }

  /** Also for enums. Bits above the 32nd are dropped, as protobuf wants. */
  int32(): number {
    const byte = this.peek();
    if (byte < 128) {
      this.pos++;
      return byte;
    }
    this.varint();
    return (halves[LOW] as number) | 0;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  bool(): boolean {
    const byte = this.peek();
    if (byte < 128) {
      this.pos++;
      return byte !== 0;
    }
    this.varint();
    return halves[LOW] !== 0 || halves[HIGH] !== 0;
  }

  /** Bytes that are no UTF-8 come out as U+FFFD. */
  string(): string {
    const stop = this.stop();
    const start = this.pos;
    this.pos = stop;
    return start === stop ? '' : this.input.toString('utf8', start, stop);
  }

  /**
   * A view, not a copy: it keeps the whole input alive and changes with it. A plain `Uint8Array`, because a `Buffer`
   * costs twice the time to make.
   */
  bytes(): Uint8Array {
    const stop = this.stop();
    const start = this.pos;
    this.pos = stop;
    return start === stop ? EMPTY : new Uint8Array(this.memory, this.start + start, stop - start);
  }

  /** Takes the length of a length-delimited value; returns the index where that value ends. */
  stop(): number {
    let length = this.peek();
    if (length < 128) {
      this.pos++;
    } else {
      this.varint();
      length = halves[HIGH] === 0 ? (halves[LOW] as number) : Number.POSITIVE_INFINITY;
    }
    if (length > this.end - this.pos) throw this.error('truncated');
    return this.pos + length;
  }

  /** To be called by a `read…` function after its last field. */
  finish(end: number): void {
    if (this.pos !== end) throw this.error('a field runs past the end of its message');
  }

  /** Enters a message that can contain itself. */
  enter(): void {
    if (++this.depth > MAX_DEPTH) throw this.error('nested too deeply');
  }

  /** Leaves a message that can contain itself. */
  leave(): void {
    this.depth--;
  }

  /** Passes over a field this version does not know. `names` tells which numbers it does know. */
  unknown(tag: number, names: FieldNames): void {
    if (names[tag >>> 3] !== undefined) throw this.error(`wire type ${tag & 7} is wrong here`);
    this.skip(tag, 0);
  }

  private skip(tag: number, depth: number): void {
    if (tag >>> 3 === 0) throw this.error('field number 0');
    switch (tag & 7) {
      case 0:
        this.peek();
        this.varint();
        break;
      case 1:
        this.forward(8);
        break;
      case 2:
        this.pos = this.stop();
        break;
      case 3:
        this.group(tag, depth + 1);
        break;
      case 5:
        this.forward(4);
        break;
      case 4:
        throw this.error('end of a group that was never begun');
      default:
        throw this.error(`no such wire type: ${tag & 7}`);
    }
  }

  private group(tag: number, depth: number): void {
    if (depth > MAX_DEPTH) throw this.error('nested too deeply');
    for (;;) {
      this.peek();
      const inner = this.tag();
      // The end tag of a group is its start tag with wire type 4 instead of 3.
      if (inner === tag + 1) return;
      this.skip(inner, depth);
    }
  }

  private forward(count: number): void {
    if (count > this.end - this.pos) throw this.error('truncated');
    this.pos += count;
  }

  private peek(): number {
    if (this.pos >= this.end) throw this.error('truncated');
    return this.input[this.pos] as number;
  }

  /** Reads a varint of up to ten bytes into the shared halves. */
  private varint(): void {
    if (this.end - this.pos < 10) {
      this.varintNearEnd();
      return;
    }
    const input = this.input;
    let pos = this.pos;
    let byte = input[pos++] as number;
    let low = byte & 127;
    let high = 0;
    done: {
      if (byte < 128) break done;
      low |= ((byte = input[pos++] as number) & 127) << 7;
      if (byte < 128) break done;
      low |= ((byte = input[pos++] as number) & 127) << 14;
      if (byte < 128) break done;
      low |= ((byte = input[pos++] as number) & 127) << 21;
      if (byte < 128) break done;
      low |= ((byte = input[pos++] as number) & 127) << 28;
      high = (byte & 127) >>> 4;
      if (byte < 128) break done;
      high |= ((byte = input[pos++] as number) & 127) << 3;
      if (byte < 128) break done;
      high |= ((byte = input[pos++] as number) & 127) << 10;
      if (byte < 128) break done;
      high |= ((byte = input[pos++] as number) & 127) << 17;
      if (byte < 128) break done;
      high |= ((byte = input[pos++] as number) & 127) << 24;
      if (byte < 128) break done;
      high |= ((byte = input[pos++] as number) & 127) << 31;
      if (byte < 128) break done;
      throw this.error('varint longer than 10 bytes');
    }
    this.pos = pos;
    halves[LOW] = low;
    halves[HIGH] = high;
  }

  /** The same, watching for the end of the input. */
  private varintNearEnd(): void {
    const { input, end } = this;
    let pos = this.pos;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (pos >= end) throw this.error('truncated');
      const byte = input[pos++] as number;
      if (shift < 32) low |= (byte & 127) << shift;
      if (shift === 28) high = (byte & 127) >>> 4;
      if (shift > 28) high |= (byte & 127) << (shift - 32);
      if (byte < 128) {
        this.pos = pos;
        halves[LOW] = low;
        halves[HIGH] = high;
        return;
      }
    }
    throw this.error('varint longer than 10 bytes');
  }

  private error(reason: string): WireError {
    return new WireError(reason, { offset: this.pos });
  }
}
