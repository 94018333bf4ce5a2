import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PAGE_BYTES } from '../../../../src/server/snapshot/bolt/format.ts';
import { type BoltEntry, writeBolt } from '../../../../src/server/snapshot/bolt/writer.ts';
import { boltBytes, bucket, collect, contents, entriesOf, noPause, open } from '../support.ts';
import { reachedPages } from './pages.ts';

/** Lengths around those at which a page, or the room in it, ends. */
const aroundPages = [0, 1, 2].flatMap((pages) =>
  [-49, -33, -32, -17, -16, -1, 0, 1].map((rest) => pages * PAGE_BYTES + rest),
);
const length = (min: number, max: number): fc.Arbitrary<number> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min, max: 40 }) },
    { weight: 1, arbitrary: fc.constantFrom(...aroundPages.filter((size) => size >= min && size <= max)) },
    { weight: 1, arbitrary: fc.integer({ min, max }) },
  );
const entry = fc
  .tuple(fc.integer({ min: 0, max: 0xff }), length(0, 9000), length(0, 20_000), fc.nat())
  .map(([head, keyLength, valueLength, tail]): [string, string] => {
    const key = String.fromCharCode(head) + 'k'.repeat(keyLength) + tail;
    return [key, String.fromCharCode(tail & 0xff).repeat(valueLength)];
  });
const entries = fc.uniqueArray(entry, { maxLength: 60, size: 'max', selector: ([key]) => key });
const buckets = fc
  .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,3}$/), entries), { maxLength: 6, selector: ([name]) => name })
  .map((list) => list.sort(([a], [b]) => (a < b ? -1 : 1)));

/** `count` entries with ascending keys. */
function* counted(count: number, keyBytes: number, value = Buffer.alloc(0)): Generator<BoltEntry> {
  for (let i = 0; i < count; i += 1) yield [Buffer.from(String(i).padStart(keyBytes, '0')), value];
}
const again = (make: () => Iterator<BoltEntry>): Iterable<BoltEntry> => ({ [Symbol.iterator]: make });

describe('a written bbolt file', () => {
  it('reads back as it was, whatever the sizes; every page is reached once', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(buckets, fc.constantFrom(1000, 4096, 32_768), async (list, chunkBytes) => {
        const input = list.map(([name, rows]) => bucket(name, rows));
        const bytes = await boltBytes(input, chunkBytes);
        const wanted = list.map(([name], i) => [
          name,
          [...(input[i]?.entries ?? [])].map((row) => row.map((part) => Buffer.from(part).toString('latin1'))),
        ]);
        expect(await contents(bytes)).toEqual(wanted);
        const { reached, pageCount } = reachedPages(bytes);
        expect(bytes.length).toBe(pageCount * PAGE_BYTES);
        expect([...reached.keys()].sort((a, b) => a - b)).toEqual(
          Array.from({ length: pageCount - 3 }, (_, i) => i + 3),
        );
        expect(Math.max(...reached.values())).toBe(1);
      }),
      { numRuns: 80 },
    );
  });

  it('never has a branch with one child, whatever the number of its pages', async () => {
    // Each key fills a page, and some four of them a branch.
    for (let count = 1; count < 60; count += 1) {
      const rows = [...counted(count, 1000, Buffer.alloc(3000))];
      const bytes = await boltBytes([{ name: 'b', entries: rows }]);
      expect(reachedPages(bytes).reached.size).toBe(bytes.length / PAGE_BYTES - 3);
      expect(await entriesOf(await open(bytes), 'b')).toHaveLength(count);
    }
  });

  it('ends also when no two keys fit into a branch', async () => {
    const rows = [...counted(40, 32_768)];
    const bytes = await boltBytes([{ name: 'b', entries: rows }]);
    reachedPages(bytes);
    expect((await entriesOf(await open(bytes), 'b')).map(([key]) => Number(key))).toEqual(rows.map((_, i) => i));
  });

  it('holds 100,000 keys, and pages without gaps', async () => {
    const make = again(() => counted(100_000, 17, Buffer.from('value')));
    const bytes = await boltBytes([{ name: 'key', entries: make }]);
    const file = await open(bytes);
    let next = 0;
    for await (const leaf of file.entries('key')) {
      for (const [key] of leaf) {
        if (Number(Buffer.from(key).toString()) !== next) expect.fail(`key ${next} is not where it should be`);
        next += 1;
      }
    }
    expect(next).toBe(100_000);
    // 38 bytes each: 107 to a page, and 122 children of 33 bytes to a branch.
    expect(bytes.length / PAGE_BYTES).toBe(3 + Math.ceil(100_000 / 107) + 8 + 1 + 1);
  });

  it('holds many buckets, more than a page of them', async () => {
    const list = Array.from({ length: 1000 }, (_, i) => bucket(String(i).padStart(20, '0'), [['k', String(i)]]));
    const bytes = await boltBytes(list);
    const file = await open(bytes);
    expect(await file.bucketNames()).toEqual(list.map(({ name }) => name));
    expect(await entriesOf(file, list[777]?.name ?? '')).toEqual([['k', '777']]);
  });

  it('knows its size before it is written, and comes in chunks of one size', async () => {
    const image = await writeBolt([bucket('b', [['k', 'v'.repeat(100_000)]])], { pause: noPause, chunkBytes: 5000 });
    const sizes: number[] = [];
    for await (const chunk of image.chunks) sizes.push(chunk.length);
    const last = sizes.pop();
    expect(new Set(sizes)).toEqual(new Set([5000]));
    expect(sizes.length * 5000 + (last ?? 0)).toBe(image.sizeBytes);
  });

  it('is made while it is taken, with a pause after each step in both passes', async () => {
    let pauses = 0;
    let yielded = 0;
    const watched = again(function* () {
      for (const row of counted(10_000, 17)) {
        yielded += 1;
        yield row;
      }
    });
    const pause = async (): Promise<void> => {
      pauses += 1;
    };
    const image = await writeBolt([{ name: 'b', entries: watched }], { pause });
    const counting = pauses;
    // 81 bytes of effort each, 32 KiB for a step.
    expect(counting).toBe(24);
    expect(yielded).toBe(10_000);
    let most = 0;
    let taken = 0;
    for await (const chunk of image.chunks) {
      taken += chunk.length;
      // What was gone through and not yet taken: one chunk and one page at most, at 33 bytes an entry.
      most = Math.max(most, (yielded - 10_000) * 33 - taken);
    }
    expect(pauses).toBe(2 * counting);
    expect(most).toBeLessThan(32_768 + 2 * PAGE_BYTES);
  });

  it('refuses keys that do not ascend, and lengths that bbolt refuses', async () => {
    const write = (...rows: [number, string][]): Promise<Buffer> =>
      boltBytes([{ name: 'b', entries: rows.map(([size, fill]) => [Buffer.alloc(size, fill), Buffer.alloc(0)]) }]);
    await expect(write([1, 'b'], [1, 'a'])).rejects.toThrow('keys must ascend');
    await expect(write([1, 'a'], [1, 'a'])).rejects.toThrow('keys must ascend');
    await expect(write([0, 'a'])).rejects.toThrow('no key of 0 bytes');
    await expect(write([32_769, 'a'])).rejects.toThrow('no key of 32769 bytes');
    await expect(write([32_768, 'a'])).resolves.toBeInstanceOf(Buffer);
    await expect(boltBytes([bucket('b', []), bucket('a', [])])).rejects.toThrow('keys must ascend');
  });

  it('fails when the entries changed between the passes, and does not end as a whole file', async () => {
    for (const [first, second] of [
      [1000, 2000],
      [2000, 1000],
    ] as const) {
      let pass = 0;
      const changing = again(() => counted(pass++ === 0 ? first : second, 17));
      const image = await writeBolt([{ name: 'b', entries: changing }], { pause: noPause });
      await expect(collect(image.chunks)).rejects.toThrow('changed while it was written');
    }
  });
});
