import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it } from 'vitest';
import { ClosedError, LeaseLostError } from '../../../src/client/errors.ts';
import type { LeaseId } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { failure, ScriptedCluster } from './scripted-cluster.ts';

describe('keeping leases alive', () => {
  it('renews at a third of the time the server granted, not of the time asked for', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const t0 = cluster.clock.now();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 1 }));
    expect(lease.ttlSeconds).toBe(6);
    await cluster.clock.advance(20_000);
    expect(cluster.asked.map(({ at }) => at - t0)).toEqual([
      2000, 4000, 6000, 8000, 10000, 12000, 14000, 16000, 18000, 20000,
    ]);
    expect(cluster.streams).toHaveLength(1);
    expect(lease.alive).toBe(true);
    cluster.keeper.close();
  });

  it('counts the deadline from when the request was sent, not from when it was answered', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const t0 = cluster.clock.now();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const [member] = cluster.members;
    member!.delayMs = 1_500;
    await cluster.clock.advance(t0 + 3_500 - cluster.clock.now());
    // Asked at 2000, answered at 3500: the lease is safe until 2000 + 6000, less the margin of 60.
    expect(lease.remainingMs()).toBeCloseTo(2_000 + 6_000 - 60 - 3_500, 6);
    cluster.keeper.close();
  });

  it('counts the first deadline from before the grant was sent', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const [member] = cluster.members;
    member!.unaryAnswer = async (path, request) => {
      await new Promise<void>((resolve) => cluster.clock.after(1_000, resolve));
      return cluster.defaultAnswer(path, request);
    };
    const t0 = cluster.clock.now();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    expect(lease.remainingMs()).toBeCloseTo(t0 + 6_000 - 60 - cluster.clock.now(), 6);
    cluster.keeper.close();
  });

  it('sends what is due at about the same time together, on one stream, by one timer', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    for (let i = 0; i < 50; i++) {
      await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
      cluster.clock.block(0.4);
    }
    expect(cluster.clock.pending.all).toBe(1);
    await cluster.clock.advance(2_100);
    expect(cluster.streams).toHaveLength(1);
    expect(cluster.asked).toHaveLength(50);
    expect(new Set(cluster.asked.map(({ at }) => at)).size).toBe(1);
    cluster.keeper.close();
  });

  it('matches answers to the oldest request of their lease', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    cluster.script(() => 'silence');
    await cluster.run(cluster.leases.open({ ttlSeconds: 6 })); // keeps the stream open
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(2_000);
    // Stopped and taken up again: the second request goes out while the first has no answer yet.
    lease.stop();
    await cluster.clock.advance(500);
    await cluster.leases.keepAlive(lease.id);
    await cluster.clock.advance(100);
    const [stream] = cluster.streams;
    const times = stream!.asked.filter(({ id }) => id === lease.id).map(({ at }) => at);
    expect(times).toHaveLength(2);
    stream!.answer(lease.id, 6);
    await cluster.clock.settle();
    expect(lease.remainingMs()).toBeCloseTo(times[0]! + 5_940 - cluster.clock.now(), 6);
    stream!.answer(lease.id, 6);
    await cluster.clock.settle();
    expect(lease.remainingMs()).toBeCloseTo(times[1]! + 5_940 - cluster.clock.now(), 6);
    stream!.answer(lease.id, 6); // to nothing that was asked
    await cluster.clock.settle();
    expect(lease.remainingMs()).toBeCloseTo(times[1]! + 5_940 - cluster.clock.now(), 6);
    cluster.keeper.close();
  });

  it('goes by the latest question that was answered when answers cross', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    cluster.script((_id, stream) => (stream === cluster.streams[0] ? 'silence' : 6));
    await cluster.clock.advance(2_500);
    const askedAt = cluster.clock.now();
    await cluster.run(lease.keepAliveOnce());
    await cluster.clock.advance(500);
    cluster.streams[0]!.answer(lease.id, 6); // asked at 2000
    await cluster.clock.settle();
    expect(lease.remainingMs()).toBeCloseTo(askedAt + 5_940 - cluster.clock.now(), 6);
    cluster.keeper.close();
  });
});

describe('losing a lease', () => {
  it('is told by the server: expired', async () => {
    const cluster = new ScriptedCluster();
    const lost: unknown[] = [];
    const note = (message: unknown): number => lost.push(message);
    subscribe('etcdkit:lease:lost', note);
    cluster.script(() => 0);
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const { signal } = lease;
    await cluster.clock.advance(2_000);
    unsubscribe('etcdkit:lease:lost', note);
    expect(lease.lossReason).toBe('expired');
    expect(signal.reason).toBeInstanceOf(LeaseLostError);
    expect((signal.reason as LeaseLostError).leaseId).toBe(lease.id);
    expect(lost).toEqual([{ leaseId: lease.id, reason: 'expired' }]);
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('fires the signal before the server can let it run out, and says what failed last', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    cluster.script(() => failure(GrpcCode.UNAVAILABLE, 'etcdserver: no leader'));
    const t0 = cluster.clock.now();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    let firedAt = 0;
    lease.signal.addEventListener('abort', () => {
      firedAt = cluster.clock.now() - t0;
    });
    await cluster.clock.advance(10_000);
    expect(firedAt).toBeCloseTo(5_940, 6);
    expect(lease.lossReason).toBe('deadline');
    expect(String((lease.signal.reason as Error).cause)).toMatch(/no leader/);
    expect(() => lease.assertAlive()).toThrow(LeaseLostError);
    expect(lease.remainingMs()).toBe(0);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it.each([
    ['alive', (lease) => lease.alive, false],
    ['remainingMs()', (lease) => lease.remainingMs(), 0],
    ['lossReason', (lease) => lease.lossReason, 'deadline'],
    ['signal', (lease) => lease.signal.aborted, true],
  ] satisfies [string, (lease: Awaited<ReturnType<ScriptedCluster['leases']['open']>>) => unknown, unknown][])(
    'is noticed by whoever reads %s first after the event loop was blocked',
    async (_name, read, expected) => {
      const cluster = new ScriptedCluster({ ttlSeconds: 6 });
      const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
      cluster.clock.block(5_930);
      expect(lease.alive).toBe(true);
      cluster.clock.block(20);
      expect(read(lease)).toBe(expected);
      expect(cluster.keeper.find(lease.id)).toBeUndefined();
      cluster.keeper.close();
    },
  );

  it('is noticed by a signal that was taken before', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const { signal } = lease;
    expect(signal.aborted).toBe(false);
    cluster.clock.block(5_950);
    expect(signal.aborted).toBe(true);
    expect((signal.reason as LeaseLostError).reason).toBe('deadline');
  });

  it('is final: an answer that comes too late brings nothing back', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    cluster.script(() => 'silence');
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(2_000);
    const [stream] = cluster.streams;
    cluster.clock.block(5_000);
    stream!.answer(lease.id, 6); // sent at 2000: the server has it until 8000, but nobody could know
    await new Promise((resolve) => setImmediate(resolve));
    expect(lease.alive).toBe(false);
    await cluster.clock.advance(100);
    expect(lease.lossReason).toBe('deadline');
    expect(cluster.openStreams).toHaveLength(0);
  });

  it('comes with the end of the client', async () => {
    const cluster = new ScriptedCluster();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(2_500);
    expect(cluster.openStreams).toHaveLength(1);
    cluster.keeper.close();
    expect(lease.lossReason).toBe('closed');
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
    await expect(cluster.run(cluster.leases.open({ ttlSeconds: 6 }))).rejects.toBeInstanceOf(ClosedError);
  });

  it('does not happen when the server is late but the event loop is to blame', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    cluster.script(() => 'silence');
    await cluster.clock.advance(2_000);
    const [stream] = cluster.openStreams;
    cluster.clock.block(3_000); // the answer is in the socket, and the timer is long due
    cluster.clock.after(0, () => {});
    await cluster.clock.advance(1);
    stream!.answer(lease.id, 6);
    await cluster.clock.advance(500);
    expect(cluster.streams).toHaveLength(1);
    expect(cluster.members.every(({ state }) => state === 'ready' || state === 'idle')).toBe(true);
    expect(lease.alive).toBe(true);
    cluster.keeper.close();
  });
});

describe('stopping', () => {
  it('sends no more keepalives, and the lease is lost when its time is over', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(3_000);
    lease.stop();
    expect(cluster.openStreams).toHaveLength(0);
    // What is left is a timer for the signal; it does not hold the process.
    expect(cluster.clock.pending).toEqual({ all: 1, foreground: 0 });
    expect(lease.alive).toBe(true);
    await cluster.clock.advance(20_000);
    expect(cluster.asked).toHaveLength(1);
    expect(lease.lossReason).toBe('deadline');
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('takes a lease out of those that wait for a stream', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const other = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const [member] = cluster.members;
    member!.up = false;
    member!.state = 'idle';
    await cluster.clock.advance(2_500);
    lease.stop();
    member!.up = true;
    await cluster.clock.advance(10_000);
    expect(new Set(cluster.asked.map(({ id }) => id))).toEqual(new Set([other.id]));
    cluster.keeper.close();
  });

  it('can be undone with keepAlive', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    lease.stop();
    await cluster.clock.advance(3_000);
    expect(cluster.asked).toHaveLength(0);
    expect(await cluster.leases.keepAlive(lease.id)).toBe(lease);
    await cluster.clock.advance(20_000);
    expect(lease.alive).toBe(true);
    cluster.keeper.close();
  });

  it('of all but one leaves that one alone', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const leases = [];
    for (let i = 0; i < 5; i++) leases.push(await cluster.run(cluster.leases.open({ ttlSeconds: 6 })));
    await cluster.clock.advance(2_500);
    leases[0]!.stop();
    leases[4]!.stop();
    await cluster.run(leases[1]!.revoke());
    await cluster.run(leases[3]!.revoke());
    const before = cluster.asked.length;
    await cluster.clock.advance(20_000);
    expect(leases.map(({ alive }) => alive)).toEqual([false, false, true, false, false]);
    expect(new Set(cluster.asked.slice(before).map(({ id }) => id))).toEqual(new Set([leases[2]!.id]));
    cluster.keeper.close();
  });
});

describe('a listener of the signal', () => {
  it('may start, stop and revoke leases', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    cluster.script((id) => (id === 100n ? 0 : 6));
    const first = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const second = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    let third: LeaseId | undefined;
    first.signal.addEventListener('abort', () => {
      second.stop();
      void cluster.leases.open({ ttlSeconds: 6 }).then(({ id }) => {
        third = id;
      });
    });
    await cluster.clock.advance(12_000);
    expect(third).toBe(102n);
    expect(cluster.keeper.find(third!)?.check()).toBeUndefined();
    expect(second.alive).toBe(false);
    cluster.keeper.close();
  });
});
