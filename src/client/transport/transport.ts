/**
 * The seam between the client and whatever carries its calls.
 *
 * Everything above this file speaks in these terms alone, so that a leaner HTTP/2 layer
 * can take the place of `@grpc/grpc-js`. One `Transport` is one connection to one
 * endpoint; choosing among endpoints, retrying and logging in happen above.
 *
 * Obligations of an implementation:
 * 1. `unary` and `stream` are only called on a ready transport, yet must cope with one
 *    that stopped being ready a moment ago: they fail with `sent: 'no'` if, and only if,
 *    the request provably never reached a server that could act on it.
 * 2. `onClose` of a stream is called exactly once, last.
 * 3. A message is delivered only when asked for by `pull`, so that a reader who stops
 *    pulling stops the server.
 *
 * @module
 */

import type { GrpcCode } from '../../protocol/status.ts';
import type { Init, MethodDescriptor } from '../../protocol/wire.ts';

/** What a connection is doing. A failed one can be connected again; a closed one can't. */
export type TransportState = 'idle' | 'connecting' | 'ready' | 'closed';

/**
 * Why a connection could not be made, or could not be used: nobody listens, nobody answers
 * in time, the TLS handshake fails, the other side does not speak HTTP/2, is no etcd, or
 * belongs to another cluster.
 */
export type ConnectFailureKind = 'refused' | 'timeout' | 'tls' | 'protocol' | 'not-etcd' | 'foreign' | 'closed';

/** How a call ended that did not end well. */
export interface CallFailure {
  readonly grpcCode: GrpcCode;
  /** The server's text, or the transport's own when no server answered. */
  readonly details: string;
  /** Whether the request can have left this machine and been acted on. */
  readonly sent: 'no' | 'maybe';
}

/** Thrown by {@link Transport.unary}. Internal: the layers above turn it into an EtcdError. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly failure: CallFailure;
  constructor(failure: CallFailure) {
    super(failure.details);
    this.failure = failure;
  }
}

/** Thrown by {@link Transport.connect}. */
export class ConnectError extends Error {
  override readonly name = 'ConnectError';
  readonly kind: ConnectFailureKind;
  constructor(kind: ConnectFailureKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Call metadata; the same object is passed again and again, so an implementation may key a cache by it. */
export type CallMetadata = Readonly<Record<string, string>>;

/** What a unary call needs besides its request. */
export interface UnaryOptions {
  readonly metadata: CallMetadata;
  /** Time left for the call. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a stream needs besides its messages. */
export interface StreamOptions {
  readonly metadata: CallMetadata;
}

/** Receives what a stream brings. */
export interface StreamHandlers<O> {
  /** One message, asked for by one `pull`. */
  onMessage(message: O): void;
  /** The end: without a failure when the server ended the stream with OK. */
  onClose(failure: CallFailure | undefined): void;
}

/** The sending half of an open stream. */
export interface TransportStream<I> {
  /** Queues a message; messages leave in order. Ignored once the stream is closed. */
  send(message: Init<I>): void;
  /** Says that no more messages will be sent. */
  halfClose(): void;
  /** Asks for one more message. */
  pull(): void;
  /** Ends the stream; `onClose` follows with CANCELLED. */
  cancel(): void;
}

/** One connection to one endpoint. */
export interface Transport {
  readonly state: TransportState;
  /**
   * Makes the connection, up to and including the HTTP/2 handshake. Callers share one
   * attempt; it gives up after the transport's connect timeout.
   *
   * @throws ConnectError
   */
  connect(): Promise<void>;
  /** Calls a method with one request and one answer. Rejects with {@link TransportError}. */
  unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, options: UnaryOptions): Promise<O>;
  /** Opens a stream; with one request and {@link TransportStream.halfClose}, a server stream. */
  stream<I, O>(method: MethodDescriptor<I, O>, options: StreamOptions, handlers: StreamHandlers<O>): TransportStream<I>;
  /** Drops the connection and fails what is running on it. Final. */
  close(): void;
}

/** Makes the transport for one endpoint. */
export type TransportFactory = (endpoint: EndpointAddress) => Transport;

/** Where a member is reached. */
export interface EndpointAddress {
  /** How it was written, normalised: the name of the endpoint in errors and telemetry. */
  readonly name: string;
  readonly secure: boolean;
  /** `host:port` to dial, or a socket's path for `unix`. */
  readonly target: string;
  readonly kind: 'tcp' | 'unix';
  /** The name that a server certificate must carry, unless the TLS options say another. */
  readonly serverName: string;
}
