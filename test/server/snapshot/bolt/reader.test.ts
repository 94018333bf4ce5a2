import { describe, expect, it } from 'vitest';
import {
  BoltFileError,
  BRANCH_PAGE,
  fnv1a64,
  HEAD_BYTES,
  LEAF_PAGE,
  type Meta,
  PAGE_BYTES,
  readMeta,
  writeHead,
  writeMeta,
} from '../../../../src/server/snapshot/bolt/format.ts';
import { BoltFile } from '../../../../src/server/snapshot/bolt/reader.ts';
import { boltBytes, bucket, contents, entriesOf, open } from '../support.ts';

/** Some hundred pages, two levels, one value of several pages. */
async function sample(): Promise<Buffer> {
  const rows = Array.from({ length: 400 }, (_, i): [string, string] => [`key${1000 + i}`, 'v'.repeat(1000)]);
  return boltBytes([bucket('a', [['small', '1']]), bucket('b', [...rows, ['large', 'x'.repeat(30_000)]])]);
}

async function fault(bytes: Uint8Array): Promise<string> {
  return contents(bytes).then(
    () => 'none',
    (error: unknown) => (error instanceof BoltFileError ? error.code : `not typed: ${String(error)}`),
  );
}

function metaOf(bytes: Buffer): Meta {
  const meta = readMeta(bytes, 0);
  if (typeof meta === 'string') throw new Error(meta);
  return meta;
}

describe('reading a bbolt file', () => {
  it('takes the valid meta page with the higher transaction number', async () => {
    const old = await boltBytes([bucket('old', [])]);
    const bytes = await boltBytes([bucket('old', []), bucket('new', [])].reverse());
    const lower = { ...metaOf(bytes), root: 3, pageCount: bytes.length / PAGE_BYTES };
    expect(old.length).toBeLessThan(bytes.length);
    for (const [first, second, names] of [
      [5n, 4n, ['new', 'old']],
      [4n, 5n, []],
      [5n, 6n, []],
    ] as const) {
      writeMeta(bytes, 0, 0, { ...metaOf(bytes), txid: first });
      writeMeta(bytes, PAGE_BYTES, 1, { ...lower, txid: second });
      expect(await (await open(bytes)).bucketNames()).toEqual(names);
    }
    bytes[PAGE_BYTES + HEAD_BYTES + 20] = 99;
    expect(await (await open(bytes)).bucketNames()).toEqual(['new', 'old']);
  });

  it('finds the second meta page when the first one is lost', async () => {
    const bytes = await sample();
    const whole = await contents(bytes);
    bytes.fill(0, 0, PAGE_BYTES);
    expect(await contents(bytes)).toEqual(whole);
  });

  it('reads inline buckets, pages of other sizes, and files without a list of free pages', async () => {
    const pageBytes = 8192;
    const bytes = Buffer.alloc(3 * pageBytes);
    const meta = { pageBytes, root: 2, freelist: undefined, pageCount: 3, txid: 9n };
    writeMeta(bytes, 0, 0, meta);
    expect(metaOf(bytes)).toEqual(meta);
    writeHead(bytes, 2 * pageBytes, { page: 2, flags: LEAF_PAGE, count: 1, overflow: 0 });
    const element = 2 * pageBytes + HEAD_BYTES;
    // The bucket `in`, whose value is: no root page, no sequence, and a leaf with the entry k = v.
    const inline = Buffer.alloc(16 + HEAD_BYTES + 16);
    writeHead(inline, 16, { page: 0, flags: LEAF_PAGE, count: 1, overflow: 0 });
    for (const [at, value] of [16, 1, 1].entries()) inline.writeUInt32LE(value, 36 + 4 * at);
    const value = Buffer.concat([inline, Buffer.from('kv')]);
    for (const [at, number] of [1, 16, 2, value.length].entries()) bytes.writeUInt32LE(number, element + 4 * at);
    bytes.write('in', element + 16);
    value.copy(bytes, element + 18);
    expect(await contents(bytes)).toEqual([['in', [['k', 'v']]]]);
    bytes.writeUInt32LE(2, element + 12);
    expect(await fault(bytes)).toBe('corrupt');
  });

  it('has nothing for a bucket that is not there', async () => {
    expect(await entriesOf(await open(await sample()), 'c')).toEqual([]);
  });

  it('tells a file that was cut off from one that is no bbolt file', async () => {
    const bytes = await sample();
    for (const size of [0, 10, 79, PAGE_BYTES, bytes.length - 1])
      expect(await fault(bytes.subarray(0, size))).toBe('torn');
    expect(await fault(Buffer.concat([bytes, Buffer.alloc(32)]))).toBe('none');
    expect(await fault(Buffer.alloc(100_000, 'text'))).toBe('foreign');
    const sum = Buffer.from(bytes);
    for (const at of [0, PAGE_BYTES]) sum.writeUInt8(1, at + HEAD_BYTES + 40);
    expect(await fault(sum)).toBe('torn');
  });

  it('never believes a page: a wrong byte in a head or element is an error or harmless, and always an end', async () => {
    const bytes = await sample();
    const codes = new Map<string, number>();
    for (let page = 2; page < bytes.length / PAGE_BYTES; page += 1) {
      for (let at = 0; at < 48; at += 5) {
        const broken = Buffer.from(bytes);
        const where = page * PAGE_BYTES + at;
        broken[where] = 0xff ^ (broken[where] as number);
        const code = await fault(broken);
        expect(['corrupt', 'torn', 'foreign', 'none']).toContain(code);
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    }
    expect(codes.get('corrupt')).toBeGreaterThan(500);
  });

  it('ends on a page that is its own child, and on keys out of order', async () => {
    const bytes = await sample();
    const { root } = metaOf(bytes);
    // The root leaf of buckets: its second bucket's root is a branch.
    const element = root * PAGE_BYTES + HEAD_BYTES + 16;
    const branch = Number(bytes.readBigUInt64LE(element + bytes.readUInt32LE(element + 4) + 1));
    const loop = Buffer.from(bytes);
    loop.writeBigUInt64LE(BigInt(branch), branch * PAGE_BYTES + HEAD_BYTES + 8);
    await expect(contents(loop)).rejects.toThrow(/^corrupt bbolt file: page \d+ is in a loop/);
    const twice = Buffer.from(bytes);
    const second = twice.readBigUInt64LE(branch * PAGE_BYTES + HEAD_BYTES + 16 + 8);
    twice.writeBigUInt64LE(second, branch * PAGE_BYTES + HEAD_BYTES + 8);
    await expect(contents(twice)).rejects.toThrow('not in order');
  });

  it('sees no more pages than there are: branches that share their children do not keep it busy', async () => {
    const levels = 50;
    const bytes = Buffer.alloc((levels + 3) * PAGE_BYTES);
    writeMeta(bytes, 0, 0, { pageBytes: PAGE_BYTES, root: 2, freelist: undefined, pageCount: levels + 3, txid: 1n });
    for (let page = 2; page < levels + 2; page += 1) {
      writeHead(bytes, page * PAGE_BYTES, { page, flags: BRANCH_PAGE, count: 2, overflow: 0 });
      for (const element of [0, 1]) {
        bytes.writeBigUInt64LE(BigInt(page + 1), page * PAGE_BYTES + HEAD_BYTES + 16 * element + 8);
      }
    }
    const last = levels + 2;
    writeHead(bytes, last * PAGE_BYTES, { page: last, flags: LEAF_PAGE, count: 0, overflow: 0 });
    await expect(contents(bytes)).rejects.toThrow('is in a loop');
  });

  it('reads pages in a row with few calls, and never reads the whole file at once', async () => {
    const bytes = await sample();
    const sizes: number[] = [];
    const file = await BoltFile.open({
      sizeBytes: bytes.length,
      async read(at, size) {
        sizes.push(size);
        return bytes.subarray(at, at + size);
      },
    });
    expect(await entriesOf(file, 'b')).toHaveLength(401);
    expect(bytes.length).toBeGreaterThan(500_000);
    expect(sizes.length).toBeLessThan(20);
    expect(Math.max(...sizes)).toBe(256 * 1024);
  });
});

describe('FNV-1a', () => {
  it('gives the published values', () => {
    const values = ['', 'a', 'foobar'].map((text) => fnv1a64(Buffer.from(text)).toString(16));
    expect(values).toEqual(['cbf29ce484222325', 'af63dc4c8601ec8c', '85944171f73967e8']);
  });
});
