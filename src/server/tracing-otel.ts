/**
 * The server's spans on the OpenTelemetry API.
 *
 * - A call has a SERVER span, named as its method, below the span that its metadata names (`traceparent`, `tracestate`;
 *   by the gateway, headers `grpc-metadata-traceparent` or `traceparent`). Only calls with an end have one: a watch, a
 *   keepalive or an observation would be a span for days, and nothing would be seen of it before.
 * - What is done for a call is below it, on other members too: see `tracing.ts`. Those know from the log which trace it
 *   is, and that it is sampled, so whatever sampler they have that asks the parent keeps it as well. `tracestate` does not
 *   go through the log.
 * - Work that no client asked for (elections, leases that end, the cluster's version) has none.
 *
 * Without an SDK this costs a call two looks into the API and one span that records nothing, some 50 ns.
 *
 * Source: OpenTelemetry's semantic conventions for RPC: a server's span has failed only for codes that speak against the
 * server.
 *
 * @module
 */
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanOptions,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { KV, Maintenance } from '../protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../protocol/status.ts';
import { isRecording, markFailed, tracer } from '../telemetry/api.ts';
import { extractTraceContext } from '../telemetry/propagation.ts';
import { OTEL, RPC_SYSTEM } from '../telemetry/semconv.ts';
import { Refusals, RpcError } from './refusals.ts';
import type { Method, MethodTable, ServerCall } from './rpc/call.ts';
import { refusalOf } from './rpc/failure.ts';
import {
  type EntryTracing,
  TRACE_LINK_BYTES,
  type TraceLink,
  type WorkAttributes,
  type WorkName,
  type WorkSpan,
} from './tracing.ts';

const TRACE_ID_BYTES = 16;

/** Streams that end when what was asked for is sent. All others last for as long as their client likes. */
const FINITE_STREAMS: ReadonlySet<string> = new Set([KV.rangeStream.path, Maintenance.snapshot.path]);

/** Codes of which the conventions say that the server has failed, not its client. */
const SERVER_FAULTS: ReadonlySet<GrpcCode> = new Set([
  GrpcCode.UNKNOWN,
  GrpcCode.DEADLINE_EXCEEDED,
  GrpcCode.UNIMPLEMENTED,
  GrpcCode.INTERNAL,
  GrpcCode.UNAVAILABLE,
  GrpcCode.DATA_LOSS,
]);

const CODE_NAMES: ReadonlyMap<GrpcCode, string> = new Map(Object.entries(GrpcCode).map(([name, code]) => [code, name]));

/** Times the work on entries. Has no state: it serves all members of a process. */
export const otelTracing: EntryTracing = {
  begin: (name, link, attributes) => started(name, { attributes }, contextOf(link), attributes),
};

/** The same methods; each call that somebody keeps has a span while it is in work. @param member What its spans say. */
export function tracedMethods(methods: MethodTable, member: WorkAttributes): MethodTable {
  return new Map(Array.from(methods, ([path, method]) => [path, traced(method, member)]));
}

/** A method whose calls have spans. */
function traced(method: Method, member: WorkAttributes): Method {
  const { path } = method.descriptor;
  if (method.kind === 'bidi' || (method.kind === 'server-stream' && !FINITE_STREAMS.has(path))) return method;
  const name = path.slice(1);
  const attributes = { ...member, [OTEL.rpcSystem]: RPC_SYSTEM, [OTEL.rpcMethod]: name };
  const options: SpanOptions = { kind: SpanKind.SERVER, attributes };
  const around =
    <Rest extends unknown[], Result>(handle: (request: unknown, call: ServerCall, ...rest: Rest) => Promise<Result>) =>
    (request: unknown, call: ServerCall, ...rest: Rest): Promise<Result> => {
      const parent = extractTraceContext(call.metadata);
      const span = started(name, options, parent, member);
      if (span === undefined) return handle(request, call, ...rest);
      call.span = span;
      return span.during(call, () => handle(request, call, ...rest));
    };
  return method.kind === 'unary'
    ? { ...method, handle: around(method.handle) }
    : { ...method, handle: around(method.handle) };
}

function started(name: string, options: SpanOptions, parent: Context, member: WorkAttributes): OtelSpan | undefined {
  const span = tracer.startSpan(name, options, parent);
  return isRecording(span) ? new OtelSpan(span, member) : undefined;
}

/** A span that somebody keeps. */
class OtelSpan implements WorkSpan {
  readonly #span: Span;
  /** What its parts say as well. */
  readonly #member: WorkAttributes;

  constructor(span: Span, member: WorkAttributes) {
    this.#span = span;
    this.#member = member;
  }

  get link(): TraceLink | undefined {
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    return traceFlags & TraceFlags.SAMPLED ? Buffer.from(traceId + spanId, 'hex') : undefined;
  }

  begin(name: WorkName): WorkSpan | undefined {
    const parent = trace.setSpan(ROOT_CONTEXT, this.#span);
    return started(name, { attributes: this.#member }, parent, this.#member);
  }

  set(attributes: WorkAttributes): void {
    this.#span.setAttributes(attributes);
  }

  end(failure?: string): void {
    if (failure !== undefined) markFailed(this.#span, failure);
    this.#span.end();
  }

  /** Runs what handles a call, and ends with it. */
  async during<Result>(call: ServerCall, handle: () => Promise<Result>): Promise<Result> {
    let code: GrpcCode = GrpcCode.OK;
    try {
      return await handle();
    } catch (error) {
      code = codeOf(error, call);
      throw error;
    } finally {
      const name = CODE_NAMES.get(code) ?? String(code);
      this.#span.setAttribute(OTEL.rpcStatus, name);
      this.end(SERVER_FAULTS.has(code) ? name : undefined);
    }
  }
}

/** The code that the client is told. A fault is reported by who answers the call. */
function codeOf(error: unknown, { path, signal }: ServerCall): GrpcCode {
  const refusal = refusalOf(error, signal, path, () => {});
  const { reason } = signal;
  const gaveUp = refusal === Refusals.Canceled && signal.aborted && reason instanceof RpcError;
  return gaveUp ? reason.refusal.grpcCode : refusal.grpcCode;
}

/** A context below a span of another member, or of this one. */
function contextOf(link: TraceLink): Context {
  const hex = Buffer.from(link.buffer, link.byteOffset, TRACE_LINK_BYTES).toString('hex');
  const [traceId, spanId] = [hex.slice(0, 2 * TRACE_ID_BYTES), hex.slice(2 * TRACE_ID_BYTES)];
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
}
