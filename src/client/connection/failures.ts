/**
 * From a failed call to the error that the caller sees.
 *
 * @module
 */

import { lookUpEtcdError } from '../../protocol/error-table.ts';
import { GrpcCode } from '../../protocol/status.ts';
import {
  AbortError,
  ClusterMismatchError,
  CompactedError,
  DeadlineError,
  type ErrorCode,
  EtcdError,
  type EtcdErrorDetails,
  InvalidArgumentError,
  PermissionDeniedError,
  TlsError,
  UnauthenticatedError,
  UnavailableError,
  UnsupportedError,
} from '../errors.ts';
import type { CallFailure, ConnectError } from '../transport/transport.ts';
import { isTooLargeForServer } from './retry.ts';

/** What the caller knows of a failed call besides the failure. */
export type FailureContext = Pick<EtcdErrorDetails, 'endpoint' | 'attempts' | 'applied' | 'cause'>;

/** The error for a failed call. */
export function toEtcdError(failure: CallFailure, context: FailureContext = {}): EtcdError {
  const etcdCode = lookUpEtcdError(failure.details)?.code;
  const details: EtcdErrorDetails = { ...context, etcdCode, grpcCode: failure.grpcCode };
  const message = describe(failure, context);
  switch (etcdCode) {
    case undefined:
      return unnamedError(failure, message, details);
    case 'Compacted':
      return new CompactedError(undefined, details);
    case 'PermissionDenied':
      return new PermissionDeniedError(message, details);
    case 'AuthFailed':
    case 'InvalidAuthToken':
    case 'AuthOldRevision':
    case 'UserEmpty':
      return new UnauthenticatedError(message, details);
    case 'EmptyKey':
    case 'ValueProvided':
    case 'LeaseProvided':
    case 'TooManyOps':
    case 'DuplicateKey':
    case 'InvalidSortOption':
    case 'LeaseTtlTooLarge':
      return new InvalidArgumentError(message, details);
    case 'NotCapable':
      return new UnsupportedError(message, details);
    case 'DeadlineExceeded':
      return new DeadlineError(message, details);
    default:
      return new EtcdError(CODES[etcdCode] ?? byGrpcCode(failure.grpcCode), message, details);
  }
}

const CODES: Partial<Record<string, ErrorCode>> = {
  FutureRevision: 'future-revision',
  LeaseNotFound: 'lease-not-found',
  LeaseExists: 'lease-exists',
  NoSpace: 'no-space',
  RequestTooLarge: 'request-too-large',
};

function byGrpcCode(code: GrpcCode): ErrorCode {
  return code === GrpcCode.UNAVAILABLE ? 'unavailable' : 'server';
}

/** Errors that carry no etcd text: the transport's own, a proxy's, or those of a server that is not etcd. */
function unnamedError(failure: CallFailure, message: string, details: EtcdErrorDetails): EtcdError {
  switch (failure.grpcCode) {
    case GrpcCode.UNAVAILABLE:
    case GrpcCode.INTERNAL:
      return new UnavailableError(message, details);
    case GrpcCode.DEADLINE_EXCEEDED:
      return new DeadlineError(message, details);
    case GrpcCode.UNIMPLEMENTED:
      return new UnsupportedError(`${message}; the server is too old for this call, or it is not an etcd`, details);
    case GrpcCode.PERMISSION_DENIED:
      return new PermissionDeniedError(message, details);
    case GrpcCode.UNAUTHENTICATED:
      return new UnauthenticatedError(message, details);
    case GrpcCode.RESOURCE_EXHAUSTED:
      if (isTooLargeForServer(failure)) return new EtcdError('request-too-large', message, details);
      if (/larger than max/i.test(failure.details)) return new EtcdError('response-too-large', message, details);
      return new EtcdError('server', message, details);
    default:
      return new EtcdError('server', message, details);
  }
}

function describe(failure: CallFailure, { endpoint, applied }: FailureContext): string {
  const text = failure.details === '' ? `gRPC status ${failure.grpcCode}` : failure.details;
  const where = endpoint === undefined ? '' : ` (${endpoint})`;
  return `${text}${where}${applied === 'maybe' ? '; the write may have been applied' : ''}`;
}

/** The error for a call whose time was up. */
export function deadlineError(timeoutMs: number, context: FailureContext): DeadlineError {
  const cause = context.cause instanceof Error ? `; last failure: ${context.cause.message}` : '';
  const maybe = context.applied === 'maybe' ? '; the write may have been applied' : '';
  return new DeadlineError(`no result within ${Math.round(timeoutMs)} ms${maybe}${cause}`, context);
}

/** The error for a call that the caller called off. */
export function abortError(signal: AbortSignal, context: FailureContext = {}): AbortError {
  const maybe = context.applied === 'maybe' ? '; the write may have been applied' : '';
  return new AbortError(`aborted by the caller${maybe}`, { ...context, cause: signal.reason });
}

/** The error for a call that found no connection: it says of each endpoint why. */
export function connectionError(failures: readonly { endpoint: string; error: ConnectError }[]): EtcdError {
  const text = failures.map(({ endpoint, error }) => `${endpoint}: ${error.message}`).join('; ');
  const details = { endpoint: failures[0]?.endpoint, cause: failures[0]?.error };
  const all = (kind: ConnectError['kind']): boolean => failures.every(({ error }) => error.kind === kind);
  if (failures.length > 0 && all('tls')) return new TlsError(text, details);
  if (failures.length > 0 && all('not-etcd')) return new UnsupportedError(text, details);
  if (failures.length > 0 && all('foreign')) return new ClusterMismatchError(text, details);
  return new UnavailableError(`no connection: ${text}`, details);
}
