/**
 * One measurement for `run.ts`: puts for a while, and the processor time that each took; or the look at whether anybody
 * listens, by itself.
 *
 * @module
 */
import { performance } from 'node:perf_hooks';
import { Etcd } from '../../src/index.ts';
import { DEFAULT_TELEMETRY } from '../../src/telemetry/api.ts';
import { CallTelemetry } from '../../src/telemetry/calls.ts';
import { startTelemetry } from '../../src/telemetry/setup.ts';

const [mode = '', endpoint = '', streams = '1'] = process.argv.slice(2);

const WARM_UP_MS = 1_000;
const MEASURE_MS = 3_000;
const VALUE = 'v'.repeat(256);

/** Puts for so long, and returns how many. */
async function putFor(etcd: Etcd, durationMs: number): Promise<number> {
  const until = performance.now() + durationMs;
  let count = 0;
  const put = async (): Promise<void> => {
    while (performance.now() < until) {
      await etcd.put('bench/telemetry', VALUE);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: Number(streams) }, put));
  return count;
}

async function measurePuts(): Promise<object> {
  const telemetry = mode === 'batch' ? await startTelemetry({ serviceName: 'bench' }) : undefined;
  const etcd = new Etcd({ endpoints: endpoint, telemetry: mode !== 'off' });
  await putFor(etcd, WARM_UP_MS);
  globalThis.gc?.();
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  const puts = await putFor(etcd, MEASURE_MS);
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  await etcd.close();
  await telemetry?.shutdown();
  return { cpuMicrosPerPut: (user + system) / puts, perSecond: puts / seconds };
}

function measureLook(): object {
  const calls = new CallTelemetry(DEFAULT_TELEMETRY, () => performance.now());
  const look = (times: number): number => {
    const startedAt = performance.now();
    for (let i = 0; i < times; i++) if (calls.begin('/etcdserverpb.KV/Put') !== undefined) throw new Error('heard');
    return ((performance.now() - startedAt) * 1e6) / times;
  };
  look(1_000_000);
  return { nanos: look(5_000_000) };
}

const result = mode === 'look' ? measureLook() : await measurePuts();
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit();
