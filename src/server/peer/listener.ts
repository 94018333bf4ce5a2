/**
 * The ports that other members reach this one at: HTTP/1.1, in the clear or over TLS.
 *
 * They open before there is a member, since their addresses may have to be known by then and since a port that is taken
 * must be no member's end; until {@link PeerListener.attach} every request gets 503, as from a member that is about to
 * start. What is raft's goes to the transport; `answers.ts` has the rest.
 *
 * Obligations: a connection that says nothing, or half of a request's headers, is closed after a while. Answers have no
 * time limit here, for streams last. After {@link PeerListener.close} nothing of this keeps the process alive.
 *
 * @module
 */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type ListenOptions, type Socket } from 'node:net';
import type { Clock } from '../../support/clock.ts';
import { type PortTlsOptions, TlsAcceptor } from '../http/tls.ts';
import type { PeerHost } from '../member/peers.ts';
import type { PeerAddress, PeerTls } from '../options.ts';
import { removeSocket } from '../socket-file.ts';
import { answerPeer } from './answers.ts';
import { isFor } from './certificate-address.ts';
import type { PeerRoutes } from './routes.ts';

/** How long a handshake may take, in ms. */
const HANDSHAKE_MS = 10_000;
/** How long the headers of a request may take, in ms. */
const HEADERS_MS = 10_000;
/** A connection without a request is kept for this long, in ms: longer than another member keeps one for use. */
const IDLE_MS = 120_000;

export interface PeerListenerOptions {
  readonly listen: readonly PeerAddress[];
  /** Needed for addresses that are `secure`. */
  readonly tls: PeerTls | undefined;
  readonly clock: Clock;
}

/** See the head of this file. */
export class PeerListener {
  readonly #options: PeerListenerOptions;
  readonly #http: http.Server;
  readonly #servers: net.Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #urls: string[] = [];
  #tls: TlsAcceptor | undefined;
  #attached: { readonly host: PeerHost; readonly routes: PeerRoutes } | undefined;

  private constructor(options: PeerListenerOptions) {
    this.#options = options;
    this.#http = http.createServer({
      headersTimeout: HEADERS_MS,
      // Images take their time, and streams do not end.
      requestTimeout: 0,
      keepAliveTimeout: IDLE_MS,
      connectionsCheckingInterval: HEADERS_MS / 2,
    });
    this.#http.on('request', (request, response) => this.#serve(request, response));
    this.#http.on('clientError', (_error, socket) => socket.destroy());
    // It listens to nothing, and looks after slow requests only from this event on.
    this.#http.emit('listening');
  }

  /**
   * Opens all ports.
   *
   * @throws Error one can't be opened, or the certificates can't be used; none is open then.
   */
  static async open(options: PeerListenerOptions): Promise<PeerListener> {
    const listener = new PeerListener(options);
    try {
      await listener.#open();
    } catch (error) {
      await listener.close();
      throw error;
    }
    return listener;
  }

  /** Where it listens, in the order in which the addresses were given. */
  get urls(): readonly string[] {
    return this.#urls;
  }

  /** There is a member from now on. @param routes Take what is raft's. */
  attach(host: PeerHost, routes: PeerRoutes): void {
    this.#attached = { host, routes };
  }

  /** Closes the ports and all connections. Idempotent, never rejects. */
  async close(): Promise<void> {
    this.#attached = undefined;
    const closing = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const socket of this.#sockets) socket.destroy();
    this.#http.close();
    await Promise.all(closing);
  }

  async #open(): Promise<void> {
    const { listen, tls } = this.#options;
    if (listen.some(({ secure }) => secure)) {
      if (tls === undefined) throw new Error('cannot listen on TLS for peers: there is no certificate');
      this.#tls = await TlsAcceptor.create(acceptorOptions(tls), HANDSHAKE_MS, (socket) =>
        this.#http.emit('connection', socket),
      );
    }
    for (const address of listen) {
      const { secure } = address;
      const server = net.createServer((socket) => this.#accept(socket, secure));
      this.#servers.push(server);
      if ('path' in address) await removeSocket(address.path);
      server.listen(wayOf(address));
      await once(server, 'listening');
      // A fault in taking one connection must not end the others.
      server.on('error', () => {});
      this.#urls.push(urlOf(server.address() as AddressInfo | string, secure));
    }
  }

  #accept(socket: Socket, secure: boolean): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    socket.setNoDelay(true);
    if (secure) void this.#tls?.accept(socket);
    else this.#http.emit('connection', socket);
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const attached = this.#attached;
    if (attached === undefined) {
      response.writeHead(503, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
      response.end('the member is not running\n');
    } else if (!attached.routes.handle(request, response)) {
      void answerPeer(request, response, attached.host, this.#options.clock);
    }
  }
}

/** An empty host means every address. */
function wayOf(address: PeerAddress): ListenOptions {
  if ('path' in address) return { path: address.path };
  const { host, port } = address;
  return host === '' ? { port } : { host, port };
}

function urlOf(at: AddressInfo | string, secure: boolean): string {
  if (typeof at === 'string') return `${secure ? 'unixs' : 'unix'}://${at}`;
  const { address, family, port } = at;
  return `${secure ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

function acceptorOptions(tls: PeerTls): PortTlsOptions {
  const { certFile, keyFile, caFile, crlFile, allowedCommonNames, allowedHostnames, skipAddressCheck } = tls;
  return {
    cert: { path: certFile },
    key: { path: keyFile },
    clientCa: caFile === undefined ? undefined : { path: caFile },
    clientCrl: crlFile === undefined ? undefined : { path: crlFile },
    allowedCommonNames,
    allowedHostnames,
    admits: skipAddressCheck ? undefined : isFor,
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    ciphers: tls.cipherSuites?.join(':'),
    alpn: ['http/1.1'],
  };
}
