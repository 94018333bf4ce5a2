/** What other etcd clients got wrong with leases, one test each. */
import { describe, expect, it } from 'vitest';
import type { LiveLease } from '../../../src/client/lease/live-lease.ts';
import { leaseId } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { failure, ScriptedCluster } from './scripted-cluster.ts';

describe('npm etcd3', () => {
  it('T6: a keepalive stream that the server ends in good order is replaced at once, not after a time to live', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const t0 = cluster.clock.now();
    let ended = false;
    cluster.script(() => {
      if (ended) return 6;
      ended = true;
      return 'end';
    });
    await cluster.clock.advance(3_000);
    expect(cluster.asked.map(({ at }) => at - t0)).toEqual([2_000, expect.any(Number)]);
    expect(cluster.asked[1]!.at - t0).toBeLessThan(2_200);
    expect(lease.remainingMs()).toBeGreaterThan(4_500);
    cluster.keeper.close();
  });

  it('T7: when no keepalive is answered, the loss is told before the time to live is over, not at twice that', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 2 });
    const t0 = cluster.clock.now();
    cluster.script(() => 'silence');
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 2 }));
    let firedAt: number | undefined;
    lease.signal.addEventListener('abort', () => {
      firedAt = cluster.clock.now() - t0;
    });
    await cluster.clock.advance(5_000);
    expect(firedAt).toBeCloseTo(1_950, 6);
    expect(lease.lossReason).toBe('deadline');
  });
});

describe('Go clientv3', () => {
  it('#22094: a lease that is over is never renewed again, however it ended', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const kept = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const stopped = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const revoked = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const expired = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const late = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    cluster.script((id) => (id === expired.id ? 0 : id === late.id ? 'silence' : 6));
    stopped.stop();
    await cluster.run(revoked.revoke());
    await cluster.clock.advance(12_000);
    const before = cluster.asked.length;
    await cluster.clock.advance(60_000);
    const after = cluster.asked.slice(before);
    expect(new Set(after.map(({ id }) => id))).toEqual(new Set([kept.id]));
    expect([stopped, revoked, expired, late].map(({ lossReason }) => lossReason)).toEqual([
      'deadline',
      'revoked',
      'expired',
      'deadline',
    ]);
    // An answer for one of them finds nobody, and changes nothing.
    cluster.openStreams[0]!.answer(revoked.id, 6);
    expect(revoked.alive).toBe(false);
    await cluster.run(kept.revoke());
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('#22081: "no leader" on the stream touches every lease alike: none ends, none is forgotten', async () => {
    const cluster = new ScriptedCluster({ members: 3, ttlSeconds: 6 });
    const leases: LiveLease[] = [];
    for (let i = 0; i < 7; i++) leases.push(await cluster.run(cluster.leases.open({ ttlSeconds: 6 })));
    leases[2]!.stop();
    await cluster.run(leases[4]!.revoke());
    const ours = [0, 1, 3, 5, 6].map((index) => leases[index]!);
    await cluster.clock.advance(2_100);
    const [stream] = cluster.openStreams;
    stream!.end(failure(GrpcCode.UNAVAILABLE, 'etcdserver: no leader'));
    await cluster.clock.advance(30_000);
    expect(ours.map(({ alive }) => alive)).toEqual(Array(5).fill(true));
    const since = cluster.clock.now() - 2_500;
    const recent = new Set(cluster.asked.filter(({ at }) => at > since).map(({ id }) => id));
    expect(recent).toEqual(new Set(ours.map(({ id }) => id)));
    cluster.keeper.close();
  });

  it('KeepAliveOnce: backs off while the server is unavailable, and gives up', async () => {
    const cluster = new ScriptedCluster({ members: 1 });
    cluster.script(() => failure(GrpcCode.UNAVAILABLE, 'etcdserver: no leader'));
    const before = cluster.clock.now();
    await expect(cluster.run(cluster.leases.keepAliveOnce(leaseId(5n)))).rejects.toMatchObject({ code: 'unavailable' });
    expect(cluster.asked.length).toBeGreaterThan(1);
    expect(cluster.asked.length).toBeLessThanOrEqual(8);
    expect(cluster.clock.now()).toBeGreaterThan(before);
    expect(cluster.openStreams).toHaveLength(0);
  });

  it('before the first answer, the deadline is the lease’s own: no shorter for a long one, no longer for a short one', async () => {
    const long = new ScriptedCluster({ ttlSeconds: 60 });
    long.script(() => 'silence');
    const patient = await long.run(long.leases.open({ ttlSeconds: 60 }));
    await long.clock.advance(30_000);
    expect(patient.alive).toBe(true);
    long.keeper.close();

    const short = new ScriptedCluster({ ttlSeconds: 2 });
    short.script(() => 'silence');
    const t0 = short.clock.now();
    const brief = await short.run(short.leases.open({ ttlSeconds: 2 }));
    await short.clock.advance(t0 + 1_949 - short.clock.now());
    expect(brief.alive).toBe(true);
    await short.clock.advance(2);
    expect(brief.alive).toBe(false);
  });
});
