/**
 * What stands before every method: who asks, may they, and can this member answer at all.
 *
 * Services are written against this interface, so that none can leave a check out.
 *
 * @module
 */
import type { MethodDescriptor } from '../../protocol/wire.ts';
import type { Actor } from '../auth/store.ts';
import type { Method, Outlet, Reply, ServerCall } from '../rpc/call.ts';

/** How a service's functions look behind the guard. All may reject with `RpcError`. */
export type GuardedUnary<I, O> = (request: I, call: ServerCall, actor: Actor) => Promise<Reply<O>>;

export type GuardedServerStream<I, O> = (request: I, call: ServerCall, out: Outlet<O>, actor: Actor) => Promise<void>;

/** Each message of the client is to be given to `check`, which rejects if its sender may not send it. */
export type GuardedBidi<I, O> = (
  requests: AsyncIterable<I>,
  call: ServerCall,
  out: Outlet<O>,
  check: (request: I) => Promise<Actor>,
) => Promise<void>;

/** Makes methods that refuse who may not call them. */
export interface Guard {
  unary<I, O>(descriptor: MethodDescriptor<I, O>, handle: GuardedUnary<I, O>): Method;
  serverStream<I, O>(descriptor: MethodDescriptor<I, O>, handle: GuardedServerStream<I, O>): Method;
  bidi<I, O>(descriptor: MethodDescriptor<I, O>, handle: GuardedBidi<I, O>): Method;
}

/** Settings of the services. */
export interface ApiOptions {
  /** Operations, and compares, in one transaction. Default 128. */
  readonly maxTxnOps: number;
  /** Size of a proposal, in bytes. Default 1,572,864; messages may have 512 KiB more. */
  readonly maxRequestBytes: number;
  /** How often a watch that asked for it hears that nothing happened, in ms. Default 600,000. */
  readonly watchProgressMs: number;
  /** From 0 up to but without 1. */
  readonly random: () => number;
}
