/**
 * A client of etcd v3.
 *
 * {@link Etcd} is where to begin: it reads, writes, watches and keeps leases. Every failure
 * is an {@link EtcdError} whose {@link EtcdError.code | code} says what went wrong and whose
 * {@link EtcdError.applied | applied} says whether a write may have happened all the same.
 *
 * What is marked experimental may change in any release; the rest follows semantic
 * versioning.
 *
 * @module
 */

export type { Alarm, AlarmApi, AlarmsResult, AlarmType } from './client/admin/alarms.ts';
export type {
  AuthApi,
  AuthStatus,
  ChangeResult,
  Login,
  NamesResult,
  NewUserOptions,
  PasswordOptions,
  RoleApi,
  RoleResult,
  UserApi,
  UserResult,
} from './client/admin/auth.ts';
export type {
  ClusterApi,
  ClusterMember,
  MemberAddResult,
  MembersOptions,
  MembersResult,
  NewMember,
} from './client/admin/cluster.ts';
export type { DefragmentAllOptions, DefragmentStep } from './client/admin/defragment-all.ts';
export type { CampaignResult, ElectionApi, LeaderKey } from './client/admin/elections.ts';
export type { ClusterHealth, MemberHealth } from './client/admin/health.ts';
export type { LockApi, LockResult } from './client/admin/locks.ts';
export {
  type AimedOptions,
  DEFRAGMENT_TIMEOUT_MS,
  DOWNGRADE_TIMEOUT_MS,
  type DowngradeApi,
  type DowngradeResult,
  HASH_TIMEOUT_MS,
  type HashKvResult,
  type HashResult,
  type MaintenanceApi,
  MOVE_LEADER_TIMEOUT_MS,
} from './client/admin/maintenance.ts';
export type { Access, Permission } from './client/admin/permissions.ts';
export type { Capabilities } from './client/admin/server-capabilities.ts';
export type { SnapshotOptions, SnapshotStream } from './client/admin/snapshot.ts';
export type { SavedSnapshot, SaveSnapshotOptions, SnapshotProgress } from './client/admin/snapshot-file.ts';
export type { MemberStatus } from './client/admin/status.ts';
export type { InformerChange } from './client/cache/changes.ts';
export type { Informer, InformerOptions } from './client/cache/informer.ts';
export type { CallOptions } from './client/call-options.ts';
export type { Feature } from './client/capabilities.ts';
export type { DiscoveryOptions, SrvRecord } from './client/connection/discovery.ts';
export type { Credentials } from './client/connection/token.ts';
export {
  AbortError,
  type Applied,
  ClosedError,
  ClusterMismatchError,
  CompactedError,
  DeadlineError,
  DecodeError,
  type ErrorCode,
  EtcdError,
  type EtcdErrorDetails,
  InvalidArgumentError,
  type LeaseLossReason,
  LeaseLostError,
  PermissionDeniedError,
  SlowReaderError,
  TlsError,
  UnauthenticatedError,
  UnavailableError,
  UnsupportedError,
} from './client/errors.ts';
export { type CompactOptions, type EndpointStatus, Etcd } from './client/etcd.ts';
export type { ResponseHeader } from './client/header.ts';
export {
  bytes,
  type Codec,
  json,
  number,
  type StandardIssue,
  type StandardResult,
  type StandardSchema,
  utf8,
} from './client/kv/codec.ts';
export type { Comparable, Compare, Subject } from './client/kv/compare.ts';
export type { KeyValue } from './client/kv/key-value.ts';
export { Keyspace } from './client/kv/keyspace.ts';
export type { Ops, TxnRangeOptions } from './client/kv/ops.ts';
export type {
  DeleteOptions,
  GetOptions,
  LeaseRef,
  PutOptions,
  RangeOptions,
  SortBy,
  TouchOptions,
  WithCall,
} from './client/kv/options.ts';
export type { DeleteResult, PutResult, RangeResult } from './client/kv/results.ts';
export type { ScanOptions } from './client/kv/scan.ts';
export type { Target } from './client/kv/target.ts';
export type { Op, OpResults, TxnResult, TxnSpec } from './client/kv/txn.ts';
export type { IncrementOptions, SwapResult } from './client/kv/update.ts';
export { type CheckedSignal, checkedSignal } from './client/lease/checked-signal.ts';
export type {
  GrantedLease,
  LeaseGrantOptions,
  Leases,
  LeaseTimeToLive,
  TimeToLiveOptions,
} from './client/lease/leases.ts';
export type { LiveLease } from './client/lease/live-lease.ts';
export type {
  AutoSyncOptions,
  CoalesceOptions,
  EtcdOptions,
  KeepaliveOptions,
  RetryOptions,
  TelemetryOptions,
} from './client/options.ts';
export type { PemSource, TlsOptions } from './client/transport/grpc-tls.ts';
export {
  type CallFailure,
  type CallMetadata,
  ConnectError,
  type ConnectFailureKind,
  type EndpointAddress,
  type StreamHandlers,
  type StreamOptions,
  type Transport,
  TransportError,
  type TransportFactory,
  type TransportState,
  type TransportStream,
  type UnaryOptions,
} from './client/transport/transport.ts';
export type {
  ChangeEvent,
  DeleteEvent,
  ProgressEvent,
  PutEvent,
  ResyncEvent,
  ResyncReason,
  WatchBatch,
  WatchEvent,
} from './client/watch/events.ts';
export { MAX_BUFFER_BYTES, type SlowReaderPolicy, type WatchOptions } from './client/watch/options.ts';
export type { ProgressOptions } from './client/watch/progress.ts';
export type { Watcher } from './client/watch/watcher.ts';
export type { EtcdCode } from './protocol/error-table.ts';
export {
  type ClusterId,
  formatId,
  type LeaseId,
  leaseId,
  type MemberId,
  memberId,
  type Revision,
  revision,
} from './protocol/int64.ts';
export type { Key } from './protocol/keys.ts';
export { GrpcCode } from './protocol/status.ts';
export type { Init, MessageCodec, MethodDescriptor, MethodKind } from './protocol/wire.ts';
export { type Clock, systemClock, type Timer } from './support/clock.ts';
export type { CaptureKeys, TelemetrySettings } from './telemetry/api.ts';
export type {
  CallEndMessage,
  CallErrorMessage,
  CallStartMessage,
  ChannelMessages,
  ConnectionMessage,
  LeaseLostMessage,
  RecipeAcquiredMessage,
  RecipeEndedMessage,
  RecipeFailedMessage,
  RecipeWaitingMessage,
  RetryMessage,
  WatchResumeMessage,
  WatchResyncMessage,
} from './telemetry/channels.ts';
