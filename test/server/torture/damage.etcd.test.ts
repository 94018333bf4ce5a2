/** Data directories that were torn, damaged, or never ours: repaired where a crash explains it, else refused and left alone. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/index.ts';
import { EtcdServer } from '../../../src/server/index.ts';
import { nodeDisk } from '../../../src/server/storage/node-disk.ts';
import { Scanner } from '../../../src/server/wal/scanner.ts';
import { listSegments } from '../../../src/server/wal/segments.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import type { EtcdMember } from '../../support/etcd-member.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { Dice } from './dice.ts';

const SMALL = { walSegmentBytes: 16_384, snapshotCount: 30, snapshotCatchUpEntries: 5, unsafeNoFsync: true };
const PUTS = 25;
const SECTOR = 512;

let folder: TempFolder;
/** A directory without an image; its log has one file. */
let young: string;
/** One with an image. */
let old: string;
/** One whose log has several files. */
let long: string;
let copies = 0;

beforeAll(async () => {
  folder = new TempFolder('etcdkit-damage');
  young = await made('young', PUTS, 100);
  old = await made('old', 4 * PUTS, 700);
  long = await made('long', 3 * PUTS, 700, 10_000);
});
afterAll(() => folder.remove());

async function made(name: string, puts: number, bytes: number, snapshotCount = 30): Promise<string> {
  const dataDir = folder.file(name);
  await using server = await EtcdServer.start({ dataDir, ...SMALL, snapshotCount });
  await using etcd = new Etcd({ endpoints: server.endpoint });
  for (let i = 1; i <= puts; i++) await etcd.put(`key/${i}`, `${i}:`.padEnd(bytes, 'v'));
  return dataDir;
}

function copyOf(dataDir: string): string {
  const copy = folder.file(`copy${++copies}`);
  cpSync(dataDir, copy, { recursive: true });
  return copy;
}

const walOf = (dataDir: string): string => path.join(dataDir, 'member', 'wal');
const imageOf = (dataDir: string): string => path.join(dataDir, 'member', 'snap', 'db');

/** The last file of a log. */
async function lastFile(dataDir: string): Promise<string> {
  const segments = await listSegments(nodeDisk, walOf(dataDir));
  return path.join(walOf(dataDir), segments.at(-1)?.name ?? '');
}

/** Where the last entry begins in the last file, and where the log ends. */
async function lastEntry(dataDir: string): Promise<{ start: number; end: number }> {
  const wal = walOf(dataDir);
  const segments = await listSegments(nodeDisk, wal);
  const scanner = new Scanner(nodeDisk, wal, segments);
  let start = 0;
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next())
    if (record.type === 2) start = record.offset;
  const end = scanner.offset;
  await scanner.close();
  return { start, end };
}

/** Every file with its content. */
function contents(dataDir: string): Record<string, string> {
  const all: Record<string, string> = {};
  for (const name of readdirSync(dataDir, { recursive: true, encoding: 'utf8' }).sort()) {
    const file = path.join(dataDir, name);
    all[name] = statSync(file).isFile() ? createHash('sha256').update(readFileSync(file)).digest('hex') : 'folder';
  }
  return all;
}

function flip(file: string, at: number, bit = 0): void {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] as number) ^ (1 << bit);
  writeFileSync(file, bytes);
}

/** How many of the puts are there: all up to some, or it throws. Then writes one more. */
async function survivors(dataDir: string): Promise<number> {
  await using server = await EtcdServer.start({ dataDir, ...SMALL });
  await using etcd = new Etcd({ endpoints: server.endpoint });
  const numbers: number[] = [];
  for await (const { key, value } of etcd.scan({ prefix: 'key/' }))
    numbers.push(value.startsWith(`${key.slice(4)}:`) ? Number(key.slice(4)) : -1);
  numbers.sort((a, b) => a - b);
  expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  await etcd.put('after', 'repair');
  return numbers.length;
}

/** It is refused, by an error that names the file, and nothing is touched. */
async function expectRefusal(dataDir: string, file: string, message: RegExp): Promise<Error> {
  const before = contents(dataDir);
  const failure = await EtcdServer.start({ dataDir, ...SMALL }).then(
    async (server) => {
      await server.stop();
      return new Error('it was started');
    },
    (error: Error) => error,
  );
  expect(failure.message).toMatch(message);
  expect(failure.message).toContain(file);
  expect(contents(dataDir)).toEqual(before);
  return failure;
}

describe('a tail that a crash tore', () => {
  it('is cut off at any byte of the last entry, after a copy was made', async () => {
    const { start, end } = await lastEntry(young);
    const file = path.basename(await lastFile(young));
    for (let length = start; length <= end; length += length < start + 16 || length > end - 16 ? 1 : 7) {
      const dataDir = copyOf(young);
      truncateSync(path.join(walOf(dataDir), file), length);
      const damaged = readFileSync(path.join(walOf(dataDir), file));
      const left = await survivors(dataDir);
      expect(left, `cut at ${length} of ${start} to ${end}`).toBeGreaterThanOrEqual(PUTS - 1);
      const copy = path.join(walOf(dataDir), `${file}.broken`);
      if (existsSync(copy)) expect(readFileSync(copy).equals(damaged)).toBe(true);
      else expect(left === PUTS || length === start).toBe(true);
    }
  });

  it('is cut off where its last sector is zeros', async () => {
    const { start, end } = await lastEntry(young);
    const dataDir = copyOf(young);
    const file = await lastFile(dataDir);
    const bytes = readFileSync(file);
    const sector = Math.floor((end - 1) / SECTOR) * SECTOR;
    bytes.fill(0, Math.min(sector, start), sector + SECTOR);
    writeFileSync(file, bytes);
    const left = await survivors(dataDir);
    expect(left).toBeLessThan(PUTS);
    expect(left).toBeGreaterThan(PUTS - 6);
  });
});

describe('damage that no crash makes', () => {
  it('is refused behind the end', async () => {
    const dataDir = copyOf(young);
    const file = await lastFile(dataDir);
    const { end } = await lastEntry(dataDir);
    const bytes = readFileSync(file);
    new Dice(1).bytes(64).copy(bytes, end);
    writeFileSync(file, bytes);
    await expectRefusal(dataDir, `${file} at byte ${end}`, /^wal: damaged/);
  });

  it('is refused in the last record, and anywhere before', async () => {
    const { start, end } = await lastEntry(young);
    for (const at of [start + 20, end - 12, 600, 1_500]) {
      const dataDir = copyOf(young);
      const file = await lastFile(dataDir);
      flip(file, at, 3);
      const failure = await expectRefusal(dataDir, `${file} at byte`, /^wal: damaged/);
      expect(Number(/at byte (\d+)/.exec(failure.message)?.[1])).toBeLessThanOrEqual(at);
    }
  });

  it('is refused in a file before the last', async () => {
    const files = await listSegments(nodeDisk, walOf(long));
    expect(files.length).toBeGreaterThan(1);
    const dataDir = copyOf(long);
    const first = path.join(walOf(dataDir), files[0]?.name ?? '');
    flip(first, 5_000);
    await expectRefusal(dataDir, first, /^wal: damaged/);
  });

  it.each([
    ['empty', () => Buffer.alloc(0)],
    ['cut', (image: Buffer) => image.subarray(0, 8_192)],
    ['of random bytes', (image: Buffer) => new Dice(2).bytes(image.length)],
    ['without its first pages', (image: Buffer) => Buffer.concat([Buffer.alloc(8_192), image.subarray(8_192)])],
    [
      'damaged in every page',
      (image: Buffer) => Buffer.from(image.map((byte, at) => (at % 4_096 === 8 ? byte ^ 0x7f : byte))),
    ],
  ])('is refused in an image that is %s', async (_name, damage) => {
    const dataDir = copyOf(old);
    const image = imageOf(dataDir);
    writeFileSync(image, damage(readFileSync(image)));
    await expectRefusal(dataDir, image, /^data directory: /);
  });
});

describe('a data directory that is in use', () => {
  it('is refused as that, whatever is being written to it', async () => {
    const dataDir = copyOf(old);
    await using server = await EtcdServer.start({ dataDir, ...SMALL });
    await using etcd = new Etcd({ endpoints: server.endpoint });
    let done = false;
    const writing = (async () => {
      for (let i = 0; !done; i++) await etcd.put(`busy/${i % 10}`, 'v'.repeat(3_000));
    })();
    try {
      for (let attempt = 0; attempt < 100; attempt++)
        await expect(EtcdServer.start({ dataDir, ...SMALL })).rejects.toThrow('in use by another server');
    } finally {
      done = true;
      await writing;
    }
  });
});

describe('a data directory that is another one', () => {
  it('with an image of another cluster is refused', async () => {
    const other = folder.file('other');
    {
      await using server = await EtcdServer.start({ dataDir: other, ...SMALL, clusterToken: 'another' });
      await using etcd = new Etcd({ endpoints: server.endpoint });
      for (let i = 1; i <= 4 * PUTS; i++) await etcd.put(`other/${i}`, 'x');
    }
    const dataDir = copyOf(old);
    cpSync(imageOf(other), imageOf(dataDir));
    await expectRefusal(dataDir, imageOf(dataDir), /^data directory: /);
  });

  it('of files that are no log is refused', async () => {
    const dataDir = folder.file('random');
    cpSync(young, dataDir, { recursive: true });
    const file = await lastFile(dataDir);
    writeFileSync(file, new Dice(3).bytes(20_000));
    await expectRefusal(dataDir, file, /^wal: damaged/);
  });

  it('of a real etcd 3.4 is gone on with', async () => {
    const dataDir = folder.file('etcd34');
    {
      await using cluster = await EtcdCluster.start({ version: '3.4' });
      const member = cluster.members[0] as EtcdMember;
      {
        await using etcd = new Etcd({ endpoints: cluster.endpoints });
        for (let i = 1; i <= 10; i++) await etcd.put(`key/${i}`, `${i}:`);
      }
      await member.terminate();
      cpSync(member.dataDir, dataDir, { recursive: true });
    }
    expect(await survivors(dataDir)).toBe(10);
  });
});
