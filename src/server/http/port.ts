/**
 * One port for all that clients ask a member: gRPC, JSON, health, version, metrics; in the clear, over TLS, or both.
 *
 * The first bytes of a connection say what it is: 22 begins a TLS handshake, `PRI` the preface of HTTP/2, anything else
 * is HTTP/1.1. HTTP/2 in the clear is gRPC alone, as with etcd; over TLS it carries both.
 *
 * Obligations: what says nothing, or half of something, is closed after a while; {@link Port.close} resolves within its
 * bound, and then nothing of this port keeps the process alive.
 *
 * @module
 */
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { type Clock, systemClock } from '../../support/clock.ts';
import type { KeepaliveOptions } from '../http2/keepalive.ts';
import type { ServingMember } from '../member/serving.ts';
import type { MethodTable } from '../rpc/call.ts';
import { type FaultReporter, STOPPING } from '../rpc/failure.ts';
import { GrpcServer, type OtherRequests } from '../rpc/grpc-server.ts';
import { Exchange, type ExchangeRequest, type ExchangeResponse } from './exchange.ts';
import { Gateway } from './gateway.ts';
import { Http2Request, Http2Response } from './http2-exchange.ts';
import type { ServerMetrics } from './metrics.ts';
import { Pages } from './pages.ts';
import { type PortTlsOptions, TlsAcceptor } from './tls.ts';
import { refuseUpgrade, Websockets } from './websocket.ts';

/** Where to listen: an address, whose port 0 means any that is free, or a unix socket. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** What a {@link Port} needs. */
export interface PortOptions {
  readonly methods: MethodTable;
  readonly member: ServingMember;
  readonly metrics: ServerMetrics;
  readonly listen: ListenAddress;
  /** Default: no TLS. */
  readonly tls?: PortTlsOptions | undefined;
  /** Whether clear connections are taken. Default: unless there is TLS. */
  readonly clear?: boolean | undefined;
  /** Whether gRPC is served. Default true. */
  readonly grpc?: boolean | undefined;
  /** Whether the JSON gateway is served. Default true. */
  readonly gateway?: boolean | undefined;
  /** Whether HTTP is served at all: gateway, health, version, metrics. Default true. */
  readonly http?: boolean | undefined;
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined;
  /** Hears of faults of the server itself. Default: nobody. */
  readonly report?: FaultReporter | undefined;
  /** Longest message of a client, in bytes. Default 2,097,152: etcd's request limit and 512 KiB. */
  readonly receiveLimitBytes?: number | undefined;
  /** Calls that one connection may have at a time. Default: no limit. */
  readonly maxConcurrentStreams?: number | undefined;
  /** Default: etcd's. */
  readonly keepalive?: Partial<KeepaliveOptions> | undefined;
  /** How long a connection may take to say what it is, and to shake hands. Default 10,000. */
  readonly handshakeMs?: number | undefined;
  /** How long the headers of a request may take. Default 60,000. */
  readonly headersMs?: number | undefined;
  /** How long a health check may take. Default 7,000. */
  readonly healthTimeoutMs?: number | undefined;
  /** Origins that browsers may ask from. Default: all, `*`. */
  readonly cors?: readonly string[] | undefined;
  /** Hosts that clear requests may name. Default: all, `*`. */
  readonly hostWhitelist?: readonly string[] | undefined;
  /** Connections wait, and are not listened to, until this has resolved. Default: they don't. */
  readonly ready?: Promise<unknown> | undefined;
  /** Whether neither the port nor its connections keep the process alive. Default false. */
  readonly background?: boolean | undefined;
}

/** How a port is closed. */
export interface ClosePortOptions {
  /** How long unary calls may take to finish. Default 0. */
  readonly graceMs?: number | undefined;
}

const RECEIVE_LIMIT_BYTES = 2 * 1024 * 1024;
const KEEPALIVE: KeepaliveOptions = { minClientIntervalMs: 5_000, intervalMs: 7_200_000, timeoutMs: 20_000 };
const HANDSHAKE_MS = 10_000;
const HEADERS_MS = 60_000;
const HEALTH_TIMEOUT_MS = 7_000;
/** A connection without a request is kept for this long. */
const IDLE_MS = 120_000;

const TLS_HANDSHAKE = 22;
const HTTP2_PREFACE = 'PRI';

/** Opens a port, and serves on it. @throws Error when it can't be listened on, or the certificates can't be used. */
export async function openPort(options: PortOptions): Promise<Port> {
  const port = new Port(options);
  try {
    await port.open();
  } catch (error) {
    await port.close();
    throw error;
  }
  return port;
}

/** A port that serves. See the head of this file. */
export class Port implements AsyncDisposable {
  readonly #options: PortOptions;
  readonly #clock: Clock;
  readonly #listener: net.Server;
  readonly #http: http.Server;
  readonly #grpc: GrpcServer;
  readonly #pages: Pages;
  readonly #gateway: Gateway | undefined;
  readonly #websockets: Websockets | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #exchanges = new Set<Exchange>();
  #tls: TlsAcceptor | undefined;
  /** Undefined once it has resolved. */
  #ready: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;

  /** Use {@link openPort}. */
  constructor(options: PortOptions) {
    this.#options = options;
    const { methods, member, metrics, report = ignore, clock = systemClock } = options;
    const receiveLimitBytes = options.receiveLimitBytes ?? RECEIVE_LIMIT_BYTES;
    const withHttp = options.http ?? true;
    this.#clock = clock;
    const stats = metrics.calls;
    if (withHttp && (options.gateway ?? true)) {
      this.#gateway = new Gateway({ methods, stats, report, receiveLimitBytes });
      this.#websockets = new Websockets(this.#gateway, receiveLimitBytes);
    }
    this.#pages = new Pages({
      member,
      metrics,
      clock,
      healthTimeoutMs: options.healthTimeoutMs ?? HEALTH_TIMEOUT_MS,
      cors: options.cors ?? ['*'],
      hostWhitelist: options.hostWhitelist ?? ['*'],
      clientCertAuth: options.tls?.clientCa !== undefined,
      gateway: this.#gateway,
    });
    this.#grpc = new GrpcServer({
      methods: (options.grpc ?? true) ? methods : new Map(),
      clock,
      stats,
      report,
      receiveLimitBytes,
      maxConcurrentStreams: options.maxConcurrentStreams,
      keepalive: { ...KEEPALIVE, ...options.keepalive },
      handshakeMs: options.handshakeMs ?? HANDSHAKE_MS,
      other: withHttp ? this.#serveHttp2 : undefined,
    });
    this.#http = this.#makeHttp();
    this.#ready = options.ready;
    const begun = (): void => {
      this.#ready = undefined;
    };
    this.#ready?.then(begun, ignore);
    this.#listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /** For {@link openPort}. */
  async open(): Promise<void> {
    const { tls, listen, handshakeMs = HANDSHAKE_MS } = this.#options;
    if (tls !== undefined) this.#tls = await TlsAcceptor.create(tls, handshakeMs, (socket) => this.#secured(socket));
    this.#listener.listen({ ...listen });
    if (this.#options.background) this.#listener.unref();
    await once(this.#listener, 'listening');
    // Without listeners of its own, an error while accepting (no file descriptors left) would end the process.
    this.#listener.on('error', (error) => this.#options.report?.(error, 'accept'));
  }

  /** Where it listens: `host:port` with the port that it got, or the path of the unix socket. */
  get address(): string {
    const address = this.#listener.address();
    if (typeof address === 'string') return address;
    const { address: host, port } = address as AddressInfo;
    return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
  }

  /** The port that it got; undefined for a unix socket. */
  get port(): number | undefined {
    const address = this.#listener.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Calls by gRPC that run. */
  get running(): number {
    return this.#grpc.running;
  }

  /** Stops accepting, lets calls end, closes all. Never rejects. */
  close(options: ClosePortOptions = {}): Promise<void> {
    this.#closed ??= this.#close(options.graceMs ?? 0);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    for (const exchange of this.#exchanges) exchange.giveUp(STOPPING);
    this.#websockets?.giveUp(STOPPING);
    // Also stops looking after slow requests.
    this.#http.close(ignore);
    await this.#grpc.close(graceMs);
    const ended = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([closed, ...ended]);
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    if (this.#options.background) socket.unref();
    socket.once('close', () => this.#sockets.delete(socket));
    // Whatever becomes of it, `close` says so.
    socket.on('error', ignore);
    socket.setKeepAlive(true, 60_000);
    if (this.#ready === undefined) this.#sniff(socket);
    else {
      const begin = (): void => {
        if (!socket.destroyed) this.#sniff(socket);
      };
      // If it rejects, the port is about to be closed.
      this.#ready.then(begin, ignore);
    }
  }

  /** Reads as much as is needed to know what it is, and puts that back. */
  #sniff(socket: Socket): void {
    let seen: Buffer = Buffer.alloc(0);
    const { handshakeMs = HANDSHAKE_MS } = this.#options;
    const timer = this.#clock.after(handshakeMs, () => socket.destroy(), { background: true });
    const done = (): void => {
      timer.cancel();
      socket.off('readable', look);
      socket.off('end', end);
      socket.off('close', done);
    };
    const end = (): void => {
      socket.destroy();
    };
    const look = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const kind = kindOf(seen);
      if (kind === undefined) return;
      done();
      socket.unshift(seen);
      this.#hand(socket, kind);
    };
    socket.on('readable', look);
    socket.on('end', end);
    socket.on('close', done);
  }

  #hand(socket: Socket, kind: Kind): void {
    const clear = this.#options.clear ?? this.#tls === undefined;
    // Only HTTP/1.1 has a use for half of a connection; the others would not notice that the client is gone.
    socket.allowHalfOpen = kind === 'http1';
    if (kind === 'tls' && this.#tls !== undefined) void this.#tls.accept(socket);
    else if (kind === 'tls' || !clear) socket.destroy();
    else this.#speak(socket, kind);
  }

  #secured(socket: TLSSocket): void {
    socket.on('error', ignore);
    // A client that does not negotiate may speak either: gRPC clients must ask for h2, so it is HTTP/1.1.
    this.#speak(socket, socket.alpnProtocol === 'h2' ? 'http2' : 'http1');
  }

  #speak(socket: Duplex, kind: 'http1' | 'http2'): void {
    if (kind === 'http2') this.#grpc.connect(socket);
    else if (this.#options.http ?? true) this.#http.emit('connection', socket);
    else socket.destroy();
  }

  #makeHttp(): http.Server {
    const headersMs = this.#options.headersMs ?? HEADERS_MS;
    const server = http.createServer({
      headersTimeout: headersMs,
      // Streams of requests have no end.
      requestTimeout: 0,
      keepAliveTimeout: IDLE_MS,
      connectionsCheckingInterval: Math.min(30_000, Math.ceil(headersMs / 2)),
    });
    server.on('request', (request, response) => this.#serve(request, response));
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
    server.on('clientError', (_error, socket: Duplex) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      else socket.destroy();
    });
    // It listens to nothing, and looks after slow requests only from this event on.
    server.emit('listening');
    return server;
  }

  #serve(request: ExchangeRequest, response: ExchangeResponse): void {
    const exchange = new Exchange(request, response);
    this.#exchanges.add(exchange);
    response.once('close', () => this.#exchanges.delete(exchange));
    void this.#pages.serve(exchange);
  }

  readonly #serveHttp2: OtherRequests = (stream, head, socket) => {
    const request = new Http2Request(stream, head, socket);
    this.#serve(request, new Http2Response(request, stream));
  };

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', ignore);
    const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket';
    const path = (request.url ?? '').replace(/\?.*$/s, '').replace(/^\/v3beta\//, '/v3/');
    const method = isWebSocket ? this.#gateway?.find(path) : undefined;
    if (method === undefined || this.#websockets === undefined) {
      refuseUpgrade(socket, 404);
      return;
    }
    const response = new http.ServerResponse(request);
    if (!this.#pages.mayEnter(new Exchange(request, response))) {
      refuseUpgrade(socket, response.statusCode);
      return;
    }
    this.#websockets.accept(request, socket, head, method);
  }
}

type Kind = 'tls' | 'http1' | 'http2';

/** What a connection is that begins so; undefined if it can't be said yet. */
function kindOf(bytes: Buffer): Kind | undefined {
  if (bytes[0] === TLS_HANDSHAKE) return 'tls';
  const start = bytes.toString('latin1', 0, HTTP2_PREFACE.length);
  if (start === HTTP2_PREFACE) return 'http2';
  return HTTP2_PREFACE.startsWith(start) ? undefined : 'http1';
}

function ignore(): void {}
