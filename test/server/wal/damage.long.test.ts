/** Bits that flip and tails that are missing. */
import { isDeepStrictEqual } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { EMPTY } from '../../../src/protocol/wire.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { readSnapshots, readWal, Wal, WalError } from '../../../src/server/wal/index.ts';
import { DIRECTORY, entries, entry, failureOf, image, OWNER, restore, state } from './support.ts';

/** A log of several files, with records of all kinds. */
async function smallLog(): Promise<Map<string, Buffer>> {
  const disk = new MemoryDisk();
  await disk.makeDirectory('member');
  const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 1024 });
  await wal.append({ entries: entries(1, 10), hardState: state(1, 0) });
  await wal.append({ entries: [{ type: 'EntryNormal', term: 2, index: 11, data: EMPTY }], hardState: state(2, 10) });
  await wal.append({ entries: entries(12, 14, 2, 200) });
  await wal.append({ entries: [{ type: 'EntryConfChangeV2', term: 2, index: 15, data: EMPTY }] });
  await wal.append({ snapshot: { index: 10, term: 1, confState: Uint8Array.of(8, 1, 8, 2) } });
  await wal.append({ hardState: state(2, 15) });
  // Lengths with one bit, at every place in a sector in turn.
  for (let i = 16; i <= 20; i++) await wal.append({ entries: [entry(i, 2, 48)], hardState: state(2, i - 1) });
  await wal.close();
  return image(disk);
}

/** Checksum and metadata, with their frames. */
const HEAD_BYTES = 56;

let log: Map<string, Buffer>;
let names: string[];
let whole: Awaited<ReturnType<typeof readWal>>;

async function onDisk(files: ReadonlyMap<string, Uint8Array>): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await restore(disk, files);
  return disk;
}

beforeEach(async () => {
  log = await smallLog();
  names = [...log.keys()];
  whole = await readWal(await onDisk(log), DIRECTORY);
  expect(names.length).toBeGreaterThan(1);
});

describe('one bit flips', () => {
  it('and is found, or does no harm', async () => {
    const end = whole.tail.offset;
    let found = 0;
    let harmless = 0;
    for (const [i, name] of names.entries()) {
      const bytes = log.get(name)!;
      const disk = new MemoryDisk();
      await restore(disk, log);
      const file = await disk.open(`${DIRECTORY}/${name}`, { mode: 'write' });
      const last = i === names.length - 1;
      const upTo = last ? Math.min(bytes.length, end + 64) : bytes.length;
      for (let at = 0; at < upTo; at++) {
        for (let bit = 0; bit < 8; bit++) {
          await file.write(at, Uint8Array.of(bytes[at]! ^ (1 << bit)));
          await file.sync();
          try {
            const { contents } = await readWal(disk, DIRECTORY);
            if (!isDeepStrictEqual(contents, whole.contents)) expect.fail(`${name} ${at} ${bit}`);
            harmless++;
          } catch (error) {
            if (!(error instanceof WalError)) throw error;
            expect(error.code, `${name} ${at} ${bit}`).toMatch(/^(corrupt|gap)$/);
            // It names the record; a wrong checksum at the very start shows in the record behind it.
            if (error.file === `${DIRECTORY}/${name}` && error.code === 'corrupt') {
              expect(error.offset, `${error.message}: ${at} ${bit}`).toBeLessThanOrEqual(Math.max(at, 16));
            }
            found++;
          }
        }
        await file.write(at, Uint8Array.of(bytes[at]!));
        await file.sync();
      }
    }
    // Most bits count; those that don't are zeros between records and behind them.
    expect(found).toBeGreaterThan(2 * harmless);
  });

  it('and nothing is changed', async () => {
    const name = names[1]!;
    const damaged = new Map(log);
    const bytes = Buffer.from(log.get(name)!);
    bytes[200]! ^= 4;
    damaged.set(name, bytes);
    const disk = await onDisk(damaged);
    const failure = await failureOf(Wal.open(disk, DIRECTORY));
    expect(failure).toMatchObject({ code: 'corrupt', file: `${DIRECTORY}/${name}` });
    expect(failure.message).toContain(`${name} at byte ${failure.offset}`);
    expect(failure.offset).toBeLessThanOrEqual(200);
    expect(await image(disk)).toEqual(damaged);
    expect((await failureOf(readSnapshots(disk, DIRECTORY))).code).toBe('corrupt');
    // The lock is free again.
    expect((await failureOf(Wal.open(disk, DIRECTORY))).code).toBe('corrupt');
  });

  it('in a value of zeros does not make the tail look torn', async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory('member');
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 16384 });
    const start = (await readWal(disk, DIRECTORY)).tail.offset;
    await wal.append({ entries: [{ ...entry(1), data: new Uint8Array(3000) }, entry(2)] });
    await wal.close();
    const files = await image(disk);
    const [name, bytes] = [...files][0]!;
    const flipped = Buffer.from(bytes);
    flipped[start + 1]! ^= 0x10;
    const failure = await failureOf(Wal.open(await onDisk(new Map([[name, flipped]])), DIRECTORY));
    expect(failure).toMatchObject({ code: 'corrupt', offset: start });
  });
});

describe('the tail is torn', () => {
  it('at any byte: what is before it is read, and can be gone on with', async () => {
    const name = names.at(-1)!;
    const bytes = log.get(name)!;
    const { offset } = whole.tail;
    let torn = 0;
    let headless = 0;
    for (let length = 0; length < offset; length++) {
      const cut = new Map(log).set(name, Buffer.from(bytes.subarray(0, length)));
      const disk = await onDisk(cut);
      if (length < HEAD_BYTES) {
        // A crash can't do this: the file would not have its name.
        expect((await failureOf(Wal.open(disk, DIRECTORY))).code).toBe('corrupt');
        headless++;
        continue;
      }
      const { wal, contents, repaired } = await Wal.open(disk, DIRECTORY, { segmentBytes: 1024 });
      expect(contents.entries).toEqual(whole.contents.entries.slice(0, contents.entries.length));
      const copy = (await image(disk)).get(`${name}.broken`);
      expect(repaired !== undefined).toBe(copy !== undefined);
      if (copy !== undefined) {
        torn++;
        expect(repaired).toMatchObject({ file: `${DIRECTORY}/${name}`, copy: `${DIRECTORY}/${name}.broken` });
        // What is told is where what was read has ended.
        expect(repaired?.offset).toBeLessThanOrEqual(length);
        expect(cut.get(name)?.subarray(0, repaired?.offset)).toEqual(
          (await image(disk)).get(name)?.subarray(0, repaired?.offset),
        );
        expect(copy.equals(cut.get(name)!)).toBe(true);
      }
      const next = entry(contents.entries.length + 1, 3);
      await wal.append({ entries: [next] });
      await wal.close();
      expect((await readWal(disk, DIRECTORY)).contents.entries).toEqual([...contents.entries, next]);
    }
    expect(torn).toBeGreaterThan(0.7 * (offset - headless));
  });

  it('by a sector that is zeros: it is cut there, and the rest is zeros again', async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory('member');
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 16384 });
    await wal.append({ entries: entries(1, 5) });
    await wal.append({ entries: entries(6, 9, 1, 2000) });
    await wal.close();
    const files = await image(disk);
    const [name, bytes] = [...files][0]!;
    for (let sector = 1024; sector < 8192; sector += 512) {
      const broken = Buffer.from(bytes);
      broken.fill(0, sector, sector + 512);
      const torn = await onDisk(new Map([[name, broken]]));
      const opened = await Wal.open(torn, DIRECTORY, { segmentBytes: 16384 });
      const { entries: left } = opened.contents;
      expect(left).toEqual([...entries(1, 5), ...entries(6, 9, 1, 2000)].slice(0, left.length));
      expect(left.length).toBeGreaterThanOrEqual(5);
      expect(left.length).toBeLessThan(9);
      const after = await image(torn);
      expect(after.get(`${name}.broken`)?.equals(broken)).toBe(true);
      const { tail } = await readWal(torn, DIRECTORY);
      expect(tail).toMatchObject({ torn: false });
      expect(
        after
          .get(name)
          ?.subarray(tail.offset)
          .every((byte) => byte === 0),
      ).toBe(true);
      await opened.wal.close();
    }
  });

  it('less than a sector of zeros is damage, as with etcd', async () => {
    const name = names.at(-1)!;
    const { offset } = whole.tail;
    for (const missing of [1, 7, 20]) {
      const bytes = Buffer.from(log.get(name)!);
      // Before the padding of the last record.
      bytes.fill(0, offset - 8 - missing, offset);
      const failure = await failureOf(Wal.open(await onDisk(new Map(log).set(name, bytes)), DIRECTORY));
      expect(failure.code).toBe('corrupt');
    }
  });

  it('only in the last file: anywhere else it is damage', async () => {
    for (const name of names.slice(0, -1)) {
      const bytes = Buffer.from(log.get(name)!);
      const zeroed = Buffer.from(bytes).fill(0, 512, 1024);
      for (const broken of [bytes.subarray(0, bytes.length - 9), zeroed, EMPTY]) {
        const files = new Map<string, Uint8Array>(log).set(name, broken);
        const disk = await onDisk(files);
        expect((await failureOf(Wal.open(disk, DIRECTORY))).code).toMatch(/corrupt|gap/);
        expect((await image(disk)).size).toBe(names.length);
      }
    }
  });

  it('just the length of a record, in a sector of its own: the record counts', async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory('member');
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 16384 });
    let at = (await readWal(disk, DIRECTORY)).tail.offset;
    // Records up to the last eight bytes of a sector.
    let index = 1;
    for (; at % 512 !== 504; index++) {
      await wal.append({ entries: [entry(index, 1, 16 + 8 * ((504 - (at % 512)) % 5))] });
      at = (await readWal(disk, DIRECTORY)).tail.offset;
    }
    await wal.append({ entries: [entry(index), entry(index + 1)] });
    await wal.close();
    const expected = (await readWal(disk, DIRECTORY)).contents;
    const [[name, bytes]] = [...(await image(disk))] as [[string, Buffer]];
    const broken = Buffer.from(bytes).fill(0, at, at + 8);
    const torn = await onDisk(new Map([[name, broken]]));
    const opened = await Wal.open(torn, DIRECTORY, { segmentBytes: 16384 });
    expect(opened.contents).toEqual(expected);
    const after = await image(torn);
    expect(after.get(name)?.equals(bytes)).toBe(true);
    expect(after.get(`${name}.broken`)?.equals(broken)).toBe(true);
  });
});
