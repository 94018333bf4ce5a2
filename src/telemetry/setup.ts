/**
 * OpenTelemetry in one call, for programs that have no set-up of their own.
 *
 * It is `@opentelemetry/sdk-trace-node` with a batch of spans sent by OTLP over HTTP, as the
 * environment variables of OpenTelemetry's specification say. The SDK reads most of them
 * itself: those of the exporter (`OTEL_EXPORTER_OTLP_*`), of the batch (`OTEL_BSP_*`), of
 * sampling (`OTEL_TRACES_SAMPLER`, `…_ARG`) and of limits (`OTEL_SPAN_*`). It does not read
 * those of the resource (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`), of the choice of
 * an exporter and a propagator, and `OTEL_SDK_DISABLED`; those are read here.
 *
 * The SDK and the exporter are loaded when this is called, and by nothing else. Spans wait
 * in a queue that is bounded and are sent in the background: a collector that is slow or
 * gone costs spans, never a call.
 *
 * Metrics have an API, which etcdkit uses, but no SDK among these packages: a program that
 * wants them sets up a `MeterProvider` of its own (`metrics.setGlobalMeterProvider`).
 *
 * Source: OpenTelemetry Specification 1.44, "Environment Variable Specification".
 *
 * @module
 */

import { diag, type ProxyTracerProvider, trace } from '@opentelemetry/api';
import type * as Otlp from '@opentelemetry/exporter-trace-otlp-http';
import type * as Sdk from '@opentelemetry/sdk-trace-node';
import { systemClock, type Timer } from '../support/clock.ts';

/** What to set up, where the environment does not say. */
export interface StartTelemetryOptions {
  /** The name of the service. `OTEL_SERVICE_NAME` goes first. Default: `unknown_service` with the program's name. */
  readonly serviceName?: string | undefined;
  /** More about the service, such as `service.version`. What `OTEL_RESOURCE_ATTRIBUTES` says goes first. */
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  /** Which share of traces is kept, from 0 to 1. `OTEL_TRACES_SAMPLER` goes first. Default: all of them. */
  readonly samplingRatio?: number | undefined;
  /** How long {@link RunningTelemetry.shutdown} may take, in milliseconds. Default 5000. */
  readonly shutdownTimeoutMs?: number | undefined;
}

/** OpenTelemetry, set up. */
export interface RunningTelemetry extends AsyncDisposable {
  /** Whether spans are exported: not with `OTEL_SDK_DISABLED=true` or `OTEL_TRACES_EXPORTER=none`. */
  readonly enabled: boolean;
  /** Sends what waits, as far as that can be done in time. Never rejects. */
  flush(): Promise<void>;
  /**
   * Sends what waits, as far as that can be done in time, and stops. To be called last: what
   * ends after it is not exported. Can be called twice. Never rejects. A request to a collector
   * that hangs is the exporter's: it can hold the process for `OTEL_EXPORTER_OTLP_TIMEOUT`
   * (10 s) more, unless that calls `process.exit`.
   */
  shutdown(): Promise<void>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_SHUTDOWN_TIMEOUT_MS = 5_000;

/** The Node SDK and the exporter. */
interface Packages {
  readonly sdk: typeof Sdk;
  readonly otlp: typeof Otlp;
}

/**
 * Sets OpenTelemetry up for this process: spans of etcdkit, and of everything else that uses
 * `@opentelemetry/api`, are exported.
 *
 * @example
 * ```ts
 * await using telemetry = await startTelemetry({ serviceName: 'orders' });
 * ```
 * @throws Error when the packages are not installed, when a tracer provider is set up
 * already, or when the environment names an exporter that is not here.
 */
export async function startTelemetry(options: StartTelemetryOptions = {}): Promise<RunningTelemetry> {
  const environment = process.env;
  const { shutdownTimeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = options;
  const exporterName = setting(environment, 'OTEL_TRACES_EXPORTER') ?? 'otlp';
  const disabled = setting(environment, 'OTEL_SDK_DISABLED')?.toLowerCase() === 'true';
  if (disabled || exporterName === 'none') return running(undefined, shutdownTimeoutMs);
  const packages = await load();
  if (isSetUp()) throw new Error('a tracer provider is set up already: etcdkit uses it, and needs no other');
  const { sdk } = packages;
  const exporter = exporterOf(exporterName, packages);
  const provider = new sdk.NodeTracerProvider({
    resource: resourceOf(sdk, resourceAttributes(options, environment)),
    spanProcessors: [new sdk.BatchSpanProcessor(exporter)],
    ...samplerOf(sdk, options, environment),
  });
  // Anything else is left to the SDK, whose default is the W3C's trace context and baggage.
  provider.register(setting(environment, 'OTEL_PROPAGATORS') === 'none' ? { propagator: null } : {});
  return running(provider, shutdownTimeoutMs);
}

/** What an environment variable says; blank counts as not set, as the specification has it. */
function setting(environment: Environment, name: string): string | undefined {
  const value = environment[name]?.trim();
  return value === '' ? undefined : value;
}

async function load(): Promise<Packages> {
  try {
    const [sdk, otlp] = await Promise.all([
      import('@opentelemetry/sdk-trace-node'),
      import('@opentelemetry/exporter-trace-otlp-http'),
    ]);
    return { sdk, otlp };
  } catch (error) {
    const message =
      'etcdkit/telemetry needs two packages more: ' +
      'npm install @opentelemetry/sdk-trace-node @opentelemetry/exporter-trace-otlp-http';
    throw new Error(message, { cause: error });
  }
}

/** Whether this program has a tracer provider. */
function isSetUp(): boolean {
  return (trace.getTracerProvider() as ProxyTracerProvider).getDelegateTracer?.('etcdkit') !== undefined;
}

function exporterOf(name: string, { sdk, otlp }: Packages): Sdk.SpanExporter {
  if (name === 'console') return new sdk.ConsoleSpanExporter();
  if (name !== 'otlp') throw new Error(`OTEL_TRACES_EXPORTER is ${name}, and here are otlp, console and none`);
  const { env } = process;
  const protocol =
    setting(env, 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? setting(env, 'OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/json';
  // A collector takes both over HTTP; gRPC is another port, and there nothing of ours would be understood.
  if (!protocol.startsWith('http/')) diag.warn(`etcdkit exports spans by http/json, not by ${protocol}`);
  return new otlp.OTLPTraceExporter();
}

/** A sampler, where the environment names none and the options do. */
function samplerOf(
  sdk: typeof Sdk,
  { samplingRatio }: StartTelemetryOptions,
  environment: Environment,
): Pick<Sdk.TracerConfig, 'sampler'> {
  if (samplingRatio === undefined || setting(environment, 'OTEL_TRACES_SAMPLER') !== undefined) return {};
  return { sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(samplingRatio) }) };
}

/** What is said of the service: the options, below the variables, below the name of its own. */
function resourceAttributes(options: StartTelemetryOptions, environment: Environment): Record<string, string> {
  const serviceName = setting(environment, 'OTEL_SERVICE_NAME');
  return {
    ...(options.serviceName === undefined ? {} : { 'service.name': options.serviceName }),
    ...options.attributes,
    ...parseAttributes(setting(environment, 'OTEL_RESOURCE_ATTRIBUTES') ?? ''),
    ...(serviceName === undefined ? {} : { 'service.name': serviceName }),
  };
}

/** `key=value` pairs, percent-encoded, with commas between; nothing at all when one of them cannot be read. */
function parseAttributes(text: string): Record<string, string> {
  const attributes: Record<string, string> = {};
  try {
    for (const pair of text.split(',')) {
      if (pair.trim() === '') continue;
      const [key = '', value, ...rest] = pair.split('=').map((part) => decodeURIComponent(part.trim()));
      if (key === '' || value === undefined || rest.length > 0) throw new TypeError('not a pair');
      attributes[key] = value;
    }
    return attributes;
  } catch {
    // The text is not repeated: somebody may have put a secret there.
    diag.warn('OTEL_RESOURCE_ATTRIBUTES cannot be read, and is left out');
    return {};
  }
}

type Resource = NonNullable<Sdk.TracerConfig['resource']>;

/**
 * The SDK's own resource with these attributes on top. The package that makes resources is
 * not among those that a program has to install, so the default one is taken from a span.
 */
function resourceOf(sdk: typeof Sdk, attributes: Record<string, string>): Resource {
  const provider = new sdk.NodeTracerProvider({ sampler: new sdk.AlwaysOnSampler() });
  const { resource } = provider.getTracer('etcdkit').startSpan('resource') as unknown as Sdk.ReadableSpan;
  const own: Resource = {
    attributes,
    getRawAttributes: () => Object.entries(attributes),
    merge: (other) => (other === null ? own : other),
  };
  return resource.merge(own);
}

function running(provider: Sdk.NodeTracerProvider | undefined, timeoutMs: number): RunningTelemetry {
  let stopping: Promise<void> | undefined;
  const shutdown = (): Promise<void> => {
    stopping ??= within(timeoutMs, () => provider?.shutdown());
    return stopping;
  };
  return {
    enabled: provider !== undefined,
    flush: () => within(timeoutMs, () => provider?.forceFlush()),
    shutdown,
    [Symbol.asyncDispose]: shutdown,
  };
}

/** Waits for some work, but no longer than this; what becomes of it then, or that it fails, is the SDK's to log. */
function within(timeoutMs: number, work: () => Promise<void> | undefined): Promise<void> {
  return new Promise((resolve) => {
    let timer: Timer | undefined;
    const done = (): void => {
      timer?.cancel();
      resolve();
    };
    timer = systemClock.after(timeoutMs, done);
    Promise.resolve(work()).then(done, (error: unknown) => {
      diag.error('spans could not be exported', error);
      done();
    });
  });
}
