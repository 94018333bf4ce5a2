/**
 * Where the reader gets the bytes of a file: a file handle, or memory.
 *
 * @module
 */
import type { FileHandle } from 'node:fs/promises';
import { viewAsBuffer } from '../../../protocol/keys.ts';

/** Bytes that can be read anywhere. */
export interface BoltSource {
  readonly sizeBytes: number;
  /** Up to `size` bytes from `at`; fewer only at the end. What it has returned must not change later. */
  read(at: number, size: number): Promise<Buffer>;
}

/** A file that stays open while it is read; the caller closes it. Its size is that of now. */
export async function fileSource(file: FileHandle): Promise<BoltSource> {
  const { size: sizeBytes } = await file.stat();
  return {
    sizeBytes,
    async read(at, size) {
      const into = Buffer.allocUnsafeSlow(size);
      let filled = 0;
      while (filled < size) {
        const { bytesRead } = await file.read(into, filled, size - filled, at + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return into.subarray(0, filled);
    },
  };
}

/** A file that is in memory. */
export function memorySource(bytes: Uint8Array): BoltSource {
  const buffer = viewAsBuffer(bytes);
  return { sizeBytes: buffer.length, read: async (at, size) => buffer.subarray(at, at + size) };
}
