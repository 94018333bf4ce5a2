/** HTTP/2 by hand: frames to send, also wrong ones, and frames that came. */
import { CODE_LENGTHS, codes } from '../../../src/server/http2/hpack/huffman.ts';
import { Flag, FrameType, PREFACE } from '../../../src/server/http2/protocol.ts';

export const { END_STREAM, END_HEADERS, ACK } = Flag;

/** A frame, whatever is in it. */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** A number of 32 bits. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function windowUpdate(streamId: number, bytes: number): Buffer {
  return frame(FrameType.WINDOW_UPDATE, 0, streamId, uint32(bytes));
}

export function reset(streamId: number, code = 8): Buffer {
  return frame(FrameType.RST_STREAM, 0, streamId, uint32(code));
}

export function settings(...pairs: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.concat(pairs.map(([name, value]) => Buffer.concat([Buffer.of(0, name), uint32(value)])));
  return frame(FrameType.SETTINGS, 0, 0, payload);
}

/** What a client begins with. */
export const GREETING = Buffer.concat([PREFACE, settings()]);

type Pair = readonly [name: string, value: string];

/** A text in Huffman's code. */
export function huffman(text: string): Buffer {
  const table = codes();
  let bits = '';
  for (const byte of Buffer.from(text, 'latin1')) {
    bits += (table[byte] as number).toString(2).padStart(CODE_LENGTHS[byte] as number, '0');
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1');
  return Buffer.from(
    Array.from({ length: bits.length / 8 }, (_, at) => Number.parseInt(bits.slice(8 * at, 8 * at + 8), 2)),
  );
}

/** A number of HPACK in the low bits of a byte. */
export function integer(first: number, bits: number, value: number): Buffer {
  const all = 2 ** bits - 1;
  if (value < all) return Buffer.of(first | value);
  const bytes = [first | all];
  let rest = value - all;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

function text(value: string, coded: boolean): Buffer {
  const bytes = coded ? huffman(value) : Buffer.from(value, 'latin1');
  return Buffer.concat([integer(coded ? 128 : 0, 7, bytes.length), bytes]);
}

/** A literal field: `first` is 0x40 to have it remembered, 0 or 0x10 not to. */
export function literal([name, value]: Pair, first = 0, coded = false): Buffer {
  return Buffer.concat([Buffer.of(first), text(name, coded), text(value, coded)]);
}

/** A block of literal fields. */
export function block(fields: readonly Pair[]): Buffer {
  return Buffer.concat(fields.map((field) => literal(field)));
}

/** The head of a call, as gRPC has it. */
export const CALL: readonly Pair[] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/a.B/C'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
];

/** HEADERS that begin a call. */
export function open(streamId: number, fields: readonly Pair[] = CALL, flags: number = END_HEADERS): Buffer {
  return frame(FrameType.HEADERS, flags, streamId, block(fields));
}

export function data(streamId: number, payload: Uint8Array | string, flags = 0): Buffer {
  return frame(FrameType.DATA, flags, streamId, Buffer.from(payload as string));
}

/** A frame that came. */
export interface Came {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** Cuts bytes into frames; the last may be missing its end, and is left out then. */
export function framesOf(bytes: Buffer): Came[] {
  const found: Came[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const [type = 0, flags = 0] = bytes.subarray(at + 3, at + 5);
    found.push({ type, flags, streamId: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, end) });
    at = end;
  }
  return found;
}
