/**
 * The methods by JSON: one path each, POST alone, one object in and one out; streams are objects one after another in,
 * and `{"result":…}` a line out.
 *
 * Errors are `{"error":…,"code":…,"message":…}`, which clients of all of etcd's gateways understand.
 *
 * Obligations: a client's mistake is told to it and to nobody else; a request that ends takes its call with it.
 *
 * @module
 */
import { GrpcCode } from '../../protocol/status.ts';
import { type Deferred, deferred } from '../../support/signals.ts';
import type { Refusal } from '../refusals.ts';
import {
  type CallMetadata,
  Encoded,
  type Method,
  type MethodTable,
  type Outlet,
  type Reply,
  type ServerCall,
} from '../rpc/call.ts';
import type { CallStats } from '../rpc/call-stats.ts';
import { type FaultReporter, refusalOf, refuse } from '../rpc/failure.ts';
import { RequestQueue } from '../rpc/request-queue.ts';
import { GATEWAY_PATHS, httpStatus } from './gateway-paths.ts';
import type * as Mapper from './json-mapper.ts';
import { JsonSplitter, parseJson } from './json-stream.ts';

/** Who asks by JSON: an HTTP request, or a websocket. */
export interface JsonClient {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly commonName: string | undefined;
  readonly signal: AbortSignal;
  /** The body in parts. */
  chunks(): AsyncIterable<Buffer>;
  /** All of the body. @throws RpcError when it is longer than `limitBytes`. */
  body(limitBytes: number): Promise<string>;
  /** The whole answer. */
  json(status: number, value: unknown, headers?: Readonly<Record<string, string>>): void;
  /** Begins an answer in parts. */
  start(status: number, headers: Readonly<Record<string, string>>): void;
  readonly started: boolean;
  /** @returns False when the client is behind. */
  write(text: string): boolean;
  onDrain(callback: () => void): void;
  end(): void;
}

/** What a {@link Gateway} needs. */
export interface GatewayOptions {
  readonly methods: MethodTable;
  readonly stats: CallStats;
  readonly report: FaultReporter;
  /** Longest message that a client may send, in bytes; its JSON may be twice as long. */
  readonly receiveLimitBytes: number;
}

const MAX_WAITING = 64;

const OK_HEADERS = { 'Content-Type': 'application/json', 'Grpc-Metadata-Content-Type': 'application/grpc' };

/** See the head of this file. */
export class Gateway {
  readonly #options: GatewayOptions;
  #mapper: Promise<typeof Mapper> | undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
  }

  /** The method at a path, if there is one. */
  find(path: string): Method | undefined {
    const method = GATEWAY_PATHS.get(path);
    return method === undefined ? undefined : this.#options.methods.get(method);
  }

  /** Answers a request. Never rejects. */
  async serve(method: Method, client: JsonClient): Promise<void> {
    const { path } = method.descriptor;
    const stats = this.#options.stats.of(path);
    stats.started++;
    let code: number = GrpcCode.OK;
    try {
      this.#mapper ??= import('./json-mapper.ts');
      const mapper = await this.#mapper;
      if (method.kind === 'unary') await this.#unary(method, client, mapper);
      else await this.#stream(method, client, mapper);
    } catch (error) {
      const refusal = refusalOf(error, client.signal, path, this.#options.report);
      code = refusal.grpcCode;
      tell(client, refusal);
    }
    stats.handled[code] = (stats.handled[code] ?? 0) + 1;
  }

  async #unary(method: Extract<Method, { kind: 'unary' }>, client: JsonClient, mapper: typeof Mapper): Promise<void> {
    const request = this.#read(method, mapper, parseJson(await client.body(2 * this.#options.receiveLimitBytes)));
    const reply = await method.handle(request, gatewayCall(method, client));
    client.json(200, this.#write(method, mapper, reply), OK_HEADERS);
  }

  async #stream(
    method: Extract<Method, { kind: 'server-stream' | 'bidi' }>,
    client: JsonClient,
    mapper: typeof Mapper,
  ): Promise<void> {
    const outlet = new JsonOutlet(client, (reply) => this.#write(method, mapper, reply));
    const call = gatewayCall(method, client);
    if (method.kind === 'server-stream') {
      const json = parseJson(await client.body(2 * this.#options.receiveLimitBytes));
      await method.handle(this.#read(method, mapper, json), call, outlet);
    } else {
      const room = new Gate();
      const requests = new RequestQueue<unknown>(MAX_WAITING, room.close, room.open);
      const drop = (): void => {
        room.open();
        requests.drop();
      };
      client.signal.addEventListener('abort', drop, { once: true });
      if (client.signal.aborted) drop();
      void this.#feed(method, client, mapper, requests, room);
      await method.handle(requests, call, outlet);
      drop();
    }
    if (!client.started) client.start(200, OK_HEADERS);
    client.end();
  }

  /** Gives a service what the client writes. A mistake reaches the service as the end of its requests, by throwing. */
  async #feed(
    method: Method,
    client: JsonClient,
    mapper: typeof Mapper,
    requests: RequestQueue<unknown>,
    room: Gate,
  ): Promise<void> {
    const splitter = new JsonSplitter(2 * this.#options.receiveLimitBytes);
    try {
      for await (const chunk of client.chunks()) {
        for (const json of splitter.push(chunk)) requests.push(this.#read(method, mapper, json));
        await room.passed;
      }
      splitter.end();
      requests.end();
    } catch (error) {
      if (client.signal.aborted) requests.drop();
      else requests.end(error);
    }
  }

  #read(method: Method, mapper: typeof Mapper, json: Mapper.Json): unknown {
    const { descriptor } = method;
    const message = mapper.fromJson(descriptor.request.typeName, json);
    // Through the codec, which fills in what is missing.
    const bytes = descriptor.request.encode(message);
    if (bytes.length > this.#options.receiveLimitBytes) {
      const text = `grpc: received message larger than max (${bytes.length} vs. ${this.#options.receiveLimitBytes})`;
      throw refuse(GrpcCode.RESOURCE_EXHAUSTED, text);
    }
    this.#options.stats.of(descriptor.path).messagesReceived++;
    this.#options.stats.receivedBytes += bytes.length;
    return descriptor.request.decode(bytes);
  }

  #write({ descriptor }: Method, mapper: typeof Mapper, reply: Reply<unknown>): unknown {
    this.#options.stats.of(descriptor.path).messagesSent++;
    const message = reply instanceof Encoded ? descriptor.response.decode(reply.bytes) : reply;
    return mapper.toJson(descriptor.response.typeName, message as object);
  }
}

/** What a client is told of a refusal. */
export function errorBody({ text, grpcCode }: Refusal): { error: string; code: number; message: string } {
  return { error: text, code: grpcCode, message: text };
}

function tell(client: JsonClient, refusal: Refusal): void {
  if (!client.started) {
    client.json(httpStatus(refusal.grpcCode), errorBody(refusal));
    return;
  }
  const { grpcCode, text } = refusal;
  const status = httpStatus(grpcCode);
  client.write(`${JSON.stringify({ error: { grpc_code: grpcCode, http_code: status, message: text } })}\n`);
  client.end();
}

/** The call as its service sees it. */
function gatewayCall(method: Method, client: JsonClient): ServerCall {
  const metadata: CallMetadata = { get: (name) => metadataOf(client.headers, name) };
  const { signal, commonName } = client;
  return { path: method.descriptor.path, metadata, signal, commonName, via: 'gateway' };
}

const METADATA_PREFIX = 'grpc-metadata-';

/** Headers that are passed on as they are; of the others, what is marked as metadata. */
const PASSED_ON = new Set(['authorization', 'traceparent', 'tracestate']);

function metadataOf(headers: JsonClient['headers'], name: string): string | undefined {
  const value = headers[`${METADATA_PREFIX}${name}`] ?? (PASSED_ON.has(name) ? headers[name] : undefined);
  return typeof value === 'string' ? value : value?.[0];
}

/** Stops who reads ahead. */
class Gate {
  #closed: Deferred<void> | undefined;

  /** Resolves while it is open. */
  get passed(): Promise<void> | undefined {
    return this.#closed?.promise;
  }

  readonly close = (): void => {
    this.#closed ??= deferred();
  };

  readonly open = (): void => {
    this.#closed?.resolve();
    this.#closed = undefined;
  };
}

/** A stream's answers, a line each. */
class JsonOutlet implements Outlet<unknown> {
  readonly #client: JsonClient;
  readonly #toJson: (reply: Reply<unknown>) => unknown;
  #room: Deferred<void> | undefined;

  constructor(client: JsonClient, toJson: (reply: Reply<unknown>) => unknown) {
    this.#client = client;
    this.#toJson = toJson;
    client.onDrain(() => this.#open());
    client.signal.addEventListener('abort', () => this.#open(), { once: true });
  }

  #open(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  send(message: Reply<unknown>): boolean {
    if (this.#client.signal.aborted) return true;
    if (!this.#client.started) this.#client.start(200, OK_HEADERS);
    const room = this.#client.write(`${JSON.stringify({ result: this.#toJson(message) })}\n`);
    if (!room) this.#room ??= deferred();
    return room;
  }

  drained(): Promise<void> {
    return this.#room?.promise ?? Promise.resolve();
  }
}
