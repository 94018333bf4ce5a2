/**
 * Frames on their way out, put together in slabs of bytes so that all of a turn leave in one write.
 *
 * Everything is copied: what is given may be used again. Slabs are shared by the connections of a server, and one that
 * has nothing to send holds none.
 *
 * @module
 */
import { FRAME_HEAD_BYTES, FrameType } from './protocol.ts';

const SLAB_BYTES = 64 * 1024;

/** Slabs that are kept for later. */
const MAX_SPARE = 16;

/** Slabs that nobody uses. */
export class Slabs {
  readonly #spare: Buffer[] = [];

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  give(slab: Buffer): void {
    if (this.#spare.length < MAX_SPARE) this.#spare.push(slab);
  }
}

const EMPTY = Buffer.alloc(0);

/** See the head of this file. No frame is longer than {@link DEFAULT_FRAME_BYTES}. */
export class Output {
  readonly #slabs: Slabs;
  #full: Buffer[] = [];
  #slab: Buffer = EMPTY;
  #at = 0;

  constructor(slabs: Slabs) {
    this.#slabs = slabs;
  }

  /** What waits to be taken, in bytes. */
  get bytes(): number {
    return this.#full.length * SLAB_BYTES + this.#at;
  }

  /** A frame. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    this.#head(type, flags, streamId, payload.length);
    this.#copy(payload, 0, payload.length);
  }

  /** A frame whose payload is a part of something. */
  part(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    this.#head(type, flags, streamId, end - start);
    this.#copy(bytes, start, end);
  }

  /** A DATA frame of two parts. */
  data(streamId: number, lead: Uint8Array, body: Uint8Array): void {
    this.#head(FrameType.DATA, 0, streamId, lead.length + body.length);
    this.#copy(lead, 0, lead.length);
    this.#copy(body, 0, body.length);
  }

  /** A frame of one or two 32-bit numbers. */
  numbers(type: number, streamId: number, first: number, second?: number): void {
    this.#head(type, 0, streamId, second === undefined ? 4 : 8);
    this.#at = this.#slab.writeUInt32BE(first, this.#at);
    if (second !== undefined) this.#at = this.#slab.writeUInt32BE(second, this.#at);
  }

  /** All that waits, which is the caller's then. */
  take(): Buffer[] {
    const parts = this.#full;
    if (this.#at > 0) {
      // A copy of the right length: most of a slab would be held for a few bytes.
      parts.push(Buffer.from(this.#slab.subarray(0, this.#at)));
      this.#slabs.give(this.#slab);
    }
    this.#full = [];
    this.#slab = EMPTY;
    this.#at = 0;
    return parts;
  }

  #head(type: number, flags: number, streamId: number, length: number): void {
    if (this.#slab.length - this.#at < FRAME_HEAD_BYTES + length) this.#next();
    const slab = this.#slab;
    const at = this.#at;
    slab[at] = length >> 16;
    slab[at + 1] = length >> 8;
    slab[at + 2] = length;
    slab[at + 3] = type;
    slab[at + 4] = flags;
    slab[at + 5] = streamId >> 24;
    slab[at + 6] = streamId >> 16;
    slab[at + 7] = streamId >> 8;
    slab[at + 8] = streamId;
    this.#at = at + FRAME_HEAD_BYTES;
  }

  #next(): void {
    if (this.#at > 0) this.#full.push(this.#slab.subarray(0, this.#at));
    this.#slab = this.#slabs.take();
    this.#at = 0;
  }

  #copy(bytes: Uint8Array, start: number, end: number): void {
    this.#slab.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), this.#at);
    this.#at += end - start;
  }
}
