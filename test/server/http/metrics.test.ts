import { describe, expect, it } from 'vitest';
import * as pb from '../../../src/protocol/generated/etcdserverpb.ts';
import { CallTimes } from '../../../src/server/http/call-times.ts';
import { ServerMetrics } from '../../../src/server/http/metrics.ts';
import { Durations, doubling } from '../../../src/server/http/tallies.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import { bidi, type Method, type MethodTable, serverStream, unary } from '../../../src/server/rpc/call.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { fakeMember } from './serving.ts';

/** The lines of a metric, without its name. */
async function linesOf(metrics: ServerMetrics, name: string): Promise<string[]> {
  const text = await metrics.render();
  return text
    .split('\n')
    .filter((line) => line.startsWith(name) && /^[ {_]/.test(line.slice(name.length)))
    .map((line) => line.slice(name.length));
}

describe('durations', () => {
  it('are counted in the first bucket that takes them', () => {
    const durations = new Durations(doubling(0.5, 3));
    for (const seconds of [0, 0.5, 0.51, 2, 2.1, 100]) durations.observe(seconds);
    expect(durations.bounds).toEqual([0.5, 1, 2]);
    expect(durations.counts).toEqual([2, 1, 1, 2]);
    expect(durations.sumSeconds).toBeCloseTo(105.11);
  });
});

describe('the metrics', () => {
  it('show a histogram as Prometheus wants it: each bucket with all that are shorter', async () => {
    const metrics = new ServerMetrics();
    for (const ms of [0.5, 3, 3, 20_000]) metrics.observer.written?.(ms);
    const lines = await linesOf(metrics, 'etcd_disk_wal_fsync_duration_seconds');
    expect(lines).toHaveLength(17);
    expect(lines.slice(0, 4)).toEqual([
      '_bucket{le="0.001"} 1',
      '_bucket{le="0.002"} 1',
      '_bucket{le="0.004"} 3',
      '_bucket{le="0.008"} 3',
    ]);
    expect(lines.slice(-3)).toEqual(['_bucket{le="+Inf"} 4', '_sum 20.0065', '_count 4']);
  });

  it('tell what the member has counted', async () => {
    const metrics = new ServerMetrics();
    const { member } = fakeMember();
    metrics.serve(member, new Map());
    const text = await metrics.render();
    for (const line of [
      'etcd_server_leader_changes_seen_total 2',
      'etcd_server_slow_read_indexes_total 4',
      'etcd_server_read_indexes_failed_total 3',
      'etcd_disk_wal_write_bytes_total 6000',
      'etcd_mvcc_range_total 4',
      'etcd_mvcc_put_total 3',
      'etcd_mvcc_delete_total 2',
      'etcd_mvcc_txn_total 1',
      'etcd_debugging_mvcc_events_total 11',
      'etcd_debugging_lease_granted_total 5',
      'etcd_debugging_lease_revoked_total 4',
      'etcd_debugging_lease_renewed_total 3',
      'etcd_debugging_server_lease_expired_total 5',
      'etcd_debugging_auth_revision 12',
      'etcd_server_quota_backend_bytes 2147483648',
      'etcd_cluster_version{cluster_version="3.5"} 1',
    ])
      expect(text).toContain(`\n${line}\n`);
  });

  it('tell how long entries took to apply, by kind and by whether they were refused; and which were slow', async () => {
    const metrics = new ServerMetrics({ slowApplyMs: 50 });
    metrics.observer.appliedEntry?.(1, 1, 'leaseGrant', true);
    metrics.observer.appliedEntry?.(51, 2, 'leaseGrant', false);
    metrics.observer.appliedEntry?.(50, 3, undefined, true);
    const name = 'etcd_server_apply_duration_seconds';
    expect((await linesOf(metrics, name)).filter((line) => line.startsWith('_count'))).toEqual([
      '_count{version="v3",op="LeaseGrant",success="true"} 1',
      '_count{version="v3",op="LeaseGrant",success="false"} 1',
    ]);
    expect(await linesOf(metrics, 'etcd_server_slow_apply_total')).toEqual([' 1']);
  });

  it('tell of images, health checks and other members', async () => {
    const metrics = new ServerMetrics();
    metrics.observer.snapshotSaved?.(9, 100, 2_500);
    metrics.checked(true);
    metrics.check('readyz', 'non_learner', true);
    metrics.check('readyz', 'non_learner', false);
    metrics.peers.sent(0xabn, 10);
    metrics.peers.sent(0xabn, 5);
    metrics.peers.received(0xabn, 7);
    metrics.peers.sendFailed(0xcn);
    metrics.peers.roundTrip(0xabn, 0.15);
    metrics.peers.connected(0xabn, true);
    metrics.peers.connected(0xcn, true);
    metrics.peers.connected(0xcn, false);
    metrics.peers.snapshotSent(0xabn, true, 300);
    metrics.peers.snapshotSent(0xabn, false, 1);
    metrics.peers.snapshotReceived(0xcn, true, 300);
    metrics.peers.snapshotReceived(0xcn, false, 1);
    const text = await metrics.render();
    for (const line of [
      'etcd_snap_db_save_total_duration_seconds_sum 2.5',
      'etcd_server_health_success 1',
      'etcd_server_healthcheck{type="readyz",name="non_learner"} 0',
      'etcd_server_healthchecks_total{type="readyz",name="non_learner",status="success"} 1',
      'etcd_server_healthchecks_total{type="readyz",name="non_learner",status="error"} 1',
      'etcd_network_peer_sent_bytes_total{To="ab"} 15',
      'etcd_network_peer_received_bytes_total{From="ab"} 7',
      'etcd_network_peer_sent_failures_total{To="c"} 1',
      'etcd_network_peer_round_trip_time_seconds_bucket{To="ab",le="0.0002"} 1',
      'etcd_network_active_peers{Remote="ab"} 1',
      'etcd_network_active_peers{Remote="c"} 0',
      'etcd_network_disconnected_peers_total{Remote="c"} 1',
      'etcd_network_snapshot_send_total_duration_seconds_count{To="ab"} 1',
      'etcd_network_snapshot_send_failures{To="ab"} 1',
      'etcd_network_snapshot_receive_total_duration_seconds_count{From="c"} 1',
      'etcd_network_snapshot_receive_failures{From="c"} 1',
    ])
      expect(text).toContain(`\n${line}\n`);
  });

  it('say why learners were not promoted', async () => {
    const metrics = new ServerMetrics();
    metrics.serve(fakeMember().member, new Map());
    const { handled } = metrics.calls.of(pb.Cluster.memberPromote.path);
    handled[0] = 2;
    handled[9] = 3;
    expect(await linesOf(metrics, 'etcd_server_learner_promote_successes')).toEqual([' 2']);
    expect(await linesOf(metrics, 'etcd_server_learner_promote_failures')).toEqual(['{Reason="FailedPrecondition"} 3']);
  });
});

describe('the durations of calls', () => {
  const clock = new VirtualClock();

  function table(): MethodTable {
    const methods: Method[] = [
      unary(pb.KV.put, async ({ key }) => {
        await clock.advance(20);
        if (key.length === 0) throw new RpcError(Refusals.EmptyKey);
        return {};
      }),
      serverStream(pb.Maintenance.snapshot, async () => {
        await clock.advance(3_000);
      }),
      bidi(pb.Watch.watch, async () => {
        await clock.advance(60_000);
      }),
    ];
    return new Map(methods.map((method) => [method.descriptor.path, method]));
  }

  it('are measured on demand, from the request to the answer or the refusal', async () => {
    const times = new CallTimes();
    const measured = times.around(table(), clock);
    const run = (path: string, request: unknown): Promise<unknown> => {
      const handle = measured.get(path)?.handle as (request: unknown, call: unknown) => Promise<unknown>;
      return handle(request, {});
    };
    await run(pb.KV.put.path, { key: Buffer.from('a') });
    await expect(run(pb.KV.put.path, { key: Buffer.alloc(0) })).rejects.toThrow(RpcError);
    await run(pb.Maintenance.snapshot.path, {});
    await run(pb.Watch.watch.path, []);
    const found = [pb.KV.put, pb.Maintenance.snapshot, pb.Watch.watch].map(({ path }) => times.byPath.of(path));
    expect(found.map(({ counts }) => counts.reduce((sum, count) => sum + count))).toEqual([2, 1, 1]);
    expect(found.map(({ sumSeconds }) => sumSeconds)).toEqual([0.04, 3, 60]);
  });

  it('are shown then, and not otherwise', async () => {
    const { member } = fakeMember();
    for (const extensive of [true, false]) {
      const metrics = new ServerMetrics({ extensive });
      const methods = table();
      metrics.serve(member, methods);
      expect(metrics.callTimes !== undefined).toBe(extensive);
      metrics.callTimes?.around(methods, clock);
      const counts = (await linesOf(metrics, 'grpc_server_handling_seconds')).filter((line) =>
        line.startsWith('_count'),
      );
      expect(counts).toEqual(
        extensive
          ? [
              '_count{grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary"} 0',
              '_count{grpc_service="etcdserverpb.Maintenance",grpc_method="Snapshot",grpc_type="server_stream"} 0',
              '_count{grpc_service="etcdserverpb.Watch",grpc_method="Watch",grpc_type="bidi_stream"} 0',
            ]
          : [],
      );
    }
  });
});
