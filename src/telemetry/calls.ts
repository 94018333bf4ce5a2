/**
 * One span for each call, however many attempts it takes; and its count, its duration, and
 * its messages on the diagnostics channels.
 *
 * The hot path: {@link CallTelemetry.begin} answers `undefined` when nobody would see
 * anything, and then nothing more is done for the call. Until it knows, it makes one span
 * of the API's (with options that were made once for each method) and reads two properties.
 *
 * A span is named `<operation> <host>:<port>`, and by the operation alone when the client
 * has several endpoints, as the conventions for database clients have it. Its parent is
 * whatever was active when the call was made. A call that failed is an error whatever its
 * code; a transaction whose compares did not hold has not failed.
 *
 * @module
 */

import type { Context, Link, Span, SpanContext } from '@opentelemetry/api';
import { GrpcCode } from '../protocol/status.ts';
import {
  contextOf,
  DEFAULT_TELEMETRY,
  errorType,
  isRecording,
  isTraced,
  MAX_LINKS,
  markFailed,
  type TelemetrySettings,
  tracer,
} from './api.ts';
import { type ConnectionMessage, callsAreHeard, publish } from './channels.ts';
import { answerAttributes, madeRevision, requestAttributes } from './messages.ts';
import { type CallTarget, hostAndPort, type MethodInfo, methodInfo } from './methods.ts';
import { type Instruments, instruments } from './metrics.ts';
import { type Carrier, withTraceContext } from './propagation.ts';
import { ETCD, OTEL } from './semconv.ts';

/** What an error of the client tells; all of it may be missing, since anything can be thrown. */
interface FailureShape {
  readonly name?: string;
  readonly etcdCode?: string | undefined;
  readonly grpcCode?: GrpcCode | undefined;
  readonly endpoint?: string | undefined;
  readonly attempts?: number | undefined;
  readonly applied?: 'no' | 'maybe' | undefined;
}

/** Writes that are remembered by their revision, for handlers of watch events in the same process. */
const REMEMBERED_WRITES = 1_024;

/** The telemetry of one client's calls. */
export class CallTelemetry {
  readonly settings: TelemetrySettings;
  readonly #now: () => number;
  readonly #target: CallTarget | undefined;
  readonly #methods = new Map<string, MethodInfo>();
  readonly #writes = new Map<bigint, SpanContext>();

  /** `target`: where a client with one endpoint calls; undefined for one with several. `now`: the client's clock, in ms. */
  constructor(settings: TelemetrySettings, now: () => number, target?: CallTarget) {
    this.settings = settings;
    this.#now = now;
    this.#target = target;
  }

  /** Begins a call; undefined when nobody would hear of it. */
  begin(path: string, links?: readonly Link[]): CallTrace | undefined {
    const listened = callsAreHeard();
    const meters = this.instruments;
    const info = this.#info(path);
    const span = this.#span(info, links);
    if (span === undefined && meters === undefined && !listened) return undefined;
    publish('etcdkit:call:start', () => ({ method: path }));
    return new CallTrace(this, info, span, meters, this.#now);
  }

  #span(info: MethodInfo, links: readonly Link[] | undefined): Span | undefined {
    if (!this.settings.enabled) return undefined;
    const start = links === undefined ? info.start : { ...info.start, links: links.slice(0, MAX_LINKS) };
    const span = tracer.startSpan(info.spanName, start);
    return isTraced(span) ? span : undefined;
  }

  /** The instruments, if there are any and this client uses them. */
  get instruments(): Instruments | undefined {
    return this.settings.enabled ? instruments() : undefined;
  }

  /** Something became of a connection; the channel is told too. */
  connection(message: ConnectionMessage): void {
    this.instruments?.connections.add(1, {
      [ETCD.endpoint]: message.endpoint,
      [ETCD.connectionEvent]: message.event,
    });
    publish('etcdkit:connection', () => message);
  }

  /** A stream was opened; returns what is to be called when it is closed. */
  streamOpened(path: string): (() => void) | undefined {
    const meters = this.instruments;
    if (meters === undefined) return undefined;
    const labels = { [OTEL.rpcMethod]: path.slice(1) };
    meters.streams.add(1, labels);
    return () => meters.streams.add(-1, labels);
  }

  /** The span of the write that made a revision, if this process made it and remembers. */
  writeOf(revision: bigint): SpanContext | undefined {
    return this.#writes.get(revision);
  }

  /** Takes note of which span made a revision. */
  remember(revision: bigint, span: SpanContext): void {
    this.#writes.set(revision, span);
    if (this.#writes.size <= REMEMBERED_WRITES) return;
    for (const oldest of this.#writes.keys()) {
      this.#writes.delete(oldest);
      return;
    }
  }

  #info(path: string): MethodInfo {
    let info = this.#methods.get(path);
    if (info === undefined) {
      info = methodInfo(path, this.#target);
      this.#methods.set(path, info);
    }
    return info;
  }
}

/** For a client that was told nothing of telemetry. */
export const NO_CALL_TELEMETRY = new CallTelemetry({ ...DEFAULT_TELEMETRY, enabled: false }, () => 0);

/** One call, from its begin to its end. */
export class CallTrace {
  readonly #telemetry: CallTelemetry;
  readonly #info: MethodInfo;
  readonly #span: Span | undefined;
  readonly #meters: Instruments | undefined;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #context: Context | undefined;
  #ended = false;
  #attempts = 0;
  #endpoint: string | undefined;

  constructor(
    telemetry: CallTelemetry,
    info: MethodInfo,
    span: Span | undefined,
    meters: Instruments | undefined,
    now: () => number,
  ) {
    this.#telemetry = telemetry;
    this.#info = info;
    this.#span = span;
    this.#meters = meters;
    this.#now = now;
    this.#startedAt = now();
    this.#context = span && contextOf(span);
  }

  /** Makes an attempt's metadata: what it has been, with the trace context. */
  metadata(metadata: Carrier): Carrier {
    return this.#context === undefined ? metadata : withTraceContext(metadata, this.#context);
  }

  /** An attempt goes to a member. */
  attempt(endpoint: string): void {
    this.#attempts += 1;
    this.#endpoint = endpoint;
  }

  /** An attempt has failed and another will be made. `reason` is the server's or the transport's text. */
  retry(reason: string, delayMs: number): void {
    const endpoint = this.#endpoint ?? '';
    this.#meters?.retries.add(1, { [OTEL.rpcMethod]: this.#info.labels[OTEL.rpcMethod] ?? '' });
    if (this.#span === undefined || !isRecording(this.#span)) return;
    this.#span.addEvent('retry', {
      [ETCD.attempt]: this.#attempts,
      [ETCD.endpoint]: endpoint,
      [ETCD.reason]: reason,
      [ETCD.delayMs]: delayMs,
    });
  }

  /** Ends the call when it ends, and passes on how. */
  async follow<O>(request: object, answer: Promise<O>): Promise<O> {
    try {
      const answered = await answer;
      this.succeeded(request, answered as object);
      return answered;
    } catch (error) {
      this.failed(request, error);
      throw error;
    }
  }

  /** Ends the call with its answer. Only its first end counts. */
  succeeded(request: object, answer: object): void {
    if (this.#ended) return;
    this.#ended = true;
    const span = this.#span;
    if (span !== undefined && isRecording(span)) {
      span.setAttributes(requestAttributes(request, this.#telemetry.settings.captureKeys));
      span.setAttributes(answerAttributes(answer));
      span.setAttribute(OTEL.rpcStatus, 'OK');
      this.#describe(span, this.#endpoint);
      const made = madeRevision(this.#info.operation, answer);
      if (made !== undefined) this.#telemetry.remember(made, span.spanContext());
    }
    span?.end();
    this.#meters?.callDuration.record(this.#seconds, this.#info.labels);
    publish('etcdkit:call:end', () => ({
      method: this.#info.path,
      endpoint: this.#endpoint,
      attempts: this.#attempts,
      durationMs: this.#now() - this.#startedAt,
    }));
  }

  /** Ends the call with an error. Only its first end counts. */
  failed(request: object, error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const failure = (error ?? {}) as FailureShape;
    const type = errorType(error);
    const status = failure.grpcCode === undefined ? undefined : GRPC_NAMES.get(failure.grpcCode);
    const attempts = Math.max(this.#attempts, failure.attempts ?? 0);
    const span = this.#span;
    if (span !== undefined && isRecording(span)) {
      span.setAttributes(requestAttributes(request, this.#telemetry.settings.captureKeys));
      markFailed(span, type);
      if (failure.name !== undefined) span.setAttribute(ETCD.errorClass, failure.name);
      if (failure.etcdCode !== undefined) span.setAttribute(ETCD.etcdCode, failure.etcdCode);
      if (failure.applied !== undefined) span.setAttribute(ETCD.applied, failure.applied);
      if (status !== undefined) span.setAttributes({ [OTEL.rpcStatus]: status, [OTEL.dbStatus]: status });
      this.#describe(span, this.#endpoint ?? failure.endpoint);
    }
    span?.end();
    this.#meters?.callDuration.record(this.#seconds, {
      ...this.#info.labels,
      [OTEL.errorType]: type,
      ...(status === undefined ? {} : { [OTEL.dbStatus]: status }),
    });
    publish('etcdkit:call:error', () => ({
      method: this.#info.path,
      endpoint: this.#endpoint ?? failure.endpoint,
      attempts,
      durationMs: this.#now() - this.#startedAt,
      code: type,
      applied: failure.applied,
    }));
  }

  #describe(span: Span, endpoint: string | undefined): void {
    span.setAttribute(ETCD.attempts, this.#attempts);
    if (endpoint === undefined) return;
    span.setAttribute(ETCD.endpoint, endpoint);
    const { host, port } = hostAndPort(endpoint);
    span.setAttribute(OTEL.serverAddress, host);
    if (port !== undefined) span.setAttribute(OTEL.serverPort, port);
  }

  get #seconds(): number {
    return (this.#now() - this.#startedAt) / 1000;
  }
}

/** gRPC's status codes by number. */
const GRPC_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(GrpcCode).map(([name, code]) => [code, name]));
