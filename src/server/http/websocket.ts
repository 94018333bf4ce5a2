/**
 * The gateway's methods over a websocket, on the same paths: each message of the client is an object, each answer a
 * message.
 *
 * What is sent is a POST whatever the handshake was, as with etcd. The handshake may be from any origin, as CORS is
 * open; a `Bearer` subprotocol carries a token, since browsers can't set headers.
 *
 * @module
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import { type Duplex, PassThrough } from 'node:stream';
import type { WebSocket, WebSocketServer } from 'ws';
import type { Method } from '../rpc/call.ts';
import { commonNameOf } from '../rpc/common-name.ts';
import { GONE } from '../rpc/failure.ts';
import type { Gateway, JsonClient } from './gateway.ts';

/** What may wait for a client before it counts as behind, in bytes. */
const BEHIND_BYTES = 64 * 1024;

/** Normal end; the connection's own texts are not for people. */
const NORMAL_CLOSURE = 1000;

/** Serves websockets. What speaks their protocol is loaded with the first one. */
export class Websockets {
  readonly #gateway: Gateway;
  readonly #receiveLimitBytes: number;
  #server: Promise<WebSocketServer> | undefined;
  #stopped = false;
  readonly #open = new Set<WebSocketClient>();

  constructor(gateway: Gateway, receiveLimitBytes: number) {
    this.#gateway = gateway;
    this.#receiveLimitBytes = receiveLimitBytes;
  }

  /** Takes over a connection that asks for a websocket. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer, method: Method): void {
    this.#server ??= this.#load();
    this.#server.then(
      (server) => this.#upgrade(server, request, socket, head, method),
      () => socket.destroy(),
    );
  }

  async #load(): Promise<WebSocketServer> {
    const { WebSocketServer } = await import('ws');
    const server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: 2 * this.#receiveLimitBytes,
      handleProtocols: (protocols) => (protocols.has('Bearer') ? 'Bearer' : false),
    });
    server.on('wsClientError', (_error, socket) => socket.destroy());
    return server;
  }

  #upgrade(server: WebSocketServer, request: IncomingMessage, socket: Duplex, head: Buffer, method: Method): void {
    if (this.#stopped) {
      socket.destroy();
      return;
    }
    server.handleUpgrade(request, socket, head, (webSocket) => {
      const client = new WebSocketClient(webSocket, request);
      this.#open.add(client);
      webSocket.once('close', () => this.#open.delete(client));
      void this.#gateway.serve(method, client);
    });
  }

  /** Tells all calls that the server stops. */
  giveUp(why: Error): void {
    this.#stopped = true;
    for (const client of this.#open) client.giveUp(why);
  }
}

/** Answers a handshake that is refused, and hangs up. */
export function refuseUpgrade(socket: Duplex, status: number): void {
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** One websocket as what the gateway serves. */
class WebSocketClient implements JsonClient {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly commonName: string | undefined;
  readonly #socket: WebSocket;
  readonly #controller = new AbortController();
  /** The messages, a line each. */
  readonly #body = new PassThrough();
  #onDrain: (() => void) | undefined;
  #partial = '';
  #behind = false;
  started = false;

  constructor(socket: WebSocket, request: IncomingMessage) {
    this.#socket = socket;
    this.headers = withToken(request.headers);
    this.commonName = commonNameOf(request.socket);
    socket.on('message', (data) => this.#receive(data as Buffer));
    socket.on('error', () => socket.terminate());
    socket.once('close', () => {
      this.giveUp(GONE);
      this.#body.end();
    });
    this.#body.on('drain', () => socket.resume());
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  giveUp(why: Error): void {
    this.#controller.abort(why);
  }

  #receive(data: Buffer): void {
    if (this.#body.writableEnded) return;
    this.#body.write(data);
    if (!this.#body.write('\n')) this.#socket.pause();
  }

  chunks(): AsyncIterable<Buffer> {
    return this.#body;
  }

  /** One message is the whole body: a websocket has no other end that could still be answered. */
  async body(): Promise<string> {
    for await (const chunk of this.#body.iterator({ destroyOnReturn: false })) {
      const text = String(chunk);
      if (text.trim() !== '') return text;
    }
    return '';
  }

  json(_status: number, value: unknown): void {
    this.#send(JSON.stringify(value));
    this.end();
  }

  start(): void {
    this.started = true;
  }

  write(text: string): boolean {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) this.#send(line);
    this.#behind = this.#socket.bufferedAmount > BEHIND_BYTES;
    return !this.#behind;
  }

  #send(text: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(text, () => {
      if (!this.#behind || this.#socket.bufferedAmount > BEHIND_BYTES) return;
      this.#behind = false;
      this.#onDrain?.();
    });
  }

  onDrain(callback: () => void): void {
    this.#onDrain = callback;
  }

  end(): void {
    this.#socket.close(NORMAL_CLOSURE);
  }
}

/** A subprotocol `Bearer, <token>` stands for the header that a browser can't send. */
function withToken(headers: IncomingMessage['headers']): IncomingMessage['headers'] {
  const token = /^Bearer, *(.+)$/.exec(headers['sec-websocket-protocol'] ?? '')?.[1];
  return token === undefined || headers.authorization !== undefined
    ? headers
    : { ...headers, authorization: `Bearer ${token}` };
}
