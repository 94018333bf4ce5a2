/**
 * The metrics of a member, under etcd's names, so that dashboards and alerts made for etcd work.
 *
 * Each server has a registry of its own. What can be read off the member is read when somebody asks; what passes is
 * counted through {@link MemberHooks}.
 *
 * Source: https://etcd.io/docs/v3.5/metrics/ and what a 3.5 server exports.
 *
 * @module
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { MethodKind } from '../../protocol/wire.ts';
import type { ServingMember } from '../member/serving.ts';
import type { MethodTable } from '../rpc/call.ts';
import { CallStats } from '../rpc/call-stats.ts';
import type { HealthObserver } from './health.ts';
import { addProcessMetrics } from './process-metrics.ts';

/** What a member tells as it happens. Durations in seconds, sizes in bytes; peers by their id in hexadecimal. */
export interface MemberHooks {
  walSynced(seconds: number): void;
  walWritten(bytes: number): void;
  backendCommitted(seconds: number): void;
  snapshotSaved(seconds: number): void;
  defragmented(seconds: number): void;
  /** An operation of the store that was done. */
  operation(kind: 'range' | 'put' | 'delete' | 'txn'): void;
  slowApply(): void;
  slowReadIndex(): void;
  readIndexFailed(): void;
  heartbeatSendFailed(): void;
  learnerPromoted(success: boolean): void;
  lease(what: 'granted' | 'revoked' | 'renewed' | 'expired'): void;
  eventsSent(count: number): void;
  clientRequest(type: 'unary' | 'stream', clientApiVersion: string): void;
  peerSent(to: string, bytes: number): void;
  peerReceived(from: string, bytes: number): void;
  peerSendFailed(to: string): void;
  peerReceiveFailed(from: string): void;
  peerRoundTrip(to: string, seconds: number): void;
}

/** Settings of {@link ServerMetrics}. */
export interface MetricsOptions {
  /** Size that the database may have, in bytes; 0 for etcd's default of 2 GiB. Default 0. */
  readonly quotaBackendBytes?: number | undefined;
}

const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;

/** etcd's buckets for what waits for a disk: 1 ms, doubled 13 times. */
const DISK_BUCKETS = Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i);
const ROUND_TRIP_BUCKETS = Array.from({ length: 16 }, (_, i) => 0.0001 * 2 ** i);

const CODE_NAMES = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
];

const GRPC_TYPES: Readonly<Record<MethodKind, string>> = {
  unary: 'unary',
  'server-stream': 'server_stream',
  bidi: 'bidi_stream',
};

/** See the head of this file. */
export class ServerMetrics implements HealthObserver {
  /** Counts of calls, which the transport keeps. */
  readonly calls = new CallStats();
  /** For the member to call. */
  readonly hooks: MemberHooks;
  readonly #registry = new Registry();
  readonly #options: MetricsOptions;
  readonly #health: { readonly success: Counter; readonly failures: Counter };
  readonly #checks: Gauge;
  readonly #checksTotal: Counter;

  constructor(options: MetricsOptions = {}) {
    this.#options = options;
    addProcessMetrics(this.#registry);
    this.hooks = this.#makeHooks();
    this.#health = {
      success: this.#counter('etcd_server_health_success', 'Successful health checks.'),
      failures: this.#counter('etcd_server_health_failures', 'Failed health checks.'),
    };
    this.#checks = this.#gauge('etcd_server_healthcheck', 'Result of each health check.', ['type', 'name']);
    const labels = ['type', 'name', 'status'];
    this.#checksTotal = this.#counter('etcd_server_healthchecks_total', 'Health checks by result.', labels);
  }

  health(healthy: boolean): void {
    if (healthy) this.#health.success.inc();
    else this.#health.failures.inc();
  }

  check(type: 'livez' | 'readyz', name: string, healthy: boolean): void {
    this.#checks.set({ type, name }, healthy ? 1 : 0);
    this.#checksTotal.inc({ type, name, status: healthy ? 'success' : 'error' });
  }

  /** All metrics as Prometheus reads them. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Adds what is read off a member, and its methods. Once. @returns Ends the counting of leaders. */
  serve(member: ServingMember, methods: MethodTable): () => void {
    this.calls.cover(methods);
    this.#readCalls(methods);
    this.#readRaft(member);
    this.#readStore(member);
    const changes = this.#counter('etcd_server_leader_changes_seen_total', 'Changes of leader that were seen.');
    return member.onLeader((leader) => {
      if (leader !== 0n) changes.inc();
    });
  }

  #counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.#registry] });
  }

  #gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return new Gauge({ name, help, labelNames: [...labelNames], registers: [this.#registry] });
  }

  #histogram(name: string, help: string, buckets: number[], labelNames: readonly string[] = []): Histogram {
    return new Histogram({ name, help, buckets, labelNames: [...labelNames], registers: [this.#registry] });
  }

  /** A gauge whose value is looked up when it is asked for. */
  #read(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(value());
      },
    });
  }

  /** A counter that is kept elsewhere. */
  #total(name: string, help: string, value: () => number): void {
    new Counter({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  }

  #readCalls(methods: MethodTable): void {
    const { calls } = this;
    this.#total('etcd_network_client_grpc_received_bytes_total', 'Bytes from clients.', () => calls.receivedBytes);
    this.#total('etcd_network_client_grpc_sent_bytes_total', 'Bytes to clients.', () => calls.sentBytes);
    const labels = ['grpc_service', 'grpc_method', 'grpc_type'];
    const each = (counter: Counter, value: (path: string) => readonly number[]): void => {
      counter.reset();
      for (const [path, { kind }] of methods) {
        const [, grpc_service = '', grpc_method = ''] = path.split('/');
        const values = value(path);
        values.forEach((count, code) => {
          const of = { grpc_service, grpc_method, grpc_type: GRPC_TYPES[kind] };
          counter.inc(values.length === 1 ? of : { ...of, grpc_code: CODE_NAMES[code] ?? String(code) }, count);
        });
      }
    };
    const add = (name: string, help: string, value: (path: string) => readonly number[], more: string[] = []): void => {
      new Counter({
        name,
        help,
        labelNames: [...labels, ...more],
        registers: [this.#registry],
        collect() {
          each(this, value);
        },
      });
    };
    add('grpc_server_started_total', 'Calls that were started.', (path) => [calls.of(path).started]);
    add('grpc_server_handled_total', 'Calls that have ended, by code.', (path) => calls.of(path).handled, [
      'grpc_code',
    ]);
    add('grpc_server_msg_received_total', 'Messages from clients.', (path) => [calls.of(path).messagesReceived]);
    add('grpc_server_msg_sent_total', 'Messages to clients.', (path) => [calls.of(path).messagesSent]);
  }

  #readRaft(member: ServingMember): void {
    this.#read('etcd_server_has_leader', '1 if a leader is known.', () => (member.position.leader === 0n ? 0 : 1));
    this.#read('etcd_server_is_leader', '1 if it is this one.', () => (member.position.leader === member.id ? 1 : 0));
    this.#read('etcd_server_is_learner', '1 if this one does not vote.', () => (member.position.isLearner ? 1 : 0));
    const position = (): ServingMember['position'] => member.position;
    this.#read('etcd_server_proposals_committed_total', 'Last index committed.', () => position().committed);
    this.#read('etcd_server_proposals_applied_total', 'Last index applied.', () => position().applied);
    this.#read('etcd_server_proposals_pending', 'Proposals that wait.', () => member.proposals.pending);
    this.#total('etcd_server_proposals_failed_total', 'Proposals that failed.', () => member.proposals.failed);
    this.#gauge('etcd_server_id', 'Id of this member.', ['server_id']).set({ server_id: member.id.toString(16) }, 1);
    this.#gauge('etcd_server_version', 'Version of this member.', ['server_version']).set(
      { server_version: member.version },
      1,
    );
    new Gauge({
      name: 'etcd_cluster_version',
      help: 'Version of the cluster.',
      labelNames: ['cluster_version'],
      registers: [this.#registry],
      collect() {
        this.reset();
        const { clusterVersion } = member.state.members;
        if (clusterVersion !== undefined) this.set({ cluster_version: clusterVersion.replace(/\.\d+$/, '') }, 1);
      },
    });
  }

  #readStore(member: ServingMember): void {
    const quota = this.#options.quotaBackendBytes ?? 0;
    const state = (): ServingMember['state'] => member.state;
    const DEBUGGING = 'etcd_debugging_mvcc';
    this.#read('etcd_server_quota_backend_bytes', 'Quota in bytes.', () => (quota === 0 ? DEFAULT_QUOTA_BYTES : quota));
    this.#read('etcd_mvcc_db_total_size_in_bytes', 'Size of the database.', () => state().sizeBytes);
    this.#read('etcd_mvcc_db_total_size_in_use_in_bytes', 'Of it, in use.', () => state().sizeInUseBytes);
    this.#read('etcd_mvcc_db_open_read_transactions', 'Read transactions open.', () => 0);
    this.#read(`${DEBUGGING}_keys_total`, 'Keys there are.', () => state().store.keyCount);
    this.#read(`${DEBUGGING}_current_revision`, 'Revision of the store.', () => state().store.revision);
    this.#read(
      `${DEBUGGING}_compact_revision`,
      'Revision of the last compaction.',
      () => state().store.compactRevision,
    );
    const watchers = (): { upToDate: number; behind: number } => state().watches.counts;
    this.#read(`${DEBUGGING}_watcher_total`, 'Watchers.', () => watchers().upToDate + watchers().behind);
    this.#read(`${DEBUGGING}_slow_watcher_total`, 'Watchers that are behind.', () => watchers().behind);
  }

  #makeHooks(): MemberHooks {
    return { ...this.#storageHooks(), ...this.#progressHooks(), ...this.#peerHooks() };
  }

  #storageHooks(): Pick<
    MemberHooks,
    'walSynced' | 'walWritten' | 'backendCommitted' | 'snapshotSaved' | 'defragmented' | 'operation' | 'lease'
  > {
    const sync = this.#histogram('etcd_disk_wal_fsync_duration_seconds', 'Syncs of the log.', DISK_BUCKETS);
    const written = this.#counter('etcd_disk_wal_write_bytes_total', 'Bytes written to the log.');
    const commit = this.#histogram(
      'etcd_disk_backend_commit_duration_seconds',
      'Commits of the backend.',
      DISK_BUCKETS,
    );
    const saved = this.#histogram('etcd_snap_db_save_total_duration_seconds', 'Snapshots saved.', DISK_BUCKETS);
    const defrag = this.#histogram('etcd_disk_backend_defrag_duration_seconds', 'Defragmentations.', DISK_BUCKETS);
    const [range, put, deletes, txn] = ['range', 'put', 'delete', 'txn'].map((kind) =>
      this.#counter(`etcd_mvcc_${kind}_total`, `Operations of the store: ${kind}.`),
    ) as [Counter, Counter, Counter, Counter];
    const operations = { range, put, delete: deletes, txn };
    const leases = {
      granted: this.#counter('etcd_debugging_lease_granted_total', 'Leases granted.'),
      revoked: this.#counter('etcd_debugging_lease_revoked_total', 'Leases revoked.'),
      renewed: this.#counter('etcd_debugging_lease_renewed_total', 'Leases renewed by the leader.'),
      expired: this.#counter('etcd_debugging_server_lease_expired_total', 'Leases that ran out.'),
    };
    return {
      walSynced: (seconds) => sync.observe(seconds),
      walWritten: (bytes) => written.inc(bytes),
      backendCommitted: (seconds) => commit.observe(seconds),
      snapshotSaved: (seconds) => saved.observe(seconds),
      defragmented: (seconds) => defrag.observe(seconds),
      operation: (kind) => operations[kind].inc(),
      lease: (what) => leases[what].inc(),
    };
  }

  #progressHooks(): Pick<
    MemberHooks,
    | 'slowApply'
    | 'slowReadIndex'
    | 'readIndexFailed'
    | 'heartbeatSendFailed'
    | 'learnerPromoted'
    | 'eventsSent'
    | 'clientRequest'
  > {
    const slowApply = this.#counter('etcd_server_slow_apply_total', 'Entries that were slow to apply.');
    const slowRead = this.#counter('etcd_server_slow_read_indexes_total', 'Reads that waited long for the leader.');
    const failedRead = this.#counter('etcd_server_read_indexes_failed_total', 'Reads that the leader did not answer.');
    const heartbeat = this.#counter('etcd_server_heartbeat_send_failures_total', 'Heartbeats that left too late.');
    const promoted = this.#counter('etcd_server_learner_promote_successes', 'Learners promoted.');
    const notPromoted = this.#counter('etcd_server_learner_promote_failures', 'Learners not promoted.', ['Reason']);
    const events = this.#counter('etcd_debugging_mvcc_events_total', 'Events sent.');
    const labels = ['type', 'client_api_version'];
    const requests = this.#counter('etcd_server_client_requests_total', 'Requests by version of the client.', labels);
    return {
      slowApply: () => slowApply.inc(),
      slowReadIndex: () => slowRead.inc(),
      readIndexFailed: () => failedRead.inc(),
      heartbeatSendFailed: () => heartbeat.inc(),
      learnerPromoted: (success) => (success ? promoted.inc() : notPromoted.inc({ Reason: 'other' })),
      eventsSent: (count) => events.inc(count),
      clientRequest: (type, version) => requests.inc({ type, client_api_version: version }),
    };
  }

  #peerHooks(): Pick<
    MemberHooks,
    'peerSent' | 'peerReceived' | 'peerSendFailed' | 'peerReceiveFailed' | 'peerRoundTrip'
  > {
    const sent = this.#counter('etcd_network_peer_sent_bytes_total', 'Bytes to peers.', ['To']);
    const received = this.#counter('etcd_network_peer_received_bytes_total', 'Bytes from peers.', ['From']);
    const notSent = this.#counter('etcd_network_peer_sent_failures_total', 'Messages not sent to peers.', ['To']);
    const lost = this.#counter('etcd_network_peer_received_failures_total', 'Failures to read from peers.', ['From']);
    const name = 'etcd_network_peer_round_trip_time_seconds';
    const trip = this.#histogram(name, 'Round trips to peers.', ROUND_TRIP_BUCKETS, ['To']);
    return {
      peerSent: (To, bytes) => sent.inc({ To }, bytes),
      peerReceived: (From, bytes) => received.inc({ From }, bytes),
      peerSendFailed: (To) => notSent.inc({ To }),
      peerReceiveFailed: (From) => lost.inc({ From }),
      peerRoundTrip: (To, seconds) => trip.observe({ To }, seconds),
    };
  }
}
