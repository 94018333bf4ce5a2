/** A small HTTP service on a free port, which says who has answered. */
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { ServiceInstance } from '../../recipes/services/instance.ts';
import { instanceAt } from '../recipes/services/fake-service.ts';

/** One request as it came. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly host: string | undefined;
  readonly body: string;
}

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export class Shop implements AsyncDisposable {
  readonly id: string;
  readonly seen: Seen[] = [];
  /** What it does instead of saying its name. */
  answer: Answer | undefined;
  readonly #server: http.Server;
  readonly #sockets = new Set<Socket>();

  private constructor(id: string, server: http.Server) {
    this.id = id;
    this.#server = server;
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on('request', (request, response) => void this.#onRequest(request, response));
  }

  /** @param tls speaks https with these. */
  static async start(id: string, tls?: https.ServerOptions): Promise<Shop> {
    const server = tls === undefined ? http.createServer() : https.createServer(tls);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Shop(id, server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get instance(): ServiceInstance {
    return instanceAt(this.id, this.port);
  }

  async #onRequest(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    let body = '';
    try {
      for await (const chunk of request) body += String(chunk);
    } catch {
      // The caller has gone.
    }
    const { method = '', url = '', headers } = request;
    this.seen.push({ method, url, host: headers.host, body });
    if (this.answer !== undefined) this.answer(request, response);
    else response.setHeader('set-cookie', ['a=1', 'b=2']).end(this.id);
  }

  /** Breaks every connection and stops listening. */
  async kill(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** Answers with a status and nothing else. */
export const status =
  (code: number): Answer =>
  (_request, response) =>
    void response.writeHead(code).end('busy');

/** Breaks the connection instead of answering. */
export const hangUp: Answer = (request) => void request.socket.destroy();
