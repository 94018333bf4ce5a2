/**
 * Figures of the bundled server: how long it takes to start in a process that runs, and what keys cost in memory.
 *
 * Usage: `node --expose-gc --import tsx scripts/server-figures.ts [keys]`, by default 1,000,000 keys of about 20 bytes
 * with values of 32. Starts are in memory, 20 of them, after two that warm up. Keys are written by one client, through
 * the port, and read back by number. At the end the server is stopped, and what is still open is named.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd } from '../src/client/etcd.ts';
import { EtcdServer } from '../src/server/index.ts';

const STARTS = 20;
const OPS = 100;
const LANES = 16;
const MIB = 2 ** 20;
const VALUE = 'v'.repeat(32);

const [keys = 1_000_000] = process.argv.slice(2).map(Number);
const gc = (globalThis as { gc?: () => void }).gc;
if (gc === undefined) throw new Error('run with --expose-gc');

async function usedMib(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    gc?.();
    await sleep(20);
  }
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / MIB;
}

const starts: number[] = [];
for (let round = -2; round < STARTS; round++) {
  const begunAt = performance.now();
  const server = await EtcdServer.start();
  if (round >= 0) starts.push(performance.now() - begunAt);
  await server.stop();
}
starts.sort((a, b) => a - b);
const [median = 0, slowest = 0] = [starts[STARTS >> 1], starts.at(-1)];
console.log(JSON.stringify({ startMs: { median: Math.round(median), slowest: Math.round(slowest) } }));

const server = await EtcdServer.start();
const etcd = new Etcd({ endpoints: server.endpoint });
const before = await usedMib();
const begunAt = performance.now();
let next = 0;
const lane = async (): Promise<void> => {
  while (next < keys) {
    const from = next;
    next = Math.min(keys, next + OPS);
    const puts = Array.from({ length: next - from }, (_, i) =>
      etcd.op.put(`keys/${String(from + i).padStart(15)}`, VALUE),
    );
    await etcd.txn({ then: puts });
  }
};
await Promise.all(Array.from({ length: LANES }, lane));
const seconds = (performance.now() - begunAt) / 1_000;
if ((await etcd.count({ prefix: 'keys/' })) !== keys) throw new Error('keys are missing');
const used = (await usedMib()) - before;
console.log(
  JSON.stringify({
    keys,
    seconds: Math.round(seconds),
    mib: Math.round(used),
    bytesPerKey: Math.round((used * MIB) / keys),
    rssMib: Math.round(process.memoryUsage().rss / MIB),
  }),
);
await etcd.close();
await server.stop();
await sleep(50);
console.log(JSON.stringify({ stillOpen: process.getActiveResourcesInfo() }));
