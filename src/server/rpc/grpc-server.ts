/**
 * gRPC over node:http2.
 *
 * Not by grpc-js, whose server owns its HTTP/2 sessions: then nothing but gRPC could be served on a TLS connection, the
 * texts of its refusals are not etcd's, and a unary call costs half as much again.
 *
 * It listens to nothing itself: whoever accepts connections gives them to {@link GrpcServer.connect}, clear ones and
 * TLS alike.
 *
 * Obligations: {@link GrpcServer.close} resolves within its bound, whatever clients and services do; then no call runs,
 * and no session is open.
 *
 * @module
 */
import http2, {
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../support/clock.ts';
import { deferred } from '../../support/signals.ts';
import type { MethodTable } from './call.ts';
import type { CallStats } from './call-stats.ts';
import { type FaultReporter, STOPPING } from './failure.ts';
import type { CallContext } from './grpc-call.ts';
import { badRequest, isGrpc, unknownMethod } from './grpc-headers.ts';
import { GrpcSession, type KeepaliveOptions } from './grpc-session.ts';
import { StreamingCall } from './grpc-streaming.ts';
import { UnaryCall } from './grpc-unary.ts';

/** Takes a request over HTTP/2 that is not gRPC. */
export type OtherRequests = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
) => void;

/** What a {@link GrpcServer} needs. */
export interface GrpcServerOptions {
  readonly methods: MethodTable;
  readonly clock: Clock;
  readonly stats: CallStats;
  readonly report: FaultReporter;
  /** Longest message that a client may send, in bytes. */
  readonly receiveLimitBytes: number;
  /** Calls that one connection may have at a time. Default: no limit. */
  readonly maxConcurrentStreams?: number | undefined;
  readonly keepalive: KeepaliveOptions;
  /** Takes what is not gRPC on TLS connections. On clear ones, and by default, such requests are refused. */
  readonly other?: OtherRequests | undefined;
}

/** Flow control: what may be under way unread, on a stream and on a connection, in bytes. */
const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;

/** Node refuses streams of a connection that holds more, in MB. The receive limit bounds each stream. */
const MAX_SESSION_MEMORY_MB = 4_096;

const UNLIMITED = 2 ** 32 - 1;

/** See the head of this file. */
export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #context: CallContext;
  readonly #server: Http2Server;
  readonly #sessions = new Map<ServerHttp2Session, GrpcSession>();
  #closing = false;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    const { clock, stats, report, receiveLimitBytes } = options;
    this.#context = { clock, stats, report, receiveLimitBytes, running: new Set() };
    stats.cover(options.methods);
    this.#server = http2.createServer({
      maxSessionMemory: MAX_SESSION_MEMORY_MB,
      settings: {
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxConcurrentStreams: options.maxConcurrentStreams ?? UNLIMITED,
      },
    });
    this.#server.on('session', (session) => this.#onSession(session));
    const onStream = (
      stream: ServerHttp2Stream,
      headers: IncomingHttpHeaders,
      _flags: number,
      rawHeaders: readonly string[],
    ): void => this.#onStream(stream, headers, rawHeaders);
    this.#server.on('stream', onStream as Parameters<Http2Server['on']>[1]);
    // A session that fails takes its streams with it; nobody else is concerned.
    this.#server.on('sessionError', () => {});
  }

  /** Calls that run. */
  get running(): number {
    return this.#context.running.size;
  }

  /** Serves a connection that has been accepted, whose first bytes are still to be read from it. */
  connect(socket: Duplex): void {
    if (this.#closing) socket.destroy();
    else this.#server.emit('connection', socket);
  }

  #onSession(session: ServerHttp2Session): void {
    const { clock, keepalive } = this.#options;
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    this.#sessions.set(session, new GrpcSession(session, clock, keepalive));
    session.once('close', () => this.#sessions.delete(session));
    session.on('error', () => {});
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    // A stream that fails has told its client already, or cannot.
    stream.on('error', ignore);
    const http2Session = stream.session as ServerHttp2Session | undefined;
    const session = http2Session === undefined ? undefined : this.#sessions.get(http2Session);
    if (session === undefined) return;
    const { other } = this.#options;
    if (other !== undefined && http2Session?.encrypted && !isGrpc(headers)) {
      other(stream, headers, rawHeaders);
      return;
    }
    const path = headers[':path'] ?? '';
    const method = this.#options.methods.get(path);
    const refusal =
      badRequest(headers) ?? (method === undefined ? unknownMethod(path, this.#options.methods) : undefined);
    if (refusal !== undefined || method === undefined) {
      session.wrote = true;
      stream.respond(refusal, { endStream: true });
      if (!stream.readableEnded) stream.close(http2.constants.NGHTTP2_NO_ERROR);
      return;
    }
    if (method.kind === 'unary') new UnaryCall(this.#context, method, session, stream, headers, rawHeaders);
    else new StreamingCall(this.#context, method, session, stream, headers, rawHeaders);
  }

  /**
   * Ends all. Streams hear at once that the server stops; unary calls may take `graceMs` to finish. Then every connection
   * is closed, whatever is open on it.
   */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    const { clock } = this.#options;
    for (const session of this.#sessions.keys()) session.close();
    for (const call of this.#context.running) if (call.kind !== 'unary') call.giveUp(STOPPING);
    if (this.#sessions.size > 0 && graceMs > 0) {
      const over = deferred<void>();
      const timer = clock.after(graceMs, over.resolve);
      const check = (): void => {
        if (this.#sessions.size === 0) over.resolve();
      };
      for (const session of this.#sessions.keys()) session.once('close', check);
      await over.promise;
      timer.cancel();
    }
    for (const call of this.#context.running) call.giveUp(STOPPING);
    for (const session of this.#sessions.keys()) session.destroy();
  }
}

function ignore(): void {}
