/**
 * gRPC over our HTTP/2 (`http2/`).
 *
 * It listens to nothing itself: whoever accepts connections gives them to {@link GrpcServer.connect}, clear ones and
 * TLS alike.
 *
 * Obligations: {@link GrpcServer.close} resolves within its bound, whatever clients and services do; then no call runs,
 * and no session is open.
 *
 * @module
 */
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../support/clock.ts';
import { type Deferred, deferred } from '../../support/signals.ts';
import type { KeepaliveOptions } from '../http2/keepalive.ts';
import { Slabs } from '../http2/output.ts';
import type { RequestHead } from '../http2/request-head.ts';
import { Session, type SessionOptions } from '../http2/session.ts';
import type { Stream } from '../http2/stream.ts';
import type { MethodTable } from './call.ts';
import type { CallStats } from './call-stats.ts';
import { type FaultReporter, STOPPING } from './failure.ts';
import type { CallContext } from './grpc-call.ts';
import { badRequest, isGrpc, unknownMethod } from './grpc-headers.ts';
import { StreamingCall } from './grpc-streaming.ts';
import { UnaryCall } from './grpc-unary.ts';

/** Takes a request over HTTP/2 that is not gRPC. */
export type OtherRequests = (stream: Stream, head: RequestHead, socket: Duplex) => void;

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
  /** How long a client may take for its first SETTINGS, in ms. */
  readonly handshakeMs: number;
  /** Takes what is not gRPC on TLS connections. On clear ones, and by default, such requests are refused. */
  readonly other?: OtherRequests | undefined;
}

const UNLIMITED = 2 ** 32 - 1;

/** See the head of this file. */
export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #context: CallContext;
  readonly #sessionOptions: SessionOptions;
  readonly #sessions = new Set<Session>();
  #closing = false;
  /** Resolved once there is no session. */
  #empty: Deferred<void> | undefined;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    const { clock, stats, report, receiveLimitBytes, keepalive, handshakeMs } = options;
    this.#context = { clock, stats, report, receiveLimitBytes, running: new Set() };
    stats.cover(options.methods);
    this.#sessionOptions = {
      clock,
      slabs: new Slabs(),
      maxConcurrentStreams: options.maxConcurrentStreams ?? UNLIMITED,
      keepalive,
      handshakeMs,
      request: (stream, head, session) => this.#serve(stream, head, session.socket),
      report: (error) => report(error, 'http2'),
      closed: (session) => this.#closed(session),
    };
  }

  /** Calls that run. */
  get running(): number {
    return this.#context.running.size;
  }

  /** Serves a connection that has been accepted, whose first bytes are still to be read from it. */
  connect(socket: Duplex): void {
    if (this.#closing) socket.destroy();
    else if (!socket.destroyed) this.#sessions.add(new Session(socket, this.#sessionOptions));
  }

  #serve(stream: Stream, head: RequestHead, socket: Duplex): void {
    const { other, methods } = this.#options;
    if (other !== undefined && (socket as Partial<TLSSocket>).encrypted && !isGrpc(head)) {
      other(stream, head, socket);
      return;
    }
    const method = methods.get(head.path);
    const refusal = badRequest(head) ?? (method === undefined ? unknownMethod(head.path, methods) : undefined);
    if (refusal !== undefined || method === undefined) stream.respond(refusal as Buffer, true);
    else if (method.kind === 'unary') new UnaryCall(this.#context, method, socket, stream, head);
    else new StreamingCall(this.#context, method, socket, stream, head);
  }

  /**
   * Ends all. Streams hear at once that the server stops; unary calls may take `graceMs` to finish. Then every connection
   * is closed, whatever is open on it.
   */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    for (const session of this.#sessions) session.finish();
    for (const call of this.#context.running) if (call.kind !== 'unary') call.giveUp(STOPPING);
    if (this.#sessions.size > 0 && graceMs > 0) {
      this.#empty = deferred();
      const timer = this.#options.clock.after(graceMs, this.#empty.resolve);
      await this.#empty.promise;
      timer.cancel();
    }
    for (const call of this.#context.running) call.giveUp(STOPPING);
    for (const session of this.#sessions) session.destroy();
  }

  #closed(session: Session): void {
    this.#sessions.delete(session);
    if (this.#sessions.size === 0) this.#empty?.resolve();
  }
}
