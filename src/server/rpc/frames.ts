/**
 * Messages of gRPC inside the data of an HTTP/2 stream: five bytes (compressed or not, and the length) before each.
 *
 * A message is refused as soon as its length is known, so nobody makes the server hold more than the limit for a call.
 * Decompressing stops at the limit too.
 *
 * Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; the texts are those of etcd 3.5.
 *
 * @module
 */
import { gunzipSync } from 'node:zlib';
import { GrpcCode } from '../../protocol/status.ts';
import { addPiece } from '../http2/pieces.ts';
import { refuse } from './failure.ts';

/** Length of what stands before a message. */
export const PREFIX_BYTES = 5;

/** Cuts the data of one stream into messages. */
export class FrameReader {
  readonly #limitBytes: number;
  readonly #gzip: boolean;
  #chunks: Buffer[] = [];
  /** How many chunks, at the end, were not joined yet: see {@link addPiece}. */
  #loose = 0;
  #bytes = 0;

  /** @param gzip whether the client said that it compresses with gzip. */
  constructor(limitBytes: number, gzip: boolean) {
    this.#limitBytes = limitBytes;
    this.#gzip = gzip;
  }

  /** Whether part of a message is there. */
  get partial(): boolean {
    return this.#bytes > 0;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#loose = addPiece(this.#chunks, chunk, this.#loose);
    this.#bytes += chunk.length;
  }

  /**
   * The next message, if all of it is there: a view into the data as it came.
   *
   * @throws RpcError when it is longer than the limit, or compressed in a way that was not announced.
   */
  next(): Buffer | undefined {
    if (this.#bytes < PREFIX_BYTES) return undefined;
    // Joined only when needed: a large message comes in hundreds of chunks.
    if ((this.#chunks[0] as Buffer).length < PREFIX_BYTES) this.#join();
    const head = this.#chunks[0] as Buffer;
    const flag = head[0] as number;
    const length = head.readUInt32BE(1);
    if (flag > 1) throw refuse(GrpcCode.INTERNAL, `grpc: received unexpected payload format ${flag}`);
    if (flag === 1 && !this.#gzip) {
      throw refuse(GrpcCode.INTERNAL, 'grpc: compressed flag set with identity or empty encoding');
    }
    if (length > this.#limitBytes) throw this.#tooLarge('grpc: received message larger than max', length);
    const end = PREFIX_BYTES + length;
    if (this.#bytes < end) return undefined;
    if (head.length < end) this.#join();
    const all = this.#chunks[0] as Buffer;
    const message = all.subarray(PREFIX_BYTES, end);
    this.#bytes -= end;
    if (all.length > end) this.#chunks[0] = all.subarray(end);
    else this.#chunks.shift();
    this.#loose = Math.min(this.#loose, this.#chunks.length);
    return flag === 1 ? this.#gunzip(message) : message;
  }

  #join(): void {
    this.#chunks = [Buffer.concat(this.#chunks)];
    this.#loose = 0;
  }

  #gunzip(message: Buffer): Buffer {
    try {
      return gunzipSync(message, { maxOutputLength: this.#limitBytes });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ERR_BUFFER_TOO_LARGE') {
        // gzip ends with the length that it had before (RFC 1952), or claims to.
        const length = message.readUInt32LE(message.length - 4);
        throw this.#tooLarge('grpc: received message after decompression larger than max', length);
      }
      const why = code === 'Z_BUF_ERROR' ? 'unexpected EOF' : 'gzip: invalid data';
      throw refuse(GrpcCode.INTERNAL, `grpc: failed to decompress the received message: ${why}`);
    }
  }

  #tooLarge(text: string, length: number): Error {
    return refuse(GrpcCode.RESOURCE_EXHAUSTED, `${text} (${length} vs. ${this.#limitBytes})`);
  }
}

/** Whether the data of a chunk is one whole message that is not compressed: nearly every request of a unary call. */
export function isWholeMessage(chunk: Buffer): boolean {
  return chunk.length >= PREFIX_BYTES && chunk[0] === 0 && chunk.readUInt32BE(1) === chunk.length - PREFIX_BYTES;
}

/** For {@link prefixOf}; nothing here waits. */
const prefix = Buffer.alloc(PREFIX_BYTES);

/** What stands before a message of so many bytes. Good until the next call. */
export function prefixOf(messageBytes: number): Buffer {
  prefix.writeUInt32BE(messageBytes, 1);
  return prefix;
}
