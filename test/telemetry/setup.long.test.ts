/**
 * The one call that sets OpenTelemetry up: in processes of their own, since a process has one tracer provider, with a
 * collector that is real, one that hangs, and one that is not there.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';
import { OtlpReceiver } from '../support/otlp-receiver.ts';

const CHILD = path.join(import.meta.dirname, 'children', 'exporting.ts');

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

/** Runs the program to its end, and returns what it said. */
async function run(environment: Record<string, string>, way = 'put', count = 1): Promise<object[]> {
  const args = ['--import', 'tsx', CHILD, way, server.endpoints[0] as string, String(count)];
  const env = { ...process.env, NODE_OPTIONS: '', ...environment };
  const child = spawn(process.execPath, args, {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 60_000, // one that hangs is not left behind
    killSignal: 'SIGKILL',
  });
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  expect(code).toBe(0);
  return said
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
}

describe('startTelemetry', () => {
  it('exports what happened before the program ends, as the environment says', async () => {
    await using collector = await OtlpReceiver.open();
    const said = await run({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=blue',
      OTEL_SERVICE_NAME: 'by-environment',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=by%20environment,team=a%2Cb',
    });
    expect(said).toEqual([{ enabled: true }, { put: 1 }, { over: true }]);
    expect(collector.faults).toEqual([]);
    expect(collector.headers['x-tenant']).toBe('blue');
    const put = collector.spans.find(({ name }) => name.startsWith('put '));
    expect(put?.resource).toMatchObject({
      'service.name': 'by-environment',
      'service.version': '1.2.3',
      'deployment.environment.name': 'by environment',
      team: 'a,b',
      'telemetry.sdk.name': 'opentelemetry',
    });
    expect(JSON.stringify(collector.spans)).not.toContain('secret-value');
  });

  it('takes the options where the environment is silent, and the specific endpoint before the general', async () => {
    await using collector = await OtlpReceiver.open();
    await run({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.endpoint}/v1/traces`,
    });
    expect(collector.faults).toEqual([]);
    expect(collector.spans[0]?.resource).toMatchObject({
      'service.name': 'by-option',
      'deployment.environment.name': 'by-option',
    });
  });

  it('keeps only what the environment samples', async () => {
    await using collector = await OtlpReceiver.open();
    await run({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_TRACES_SAMPLER: 'always_off' });
    expect(collector.requests).toBe(0);
  });

  it.each([{ OTEL_SDK_DISABLED: 'true' }, { OTEL_TRACES_EXPORTER: 'none' }])(
    'does nothing with %o',
    async (environment) => {
      await using collector = await OtlpReceiver.open();
      const said = await run({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, ...environment });
      expect(said[0]).toEqual({ enabled: false });
      expect(collector.requests).toBe(0);
    },
  );

  it('will not take the place of a provider that is there', async () => {
    await using collector = await OtlpReceiver.open();
    const said = await run({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint }, 'twice');
    expect(said[1]).toEqual({ twice: expect.stringContaining('set up already') });
  });
});

describe('a collector', () => {
  // Small batches that are sent at once, so that some are under way while the puts are made; and the SDK's own limits so
  // high that who waits for them never ends.
  const eager = {
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '5',
    OTEL_BSP_MAX_QUEUE_SIZE: '10',
    OTEL_BSP_SCHEDULE_DELAY: '1',
    OTEL_BSP_EXPORT_TIMEOUT: '3600000',
    OTEL_EXPORTER_OTLP_TIMEOUT: '3600000',
  };

  it('that never answers delays no put, and shutdown has its bound', async () => {
    await using collector = await OtlpReceiver.open();
    collector.mood = 'silent';
    const said = await run({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, ...eager }, 'put', 200);
    expect(said).toEqual([{ enabled: true }, { put: 200 }, { over: true }]);
    // It had been asked before the puts were over, and has not answered to this moment.
    expect(collector.requests).toBeGreaterThan(0);
  });

  it('that is not there delays no put', async () => {
    const said = await run({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', ...eager }, 'put', 200);
    expect(said).toEqual([{ enabled: true }, { put: 200 }, { over: true }]);
  });
});
