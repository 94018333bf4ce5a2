/**
 * What a service of the server is: functions over messages, with no transport in them.
 *
 * `api/` implements these, `rpc/grpc-server.ts` serves them by gRPC and `http/gateway.ts` by JSON, and tests call services
 * without either.
 *
 * Obligations of who serves: messages come decoded; `signal` fires when the client cancels, its deadline passes or its
 * connection ends, and when the server ends; a refusal ({@link RpcError}) becomes the status of the call, anything else
 * that is thrown is INTERNAL without its text. Obligations of a service: every wait ends when `signal` fires.
 *
 * @module
 */
import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import type { Cancellation } from '../../support/signals.ts';
import type { WorkSpan } from '../tracing.ts';

/** Metadata of a call, as the client sent it. Names are lower case. */
export interface CallMetadata {
  /** First value of a name, if it is text. */
  get(name: string): string | undefined;
}

/** One call, as its service sees it. */
export interface ServerCall {
  /** The method, such as `/etcdserverpb.KV/Range`. */
  readonly path: string;
  readonly metadata: CallMetadata;
  /** Fires when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** The same for waits that happen in most calls: where a call has none of its own, its signal. */
  readonly cancellation?: Cancellation | undefined;
  /** Common name of the client's certificate, if one was asked for and checked. */
  readonly commonName: string | undefined;
  /** How it came in: a certificate at the gateway says nothing of who asks. */
  readonly via: 'grpc' | 'gateway' | 'local';
  /** Where what is done for it belongs, if somebody keeps a trace. Set by who traces, before the service is called. */
  span?: WorkSpan | undefined;
}

/** A response that is encoded already, so that stored bytes need not be decoded first. */
export class Encoded {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** What a handler may answer with. */
export type Reply<T> = Init<T> | Encoded;

/** Where a stream's responses go. */
export interface Outlet<T> {
  /** Sends one. What is sent after the call has ended is dropped. @returns False when the reader is behind: wait for {@link drained}. */
  send(message: Reply<T>): boolean;
  /** Resolves when there is room, or the call has ended. Never rejects. */
  drained(): Promise<void>;
}

export type UnaryHandler<Request, Response> = (request: Request, call: ServerCall) => Promise<Reply<Response>>;

/** Resolves when the stream is to end well. */
export type ServerStreamHandler<Request, Response> = (
  request: Request,
  call: ServerCall,
  out: Outlet<Response>,
) => Promise<void>;

/** `requests` ends when the client half-closes, and when `signal` fires. Resolves when the stream is to end well. */
export type BidiHandler<Request, Response> = (
  requests: AsyncIterable<Request>,
  call: ServerCall,
  out: Outlet<Response>,
) => Promise<void>;

/** A method with what it does. */
export type Method =
  // biome-ignore lint/suspicious/noExplicitAny: the messages differ from method to method
  | { readonly kind: 'unary'; readonly descriptor: MethodDescriptor<any, any>; readonly handle: UnaryHandler<any, any> }
  | {
      readonly kind: 'server-stream';
      // biome-ignore lint/suspicious/noExplicitAny: as above
      readonly descriptor: MethodDescriptor<any, any>;
      // biome-ignore lint/suspicious/noExplicitAny: as above
      readonly handle: ServerStreamHandler<any, any>;
    }
  // biome-ignore lint/suspicious/noExplicitAny: as above
  | { readonly kind: 'bidi'; readonly descriptor: MethodDescriptor<any, any>; readonly handle: BidiHandler<any, any> };

/** All methods that a server has, by their path. */
export type MethodTable = ReadonlyMap<string, Method>;

/** Makes a method of one message each way. */
export function unary<I, O>(descriptor: MethodDescriptor<I, O>, handle: UnaryHandler<I, O>): Method {
  return { kind: 'unary', descriptor, handle };
}

/** Makes a method that answers with a stream. */
export function serverStream<I, O>(descriptor: MethodDescriptor<I, O>, handle: ServerStreamHandler<I, O>): Method {
  return { kind: 'server-stream', descriptor, handle };
}

/** Makes a method of streams both ways. */
export function bidi<I, O>(descriptor: MethodDescriptor<I, O>, handle: BidiHandler<I, O>): Method {
  return { kind: 'bidi', descriptor, handle };
}
