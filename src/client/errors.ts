/**
 * The errors of the client: one class to catch, a `code` to switch on, and subclasses
 * only where callers branch or need more than the base carries.
 *
 * The rule they all follow: a failed write says whether it may have been applied.
 *
 * @module
 */

import type { EtcdCode } from '../protocol/error-table.ts';
import type { LeaseId, Revision } from '../protocol/int64.ts';
import type { GrpcCode } from '../protocol/status.ts';

/**
 * What went wrong, in the client's own words. `server` is any answer of the server that
 * has no word of its own here; its {@link EtcdError.etcdCode} then says which.
 */
export type ErrorCode =
  | 'aborted'
  | 'checksum-mismatch'
  | 'closed'
  | 'cluster-mismatch'
  | 'compacted'
  | 'deadline'
  | 'decode'
  | 'future-revision'
  | 'invalid-argument'
  | 'lease-exists'
  | 'lease-lost'
  | 'lease-not-found'
  | 'no-space'
  | 'permission-denied'
  | 'request-too-large'
  | 'response-too-large'
  | 'server'
  | 'slow-reader'
  | 'tls'
  | 'unauthenticated'
  | 'unavailable'
  | 'unsupported';

/**
 * Whether a failed call may have changed the store.
 *
 * `no`: it has not and will not. `maybe`: the request may have reached a member, and no
 * answer says what became of it. Calls that change nothing always say `no`.
 */
export type Applied = 'no' | 'maybe';

/** What an {@link EtcdError} carries besides its code and message. */
export interface EtcdErrorDetails {
  /** The error the server answered, if it was the server that refused. */
  readonly etcdCode?: EtcdCode | undefined;
  /** gRPC's status code, if the call got that far. */
  readonly grpcCode?: GrpcCode | undefined;
  /** The member that the last attempt went to. */
  readonly endpoint?: string | undefined;
  /** How many times the call was sent. Default 0. */
  readonly attempts?: number | undefined;
  /** Whether the call may have changed the store. Default `no`. */
  readonly applied?: Applied | undefined;
  readonly cause?: unknown;
}

/** Any failure of the client. Never carries a value, a password or a token. */
export class EtcdError extends Error {
  override readonly name: string = 'EtcdError';
  /** What went wrong; stable, meant for `switch`. */
  readonly code: ErrorCode;
  /** The error the server answered, such as `'LeaseNotFound'`; absent when no server answered. */
  readonly etcdCode: EtcdCode | undefined;
  /** gRPC's status code; absent when the failure was not a call's. */
  readonly grpcCode: GrpcCode | undefined;
  /** The member that the last attempt went to. */
  readonly endpoint: string | undefined;
  /** How many times the call was sent. */
  readonly attempts: number;
  /** Whether a write may have been applied all the same. */
  readonly applied: Applied;

  constructor(code: ErrorCode, message: string, details: EtcdErrorDetails = {}) {
    super(`[${code}] ${message}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.etcdCode = details.etcdCode;
    this.grpcCode = details.grpcCode;
    this.endpoint = details.endpoint;
    this.attempts = details.attempts ?? 0;
    this.applied = details.applied ?? 'no';
  }
}

/** Bad input, found before anything was sent. */
export class InvalidArgumentError extends EtcdError {
  override readonly name = 'InvalidArgumentError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('invalid-argument', message, details);
  }
}

/** No member could be reached, or the connection broke under the call. */
export class UnavailableError extends EtcdError {
  override readonly name: string = 'UnavailableError';
  constructor(message: string, details?: EtcdErrorDetails, code: 'unavailable' | 'tls' = 'unavailable') {
    super(code, message, details);
  }
}

/** The TLS handshake failed: a wrong CA, a wrong server name, a certificate that is expired, missing or refused. */
export class TlsError extends UnavailableError {
  override readonly name = 'TlsError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super(message, details, 'tls');
  }
}

/** The call's time was up. */
export class DeadlineError extends EtcdError {
  override readonly name = 'DeadlineError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('deadline', message, details);
  }
}

/** The caller's signal fired. `cause` is the signal's reason. Named as the platform names it. */
export class AbortError extends EtcdError {
  override readonly name = 'AbortError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('aborted', message, details);
  }
}

/** The client, or the thing the call was made on, is closed. */
export class ClosedError extends EtcdError {
  override readonly name = 'ClosedError';
  constructor(what: string, details?: EtcdErrorDetails) {
    super('closed', `${what} is closed`, details);
  }
}

/** The server does not know who is calling: wrong user or password, a token it refuses even after a new login. */
export class UnauthenticatedError extends EtcdError {
  override readonly name = 'UnauthenticatedError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('unauthenticated', message, details);
  }
}

/** The server knows who is calling, and that user may not do this. */
export class PermissionDeniedError extends EtcdError {
  override readonly name = 'PermissionDeniedError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('permission-denied', message, details);
  }
}

/** The history asked for is gone. */
export class CompactedError extends EtcdError {
  override readonly name = 'CompactedError';
  /** The oldest revision that can still be read; absent when the server did not say. */
  readonly compactRevision: Revision | undefined;
  constructor(compactRevision: Revision | undefined, details?: EtcdErrorDetails) {
    super(
      'compacted',
      compactRevision === undefined
        ? 'the required revision has been compacted'
        : `the required revision has been compacted: the oldest left is ${compactRevision}`,
      { etcdCode: 'Compacted', ...details },
    );
    this.compactRevision = compactRevision;
  }
}

/** Why a lease is lost. */
export type LeaseLossReason =
  /** The server said it does not know the lease: it ran out, or somebody revoked it. */
  | 'expired'
  /** No keepalive was answered in time, so the server may have let it run out. */
  | 'deadline'
  /** This client revoked it. */
  | 'revoked'
  /** The server refuses this client's keepalives: the user may not renew it. */
  | 'unauthorized'
  /** The client was closed. */
  | 'closed';

/** A lease is no longer known to be held. */
export class LeaseLostError extends EtcdError {
  override readonly name = 'LeaseLostError';
  readonly leaseId: LeaseId;
  readonly reason: LeaseLossReason;
  constructor(leaseId: LeaseId, reason: LeaseLossReason, details?: EtcdErrorDetails) {
    super('lease-lost', `lease ${BigInt.asUintN(64, leaseId).toString(16)} is lost: ${reason}`, details);
    this.leaseId = leaseId;
    this.reason = reason;
  }
}

/** The server is too old for what was asked, or it is not an etcd. */
export class UnsupportedError extends EtcdError {
  override readonly name = 'UnsupportedError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('unsupported', message, details);
  }
}

/** Bytes that a codec could not read. The bytes themselves are not in the error. */
export class DecodeError extends EtcdError {
  override readonly name = 'DecodeError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('decode', message, details);
  }
}

/** A watcher set to fail when its reader falls behind, whose reader fell behind. */
export class SlowReaderError extends EtcdError {
  override readonly name = 'SlowReaderError';
  /** Where to go on from: the first revision that was not delivered. */
  readonly nextRevision: Revision;
  constructor(nextRevision: Revision, details?: EtcdErrorDetails) {
    super('slow-reader', `the reader fell behind; the first event not delivered is at ${nextRevision}`, details);
    this.nextRevision = nextRevision;
  }
}

/** A member answered for another cluster than the one this client talked to before. */
export class ClusterMismatchError extends EtcdError {
  override readonly name = 'ClusterMismatchError';
  constructor(message: string, details?: EtcdErrorDetails) {
    super('cluster-mismatch', message, details);
  }
}
