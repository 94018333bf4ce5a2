/**
 * Requests to other members: HTTP/1.1, over connections that are kept for the next one, or over one of their own.
 *
 * A kept connection may be dead and nobody knows, as when the network between has failed in silence. A question or a
 * message that is lost with it is soon repeated; a stream should not wait until one after the other was found out.
 *
 * A request gets its answer or an error, and its connection is destroyed when the dialer is closed: so whoever asks
 * hears of it. Limits of time are the caller's.
 *
 * @module
 */
import http, { type ClientRequest, type OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import type { ConnectionOptions } from 'node:tls';

/** What is asked. */
export interface PeerRequest {
  readonly method: 'GET' | 'POST';
  /** Path below the member's address; starts with a slash. */
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders | undefined;
  /** Over a connection of its own, which nobody gets after it. Default: false. */
  readonly ownConnection?: boolean | undefined;
}

const KEPT = { keepAlive: true, maxFreeSockets: 8, noDelay: true };
const OWN = { noDelay: true };

/** See the head of this file. */
export class PeerDialer {
  readonly #tls: () => ConnectionOptions;
  readonly #kept = { plain: new http.Agent(KEPT), tls: new https.Agent(KEPT) };
  readonly #own = { plain: new http.Agent(OWN), tls: new https.Agent(OWN) };
  readonly #requests = new Set<ClientRequest>();
  #closed = false;

  /** @param tls What connections to `https:` addresses are made with. */
  constructor(tls: () => ConnectionOptions = () => ({})) {
    this.#tls = tls;
  }

  /**
   * Begins a request; the caller ends it, and hears of its `error`.
   *
   * @throws Error the address is none, or the dialer is closed.
   */
  request(base: string, { method, path, headers = {}, ownConnection = false }: PeerRequest): ClientRequest {
    if (this.#closed) throw new Error('the transport is closed');
    const url = new URL(path, base);
    const agents = ownConnection ? this.#own : this.#kept;
    const request =
      url.protocol === 'https:'
        ? https.request(url, { ...this.#tls(), method, headers, agent: agents.tls })
        : http.request(url, { method, headers, agent: agents.plain });
    this.#requests.add(request);
    request.once('close', () => this.#requests.delete(request));
    return request;
  }

  /** Ends all requests with an error, and begins no more. */
  close(): void {
    this.#closed = true;
    for (const request of this.#requests) request.destroy(new Error('the transport is closed'));
    for (const { plain, tls } of [this.#kept, this.#own]) {
      plain.destroy();
      tls.destroy();
    }
  }
}
