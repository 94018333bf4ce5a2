/**
 * Ours and npm `etcd3` in turn on the same etcd, as ratios.
 *
 *   npm run bench                     everything
 *   npm run bench -- get 64           one row
 *   npm run bench -- --rounds 9       more rounds
 *
 * Every measurement runs in a process of its own. The clients take turns within a round,
 * and what is printed is the median of the rounds' ratios: on a machine that others use
 * too, a figure by itself means little.
 *
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { EtcdCluster } from '../test/support/etcd-cluster.ts';
import { type ClientName, makeClient } from './clients/client.ts';
import { type Row, rows } from './rows.ts';
import { type Result, takeTurns } from './turns.ts';

const importPath = fileURLToPath(new URL('./import.js', import.meta.url));
const workerPath = fileURLToPath(new URL('./worker.ts', import.meta.url));

interface Worker {
  readonly child: ChildProcess;
  /** The next line that the worker prints. */
  readonly line: () => Promise<string>;
}

function startWorker(client: ClientName, endpoint: string, task: string, args: readonly string[]): Worker {
  const argv =
    task === 'import'
      ? [importPath, client === 'etcd3' ? 'etcd3' : '../dist/src/index.js']
      : ['--expose-gc', '--import', 'tsx', workerPath, client, endpoint, task, ...args];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    line: async () => {
      const next = await lines.next();
      if (next.done) throw new Error(`the worker for ${client} ${task} ended without a result`);
      return next.value;
    },
  };
}

async function measure(client: ClientName, endpoint: string, row: Row): Promise<Result> {
  const worker = startWorker(client, endpoint, row.task, row.args);
  const exited = once(worker.child, 'exit');
  if (row.task === 'events') {
    await worker.line(); // it watches
    await writeEvents(endpoint, Number(row.args[0]));
  }
  const result = JSON.parse(await worker.line()) as Result;
  const limit = setTimeout(() => worker.child.kill('SIGKILL'), 10_000);
  await exited;
  clearTimeout(limit);
  return result;
}

async function writeEvents(endpoint: string, count: number): Promise<void> {
  const writer = await makeClient('grpc-js', endpoint);
  const key = `${'bench/'.padEnd(64, 'k')}/stream`;
  let left = count;
  const write = async (): Promise<void> => {
    while (left-- > 0) await writer.put(key, 'v'.repeat(256));
  };
  await Promise.all(Array.from({ length: 64 }, write));
  await writer.close();
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { rounds: { type: 'string', default: '5' } },
    allowPositionals: true,
  });
  // In memory, where the machine has such a place: the clients are measured here, not the disk.
  if (existsSync('/dev/shm')) process.env['TMPDIR'] = '/dev/shm';
  await using cluster = await EtcdCluster.start({ version: '3.5', members: 1 });
  const endpoint = (cluster.endpoints[0] ?? '').replace(/^https?:\/\//, '');
  const wanted = positionals.join(' ');
  for (const row of rows) {
    if (row.name.includes(wanted))
      await takeTurns(row, Number(values.rounds), (client) => measure(client, endpoint, row));
  }
}

await main();
