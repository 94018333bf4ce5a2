/**
 * What to do about a failed call: data in, verdict out.
 *
 * The rule: a read may be repeated, a write only when it provably changed nothing. Jepsen
 * found the price of the opposite in jetcd 0.8.2: transactions that ran twice.
 *
 * @module
 */

import { type EtcdCode, type EtcdErrorEntry, lookUpEtcdError } from '../../protocol/error-table.ts';
import { GrpcCode } from '../../protocol/status.ts';
import type { Applied } from '../errors.ts';
import type { CallFailure } from '../transport/transport.ts';

/**
 * How a call may be repeated.
 *
 * `read` changes nothing. `idempotent` changes something, but twice is the same as once.
 * `write` must not happen twice.
 */
export type CallKind = 'read' | 'idempotent' | 'write';

/** What to do next. */
export interface Verdict {
  /** `login` gets a new token first, `again` waits and prefers another member. */
  readonly next: 'fail' | 'again' | 'login';
  /** Whether this attempt may have changed the store. */
  readonly applied: Applied;
  /** What this failure says of the member it came from. */
  readonly member: 'fine' | 'silent' | 'suspect' | 'learner' | 'leaderless';
  readonly etcdCode: EtcdCode | undefined;
}

/** Codes by which a server, or a gateway before it, refuses a request without acting on it. */
const REFUSING_CODES: ReadonlySet<GrpcCode> = new Set([
  GrpcCode.INVALID_ARGUMENT,
  GrpcCode.NOT_FOUND,
  GrpcCode.ALREADY_EXISTS,
  GrpcCode.PERMISSION_DENIED,
  GrpcCode.FAILED_PRECONDITION,
  GrpcCode.OUT_OF_RANGE,
  GrpcCode.UNIMPLEMENTED,
  GrpcCode.UNAUTHENTICATED,
]);

/** Answers that mean "log in again". */
const TOKEN_CODES: ReadonlySet<EtcdCode | undefined> = new Set(['InvalidAuthToken', 'AuthOldRevision', 'UserEmpty']);

/** Refusals that another member, or the same one a moment later, may not repeat. */
const PASSING_REFUSALS: ReadonlySet<EtcdCode | undefined> = new Set([
  'NoLeader',
  'NotSupportedForLearner',
  'TooManyRequests',
  'NotPrimaryLessor',
]);

/** Codes after which a read is worth another attempt. */
const PASSING_CODES: ReadonlySet<GrpcCode> = new Set([
  GrpcCode.UNAVAILABLE,
  GrpcCode.INTERNAL, // a reset connection comes as INTERNAL as often as UNAVAILABLE
  GrpcCode.CANCELLED, // by a server that stops; our own aborts never get here
  GrpcCode.DEADLINE_EXCEEDED, // of the attempt, or of the server: the call's own deadline is checked by the caller
  GrpcCode.ABORTED,
]);

/** How grpc-js words ENHANCE_YOUR_CALM: the server dropped the connection, as after too many pings. */
const CALM = 'Bandwidth exhausted or memory limit exceeded';

/** Whether a failure may be gone at the next attempt, going by its code. */
function isPassing({ grpcCode, details }: CallFailure): boolean {
  return PASSING_CODES.has(grpcCode) || (grpcCode === GrpcCode.RESOURCE_EXHAUSTED && details === CALM);
}

/** The server's refusal of a request over its size limit, in gRPC's words. */
export function isTooLargeForServer(failure: CallFailure): boolean {
  return failure.grpcCode === GrpcCode.RESOURCE_EXHAUSTED && failure.details.startsWith('grpc: received message');
}

/** Whether the server provably did nothing with a request that may have reached it. */
function provablyNotApplied(failure: CallFailure, outcome: 'rejected' | 'unknown' | undefined): boolean {
  if (outcome === 'rejected') return true;
  return outcome === undefined && (REFUSING_CODES.has(failure.grpcCode) || isTooLargeForServer(failure));
}

/** Whether a failure says "this token is no good". */
export function isTokenFailure(failure: CallFailure): boolean {
  return TOKEN_CODES.has(lookUpEtcdError(failure.details)?.code);
}

/** Judges one failed attempt. */
export function judge(kind: CallKind, failure: CallFailure): Verdict {
  const entry = lookUpEtcdError(failure.details);
  const etcdCode = entry?.code;
  const clean = provablyNotApplied(failure, entry?.outcome);
  const applied: Applied = kind === 'read' || clean ? 'no' : 'maybe';
  const member = memberVerdict(failure, entry);

  if (TOKEN_CODES.has(etcdCode)) return { next: 'login', applied: 'no', member, etcdCode };
  if (PASSING_REFUSALS.has(etcdCode) || failure.sent === 'no')
    return { next: 'again', applied: 'no', member, etcdCode };
  const passing = (isPassing(failure) || etcdCode === 'DeadlineExceeded') && entry?.outcome !== 'rejected';
  return { next: kind !== 'write' && passing ? 'again' : 'fail', applied, member, etcdCode };
}

function memberVerdict(failure: CallFailure, entry: EtcdErrorEntry | undefined): Verdict['member'] {
  if (entry?.code === 'NotSupportedForLearner') return 'learner';
  if (entry?.code === 'NoLeader') return 'leaderless';
  if (failure.grpcCode === GrpcCode.DEADLINE_EXCEEDED || entry?.code === 'DeadlineExceeded') return 'silent';
  if (entry === undefined) return isPassing(failure) ? 'suspect' : 'fine';
  return failure.grpcCode === GrpcCode.UNAVAILABLE && entry.outcome === 'unknown' ? 'suspect' : 'fine';
}
