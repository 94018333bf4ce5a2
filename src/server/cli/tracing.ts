/**
 * Where a server process sends its spans.
 *
 * OpenTelemetry's own environment variables say so, as for any program: `OTEL_EXPORTER_OTLP_ENDPOINT`,
 * `OTEL_TRACES_EXPORTER`, `OTEL_TRACES_SAMPLER` and so on. etcd's flags are for a collector of OTLP over gRPC, and this
 * server speaks OTLP over HTTP: so the flag that turns tracing on, and that for the address, do nothing by themselves, and
 * the log says what does. Those for the name, the instance and how much is sampled count where the environment is silent.
 *
 * The SDK is loaded only for this, and it need not be installed. A server without it, or with a collector that is gone,
 * serves on: variables of this kind are set for whole fleets, and no key is worth less for a span that is lost.
 *
 * @module
 */
import type { ServerLog } from '../log.ts';
import type { Values } from './flags/index.ts';

const CALLER = 'cli/tracing.ts';

/** How long the end of the process may wait for a collector, in ms. */
const FLUSH_MS = 2_000;

/** Of so many requests the flag names a share. */
const RATE_OF = 1_000_000;

/** Spans on their way out. */
export interface Exporting {
  /** Sends what is left; ends within a bound. */
  shutdown(): Promise<void>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Whether the environment asks for spans to be sent. */
export function asksForSpans(environment: Environment): boolean {
  const set = (name: string): string => environment[name]?.trim() ?? '';
  if (set('OTEL_SDK_DISABLED').toLowerCase() === 'true') return false;
  const exporter = set('OTEL_TRACES_EXPORTER');
  if (exporter !== '') return exporter !== 'none';
  return set('OTEL_EXPORTER_OTLP_ENDPOINT') !== '' || set('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') !== '';
}

/** What the flags say to a set-up that takes the rest from the environment. */
export function tracingOf(values: Values): {
  readonly serviceName: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly samplingRatio: number | undefined;
} {
  const instance = values['distributed-tracing-instance-id'] || values.name;
  const rate = values['distributed-tracing-sampling-rate'];
  return {
    serviceName: values['distributed-tracing-service-name'],
    attributes: { 'service.instance.id': instance },
    samplingRatio: rate > 0 ? Math.min(rate, RATE_OF) / RATE_OF : undefined,
  };
}

/** Sends spans, if it is asked for. @returns Undefined if none are sent. Never rejects. */
export async function startExporting(
  values: Values,
  environment: Environment,
  log: ServerLog,
): Promise<Exporting | undefined> {
  if (!asksForSpans(environment)) {
    if (values['enable-distributed-tracing'])
      log.write('warn', CALLER, 'no spans are exported: this server speaks OTLP over HTTP, not over gRPC', {
        instead: 'set OTEL_EXPORTER_OTLP_ENDPOINT to such a collector, say http://localhost:4318',
      });
    return undefined;
  }
  try {
    const { startTelemetry } = await import('../../telemetry/setup.ts');
    const exporting = await startTelemetry({ ...tracingOf(values), shutdownTimeoutMs: FLUSH_MS });
    log.write('info', CALLER, 'spans are exported, as the environment says');
    return exporting;
  } catch (error) {
    log.write('warn', CALLER, 'no spans are exported', {
      error: error instanceof Error ? error.message : String(error),
    });
    return undefined;
  }
}
