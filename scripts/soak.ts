/**
 * Puts, a great many of them, through one client, and what that does to its memory.
 *
 * Usage: `node --expose-gc --import tsx scripts/soak.ts [operations] [in flight]`, by default
 * 1,000,000 and 64. It starts a real etcd of its own. After the first fifth, in which caches
 * and compiled code grow to their size, the heap may grow by 1 MiB per 1,000,000 operations,
 * plus what one measurement differs from the next; more ends the script with code 1.
 *
 * @module
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd } from '../src/client/etcd.ts';
import { EtcdCluster } from '../test/support/etcd-cluster.ts';

const SAMPLES = 20;
const MIB = 2 ** 20;
/** What two measurements of the same heap may differ by. */
const NOISE_BYTES = MIB / 2;

const [operations = 1_000_000, inFlight = 64] = process.argv.slice(2).map(Number);
const gc = (globalThis as { gc?: () => void }).gc;
if (gc === undefined) throw new Error('run with --expose-gc');

async function heapUsed(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    gc?.();
    await sleep(20);
  }
  return process.memoryUsage().heapUsed;
}

await using cluster = await EtcdCluster.start({ version: '3.5', flags: ['--auto-compaction-retention=10s'] });
await using etcd = new Etcd({ endpoints: cluster.endpoints });
const { signal } = new AbortController();
const value = 'v'.repeat(256);
const samples: number[] = [];
const startedAt = performance.now();
for (let sample = 0; sample < SAMPLES; sample++) {
  let left = Math.ceil(operations / SAMPLES);
  const lane = async (): Promise<void> => {
    while (left-- > 0) await etcd.put(`soak/${left % 1000}`, value, { signal });
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  samples.push(await heapUsed());
}
const seconds = (performance.now() - startedAt) / 1000;
const first = SAMPLES / 5;
const growth = (samples.at(-1) as number) - (samples[first] as number);
const allowed = NOISE_BYTES + (MIB * operations) / 1_000_000;
console.log(
  JSON.stringify({
    operations,
    perSecond: Math.round(operations / seconds),
    heapMiB: samples.map((bytes) => Number((bytes / MIB).toFixed(2))),
    growthKiB: Math.round(growth / 1024),
    rssMiB: Math.round(process.memoryUsage().rss / MIB),
  }),
);
if (growth > allowed) {
  console.error(`the heap grew by ${Math.round(growth / 1024)} KiB; ${Math.round(allowed / 1024)} KiB are allowed`);
  process.exitCode = 1;
}
