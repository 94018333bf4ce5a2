/**
 * The bundled server and etcd 3.5 in turn on the same disk, as ratios; one member each.
 *
 *   npm run bench:server                     everything
 *   npm run bench:server -- put 64           one row
 *   npm run bench:server -- --rounds 9       more rounds
 *
 * Each measurement begins with a new server without data, and the load comes from a process of its own
 * (`connection.ts`), the same for both. It shares the machine with the server: its processor time is printed too.
 *
 * @module
 */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type Comparison, type Result, takeTurns } from '../turns.ts';
import { BenchServer, type ServerName } from './servers.ts';

interface Row extends Comparison<ServerName> {
  readonly measure: (name: ServerName) => Promise<Result>;
}

const SIDES = { ours: 'etcdkit', peer: 'etcd' } as const;
const SECONDS = 3;
const KEYS = 1_000_000;
const WATCHERS = 10_000;

const run = promisify(execFile);

async function script(file: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [
    '--expose-gc',
    '--import',
    'tsx',
    path.join(import.meta.dirname, file),
    ...args,
  ]);
  return stdout;
}

async function load(name: ServerName, task: string, connections: number, streams: number): Promise<Result> {
  await using server = await BenchServer.start(name);
  const numbers = [connections, streams, SECONDS].map(String);
  return JSON.parse(await script('load.ts', server.endpoint, String(server.pid), task, ...numbers)) as Result;
}

function loadRow(task: string, connections: number, streams: number, atLeast?: number): Row {
  const name = `${task} ${connections * streams}`;
  return { ...SIDES, name, figure: 'perSecond', atLeast, measure: (who) => load(who, task, connections, streams) };
}

/** A process with an empty disk, up to the first put. */
async function start(name: ServerName): Promise<Result> {
  await using server = await BenchServer.start(name);
  return { firstPutMs: server.startedInMs };
}

async function startEmbedded(name: ServerName): Promise<Result> {
  return name === 'etcd' ? start(name) : (JSON.parse(await script('embedded.ts')) as Result);
}

/** A million small keys: what they take of memory, and how long it takes to come back with them. */
async function million(name: ServerName): Promise<Result> {
  await using server = await BenchServer.start(name);
  await script('fill.ts', server.endpoint, String(KEYS));
  const filledMb = await server.residentMb();
  await server.stop();
  const firstPutMs = await server.run();
  return { filledMb, firstPutMs, restartedMb: await server.residentMb() };
}

/** One stream, one key, many watchers: until all are created, and until each has seen one event. */
async function watchers(name: ServerName): Promise<Result> {
  await using server = await BenchServer.start(name);
  const stdout = await script('../worker.ts', 'etcdkit', server.endpoint, 'watchers', String(WATCHERS));
  const { createdMs, fanOutMs } = JSON.parse(stdout) as Record<'createdMs' | 'fanOutMs', number>;
  return { createdMs, fanOutMs };
}

const rows: readonly Row[] = [
  loadRow('put', 1, 1),
  loadRow('put', 8, 8, 0.7),
  loadRow('put', 8, 32, 0.7),
  loadRow('range', 1, 1),
  loadRow('range', 8, 8, 0.7),
  loadRow('range', 8, 32, 0.7),
  loadRow('serializable range', 8, 32),
  { ...SIDES, name: 'start', figure: 'firstPutMs', measure: start },
  { ...SIDES, name: 'start embedded', figure: 'firstPutMs', atMost: 0.2, measure: startEmbedded },
  { ...SIDES, name: 'restart with 1000000 keys', figure: 'firstPutMs', atMost: 2, measure: million },
  { ...SIDES, name: 'watchers 10000', figure: 'createdMs', measure: watchers },
];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { rounds: { type: 'string', default: '5' } },
    allowPositionals: true,
  });
  const wanted = positionals.join(' ');
  for (const row of rows) if (row.name.includes(wanted)) await takeTurns(row, Number(values.rounds), row.measure);
}

await main();
