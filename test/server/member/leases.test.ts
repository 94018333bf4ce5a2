import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/server/member/member.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { deferred } from '../../../src/support/signals.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { WatchedDisk } from '../wal/support.ts';
import { put, startMember, valueAt } from './support.ts';

async function grant(member: Member, id: bigint, ttlSeconds: bigint): Promise<void> {
  await member.propose({ leaseGrant: { ID: id, TTL: ttlSeconds } });
}

describe('a lease', () => {
  it('ends by itself, its keys with it, within half a second of its time', async () => {
    const clock = new VirtualClock();
    await using member = await startMember(clock);
    await grant(member, 7n, 10n);
    await put(member, 'a', '1', 7n);
    await clock.advance(9_900);
    expect(valueAt(member, 'a')).toBe('1');
    expect((await member.timeToLive(7n)).remainingSeconds).toBe(0);
    await clock.advance(700);
    expect(valueAt(member, 'a')).toBeUndefined();
    expect(await member.timeToLive(7n)).toEqual({ remainingSeconds: -1, grantedSeconds: 0, keys: [] });
    expect(await member.renewLease(7n)).toBe(0);
  });

  it('lives on while it is renewed', async () => {
    const clock = new VirtualClock();
    await using member = await startMember(clock);
    await grant(member, 7n, 10n);
    await put(member, 'a', '1', 7n);
    for (let i = 0; i < 5; i++) {
      await clock.advance(8_000);
      expect(await member.renewLease(7n)).toBe(10);
    }
    expect(await member.timeToLive(7n)).toEqual({ remainingSeconds: 10, grantedSeconds: 10, keys: [Buffer.from('a')] });
  });

  it('has its whole time and an election more after a restart', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    const first = await startMember(clock, disk);
    await grant(first, 7n, 10n);
    await put(first, 'a', '1', 7n);
    await clock.advance(9_000);
    await first.stop();
    await using second = await startMember(clock, disk);
    await clock.advance(10_900);
    expect(valueAt(second, 'a')).toBe('1');
    await clock.advance(1_000);
    expect(valueAt(second, 'a')).toBeUndefined();
  });

  it('that has run out is renewed for nobody: who asks waits until it is gone', async () => {
    const clock = new VirtualClock();
    const disk = new WatchedDisk(new MemoryDisk());
    await using member = await startMember(clock, disk);
    await grant(member, 7n, 2n);
    const gate = deferred<void>();
    disk.before = (call) => (call === 'sync' ? gate.promise : undefined);
    await clock.advance(3_000);
    const ttls: number[] = [];
    const renewed = member.renewLease(7n).then((ttl) => ttls.push(ttl));
    await clock.advance(1_000);
    expect(ttls).toEqual([]);
    gate.resolve();
    await renewed;
    expect(ttls).toEqual([0]);
  });

  it('of which many end at once end sixteen at a time', async () => {
    const clock = new VirtualClock();
    const disk = new WatchedDisk(new MemoryDisk());
    await using member = await startMember(clock, disk);
    for (let id = 1n; id <= 40n; id++) await grant(member, id, 2n);
    const gate = deferred<void>();
    disk.before = (call) => (call === 'sync' ? gate.promise : undefined);
    await clock.advance(3_000);
    expect(member.proposals.pending).toBe(16);
    gate.resolve();
    await clock.advance(100);
    expect(member.state.lessor.size).toBe(0);
  });

  it('with a checkpoint keeps what was left of it over a change of leaders, but for one that was renewed', async () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    const first = await startMember(clock, disk, { leaseCheckpointMs: 60_000 });
    await grant(first, 7n, 600n);
    await grant(first, 8n, 600n);
    await clock.advance(130_000);
    // Answered only once the checkpoint is taken back.
    expect(await first.renewLease(8n)).toBe(600);
    await first.stop();
    await using second = await startMember(clock, disk, { leaseCheckpointMs: 60_000 });
    expect((await second.timeToLive(7n)).remainingSeconds).toBeLessThan(500);
    expect((await second.timeToLive(8n)).remainingSeconds).toBeGreaterThanOrEqual(600);
  });
});
