/**
 * Spans of watches: one when a watch is made, one when a broken stream was replaced. Never
 * one for the stream itself, which lives for days, and none for an event.
 *
 * What an event causes is another matter. The program that handles it may do so in a span
 * of its own trace ({@link handleEvent}), linked to the span that made the watch and, where
 * this process made the change itself, to that write. The keys of etcd carry no headers, so
 * a change that another process made can be linked to no more than the watch.
 *
 * A stream is shared, and callbacks of a shared stream run in the context of whoever opened
 * it. So nothing here looks at the active context, but for the making of a watch.
 *
 * @module
 */

import { type Attributes, context, type Link, type Span, type SpanContext, SpanKind } from '@opentelemetry/api';
import {
  contextOf,
  errorType,
  isRecording,
  isTraced,
  linkTo,
  MAX_LINKS,
  markFailed,
  type TelemetrySettings,
  tracer,
} from './api.ts';
import type { CallTelemetry } from './calls.ts';
import { keyAttributes } from './messages.ts';
import { DB_SYSTEM, ETCD, OTEL } from './semconv.ts';

const BASE: Attributes = { [OTEL.dbSystem]: DB_SYSTEM, [OTEL.dbOperation]: 'watch' };
const CREATE = { kind: SpanKind.CLIENT, attributes: BASE };

/** The making of one watch. */
export class WatchTrace {
  /** Names the span, for links; undefined when it has no identity. */
  readonly spanContext: SpanContext | undefined;
  #span: Span | undefined;

  constructor(span: Span) {
    this.spanContext = span.spanContext();
    this.#span = span;
  }

  /** A server has made the watch; only the first time counts. */
  created(endpoint: string | undefined, revision: bigint): void {
    const span = this.#take();
    if (span === undefined) return;
    if (isRecording(span)) {
      span.setAttribute(ETCD.revision, Number(revision));
      if (endpoint !== undefined) span.setAttribute(ETCD.endpoint, endpoint);
    }
    span.end();
  }

  /** The watch is over; of one that was never made, this is the end of its span. */
  ended(error: unknown): void {
    const span = this.#take();
    if (span === undefined) return;
    // One that its own program closed has not failed.
    const type = errorType(error);
    if (isRecording(span) && type !== 'closed') markFailed(span, type);
    span.end();
  }

  #take(): Span | undefined {
    const span = this.#span;
    this.#span = undefined;
    return span;
  }
}

/** Begins the making of a watch; undefined when nobody would see it. */
export function beginWatch(
  settings: TelemetrySettings,
  key: Uint8Array,
  rangeEnd: Uint8Array,
  from: bigint,
): WatchTrace | undefined {
  if (!settings.enabled) return undefined;
  const span = tracer.startSpan('watch', CREATE);
  if (!isTraced(span)) return undefined;
  if (isRecording(span)) {
    if (from > 0n) span.setAttribute(ETCD.startRevision, Number(from));
    span.setAttributes(keyAttributes(key, rangeEnd, settings.captureKeys));
  }
  return new WatchTrace(span);
}

/** The replacement of a watch stream that broke, from the break to the new stream. */
export class ResumeTrace {
  readonly #span: Span;

  constructor(span: Span) {
    this.#span = span;
  }

  /** A try to open another stream failed. */
  attemptFailed(error: unknown): void {
    if (isRecording(this.#span)) this.#span.addEvent('attempt failed', { [OTEL.errorType]: errorType(error) });
  }

  /** There is a stream again. */
  resumed(endpoint: string, watchers: number): void {
    this.#span.setAttributes({ [ETCD.endpoint]: endpoint, [ETCD.watchers]: watchers });
    this.#span.end();
  }

  /** Nobody waits for one any more. */
  abandoned(): void {
    this.#span.setAttribute(ETCD.outcome, 'abandoned');
    this.#span.end();
  }
}

/**
 * Begins the replacement of a stream, in a trace of its own: those that its watches were
 * made in are long over. `watches`: the spans that made them.
 */
export function beginResume(
  { settings, instruments }: CallTelemetry,
  reason: string,
  watches: Iterable<WatchTrace | undefined>,
): ResumeTrace | undefined {
  instruments?.watchResumes.add(1);
  if (!settings.enabled) return undefined;
  const links: Link[] = [];
  for (const watch of watches) {
    if (links.length === MAX_LINKS) break;
    if (watch?.spanContext !== undefined) links.push(linkTo(watch.spanContext));
  }
  const attributes = { ...BASE, [ETCD.reason]: reason };
  const span = tracer.startSpan('watch resume', { kind: SpanKind.CLIENT, root: true, links, attributes });
  return isTraced(span) ? new ResumeTrace(span) : undefined;
}

/** Does the work for an event in a span, in a trace of its own, that is linked to what caused it. */
export function handleEvent<T>(
  telemetry: CallTelemetry,
  watch: WatchTrace | undefined,
  revision: bigint,
  work: () => T,
): T {
  if (!telemetry.settings.enabled) return work();
  const causes = [watch?.spanContext, telemetry.writeOf(revision)];
  const links = causes.flatMap((cause) => (cause === undefined ? [] : [linkTo(cause)]));
  const attributes = { ...BASE, [ETCD.revision]: Number(revision) };
  const span = tracer.startSpan('watch handle', { kind: SpanKind.CONSUMER, root: true, links, attributes });
  if (!isTraced(span)) return work();
  const failed = (error: unknown): void => {
    markFailed(span, errorType(error));
    span.end();
  };
  try {
    const result = context.with(contextOf(span), work);
    if (!(result instanceof Promise)) {
      span.end();
      return result;
    }
    // Beside the promise, which is the caller's to handle.
    result.then(() => span.end(), failed);
    return result;
  } catch (error) {
    failed(error);
    throw error;
  }
}
