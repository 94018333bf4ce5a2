/**
 * What all of our instrumentation stands on: the tracer, and what is done alike everywhere.
 *
 * Only `@opentelemetry/api` is known here. Without an SDK every span is one that records
 * nothing, made in some tens of nanoseconds, and no attribute is put together: ask
 * {@link isRecording} first. The tracer is made once; it follows an SDK that is registered
 * later.
 *
 * Obligation: no code below this folder may behave differently because it is traced. A span
 * never throws, is ended on every way out, and never lives as long as a stream.
 *
 * @module
 */

import {
  type Attributes,
  type Context,
  context,
  INVALID_TRACEID,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { OTEL } from './semconv.ts';

/** Everything of ours comes from this tracer; its name is the instrumentation scope. */
export const tracer: Tracer = trace.getTracer('etcdkit');

/** How much of the keys goes into spans: nothing, the part up to the first `/`, or all of it. */
export type CaptureKeys = 'none' | 'prefix' | 'full';

/** What one client's telemetry may tell. */
export interface TelemetrySettings {
  /** Whether there are spans and metrics at all, provided that the program has set up an SDK. Default true. */
  readonly enabled: boolean;
  /** Default `'none'`. Names of locks, elections and queues are parts of keys, and follow this too. */
  readonly captureKeys: CaptureKeys;
}

/** The settings of a client that was told nothing. */
export const DEFAULT_TELEMETRY: TelemetrySettings = { enabled: true, captureKeys: 'none' };

/** Whether a span is worth attributes: made by an SDK, and sampled. */
export function isRecording(span: Span): boolean {
  return span.isRecording();
}

/** Whether a span has an identity to pass on, sampled or not. */
export function isTraced(span: Span): boolean {
  return span.spanContext().traceId !== INVALID_TRACEID;
}

/** The context in which `span` is the parent of what is begun. */
export function contextOf(span: Span, parent: Context = context.active()): Context {
  return trace.setSpan(parent, span);
}

/** The identity of the span that is active now, if it has one. */
export function activeSpanContext(): SpanContext | undefined {
  const active = trace.getSpanContext(context.active());
  return active === undefined || active.traceId === INVALID_TRACEID ? undefined : active;
}

/** A link to a span, for a span that was caused by it and is not a part of it. */
export function linkTo(spanContext: SpanContext, attributes?: Attributes): Link {
  return attributes === undefined ? { context: spanContext } : { context: spanContext, attributes };
}

/** The most links on one span: the SDK's own default limit. What is above it is left out by us, not made in vain. */
export const MAX_LINKS = 128;

/** Marks a span as failed. `type` is a code of low cardinality; the description must hold no value and no key. */
export function markFailed(span: Span, type: string, description?: string): void {
  span.setAttribute(OTEL.errorType, type);
  span.setStatus(
    description === undefined ? { code: SpanStatusCode.ERROR } : { code: SpanStatusCode.ERROR, message: description },
  );
}

/** What class a thrown thing is of, in one word of low cardinality. */
export function errorType(error: unknown): string {
  const { code, name } = (error ?? {}) as { readonly code?: unknown; readonly name?: unknown };
  if (typeof code === 'string') return code;
  return typeof name === 'string' ? name : typeof error;
}

/** How to begin a span with {@link inSpan}. */
export interface SpanStart {
  readonly kind?: SpanKind | undefined;
  /** What a sampler sees. */
  readonly attributes?: Attributes | undefined;
  readonly links?: Link[] | undefined;
}

/**
 * Does some work in a span that is its parent's child and active for the work; ends it with
 * the work, and marks it as failed when that throws.
 */
export async function inSpan<T>(name: string, start: SpanStart, work: (span: Span) => Promise<T>): Promise<T> {
  const { kind, attributes, links } = start;
  const options = {
    ...(kind !== undefined && { kind }),
    ...(attributes !== undefined && { attributes }),
    ...(links !== undefined && { links }),
  };
  const span = tracer.startSpan(name, options);
  try {
    return await context.with(contextOf(span), () => work(span));
  } catch (error) {
    if (isRecording(span)) markFailed(span, errorType(error));
    throw error;
  } finally {
    span.end();
  }
}

/**
 * Does something outside of whatever trace is active: what runs for as long as the client
 * must not hang on the trace of whoever happened to start it.
 */
export function detached<T>(work: () => T): T {
  return context.with(ROOT_CONTEXT, work);
}
