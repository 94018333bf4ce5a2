/**
 * How records lie in a file: each in a frame, one behind the other, behind the last one zeros.
 *
 * A frame is a length of 8 bytes, little-endian, then the record, then zeros up to a multiple of 8. The low 56 bits of
 * the length count the record's bytes; if there are zeros behind it, the top byte is 0x80 plus their number. So a
 * length never straddles two sectors: it is there or it is 0.
 *
 * A record is a `walpb.Record`: type, checksum, data. The checksum is that of the data of all records of the log up to
 * this one, not of this record alone: so records can't be lost, repeated or exchanged unseen. It does not cover the
 * type; that the data is what the type says is checked where it is decoded.
 *
 * Source: files of etcd 3.4 and 3.5; Castagnoli CRC of RFC 3720.
 *
 * @module
 */
import { crc32c } from '@node-rs/crc32';

/** What the data of a record is. */
export const RecordType = { metadata: 1, entry: 2, state: 3, crc: 4, snapshot: 5 } as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

/** Bytes of the length before each record. */
export const LENGTH_BYTES = 8;

/** Enough for all of a record but its data: two bytes of type, six of checksum, and tag and length of the data. */
export const HEAD_BYTES = 2 + 6 + 1 + 8;

const TYPE_TAG = 0x08;
const CRC_TAG = 0x10;
const DATA_TAG = 0x1a;
const PADDED = 0x80;
const TWO_32 = 2 ** 32;

/** How many zeros follow a record. */
export function paddingOf(recordBytes: number): number {
  return -recordBytes & 7;
}

/** Writes the length before a record. */
export function writeLength(into: Buffer, at: number, recordBytes: number): void {
  const padding = paddingOf(recordBytes);
  into.writeUInt32LE(recordBytes, at);
  into.writeUInt32LE(padding === 0 ? 0 : ((PADDED | padding) << 24) >>> 0, at + 4);
}

/** The number of bytes that a length stands for; undefined if no writer makes such a length. */
export function readLength(from: Buffer, at: number): number | undefined {
  const high = from.readUInt32LE(at + 4);
  const bytes = from.readUInt32LE(at) + (high & 0xff_ffff) * TWO_32;
  const padding = paddingOf(bytes);
  return high >>> 24 === (padding === 0 ? 0 : PADDED | padding) ? bytes : undefined;
}

/** What a record says of itself. */
export interface RecordHead {
  readonly type: number;
  readonly crc: number;
  /** Where its data begins, from the start of the record. */
  readonly dataAt: number;
  /** Length of the whole record. */
  readonly bytes: number;
}

/**
 * Reads the head of a record, of which `bytes` are as many as there are.
 *
 * @returns `short` if the bytes end before the head does, `malformed` if this is no record.
 */
export function readHead(bytes: Buffer): RecordHead | 'short' | 'malformed' {
  if (bytes.length < 3) return 'short';
  const type = bytes[1] as number;
  if (bytes[0] !== TYPE_TAG || type > 0x7f || bytes[2] !== CRC_TAG) return 'malformed';
  const crc = readVarint(bytes, 3);
  if (typeof crc === 'string') return crc;
  if (crc.value >= TWO_32) return 'malformed';
  const head = { type, crc: crc.value };
  // Behind a checksum there are zeros or the next frame, whose length may look like the tag of data.
  if (type === RecordType.crc) return { ...head, dataAt: crc.end, bytes: crc.end };
  if (bytes.length === crc.end) return 'short';
  if (bytes[crc.end] !== DATA_TAG) return 'malformed';
  const length = readVarint(bytes, crc.end + 1);
  if (typeof length === 'string') return length;
  return { ...head, dataAt: length.end, bytes: length.end + length.value };
}

function readVarint(bytes: Buffer, at: number): { value: number; end: number } | 'short' | 'malformed' {
  let value = 0;
  let scale = 1;
  for (let i = at; i < at + 5; i++) {
    const byte = bytes[i];
    if (byte === undefined) return 'short';
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return { value, end: i + 1 };
  }
  return 'malformed';
}

/** Makes frames, one behind the other, and keeps the checksum that runs through them. */
export class FrameEncoder {
  /** Checksum of all data so far. */
  crc: number;
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;

  constructor(crc: number) {
    this.crc = crc;
  }

  /** Bytes of the frames that were not taken yet. */
  get length(): number {
    return this.#length;
  }

  /** Adds a record. */
  add(type: RecordType, data: Uint8Array): void {
    const start = this.#length;
    this.#reserve(LENGTH_BYTES + HEAD_BYTES + data.length + 8);
    const bytes = this.#bytes;
    if (data.length > 0) this.crc = crc32c(data, this.crc);
    let at = start + LENGTH_BYTES;
    bytes[at++] = TYPE_TAG;
    bytes[at++] = type;
    bytes[at++] = CRC_TAG;
    at = writeVarint(bytes, at, this.crc);
    if (type !== RecordType.crc) {
      bytes[at++] = DATA_TAG;
      at = writeVarint(bytes, at, data.length);
      bytes.set(data, at);
      at += data.length;
    }
    const recordBytes = at - start - LENGTH_BYTES;
    writeLength(bytes, start, recordBytes);
    const end = at + paddingOf(recordBytes);
    bytes.fill(0, at, end);
    this.#length = end;
  }

  /** Hands the frames over; their memory is the caller's from then on. */
  take(): Buffer {
    const frames = this.#bytes.subarray(0, this.#length);
    this.#bytes = Buffer.alloc(0);
    this.#length = 0;
    return frames;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length, 4096));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

function writeVarint(into: Buffer, at: number, value: number): number {
  let rest = value;
  while (rest >= 0x80) {
    into[at++] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 128);
  }
  into[at++] = rest;
  return at;
}
