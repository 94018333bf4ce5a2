/** Small helpers around images: written to memory, read back whole. */
import { BoltFile } from '../../../src/server/snapshot/bolt/reader.ts';
import { memorySource } from '../../../src/server/snapshot/bolt/source.ts';
import { type BoltBucket, type BoltImage, writeBolt } from '../../../src/server/snapshot/bolt/writer.ts';

export const noPause = async (): Promise<void> => {};

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

export async function imageBytes(image: BoltImage): Promise<Buffer> {
  return collect(image.chunks);
}

export async function boltBytes(buckets: readonly BoltBucket[], chunkBytes?: number): Promise<Buffer> {
  return imageBytes(await writeBolt(buckets, { pause: noPause, chunkBytes }));
}

export function open(bytes: Uint8Array): Promise<BoltFile> {
  return BoltFile.open(memorySource(bytes));
}

/** A bucket's entries as text, one character for each byte. */
export async function entriesOf(file: BoltFile, bucket: string): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const entries of file.entries(bucket)) {
    for (const [key, value] of entries) {
      found.push([Buffer.from(key).toString('latin1'), Buffer.from(value).toString('latin1')]);
    }
  }
  return found;
}

/** All that a file holds. */
export async function contents(bytes: Uint8Array): Promise<[string, [string, string][]][]> {
  const file = await open(bytes);
  const found: [string, [string, string][]][] = [];
  for (const name of await file.bucketNames()) found.push([name, await entriesOf(file, name)]);
  return found;
}

/** A bucket from text, in the order of its keys. */
export function bucket(name: string, entries: Iterable<readonly [string, string]>): BoltBucket {
  const bytes = Array.from(
    entries,
    ([key, value]) => [Buffer.from(key, 'latin1'), Buffer.from(value, 'latin1')] as const,
  );
  return { name, entries: bytes.sort(([a], [b]) => Buffer.compare(a, b)) };
}
