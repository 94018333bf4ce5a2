/**
 * One request over HTTP/1.1, or over HTTP/2 on a TLS connection, with its answer.
 *
 * Whoever answers needs not know which. Obligation: everything that is begun is ended; a client that goes away fires
 * `signal`.
 *
 * @module
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex, Readable, Writable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { GrpcCode } from '../../protocol/status.ts';
import { commonNameOf } from '../rpc/common-name.ts';
import { GONE, refuse } from '../rpc/failure.ts';

type Headers = Readonly<Record<string, string>>;

/** How plain texts go out, errors too. */
export const PLAIN_TEXT: Headers = { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' };

/** A request: what Node.js has for HTTP/1.1, or ours for HTTP/2. */
export interface ExchangeRequest extends Readable {
  readonly method?: string | undefined;
  /** The path with the query. */
  readonly url?: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly socket: Duplex;
}

/** Its answer. */
export interface ExchangeResponse extends Writable {
  readonly headersSent: boolean;
  setHeader(name: string, value: string): unknown;
  writeHead(status: number, headers: Record<string, string>): unknown;
}

/** See the head of this file. */
export class Exchange {
  readonly method: string;
  /** Without the query. */
  path: string;
  readonly query: URLSearchParams;
  /** Whether it came over TLS. */
  readonly secure: boolean;
  readonly #request: ExchangeRequest;
  readonly #response: ExchangeResponse;
  #controller: AbortController | undefined;
  #over: Error | undefined;

  constructor(request: ExchangeRequest, response: ExchangeResponse) {
    this.#request = request;
    this.#response = response;
    this.method = request.method ?? 'GET';
    const target = request.url ?? '/';
    const mark = target.indexOf('?');
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1));
    this.secure = (request.socket as Partial<TLSSocket> | null)?.encrypted === true;
    // A connection that breaks is told by `close`.
    request.on('error', () => {});
    response.on('error', () => {});
    response.once('close', () => this.giveUp(GONE));
  }

  /** A header's value; several are joined. */
  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** All headers with their names in lower case. */
  get headers(): Readonly<Record<string, string | readonly string[] | undefined>> {
    return this.#request.headers;
  }

  /** The host that the client wants, without the port. */
  get host(): string {
    const authority = this.header(':authority') ?? this.header('host') ?? '';
    return authority.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  }

  /** Common name of the client's certificate, if one was checked. */
  get commonName(): string | undefined {
    return commonNameOf(this.#request.socket);
  }

  /** Fires when nobody waits for the answer any more. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#over !== undefined) this.#controller.abort(this.#over);
    }
    return this.#controller.signal;
  }

  /** Fires the signal. */
  giveUp(why: Error): void {
    this.#over ??= why;
    this.#controller?.abort(why);
  }

  /** For all answers. */
  setHeader(name: string, value: string): void {
    this.#response.setHeader(name, value);
  }

  /** Answers at once. */
  respond(status: number, headers: Headers, body: string): void {
    if (this.#response.headersSent || this.#response.destroyed) return;
    this.#response.writeHead(status, { ...headers, 'Content-Length': String(Buffer.byteLength(body)) });
    this.#response.end(body);
    // What is still coming is let go by, so that the connection can be used again.
    this.#request.resume();
  }

  /** Answers with a line of text, as Go's `http.Error` does. */
  refuse(status: number, text: string, headers: Headers = {}): void {
    this.respond(status, { ...PLAIN_TEXT, ...headers }, `${text}\n`);
  }

  /** Answers with JSON. */
  json(status: number, value: unknown, headers: Headers = {}): void {
    this.respond(status, { 'Content-Type': 'application/json', ...headers }, JSON.stringify(value));
  }

  /** Begins an answer in parts. */
  start(status: number, headers: Headers): void {
    if (!this.#response.headersSent && !this.#response.destroyed) this.#response.writeHead(status, { ...headers });
  }

  /** Whether the answer has begun. */
  get started(): boolean {
    return this.#response.headersSent;
  }

  /** @returns False when the client is behind. */
  write(text: string): boolean {
    return this.#response.destroyed || this.#response.write(text);
  }

  /** Calls back once there is room again. */
  onDrain(callback: () => void): void {
    this.#response.on('drain', callback);
  }

  end(): void {
    if (!this.#response.destroyed) this.#response.end();
  }

  /** The body in parts. @throws RpcError when the client breaks off. */
  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    try {
      yield* this.#request;
    } catch {
      // It may be known here sooner than by the answer's end.
      throw GONE;
    }
  }

  /** All of the body. @throws RpcError when it is longer than `limitBytes`, or the client breaks off. */
  async body(limitBytes: number): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.chunks()) {
      bytes += chunk.length;
      if (bytes > limitBytes)
        throw refuse(GrpcCode.RESOURCE_EXHAUSTED, `received message larger than max (${limitBytes})`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }
}
