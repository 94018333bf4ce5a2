/**
 * One measurement in a process of its own: `worker.ts <client> <endpoint> <task> <arguments…>`
 * prints one line of JSON.
 *
 * @module
 */

import { performance } from 'node:perf_hooks';
import { type BenchClient, type ClientName, makeClient } from './clients/client.ts';

const [name, endpoint = '', task, ...args] = process.argv.slice(2) as [ClientName, string, string, ...string[]];
const KEY = 'bench/'.padEnd(64, 'k');
const VALUE = 'v'.repeat(256);

/** Keeps `inFlight` calls going for a while; the first part warms up and is not measured. */
async function load(call: () => Promise<unknown>, inFlight: number, seconds: number): Promise<object> {
  const warmUntil = performance.now() + 700;
  const latencies: number[] = [];
  let measuring = false;
  let stop = false;
  let count = 0;
  const worker = async (): Promise<void> => {
    while (!stop) {
      const startedAt = performance.now();
      await call();
      if (!measuring) continue;
      count += 1;
      if (count % 8 === 0) latencies.push(performance.now() - startedAt);
    }
  };
  const workers = Array.from({ length: inFlight }, worker);
  await delay(warmUntil - performance.now());
  const cpu = process.cpuUsage();
  const from = performance.now();
  measuring = true;
  await delay(seconds * 1000);
  const elapsed = performance.now() - from;
  const used = process.cpuUsage(cpu);
  const done = count;
  stop = true;
  await Promise.all(workers);
  latencies.sort((a, b) => a - b);
  const at = (part: number): number => latencies[Math.floor(latencies.length * part)] ?? 0;
  return {
    perSecond: (done / elapsed) * 1000,
    cpuMicrosPerOp: (used.user + used.system) / done,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
}

/** Creates watchers of one key each, then lets each see one event. */
async function watchers(client: BenchClient, count: number): Promise<object> {
  const writer = await makeClient('grpc-js', endpoint);
  globalThis.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  let events = 0;
  let allSeen = (): void => {};
  const seen = new Promise<void>((resolve) => {
    allSeen = resolve;
  });
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: count }, () =>
      client.watch(`${KEY}/watched`, () => {
        events += 1;
        if (events === count) allSeen();
      }),
    ),
  );
  const createdMs = performance.now() - startedAt;
  globalThis.gc?.();
  const heapPerWatcher = (process.memoryUsage().heapUsed - heapBefore) / count;
  const putAt = performance.now();
  await writer.put(`${KEY}/watched`, VALUE);
  await seen;
  const fanOutMs = performance.now() - putAt;
  await writer.close();
  return { createdMs, heapPerWatcher, fanOutMs };
}

/** One watcher, many events, written by another process's worth of puts; what the reader's CPU is worth. */
async function events(client: BenchClient, count: number): Promise<object> {
  let seen = 0;
  let allSeen = (): void => {};
  const all = new Promise<void>((resolve) => {
    allSeen = resolve;
  });
  await client.watch(`${KEY}/stream`, () => {
    seen += 1;
    if (seen === count) allSeen();
  });
  process.stdout.write('ready\n');
  const cpu = process.cpuUsage();
  await all;
  const used = process.cpuUsage(cpu);
  return { cpuMicrosPerEvent: (used.user + used.system) / count };
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function main(): Promise<void> {
  const client = await makeClient(name, endpoint);
  const number = Number(args[0]);
  let result: object;
  if (task === 'get') {
    await client.put(KEY, VALUE);
    result = await load(() => client.get(KEY), number, Number(args[1]));
  } else if (task === 'put') {
    let i = 0;
    result = await load(() => client.put(`${KEY}/${i++ % 1000}`, VALUE), number, Number(args[1]));
  } else if (task === 'watchers') {
    result = await watchers(client, number);
  } else if (task === 'events') {
    result = await events(client, number);
  } else {
    throw new Error(`unknown task ${task}`);
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
  await client.close();
}

await main();
