import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { memorySource } from '../../../src/server/snapshot/bolt/source.ts';
import { checkDigest, withDigest } from '../../../src/server/snapshot/digest.ts';
import { boltBytes, bucket, collect, contents } from './support.ts';

async function* parts(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 5000) yield bytes.subarray(at, at + 5000);
}

describe('the digest of a snapshot', () => {
  it('follows the image as a chunk of its own, and the image still reads', async () => {
    const image = await boltBytes([bucket('b', [['k', 'v'.repeat(10_000)]])]);
    const sent: Uint8Array[] = [];
    for await (const chunk of withDigest(parts(image))) sent.push(chunk);
    expect(Buffer.concat(sent.slice(0, -1)).equals(image)).toBe(true);
    expect(sent.at(-1)).toEqual(createHash('sha256').update(image).digest());
    expect(await contents(Buffer.concat(sent))).toEqual([['b', [['k', 'v'.repeat(10_000)]]]]);
  });

  it('is good, bad or absent', async () => {
    // More than is read at once.
    const image = await boltBytes([bucket('b', [['k', 'v'.repeat(3_000_000)]])]);
    const file = await collect(withDigest(parts(image)));
    expect(await checkDigest(memorySource(file))).toBe('good');
    expect(await checkDigest(memorySource(image))).toBe('absent');
    for (const at of [0, 2_500_000, file.length - 1]) {
      const broken = Buffer.from(file);
      broken[at] = (broken[at] as number) ^ 1;
      expect(await checkDigest(memorySource(broken))).toBe('bad');
    }
  });
});
