/**
 * Cuts a byte stream into the pieces that a parser asks for.
 *
 * A parser is a generator: it yields how many bytes it wants next, gets exactly those, and hands on what it makes of
 * them itself. So a codec reads like its format, and where the network cuts the stream makes no difference to it.
 *
 * No more is kept than the piece that is asked for and the chunk in which it ends. The parser bounds the pieces: a length
 * that was read has to go through {@link readLength}.
 *
 * @module
 */

/** Asks for pieces by their length. What it throws ends the stream. */
export type Parser = Generator<number, never, Buffer>;

/** The other side sent what is no message. Says what kind of thing was wrong, and nothing of what was sent. */
export class FrameError extends Error {
  override name = 'FrameError';
}

/** Reads a length or a count: 64 bits, most significant first. @throws FrameError it is more than `max`. */
export function readLength(bytes: Buffer, max: number): number {
  const length = bytes.readUInt32BE(0) * 2 ** 32 + bytes.readUInt32BE(4);
  if (length > max) throw new FrameError(`a length is above ${max}`);
  return length;
}

/** A length or a count as {@link readLength} takes it. */
export function writeLength(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32BE(Math.floor(length / 2 ** 32), 0);
  bytes.writeUInt32BE(length >>> 0, 4);
  return bytes;
}

/** Below this, one piece of memory is cheaper to send than several. */
const JOIN_BYTES = 64 * 1024;

/** Puts what belongs together into one piece, unless that is too much to copy. */
export function join(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  let total = 0;
  for (const part of parts) total += part.length;
  return total <= JOIN_BYTES ? [Buffer.concat(parts, total)] : parts;
}

const EMPTY = Buffer.alloc(0);

/** See the head of this file. */
export class FrameReader {
  readonly #parser: Parser;
  #wanted: number;
  #chunks: Buffer[] = [];
  #held = 0;

  constructor(parser: Parser) {
    this.#parser = parser;
    this.#wanted = parser.next(EMPTY).value;
  }

  /** Takes the next bytes. @throws whatever the parser throws; there is no going on after that. */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    while (this.#held >= this.#wanted) this.#wanted = this.#parser.next(this.#take(this.#wanted)).value;
  }

  #take(length: number): Buffer {
    this.#held -= length;
    // More than one chunk means that the first alone was too short, for all of them were waiting for this piece.
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    const first = this.#chunks[0] ?? EMPTY;
    if (first.length === length) this.#chunks = [];
    else this.#chunks[0] = first.subarray(length);
    return first.subarray(0, length);
  }
}
