import { describe, expect, it } from 'vitest';
import { leaseId } from '../../../src/protocol/int64.ts';
import { ScriptedCluster } from './scripted-cluster.ts';

const LEASES = 10_000;

describe(`${LEASES} leases`, () => {
  it('take one stream, one timer, and one turn of it for all that are due together', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 30 });
    await cluster.run(cluster.leases.list().catch(() => {})); // connects
    const now = cluster.clock.now();
    // Granted over one second: 10 each millisecond.
    for (let i = 0; i < LEASES; i++) cluster.keeper.hold(leaseId(i + 1), 30, now - 1_000 + i / 10);
    expect(cluster.clock.pending.all).toBe(1);
    let timers = 0;
    const { after } = cluster.clock;
    cluster.clock.after = (...args) => {
      timers += 1;
      return after.apply(cluster.clock, args);
    };
    const cpu = process.cpuUsage();
    await cluster.clock.advance(100_000);
    const { user, system } = process.cpuUsage(cpu);
    const renewals = cluster.asked.length;
    console.info(`${renewals} renewals by ${timers} timers, ${((user + system) / renewals).toFixed(1)} µs of CPU each`);
    expect(renewals).toBe(10 * LEASES);
    expect(cluster.streams).toHaveLength(1);
    // 40 batches of 25 ms in each of ten rounds; early wake-ups that find nothing to do are bounded by as many again.
    expect(timers).toBeLessThan(900);
    expect(cluster.clock.pending.all).toBe(1);
    cluster.keeper.close();
    expect(cluster.clock.pending.all).toBe(0);
  }, 30_000);

  it('are all sent again on the next stream when one breaks, and all lost in time when none answers', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 30 });
    const now = cluster.clock.now();
    for (let i = 0; i < LEASES; i++) cluster.keeper.hold(leaseId(i + 1), 30, now);
    cluster.script(() => 'silence');
    await cluster.clock.advance(25_000);
    expect(cluster.asked.length).toBe(2 * LEASES);
    let lost = 0;
    for (let i = 0; i < LEASES; i++) {
      cluster.keeper.find(leaseId(i + 1))?.signal.addEventListener('abort', () => {
        lost += 1;
      });
    }
    await cluster.clock.advance(4_690);
    expect(lost).toBe(0);
    await cluster.clock.advance(20);
    expect(lost).toBe(LEASES);
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  }, 30_000);
});
