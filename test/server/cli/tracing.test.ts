import { describe, expect, it } from 'vitest';
import { Given, type Values } from '../../../src/server/cli/flags/index.ts';
import { asksForSpans, startExporting, tracingOf } from '../../../src/server/cli/tracing.ts';
import type { ServerLog } from '../../../src/server/log.ts';
import { collectSpans } from '../../support/spans.ts';

function valuesOf(flags: Partial<Values> = {}): Values {
  const given = new Given();
  for (const [name, value] of Object.entries(flags)) given.set(name as keyof Values, value);
  return given.values();
}

/** Lines of a log, with their fields. */
function lines(): { log: ServerLog; all: string[] } {
  const all: string[] = [];
  const write: ServerLog['write'] = (level, _, message, fields) =>
    all.push(`${level} ${message} ${JSON.stringify(fields)}`);
  return { log: { write }, all };
}

describe('whether a server exports spans', () => {
  it.each([
    [false, {}],
    [false, { OTEL_EXPORTER_OTLP_ENDPOINT: ' ' }],
    [true, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' }],
    [true, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://localhost:4318/v1/traces' }],
    [true, { OTEL_TRACES_EXPORTER: 'otlp' }],
    [false, { OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' }],
    [false, { OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' }],
  ])('is %s with %j', (expected, environment) => {
    expect(asksForSpans(environment)).toBe(expected);
  });

  it('is told to who asks for it by the flags of etcd alone', async () => {
    const { log, all } = lines();
    expect(await startExporting(valuesOf(), {}, log)).toBeUndefined();
    expect(all).toEqual([]);
    expect(await startExporting(valuesOf({ 'enable-distributed-tracing': true }), {}, log)).toBeUndefined();
    expect(all).toHaveLength(1);
    expect(all[0]).toMatch(/^warn .*OTEL_EXPORTER_OTLP_ENDPOINT/);
  });

  it('ends no server when it cannot be', async () => {
    // A provider is there already.
    await using _ = collectSpans();
    const { log, all } = lines();
    const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:1' };
    expect(await startExporting(valuesOf(), environment, log)).toBeUndefined();
    expect(all).toHaveLength(1);
    expect(all[0]).toMatch(/^warn no spans are exported .*set up already/);
  });
});

describe('what the flags say of it', () => {
  it('is a name, an instance and a share', () => {
    expect(tracingOf(valuesOf({ name: 'infra0' }))).toEqual({
      serviceName: 'etcd',
      attributes: { 'service.instance.id': 'infra0' },
      samplingRatio: undefined,
    });
    const given = valuesOf({
      'distributed-tracing-service-name': 'store',
      'distributed-tracing-instance-id': 'a',
      'distributed-tracing-sampling-rate': 250_000,
    });
    expect(tracingOf(given)).toEqual({
      serviceName: 'store',
      attributes: { 'service.instance.id': 'a' },
      samplingRatio: 0.25,
    });
    expect(tracingOf(valuesOf({ 'distributed-tracing-sampling-rate': 3_000_000 })).samplingRatio).toBe(1);
  });
});
