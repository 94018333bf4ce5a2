/**
 * A request over HTTP/2 that is not gRPC, and its answer, as streams of Node.js that look like those of HTTP/1.1.
 *
 * Only what an {@link Exchange} needs of them. Both are closed with the stream that they share.
 *
 * @module
 */
import type { IncomingHttpHeaders } from 'node:http';
import { type Duplex, Readable, Writable } from 'node:stream';
import { encodeHeaders } from '../http2/hpack/encoder.ts';
import { ErrorCode } from '../http2/protocol.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { Receiver, Stream } from '../http2/stream.ts';
import type { ExchangeRequest, ExchangeResponse } from './exchange.ts';

const EMPTY = Buffer.alloc(0);

/** The request. */
export class Http2Request extends Readable implements ExchangeRequest, Receiver {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly socket: Duplex;
  /** Closed with the stream, too. */
  response: Http2Response | undefined;
  readonly #stream: Stream;

  constructor(stream: Stream, head: RequestHead, socket: Duplex) {
    super();
    this.method = head.method;
    this.url = head.path;
    this.headers = headersOf(head);
    this.socket = socket;
    this.#stream = stream;
    stream.receiver = this;
  }

  onData(chunk: Buffer): void {
    if (!this.push(chunk)) this.#stream.pause();
  }

  onEnd(): void {
    this.push(null);
  }

  onDrain(): void {
    this.response?.onDrain();
  }

  onClose(): void {
    if (!this.readableEnded && !this.#stream.requestEnded) this.destroy(new Error('the client has broken off'));
    this.response?.destroy();
  }

  override _read(): void {
    this.#stream.resume();
  }
}

/** The answer. */
export class Http2Response extends Writable implements ExchangeResponse {
  headersSent = false;
  readonly #stream: Stream;
  readonly #headers = new Map<string, string>();
  readonly #hasBody: boolean;
  /** Goes on writing once there is room. */
  #proceed: (() => void) | undefined;

  constructor(request: Http2Request, stream: Stream) {
    super();
    this.#stream = stream;
    this.#hasBody = request.method !== 'HEAD';
    request.response = this;
  }

  setHeader(name: string, value: string): void {
    this.#headers.set(name.toLowerCase(), value);
  }

  writeHead(status: number, headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) this.setHeader(name, value);
    this.headersSent = true;
    this.#stream.respond(encodeHeaders([[':status', String(status)], ...this.#headers]), false);
  }

  onDrain(): void {
    this.#proceed?.();
    this.#proceed = undefined;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (!this.#hasBody || this.#stream.write(EMPTY, chunk)) done();
    else this.#proceed = done;
  }

  override _final(done: () => void): void {
    this.#stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // What has ended well may still wait for the client's window.
    if (!this.writableFinished) this.#stream.reset(ErrorCode.CANCEL);
    done(error);
  }
}

/** Several values of a name are joined. */
function headersOf(head: RequestHead): IncomingHttpHeaders {
  const headers: IncomingHttpHeaders = {};
  if (head.authority !== undefined) headers[':authority'] = head.authority;
  for (const { name, value } of head.fields) {
    const before = headers[name];
    headers[name] = before === undefined ? value : `${String(before)}${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return headers;
}
