/**
 * How fast images are written and read, and what memory that takes: `node --expose-gc --import tsx
 * scripts/snapshot-figures.ts [keys]`, a million small keys by default.
 *
 * Memory is what the process holds beyond the store itself, sampled at every pause.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hashKv } from '../src/server/mvcc/hash.ts';
import { KvStore } from '../src/server/mvcc/store.ts';
import { writeBackend } from '../src/server/snapshot/backend-image.ts';
import { readStore } from '../src/server/snapshot/backend-reader.ts';
import type { BackendState } from '../src/server/snapshot/backend-state.ts';
import { BoltFile } from '../src/server/snapshot/bolt/reader.ts';
import { fileSource } from '../src/server/snapshot/bolt/source.ts';
import { withDigest } from '../src/server/snapshot/digest.ts';

const KEYS_PER_TXN = 100;
const MIB = 1024 * 1024;

const NOTHING_ELSE: BackendState = {
  consistentIndex: 1n,
  term: 1n,
  confState: undefined,
  leases: [],
  alarms: [],
  clusterVersion: '3.5.0',
  downgradeTarget: undefined,
  members: [],
  removedMembers: [],
  authEnabled: false,
  authRevision: 1n,
  users: [],
  roles: [],
};

function filledStore(keys: number): KvStore {
  const store = new KvStore();
  for (let next = 0; next < keys; ) {
    const txn = store.write();
    for (const end = Math.min(keys, next + KEYS_PER_TXN); next < end; next += 1) {
      const key = `key/${next}`;
      txn.put(Buffer.from(key), key, Buffer.from(`value ${next}`), 0n);
    }
    txn.end();
  }
  return store;
}

const { gc } = globalThis;
if (!gc) throw new Error('run it with --expose-gc');
const heldBytes = (): number => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

const store = filledStore(Number(process.argv[2] ?? 1_000_000));
const folder = await mkdtemp(path.join(os.tmpdir(), 'etcdkit-figures-'));
try {
  const file = await open(path.join(folder, 'db'), 'w+');
  gc();
  const before = heldBytes();
  let peak = before;
  let longestMs = 0;
  let last = performance.now();
  let steps = 0;
  let gcMs = 0;
  const pause = async (): Promise<void> => {
    longestMs = Math.max(longestMs, performance.now() - last);
    steps += 1;
    // Garbage is not what is asked for; collecting at every step would take all the time.
    if (steps % 200 === 0) {
      const began = performance.now();
      gc();
      gcMs += performance.now() - began;
      peak = Math.max(peak, heldBytes());
    }
    await nextTurn();
    last = performance.now();
  };
  const begun = performance.now();
  const image = await writeBackend(NOTHING_ELSE, store, { pause, chunkBytes: 256 * 1024 });
  const counted = performance.now();
  const countGcMs = gcMs;
  for await (const chunk of withDigest(image.chunks)) await file.write(chunk);
  const written = performance.now();
  const size = image.sizeBytes / MIB;
  const line = (name: string, ms: number): string =>
    `${name}: ${Math.round(ms)} ms, ${((size / ms) * 1000).toFixed(0)} MiB/s`;
  console.log(`image of ${store.recordCount} keys: ${size.toFixed(1)} MiB`);
  console.log(line('count', counted - begun - countGcMs));
  console.log(line('write with SHA-256', written - counted - (gcMs - countGcMs)));
  console.log(
    `longest step ${longestMs.toFixed(1)} ms; held beyond the store ${((peak - before) / MIB).toFixed(1)} MiB at most`,
  );
  const started = performance.now();
  let entries = 0;
  const bolt = await BoltFile.open(await fileSource(file));
  for await (const leaf of bolt.entries('key')) entries += leaf.length;
  console.log(`${line('read', performance.now() - started)} (${entries} entries)`);
  const loading = performance.now();
  const copy = await readStore(bolt);
  console.log(line('read into a store', performance.now() - loading));
  const same = hashKv(copy, copy.revision) === hashKv(store, store.revision);
  console.log(`hash ${same ? 'equal' : 'NOT EQUAL'}`);
  if (!same) process.exitCode = 1;
  await file.close();
} finally {
  await rm(folder, { recursive: true });
}
