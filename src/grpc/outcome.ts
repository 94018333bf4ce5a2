/**
 * What a call's status says of the instance that it went to.
 *
 * @module
 */

import type { Outcome } from '../../recipes/services/balance/balancer.ts';
import { GrpcCode } from '../index.ts';

const FAILURES: ReadonlySet<number> = new Set([
  GrpcCode.UNKNOWN,
  GrpcCode.DEADLINE_EXCEEDED,
  GrpcCode.RESOURCE_EXHAUSTED,
  GrpcCode.INTERNAL,
  GrpcCode.UNAVAILABLE,
  GrpcCode.DATA_LOSS,
]);

/**
 * `failure` for what a healthy instance does not answer: UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN (what a handler
 * throws), DATA_LOSS, and RESOURCE_EXHAUSTED, so that one that is overloaded gets less. `cancelled` for CANCELLED. All
 * else, as NOT_FOUND or INVALID_ARGUMENT, is an answer: `success`.
 *
 * @param code gRPC's status code.
 */
export function outcomeOfStatus(code: number): Outcome {
  if (code === GrpcCode.CANCELLED) return 'cancelled';
  return FAILURES.has(code) ? 'failure' : 'success';
}
