/**
 * What telemetry costs: the same puts without it, with it and no SDK, and with the SDK and batch export, in turns.
 *
 *   node --import tsx bench/telemetry/run.ts                  everything
 *   node --import tsx bench/telemetry/run.ts --rounds 9       more rounds
 *
 * Each measurement is a process of its own (`worker.ts`) that puts into one bundled server and, with the SDK, exports
 * to a collector that takes everything; both are in this process. What is compared is the worker's processor time for a
 * put, which says more than its puts in a second on a machine that others use too. The differences that "no SDK" makes
 * are smaller than the noise of that; so the look that is all it does is measured by itself as well, and set against
 * what a put takes.
 *
 * @module
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { startEtcd } from '../../src/testing/index.ts';
import { type Comparison, type Result, takeTurns } from '../turns.ts';

type Mode = 'off' | 'no-sdk' | 'batch';

const run = promisify(execFile);
const WORKER = path.join(import.meta.dirname, 'worker.ts');

const FIGURE = 'cpuMicrosPerPut';
const rows: readonly (Comparison<Mode> & { readonly streams: number })[] = [1, 64].flatMap((streams) => [
  { name: `no SDK, ${streams} at once`, figure: FIGURE, ours: 'no-sdk', peer: 'off', atMost: 1.02, streams },
  { name: `SDK and batch export, ${streams} at once`, figure: FIGURE, ours: 'batch', peer: 'off', streams },
]);

async function worker(mode: Mode | 'look', endpoint: string, streams: number, collector: string): Promise<Result> {
  const args = ['--expose-gc', '--import', 'tsx', WORKER, mode, endpoint, String(streams)];
  const env = { ...process.env, OTEL_EXPORTER_OTLP_ENDPOINT: collector };
  const { stdout } = await run(process.execPath, args, { env });
  return JSON.parse(stdout) as Result;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
  await using server = await startEtcd();
  const [endpoint = ''] = server.endpoints;
  let bytes = 0;
  const collector = createServer((request, response) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
  });
  collector.listen(0, '127.0.0.1');
  await once(collector, 'listening');
  const url = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  for (const { streams, ...row } of rows) {
    await takeTurns(row, Number(values.rounds), (mode) => worker(mode, endpoint, streams, url));
  }
  const { nanos = 0 } = await worker('look', endpoint, 1, url);
  const { cpuMicrosPerPut = 1 } = await worker('off', endpoint, 64, url);
  const share = nanos / 1000 / cpuMicrosPerPut;
  const met = share < 0.02 ? 'met   ' : 'MISSED';
  process.stdout.write(
    `${met} no SDK, the look by itself: ${nanos.toFixed(0)} ns, ${(share * 100).toFixed(2)} % of a put (target < 2 %)\n` +
      `         the collector took ${(bytes / 1e6).toFixed(1)} MB\n`,
  );
  collector.closeAllConnections();
  collector.close();
}

await main();
