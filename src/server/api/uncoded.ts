/**
 * Errors of the services Lock and Election, which reach clients without their code.
 *
 * etcd composes both of its own client's calls, whose errors have texts only: so all are UNKNOWN, and whoever wants to
 * know more has to go by the text. What ended the call itself keeps its code.
 *
 * @module
 */
import { GrpcCode } from '../../protocol/status.ts';
import { type Refusal, RpcError } from '../refusals.ts';

/** A refusal of its own text. */
export function uncoded(text: string): Refusal {
  return { text, grpcCode: GrpcCode.UNKNOWN };
}

const KEPT: ReadonlySet<number> = new Set([GrpcCode.CANCELLED, GrpcCode.DEADLINE_EXCEEDED]);

/** A handler whose refusals lose their code. */
export function withoutCodes<Args extends readonly unknown[], T>(
  handle: (...args: Args) => Promise<T>,
): (...args: Args) => Promise<T> {
  return async (...args) => {
    try {
      return await handle(...args);
    } catch (error) {
      if (!(error instanceof RpcError) || KEPT.has(error.refusal.grpcCode)) throw error;
      throw new RpcError(uncoded(error.refusal.text), { cause: error });
    }
  };
}
