/**
 * A bbolt file that is in memory, in the pieces in which it came: they are never all in one.
 *
 * @module
 */
import { viewAsBuffer } from '../../../protocol/keys.ts';
import type { BoltSource } from './source.ts';

/** How much is read from memory before others get their turn: some milliseconds of loading. */
const PAUSE_BYTES = 256 * 1024;

/** See the head of this file. */
export class ChunkedSource implements BoltSource {
  readonly #chunks: Uint8Array[] = [];
  /** Where each of them begins. */
  readonly #starts: number[] = [];
  readonly #pause: () => Promise<void>;
  sizeBytes = 0;
  /** Read since the last pause. */
  #readBytes = 0;

  /** @param pause Is awaited from time to time while it is read: the event loop's chance. */
  constructor(pause: () => Promise<void>) {
    this.#pause = pause;
  }

  /** Adds bytes at the end, which nobody may change later. */
  add(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#starts.push(this.sizeBytes);
    this.#chunks.push(chunk);
    this.sizeBytes += chunk.length;
  }

  async read(at: number, size: number): Promise<Buffer> {
    this.#readBytes += size;
    if (this.#readBytes > PAUSE_BYTES) {
      this.#readBytes = 0;
      // A disk would let others have their turn.
      await this.#pause();
    }
    const parts: Uint8Array[] = [];
    const end = Math.min(at + size, this.sizeBytes);
    for (let from = at, i = this.#chunkAt(at); from < end; i += 1) {
      const start = this.#starts[i] as number;
      const part = (this.#chunks[i] as Uint8Array).subarray(from - start, end - start);
      parts.push(part);
      from += part.length;
    }
    const [only] = parts;
    return only && parts.length === 1 ? viewAsBuffer(only) : Buffer.concat(parts);
  }

  /** The last chunk that begins at a place or before it. */
  #chunkAt(at: number): number {
    let low = 0;
    for (let high = this.#starts.length; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] as number) <= at) low = middle;
      else high = middle;
    }
    return low;
  }
}
