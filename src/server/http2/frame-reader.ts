/**
 * Bytes of a connection, cut into frames, whatever the pieces are that they come in.
 *
 * A frame is given away once all of it is there; until then its pieces wait, and are joined once. What it may take is
 * bounded by the length of a frame, which is refused as soon as it is known to be too long.
 *
 * Source: RFC 9113, sections 3.4 and 4.
 *
 * @module
 */
import { ConnectionError, DEFAULT_FRAME_BYTES, ErrorCode, FRAME_HEAD_BYTES, PREFACE } from './protocol.ts';

/** Takes frames. The payload is `bytes` from `start` to `end`, and stays as it is. */
export interface FrameSink {
  frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void;
}

/** See the head of this file. */
export class FrameReader {
  readonly #sink: FrameSink;
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** How many bytes there must be before there is anything to do. */
  #wanted = PREFACE.length;
  #begun = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** @throws ConnectionError when this is no HTTP/2, and what the sink throws. It must not be called again then. */
  push(piece: Buffer): void {
    if (this.#bytes > 0) {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
      if (this.#bytes < this.#wanted) return;
      piece = Buffer.concat(this.#pieces);
      this.#pieces = [];
      this.#bytes = 0;
    }
    const at = this.#begun ? 0 : this.#preface(piece);
    const rest = at < 0 ? 0 : this.#frames(piece, at);
    if (rest === piece.length) return;
    this.#pieces.push(rest === 0 ? piece : piece.subarray(rest));
    this.#bytes = piece.length - rest;
  }

  /** @returns Where the frames begin; negative if the preface is not all there. */
  #preface(bytes: Buffer): number {
    const length = Math.min(bytes.length, PREFACE.length);
    if (!bytes.subarray(0, length).equals(PREFACE.subarray(0, length))) {
      throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'no preface');
    }
    this.#begun = length === PREFACE.length;
    return this.#begun ? length : -1;
  }

  /** @returns Where the frame begins that is not all there. */
  #frames(bytes: Buffer, from: number): number {
    let at = from;
    while (bytes.length - at >= FRAME_HEAD_BYTES) {
      const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
      if (length > DEFAULT_FRAME_BYTES) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'a frame is too long');
      const start = at + FRAME_HEAD_BYTES;
      const end = start + length;
      if (end > bytes.length) {
        this.#wanted = end - at;
        return at;
      }
      const streamId = bytes.readUInt32BE(at + 5) & 0x7fffffff;
      this.#sink.frame(bytes[at + 3] as number, bytes[at + 4] as number, streamId, bytes, start, end);
      at = end;
    }
    this.#wanted = FRAME_HEAD_BYTES;
    return at;
  }
}
