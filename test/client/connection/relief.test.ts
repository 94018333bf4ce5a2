import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { AbortError, DeadlineError } from '../../../src/client/errors.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { FakeCluster, failing, outcome, PUT, RANGE } from './fake-cluster.ts';

/** A cluster of two whose first member says nothing, and whose second is away. */
async function oneLeft(): Promise<FakeCluster> {
  const cluster = new FakeCluster(2);
  await cluster.warm();
  const [silent, away] = cluster.members;
  silent!.reply = () => 'silence';
  away!.refuses = 'refused';
  away!.cut();
  return cluster;
}

/** Its own next time, or after the longest rest that a member takes. */
const REST_MS = 2_000;

describe('an attempt that nobody could take over when it began', () => {
  it('has all the time while there is nobody', async () => {
    const cluster = await oneLeft();
    const seen = outcome(cluster.read({ timeoutMs: 10_000 }));
    await cluster.clock.advance(9_999);
    expect(seen.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(seen.error).toBeInstanceOf(DeadlineError);
    expect(seen.error).toMatchObject({ attempts: 1, applied: 'no' });
    expect(cluster.members[0]!.callsOf(RANGE).map(({ timeoutMs }) => timeoutMs)).toEqual([10_000]);
    await cluster.clock.settle();
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('ends in its middle when another member has come back', async () => {
    const cluster = await oneLeft();
    const seen = outcome(cluster.read({ timeoutMs: 10_000 }));
    await cluster.clock.advance(3_000);
    cluster.members[1]!.refuses = undefined;
    await cluster.clock.advance(1_999);
    expect(seen.state).toBe('pending');
    expect(cluster.members[1]!.callsOf(RANGE)).toEqual([]);
    await cluster.clock.advance(1);
    expect(seen.state).toBe('resolved');
    expect(cluster.members.map((member) => member.callsOf(RANGE).length)).toEqual([1, 1]);
    // Five seconds without a word: calls leave it alone now.
    expect(cluster.pool.members.map(({ healthy }) => healthy)).toEqual([false, true]);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('ends later when one comes back later', async () => {
    const cluster = await oneLeft();
    const seen = outcome(cluster.read({ timeoutMs: 20_000 }));
    await cluster.clock.advance(12_000);
    expect(seen.state).toBe('pending');
    cluster.members[1]!.refuses = undefined;
    await cluster.clock.advance(REST_MS);
    expect(seen.state).toBe('resolved');
    // While it was away it was asked now and then, not all the time.
    expect(cluster.members[1]!.connects).toBeLessThan(10);
  });

  it('casts no doubt on its member when it was short', async () => {
    const cluster = await oneLeft();
    const seen = outcome(cluster.read({ timeoutMs: 1_800 }));
    cluster.members[1]!.refuses = undefined;
    await cluster.clock.advance(900);
    expect(seen.state).toBe('resolved');
    expect(cluster.pool.members.map(({ healthy }) => healthy)).toEqual([true, true]);
  });

  it('is not taken over by a member without a leader, unless the call needs none', async () => {
    for (const serializable of [false, true]) {
      const cluster = await oneLeft();
      const options = { timeoutMs: 10_000 };
      const seen = outcome(serializable ? cluster.serializableRead(options) : cluster.read(options));
      cluster.members[1]!.refuses = undefined;
      cluster.members[1]!.facts.leader = 0n;
      await cluster.clock.advance(10_000);
      expect(seen.state).toBe(serializable ? 'resolved' : 'rejected');
      expect(cluster.members[1]!.callsOf(RANGE)).toHaveLength(serializable ? 1 : 0);
    }
  });

  it('is not ended when it writes, or was aimed at its member', async () => {
    for (const write of [true, false]) {
      const cluster = await oneLeft();
      const seen = outcome(write ? cluster.write() : cluster.read({ endpoint: 'm1:2379' }));
      cluster.members[1]!.refuses = undefined;
      await cluster.clock.advance(4_999);
      expect(seen.state).toBe('pending');
      await cluster.clock.advance(1);
      expect(seen.error).toMatchObject({ code: 'deadline', applied: write ? 'maybe' : 'no' });
      expect(cluster.members[0]!.callsOf(write ? PUT : RANGE)).toHaveLength(1);
    }
  });

  it('fails like any other when its member says so', async () => {
    const cluster = await oneLeft();
    cluster.members[0]!.reply = () => failing(GrpcCode.FAILED_PRECONDITION);
    await expect(cluster.read()).rejects.toMatchObject({ code: 'server', attempts: 1 });
    expect(cluster.clock.pending.all).toBe(0);
  });

  it.each([100, 6_000])('ends with the call’s signal, after %d ms', async (afterMs) => {
    const cluster = await oneLeft();
    const abort = new AbortController();
    const seen = outcome(cluster.read({ timeoutMs: 10_000, signal: abort.signal }));
    await cluster.clock.advance(afterMs);
    abort.abort();
    await cluster.clock.settle();
    expect(seen.error).toBeInstanceOf(AbortError);
    expect(cluster.clock.pending.all).toBe(0);
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
  });

  it('ends with the client', async () => {
    const cluster = await oneLeft();
    const seen = outcome(cluster.read({ timeoutMs: 10_000 }));
    await cluster.clock.advance(6_000);
    cluster.pool.close();
    await cluster.clock.settle();
    expect(seen.error).toMatchObject({ code: 'closed' });
    expect(cluster.clock.pending.all).toBe(0);
  });
});
