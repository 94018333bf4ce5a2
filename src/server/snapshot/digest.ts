/**
 * The SHA-256 that follows a snapshot: the Snapshot call sends the image and then 32 bytes more, `etcdctl snapshot
 * save` writes both into its file, and `etcdutl snapshot restore` refuses a file whose digest does not fit.
 *
 * An image is whole pages, so the length of a file tells whether a digest follows. A copy of a member's own `db` file
 * has none.
 *
 * @module
 */
import { createHash } from 'node:crypto';
import type { BoltSource } from './bolt/source.ts';

/** Bytes of the digest. */
export const DIGEST_BYTES = 32;
/** All page sizes are multiples of this. */
const PAGE_UNIT_BYTES = 512;
const READ_BYTES = 1024 * 1024;

/** Passes an image on, and its digest behind it as one chunk of its own. */
export async function* withDigest(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
  yield hash.digest();
}

/** Whether a snapshot file is what was sent; `absent` if it ends without a digest. It is read from end to end. */
export async function checkDigest(source: BoltSource): Promise<'good' | 'bad' | 'absent'> {
  if (source.sizeBytes % PAGE_UNIT_BYTES !== DIGEST_BYTES) return 'absent';
  const end = source.sizeBytes - DIGEST_BYTES;
  const hash = createHash('sha256');
  for (let at = 0; at < end; at += READ_BYTES) hash.update(await source.read(at, Math.min(READ_BYTES, end - at)));
  return hash.digest().equals(await source.read(end, DIGEST_BYTES)) ? 'good' : 'bad';
}
