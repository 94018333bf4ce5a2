/**
 * Loads a server with calls of one kind, in a process of its own:
 *
 *   load.ts <host:port> <pid of the server> <task> <connections> <streams> <seconds>
 *
 * prints one line of JSON. The processor time of the server's process is taken from the system, and so is this one's.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { KV, PutRequest, RangeRequest } from '../../src/protocol/generated/etcdserverpb.ts';
import { LoadConnection } from './connection.ts';

const VALUE = Buffer.alloc(256, 'v');
const KEYS = 10_000;
/** Calls that come before those that count: a server in JavaScript is compiled while it runs. */
const WARM_CALLS = 30_000;
/** Unit of the times in /proc. Linux has had no other one for as long as anybody remembers. */
const TICK_MICROS = 10_000;

function keyOf(number: number): Buffer {
  return Buffer.from(`bench/${number}`.padEnd(64, 'k'));
}

/** The calls that can be made: their method, and their messages made beforehand. */
const tasks: Readonly<Record<string, { readonly path: string; readonly messages: () => readonly Uint8Array[] }>> = {
  put: {
    path: KV.put.path,
    messages: () => Array.from({ length: KEYS }, (_, i) => PutRequest.encode({ key: keyOf(i), value: VALUE })),
  },
  range: { path: KV.range.path, messages: () => [RangeRequest.encode({ key: keyOf(0) })] },
  'serializable range': {
    path: KV.range.path,
    messages: () => [RangeRequest.encode({ key: keyOf(0), serializable: true })],
  },
};

/** Processor time that a process has used, in µs; 0 where the system has no /proc. */
function cpuMicros(pid: string): number {
  try {
    // The name in brackets may have spaces in it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * TICK_MICROS;
  } catch {
    return 0;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function main(): Promise<void> {
  const [endpoint = '', pid = '', task = '', connections, streams, seconds] = process.argv.slice(2);
  const { path, messages: make } = tasks[task] ?? {};
  if (path === undefined || make === undefined) throw new Error(`unknown task ${task}`);
  const messages = make();
  const latencies: number[] = [];
  let count = 0;
  let failed = 0;
  let next = 0;
  let stopped = false;
  const fail = (): void => {
    failed += 1;
    if (failed >= Number(connections) * Number(streams)) throw new Error('the server refuses, or has hung up');
  };
  const open = async (): Promise<LoadConnection> => {
    const connection = await LoadConnection.open(endpoint, path, (ok, sentAt) => {
      if (!ok) fail();
      else if (++count % 8 === 0) latencies.push(performance.now() - sentAt);
      if (!stopped) connection.send(messages[next++ % messages.length] as Uint8Array);
    });
    return connection;
  };
  const connectionsOpen = await Promise.all(Array.from({ length: Number(connections) }, open));
  for (const connection of connectionsOpen) {
    for (let i = 0; i < Number(streams); i += 1) connection.send(messages[next++ % messages.length] as Uint8Array);
    connection.flush();
  }
  while (count + failed < WARM_CALLS) await delay(10);
  [count, latencies.length] = [0, 0];
  const [own, servers, from] = [process.cpuUsage(), cpuMicros(pid), performance.now()];
  await delay(Number(seconds) * 1000);
  const [used, serverUsed, elapsed] = [process.cpuUsage(own), cpuMicros(pid) - servers, performance.now() - from];
  stopped = true;
  latencies.sort((a, b) => a - b);
  const at = (part: number): number => latencies[Math.floor(latencies.length * part)] ?? 0;
  const result = {
    perSecond: (count / elapsed) * 1000,
    serverCpuMicros: serverUsed / count,
    loadCpuMicros: (used.user + used.system) / count,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    failed,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  for (const connection of connectionsOpen) connection.close();
}

await main();
