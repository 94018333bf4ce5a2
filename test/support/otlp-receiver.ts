/**
 * A collector of OTLP over HTTP with JSON, as small as can be: it keeps the spans it gets, and can be slow, busy or deaf.
 *
 * Source: opentelemetry-proto, `collector/trace/v1`; OTLP's specification of JSON (ids in hex, 64-bit numbers as text).
 */
import { once } from 'node:events';
import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';

const id = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`));
const nanos = z.string().regex(/^\d+$/);

const value = z.strictObject({
  stringValue: z.string().optional(),
  intValue: z.union([z.int(), z.string().regex(/^-?\d+$/)]).optional(),
  doubleValue: z.number().optional(),
  boolValue: z.boolean().optional(),
  arrayValue: z.object({ values: z.array(z.unknown()) }).optional(),
});
const attribute = z.strictObject({ key: z.string().min(1), value });
const counts = {
  attributes: z.array(attribute).default([]),
  droppedAttributesCount: z.int().optional(),
};

const span = z.strictObject({
  traceId: id(16),
  spanId: id(8),
  parentSpanId: id(8).optional(),
  traceState: z.string().optional(),
  name: z.string().min(1),
  kind: z.int().min(1).max(5),
  startTimeUnixNano: nanos,
  endTimeUnixNano: nanos,
  ...counts,
  events: z.array(z.strictObject({ name: z.string(), timeUnixNano: nanos, ...counts })).default([]),
  droppedEventsCount: z.int().optional(),
  links: z
    .array(
      z.strictObject({
        traceId: id(16),
        spanId: id(8),
        traceState: z.string().optional(),
        flags: z.int().optional(),
        ...counts,
      }),
    )
    .default([]),
  droppedLinksCount: z.int().optional(),
  status: z.strictObject({ code: z.int().min(0).max(2).optional(), message: z.string().optional() }).optional(),
  flags: z.int().optional(),
});

const scope = z.object({ name: z.string(), version: z.string().optional() });

/** The body of an export. What is not in the protocol is an error. */
const exportRequest = z.strictObject({
  resourceSpans: z.array(
    z.strictObject({
      resource: z.object(counts),
      scopeSpans: z.array(z.strictObject({ scope, spans: z.array(span), schemaUrl: z.string().optional() })),
      schemaUrl: z.string().optional(),
    }),
  ),
});

type Value = string | number | boolean | undefined;

/** A span as it arrived. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly kind: number;
  readonly attributes: Readonly<Record<string, Value>>;
  /** Attributes of whoever sent it. */
  readonly resource: Readonly<Record<string, Value>>;
  readonly status: number;
}

/** How it answers: as it should; 503 with `Retry-After`; never. */
export type Mood = 'ready' | 'busy' | 'silent';

/** See the head of this file. */
export class OtlpReceiver implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  /** Requests that came, whatever was answered. */
  requests = 0;
  /** The headers of the last of them. */
  headers: IncomingHttpHeaders = {};
  /** What was wrong with some. */
  readonly faults: unknown[] = [];
  mood: Mood = 'ready';
  readonly #server: http.Server;

  private constructor() {
    this.#server = http.createServer((request, response) => {
      this.#take(request, response).catch((error: unknown) => this.faults.push(error));
    });
  }

  static async open(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver();
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    return receiver;
  }

  /** For `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    this.requests += 1;
    this.headers = request.headers;
    if (this.mood === 'silent') return;
    if (this.mood === 'busy') {
      response.writeHead(503, { 'retry-after': '1' }).end();
      return;
    }
    try {
      if (request.method !== 'POST' || request.url !== '/v1/traces')
        throw new Error(`${request.method} ${request.url}`);
      if (request.headers['content-type'] !== 'application/json') throw new Error(request.headers['content-type']);
      const sent = Buffer.concat(chunks);
      const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
      this.#keep(exportRequest.parse(JSON.parse(body.toString())));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    } catch (error) {
      response.writeHead(400).end();
      throw error;
    }
  }

  #keep({ resourceSpans }: z.output<typeof exportRequest>): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const sender = plain(resource.attributes);
      for (const { traceId, spanId, parentSpanId, name, kind, attributes, status } of scopeSpans.flatMap(
        ({ spans }) => spans,
      )) {
        const more = { attributes: plain(attributes), resource: sender, status: status?.code ?? 0 };
        this.spans.push({ traceId, spanId, parentSpanId, name, kind, ...more });
      }
    }
  }
}

function plain(attributes: readonly z.output<typeof attribute>[]): Record<string, Value> {
  return Object.fromEntries(
    attributes.map(({ key, value: { stringValue, intValue, doubleValue, boolValue } }) => [
      key,
      stringValue ?? (intValue === undefined ? undefined : Number(intValue)) ?? doubleValue ?? boolValue,
    ]),
  );
}
