/**
 * How many entries a second the write-ahead log takes on this machine's disk.
 *
 * Usage: `npx tsx scripts/wal-speed.ts [seconds] [bytes] [folder]`, by default 3 seconds each, 300 bytes an entry, in
 * a temporary folder: name one on the disk that counts. 1, 64 and 256 writers, each with one append underway; beside
 * it what the disk itself takes, one write and sync after the other.
 *
 * @module
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ClusterId, MemberId } from '../src/protocol/int64.ts';
import type { Disk } from '../src/server/storage/disk.ts';
import { nodeDisk } from '../src/server/storage/node-disk.ts';
import { Wal } from '../src/server/wal/index.ts';

const [seconds = '3', bytes = '300', where = tmpdir()] = process.argv.slice(2);
const durationMs = Number(seconds) * 1000;
const data = new Uint8Array(Number(bytes)).fill(7);
const folder = await mkdtemp(path.join(where, 'wal-speed-'));

let syncs = 0;
/** The machine's disk, which counts. */
const disk: Disk = {
  ...nodeDisk,
  async open(...args) {
    const file = await nodeDisk.open(...args);
    const sync = file.sync.bind(file);
    file.sync = () => {
      syncs++;
      return sync();
    };
    return file;
  },
};

async function bare(): Promise<number> {
  const file = await nodeDisk.open(`${folder}/bare`, { mode: 'create' });
  await file.write(0, new Uint8Array(16_000_000));
  await file.sync();
  const start = performance.now();
  let count = 0;
  for (; performance.now() - start < durationMs; count++) {
    await file.write(count * data.length, data);
    await file.sync();
  }
  await file.close();
  return count / ((performance.now() - start) / 1000);
}

async function appends(writers: number): Promise<{ perSecond: number; perSync: number }> {
  const owner = { memberId: 1n as MemberId, clusterId: 1n as ClusterId };
  await using wal = await Wal.create(disk, `${folder}/${writers}`, owner);
  let index = 0;
  syncs = 0;
  const start = performance.now();
  const one = async () => {
    while (performance.now() - start < durationMs) {
      index++;
      await wal.append({ entries: [{ type: 'EntryNormal', term: 1, index, data }] });
    }
  };
  await Promise.all(Array.from({ length: writers }, one));
  return { perSecond: index / ((performance.now() - start) / 1000), perSync: index / syncs };
}

try {
  console.log(`one write and sync after the other: ${Math.round(await bare())}/s`);
  for (const writers of [1, 64, 256]) {
    const { perSecond, perSync } = await appends(writers);
    console.log(`${writers} waiting: ${Math.round(perSecond)} appends/s, ${perSync.toFixed(1)} for each sync`);
  }
} finally {
  await rm(folder, { recursive: true });
}
