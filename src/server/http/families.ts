/**
 * The metrics by name: etcd's own, so that dashboards and alerts made for etcd work.
 *
 * Source: https://etcd.io/docs/v3.5/metrics/ and what a 3.5 server exports.
 *
 * @module
 */
import { Cluster } from '../../protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../protocol/status.ts';
import type { MethodKind } from '../../protocol/wire.ts';
import type { ServingMember } from '../member/serving.ts';
import type { MethodTable } from '../rpc/call.ts';
import { Exposition, type Labelled, type Labels } from './exposition.ts';
import type { Measures } from './measures.ts';
import { Durations, doubling, type LabelledCounts, type LabelledDurations } from './tallies.ts';

const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;

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

/** All that there is to say of a server; without a member, only what is counted besides it. */
export function exposeAll(
  measures: Measures,
  served: { readonly member: ServingMember; readonly methods: MethodTable } | undefined,
): Exposition {
  const to = new Exposition();
  addDisk(to, measures);
  addApply(to, measures);
  addHealth(to, measures);
  addPeers(to, measures);
  if (served === undefined) return to;
  const { member, methods } = served;
  addCalls(to, measures, methods);
  addMember(to, member);
  addReads(to, member);
  addStore(to, member, measures.options.quotaBackendBytes || DEFAULT_QUOTA_BYTES);
  addWatches(to, member);
  addLeases(to, member);
  return to;
}

function addDisk(to: Exposition, { logSyncs, imageSaves }: Measures): void {
  to.histogram('etcd_disk_wal_fsync_duration_seconds', 'Syncs of the log.', logSyncs);
  to.histogram('etcd_snap_db_save_total_duration_seconds', 'Images of the state that were saved.', imageSaves);
  // Dashboards ask for them, and there is no such thing: the state is in memory, and its log on the disk.
  const none = (): Durations => new Durations(doubling(0.001, 14));
  to.histogram('etcd_disk_backend_commit_duration_seconds', 'Commits of bbolt: none.', none());
  to.histogram('etcd_disk_backend_defrag_duration_seconds', 'Defragmentations that took time: none.', none());
  to.gauge('etcd_mvcc_db_open_read_transactions', 'Read transactions of bbolt: none.', () => 0);
}

function addApply(to: Exposition, measures: Measures): void {
  to.histograms('etcd_server_apply_duration_seconds', 'Applying requests, by kind.', () => {
    const of = (durations: LabelledDurations, success: string): Labelled<Durations>[] =>
      Array.from(durations, ([kind, of]) => [{ version: 'v3', op: capital(kind), success }, of]);
    return [...of(measures.applied, 'true'), ...of(measures.refused, 'false')];
  });
  to.counter('etcd_server_slow_apply_total', 'Entries that were slow to apply.', () => measures.slowApplies);
}

function addHealth(to: Exposition, { health, checks, checksPassed, checksFailed }: Measures): void {
  to.counter('etcd_server_health_success', 'Successful health checks.', () => health.healthy);
  to.counter('etcd_server_health_failures', 'Failed health checks.', () => health.unhealthy);
  const labels = (label: string): Labels => {
    const [type = '', name = ''] = label.split(' ');
    return { type, name };
  };
  to.gauges('etcd_server_healthcheck', 'Result of each health check.', () =>
    Array.from(checks, ([label, healthy]) => [labels(label), healthy ? 1 : 0]),
  );
  to.counters('etcd_server_healthchecks_total', 'Health checks by result.', () => {
    const of = (counts: LabelledCounts, status: string): Labelled<number>[] =>
      Array.from(counts, ([label, count]) => [{ ...labels(label), status }, count]);
    return [...of(checksPassed, 'success'), ...of(checksFailed, 'error')];
  });
}

function addPeers(to: Exposition, { peers }: Measures): void {
  const NETWORK = 'etcd_network';
  const counters = (name: string, help: string, label: 'To' | 'From', counts: LabelledCounts): void =>
    to.counters(`${NETWORK}_${name}`, help, () => Array.from(counts, ([id, count]) => [{ [label]: id }, count]));
  const histograms = (name: string, help: string, label: 'To' | 'From', durations: LabelledDurations): void =>
    to.histograms(`${NETWORK}_${name}`, help, () => Array.from(durations, ([id, of]) => [{ [label]: id }, of]));
  counters('peer_sent_bytes_total', 'Bytes to members.', 'To', peers.sentBytes);
  counters('peer_received_bytes_total', 'Bytes from members.', 'From', peers.receivedBytes);
  counters('peer_sent_failures_total', 'Messages not sent to members.', 'To', peers.sendFailures);
  histograms('peer_round_trip_time_seconds', 'Round trips to members.', 'To', peers.roundTrips);
  to.gauges(`${NETWORK}_active_peers`, 'Members that are connected.', () =>
    Array.from(peers.connections, ([Remote, count]) => [{ Remote }, count]),
  );
  to.counters(`${NETWORK}_disconnected_peers_total`, 'Connections to members that ended.', () =>
    Array.from(peers.disconnections, ([Remote, count]) => [{ Remote }, count]),
  );
  histograms('snapshot_send_total_duration_seconds', 'Images sent to members.', 'To', peers.imagesSent);
  counters('snapshot_send_failures', 'Images that could not be sent.', 'To', peers.imagesNotSent);
  histograms('snapshot_receive_total_duration_seconds', 'Images from members.', 'From', peers.imagesReceived);
  counters('snapshot_receive_failures', 'Images that did not arrive.', 'From', peers.imagesNotReceived);
}

function addCalls(to: Exposition, { calls, callTimes }: Measures, methods: MethodTable): void {
  to.counter('etcd_network_client_grpc_received_bytes_total', 'Bytes from clients.', () => calls.receivedBytes);
  to.counter('etcd_network_client_grpc_sent_bytes_total', 'Bytes to clients.', () => calls.sentBytes);
  const labelled = Array.from(methods, ([path, { kind }]): [string, Labels] => {
    const [, grpc_service = '', grpc_method = ''] = path.split('/');
    return [path, { grpc_service, grpc_method, grpc_type: GRPC_TYPES[kind] }];
  });
  const each = (name: string, help: string, value: (path: string) => number): void =>
    to.counters(name, help, () => labelled.map(([path, labels]) => [labels, value(path)]));
  each('grpc_server_started_total', 'Calls that were started.', (path) => calls.of(path).started);
  each('grpc_server_msg_received_total', 'Messages from clients.', (path) => calls.of(path).messagesReceived);
  each('grpc_server_msg_sent_total', 'Messages to clients.', (path) => calls.of(path).messagesSent);
  to.counters('grpc_server_handled_total', 'Calls that have ended, by code.', () =>
    labelled.flatMap(([path, labels]) =>
      calls.of(path).handled.map((count, code): Labelled<number> => [{ ...labels, grpc_code: nameOf(code) }, count]),
    ),
  );
  if (callTimes) {
    to.histograms('grpc_server_handling_seconds', 'Durations of calls.', () =>
      labelled.map(([path, labels]) => [labels, callTimes.byPath.of(path)]),
    );
  }
  const promotions = calls.of(Cluster.memberPromote.path).handled;
  to.counter('etcd_server_learner_promote_successes', 'Learners promoted.', () => promotions[GrpcCode.OK] ?? 0);
  to.counters('etcd_server_learner_promote_failures', 'Learners not promoted, by code.', () =>
    promotions.flatMap((count, code): Labelled<number>[] =>
      code === GrpcCode.OK || count === 0 ? [] : [[{ Reason: nameOf(code) }, count]],
    ),
  );
}

function addMember(to: Exposition, member: ServingMember): void {
  const position = (): ServingMember['position'] => member.position;
  const flag = (is: boolean): number => (is ? 1 : 0);
  to.gauge('etcd_server_has_leader', '1 if a leader is known.', () => flag(position().leader !== 0n));
  to.gauge('etcd_server_is_leader', '1 if it is this one.', () => flag(position().leader === member.id));
  to.gauge('etcd_server_is_learner', '1 if this one does not vote.', () => flag(position().isLearner));
  to.counter(
    'etcd_server_leader_changes_seen_total',
    'Changes of leader that were seen.',
    () => member.counters.leaderChanges,
  );
  to.gauge('etcd_server_proposals_committed_total', 'Last index committed.', () => position().committed);
  to.gauge('etcd_server_proposals_applied_total', 'Last index applied.', () => position().applied);
  to.gauge('etcd_server_proposals_pending', 'Proposals that wait.', () => member.proposals.pending);
  to.counter('etcd_server_proposals_failed_total', 'Proposals that failed.', () => member.proposals.failed);
  to.counter('etcd_disk_wal_write_bytes_total', 'Bytes written to the log.', () => member.counters.logBytes);
  to.gauges('etcd_server_id', 'Id of this member.', () => [[{ server_id: member.id.toString(16) }, 1]]);
  to.gauges('etcd_server_version', 'Version of this member.', () => [[{ server_version: member.version }, 1]]);
  to.gauges('etcd_cluster_version', 'Version of the cluster.', () => {
    const { clusterVersion } = member.state.members;
    return clusterVersion === undefined ? [] : [[{ cluster_version: clusterVersion.replace(/\.\d+$/, '') }, 1]];
  });
  to.gauge('etcd_debugging_auth_revision', 'Revision of users and roles.', () => Number(member.state.auth.revision));
}

function addReads(to: Exposition, member: ServingMember): void {
  to.counter(
    'etcd_server_slow_read_indexes_total',
    'Reads that waited long for the leader.',
    () => member.counters.slowReads,
  );
  to.counter(
    'etcd_server_read_indexes_failed_total',
    'Reads that the leader did not answer.',
    () => member.counters.failedReads,
  );
}

function addStore(to: Exposition, { state }: ServingMember, quotaBytes: number): void {
  const DEBUGGING = 'etcd_debugging_mvcc';
  to.gauge('etcd_server_quota_backend_bytes', 'Quota in bytes.', () => quotaBytes);
  to.gauge('etcd_mvcc_db_total_size_in_bytes', 'Size of the database.', () => state.sizeBytes);
  to.gauge('etcd_mvcc_db_total_size_in_use_in_bytes', 'Of it, in use.', () => state.sizeInUseBytes);
  for (const kind of ['range', 'put', 'delete', 'txn'] as const) {
    to.counter(`etcd_mvcc_${kind}_total`, `Operations of the store: ${kind}.`, () => state.store.operations[kind]);
  }
  to.gauge(`${DEBUGGING}_keys_total`, 'Keys there are.', () => state.store.keyCount);
  to.gauge(`${DEBUGGING}_current_revision`, 'Revision of the store.', () => state.store.revision);
  to.gauge(`${DEBUGGING}_compact_revision`, 'Revision of the last compaction.', () => state.store.compactRevision);
}

function addWatches(to: Exposition, { state }: ServingMember): void {
  const DEBUGGING = 'etcd_debugging_mvcc';
  const counts = (): ServingMember['state']['watches']['counts'] => state.watches.counts;
  to.gauge(`${DEBUGGING}_watcher_total`, 'Watchers.', () => counts().upToDate + counts().behind);
  to.gauge(`${DEBUGGING}_slow_watcher_total`, 'Watchers that are behind.', () => counts().behind);
  to.counter(`${DEBUGGING}_events_total`, 'Events sent.', () => state.watches.delivered);
}

function addLeases(to: Exposition, member: ServingMember): void {
  const counts = (): ServingMember['state']['lessor']['counts'] => member.state.lessor.counts;
  const DEBUGGING = 'etcd_debugging';
  to.counter(`${DEBUGGING}_lease_granted_total`, 'Leases granted.', () => counts().granted);
  to.counter(`${DEBUGGING}_lease_revoked_total`, 'Leases revoked.', () => counts().revoked);
  to.counter(`${DEBUGGING}_lease_renewed_total`, 'Leases renewed by the leader.', () => counts().renewed);
  to.counter(`${DEBUGGING}_server_lease_expired_total`, 'Leases that ran out.', () => member.counters.expiredLeases);
}

/** `leaseGrant` is `LeaseGrant` to etcd. */
function capital(kind: string): string {
  return kind.charAt(0).toUpperCase() + kind.slice(1);
}

function nameOf(code: number): string {
  return CODE_NAMES[code] ?? String(code);
}
