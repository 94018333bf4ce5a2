/**
 * The names that spans and metrics carry, in one place.
 *
 * The first group is OpenTelemetry's (semantic conventions 1.45: database client, RPC),
 * copied, as the project asks of libraries, so that no package of theirs is needed and a
 * change of a name there changes nothing here by surprise. The second group is ours, under
 * `etcd.`, where there is no convention.
 *
 * Obligation: nothing below may ever carry a value, a password or a token; keys only where
 * `captureKeys` says so.
 *
 * @module
 */

/** Names of attributes that OpenTelemetry has defined. */
export const OTEL = {
  dbSystem: 'db.system.name',
  dbOperation: 'db.operation.name',
  dbBatchSize: 'db.operation.batch.size',
  dbStatus: 'db.response.status_code',
  dbReturnedRows: 'db.response.returned_rows',
  rpcSystem: 'rpc.system.name',
  rpcMethod: 'rpc.method',
  rpcStatus: 'rpc.response.status_code',
  serverAddress: 'server.address',
  serverPort: 'server.port',
  errorType: 'error.type',
} as const;

/** Names of attributes of our own. */
export const ETCD = {
  /** The member that the last attempt went to, as it is named in errors. */
  endpoint: 'etcd.endpoint',
  /** How often the call was sent. */
  attempts: 'etcd.attempts',
  /** `no` or `maybe`: whether a failed call may have changed the store. */
  applied: 'etcd.applied',
  /** The class of a failure, such as `CompactedError`; its code is {@link OTEL.errorType}. */
  errorClass: 'etcd.error.class',
  /** The server's word for it, such as `LeaseNotFound`. */
  etcdCode: 'etcd.server_error.code',
  /** The store's revision in the answer; of a write, the revision that it made. */
  revision: 'etcd.revision',
  /** How many keys were counted, read, deleted or changed. */
  keyCount: 'etcd.keys',
  requestBytes: 'etcd.request.bytes',
  responseBytes: 'etcd.response.bytes',
  /** Whether the compares of a transaction held. */
  succeeded: 'etcd.txn.succeeded',
  compares: 'etcd.txn.compares',
  /** Only with `captureKeys: 'full'`. */
  key: 'etcd.key.full',
  rangeEnd: 'etcd.key.range_end',
  /** Only with `captureKeys` `'prefix'` or `'full'`: the key up to its first `/`. */
  keyPrefix: 'etcd.key.prefix',
  attempt: 'etcd.attempt',
  delayMs: 'etcd.retry.delay_ms',
  reason: 'etcd.reason',
  startRevision: 'etcd.watch.start_revision',
  watchers: 'etcd.watch.watchers',
  lane: 'etcd.watch.lane',
  eventCount: 'etcd.watch.events',
  leaseId: 'etcd.lease.id',
  /** `mutex`, `rwmutex`, `semaphore`, `election`, `barrier`, `stm`, `queue`, `cron`, … */
  recipe: 'etcd.recipe.kind',
  /** The lock's, election's or queue's name. A part of its keys, so only when `captureKeys` allows it. */
  recipeName: 'etcd.recipe.name',
  /** How many contenders were ahead on arrival, as far as one look shows. */
  position: 'etcd.recipe.position',
  token: 'etcd.recipe.token',
  outcome: 'etcd.recipe.outcome',
  isolation: 'etcd.stm.isolation',
  connectionEvent: 'etcd.connection.event',
  /** The member of the bundled server that worked, in hexadecimal. */
  memberId: 'etcd.member.id',
  /** Place and term of an entry in the log. */
  raftIndex: 'etcd.raft.index',
  raftTerm: 'etcd.raft.term',
  /** How many entries one write to the disk had. */
  walEntries: 'etcd.wal.entries',
  /** What an entry asks for, such as `put`. */
  requestKind: 'etcd.request.kind',
} as const;

/** The value of {@link OTEL.dbSystem}. */
export const DB_SYSTEM = 'etcd';

/** The value of {@link OTEL.rpcSystem}. */
export const RPC_SYSTEM = 'grpc';

/** Names of metrics. Durations are in seconds. */
export const METRIC = {
  callDuration: 'db.client.operation.duration',
  retries: 'etcd.client.retries',
  connections: 'etcd.client.connections',
  streams: 'etcd.client.streams',
  watchActive: 'etcd.client.watch.active',
  watchEvents: 'etcd.client.watch.events',
  watchResumes: 'etcd.client.watch.resumes',
  watchLag: 'etcd.client.watch.lag',
  watchBuffered: 'etcd.client.watch.buffered',
  leaseActive: 'etcd.client.lease.active',
  leaseRemaining: 'etcd.client.lease.remaining',
  leaseRenewal: 'etcd.client.lease.keepalive.duration',
  leaseLost: 'etcd.client.lease.lost',
  wait: 'etcd.recipe.wait.duration',
  hold: 'etcd.recipe.hold.duration',
  elections: 'etcd.recipe.election.changes',
  stmAttempts: 'etcd.recipe.stm.attempts',
  queueDepth: 'etcd.recipe.queue.depth',
  registryStaleness: 'etcd.recipe.registry.staleness',
} as const;

/** The bounds of duration histograms, in seconds, as the conventions advise for database clients. */
export const DURATION_BOUNDS_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

/** The bounds for waits and holds, which last longer than calls, in seconds. */
export const LONG_BOUNDS_SECONDS = [0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200];
