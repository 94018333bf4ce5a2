/**
 * What a failed call tells its client.
 *
 * A refusal is told as it is. That a wait was given up because its signal fired is told as what made it fire. Anything
 * else is a fault of the server: the client learns that there is one, and whoever runs the server what it is.
 *
 * @module
 */
import { GrpcCode } from '../../protocol/status.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';

/** Hears of errors that are no refusals. They may hold what must not reach a client. */
export type FaultReporter = (error: unknown, path: string) => void;

const INTERNAL: Refusal = { text: 'internal error', grpcCode: GrpcCode.INTERNAL };

/** Why `signal` fires: the reasons are made once, since making an error is dear. */
export const GONE = new RpcError(Refusals.Canceled);
export const TOO_LATE = new RpcError(Refusals.DeadlineExceeded);
export const STOPPING = new RpcError(Refusals.Stopped);

/** The refusal to answer with when a handler has thrown. `signal` is its call's, if it has looked at it. */
export function refusalOf(
  error: unknown,
  signal: AbortSignal | undefined,
  path: string,
  report: FaultReporter,
): Refusal {
  if (error instanceof RpcError) return error.refusal;
  if (signal?.aborted && isAbort(error))
    return signal.reason instanceof RpcError ? signal.reason.refusal : Refusals.Canceled;
  report(error, path);
  return INTERNAL;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** A refusal by the transport itself. */
export function refuse(grpcCode: GrpcCode, text: string): RpcError {
  return new RpcError({ text, grpcCode });
}
