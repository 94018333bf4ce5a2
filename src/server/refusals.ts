/**
 * What the server refuses requests with: etcd's words, and the gRPC code that goes with them.
 *
 * The text is what clients go by; `protocol/error-table.ts` is the same table from their side. A refusal is a value, as
 * what applying a log entry came to is one; {@link RpcError} carries it to the caller. None says more than its text: no
 * key, value, password or token is ever in one.
 *
 * Where etcd's versions differ in the code, 3.5's counts; a code that 3.5 sends by mistake (`NotEnoughStarted`,
 * `TooManyRequests`, as UNKNOWN) is the documented one here.
 *
 * Source: etcd `api/v3rpc/rpctypes/error.go`, and the codes that servers 3.5 sent.
 *
 * @module
 */
import { GrpcCode } from '../protocol/status.ts';

/** Why a request is refused. Those of authentication are `auth/errors.ts`'s, and are of this form too. */
export interface Refusal {
  readonly text: string;
  readonly grpcCode: GrpcCode;
}

/** A call that ends with a refusal. */
export class RpcError extends Error {
  override name = 'RpcError';
  readonly refusal: Refusal;

  constructor(refusal: Refusal, options?: ErrorOptions) {
    super(refusal.text, options);
    this.refusal = refusal;
  }
}

const {
  CANCELLED,
  UNKNOWN,
  INVALID_ARGUMENT,
  DEADLINE_EXCEEDED,
  NOT_FOUND,
  RESOURCE_EXHAUSTED,
  FAILED_PRECONDITION,
  OUT_OF_RANGE,
  UNIMPLEMENTED,
  UNAVAILABLE,
  DATA_LOSS,
} = GrpcCode;

function etcdserver(grpcCode: GrpcCode, text: string): Refusal {
  return { text: `etcdserver: ${text}`, grpcCode };
}

/** Every refusal there is, but for those of authentication. */
export const Refusals = {
  EmptyKey: etcdserver(INVALID_ARGUMENT, 'key is not provided'),
  KeyNotFound: etcdserver(INVALID_ARGUMENT, 'key not found'),
  ValueProvided: etcdserver(INVALID_ARGUMENT, 'value is provided'),
  LeaseProvided: etcdserver(INVALID_ARGUMENT, 'lease is provided'),
  TooManyOps: etcdserver(INVALID_ARGUMENT, 'too many operations in txn request'),
  DuplicateKey: etcdserver(INVALID_ARGUMENT, 'duplicate key given in txn request'),
  InvalidSortOption: etcdserver(INVALID_ARGUMENT, 'invalid sort option'),
  RequestTooLarge: etcdserver(INVALID_ARGUMENT, 'request is too large'),
  Compacted: etcdserver(OUT_OF_RANGE, 'mvcc: required revision has been compacted'),
  FutureRevision: etcdserver(OUT_OF_RANGE, 'mvcc: required revision is a future revision'),
  NoSpace: etcdserver(RESOURCE_EXHAUSTED, 'mvcc: database space exceeded'),
  LeaseNotFound: etcdserver(NOT_FOUND, 'requested lease not found'),
  LeaseExists: etcdserver(FAILED_PRECONDITION, 'lease already exists'),
  LeaseTtlTooLarge: etcdserver(OUT_OF_RANGE, 'too large lease TTL'),
  NotPrimaryLessor: { text: 'not a primary lessor', grpcCode: UNKNOWN },
  WatchCanceled: etcdserver(CANCELLED, 'watch canceled'),
  MemberExists: etcdserver(FAILED_PRECONDITION, 'member ID already exist'),
  PeerUrlExists: etcdserver(FAILED_PRECONDITION, 'Peer URLs already exists'),
  NotEnoughStartedMembers: etcdserver(FAILED_PRECONDITION, 're-configuration failed due to not enough started members'),
  BadMemberUrls: etcdserver(INVALID_ARGUMENT, 'given member URLs are invalid'),
  MemberNotFound: etcdserver(NOT_FOUND, 'member not found'),
  MemberNotLearner: etcdserver(FAILED_PRECONDITION, 'can only promote a learner member'),
  LearnerNotReady: etcdserver(FAILED_PRECONDITION, 'can only promote a learner member which is in sync with leader'),
  TooManyLearners: etcdserver(FAILED_PRECONDITION, 'too many learner members in cluster'),
  TooManyRequests: etcdserver(RESOURCE_EXHAUSTED, 'too many requests'),
  NoLeader: etcdserver(UNAVAILABLE, 'no leader'),
  NotLeader: etcdserver(FAILED_PRECONDITION, 'not leader'),
  LeaderChanged: etcdserver(UNAVAILABLE, 'leader changed'),
  Stopped: etcdserver(UNAVAILABLE, 'server stopped'),
  Timeout: etcdserver(UNAVAILABLE, 'request timed out'),
  TimeoutLeaderTransfer: { text: 'etcdserver: request timed out, leader transfer took too long', grpcCode: UNKNOWN },
  TimeoutLeaderFail: etcdserver(UNAVAILABLE, 'request timed out, possibly due to previous leader failure'),
  TimeoutConnectionLost: etcdserver(UNAVAILABLE, 'request timed out, possibly due to connection lost'),
  TimeoutAppliedIndex: etcdserver(UNAVAILABLE, 'request timed out, waiting for the applied index took too long'),
  Unhealthy: etcdserver(UNAVAILABLE, 'unhealthy cluster'),
  Corrupt: etcdserver(DATA_LOSS, 'corrupt cluster'),
  NotSupportedForLearner: etcdserver(UNAVAILABLE, 'rpc not supported for learner'),
  BadLeaderTransferee: etcdserver(FAILED_PRECONDITION, 'bad leader transferee'),
  WrongDowngradeVersionFormat: etcdserver(INVALID_ARGUMENT, 'wrong downgrade target version format'),
  InvalidDowngradeTargetVersion: etcdserver(INVALID_ARGUMENT, 'invalid downgrade target version'),
  ClusterVersionUnavailable: etcdserver(UNAVAILABLE, 'cluster version not found during downgrade'),
  DowngradeInProcess: etcdserver(FAILED_PRECONDITION, 'cluster has a downgrade job in progress'),
  NoInflightDowngrade: etcdserver(FAILED_PRECONDITION, 'no inflight downgrade job'),
  UnknownDowngradeAction: { text: 'etcdserver: unknown method', grpcCode: UNKNOWN },
  ProposalDropped: { text: 'raft proposal dropped', grpcCode: UNKNOWN },
  /** A proposal that found no leader until its time was over. */
  DeadlineExceeded: { text: 'context deadline exceeded', grpcCode: DEADLINE_EXCEEDED },
  Canceled: { text: 'context canceled', grpcCode: CANCELLED },
  NoCustomSort: { text: 'RangeStream does not support custom sort orders', grpcCode: UNIMPLEMENTED },
  NoRevisionFilters: { text: 'RangeStream does not support revision filters', grpcCode: UNIMPLEMENTED },
} as const satisfies Record<string, Refusal>;
