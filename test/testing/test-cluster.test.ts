import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Etcd, EtcdError } from '../../src/index.ts';
import { TestCluster, type TestMember, VirtualClock } from '../../src/testing/index.ts';

/** The followers of a cluster of three, and its leader. */
async function roles(cluster: TestCluster): Promise<{ leader: TestMember; a: TestMember; b: TestMember }> {
  const leader = await cluster.waitForLeader();
  const [a, b] = cluster.members.filter((member) => member !== leader) as [TestMember, TestMember];
  return { leader, a, b };
}

/** A put that is safe to repeat: its connection may be gone. */
async function update(etcd: Etcd, value: string): Promise<void> {
  for (;;) {
    try {
      await etcd.txn({ if: [etcd.key('a').value.notEquals(value)], then: [etcd.op.put('a', value)] });
      return;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
    }
  }
}

describe('a cluster of three under virtual time', () => {
  it('serves without that time passes', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    const before = clock.now();
    for (const endpoint of cluster.endpoints) {
      await using one = cluster.client({ endpoints: endpoint });
      await one.put(endpoint, 'here');
      expect((await etcd.get(endpoint))?.value).toBe('here');
    }
    expect(clock.now()).toBe(before);
  });

  it('goes on without its leader, which comes back with what it had', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    await clock.until(etcd.put('a', '1'));
    const { leader } = await roles(cluster);
    await leader.kill();
    await leader.kill();
    expect(leader.state).toBe('killed');
    expect(leader.status).toBeUndefined();
    const next = await cluster.waitForLeader();
    expect(next).not.toBe(leader);
    expect((await clock.until(etcd.get('a')))?.value).toBe('1');
    await clock.until(etcd.put('a', '2'));
    await leader.restart();
    expect(leader.state).toBe('running');
    await using one = cluster.client({ endpoints: leader.endpoint });
    expect((await clock.until(one.get('a')))?.value).toBe('2');
    await expect(leader.restart()).rejects.toThrow('m');
  });

  it('keeps nothing that was not synced by a majority, and all that was acknowledged', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    for (let i = 0; i < 50; i += 1) await etcd.put(`k${i}`, 'v');
    await Promise.all(cluster.members.map((member) => member.kill()));
    expect(cluster.leader()).toBeUndefined();
    await Promise.all(cluster.members.map((member) => member.restart()));
    expect(await clock.until(etcd.count({ prefix: 'k' }))).toBe(50);
  });

  it('has a new leader when the old one is paused, and one leader when that goes on', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const { leader, a, b } = await roles(cluster);
    const { term } = leader.status!;
    leader.pause();
    expect(leader.state).toBe('paused');
    const next = await cluster.waitForLeader();
    expect([a, b]).toContain(next);
    // It stands still: it has heard of nothing.
    expect(leader.status).toMatchObject({ leader: leader.id, term });
    const etcd = cluster.client({ endpoints: next.endpoint });
    await clock.until(etcd.put('a', '1'));
    leader.resume();
    await clock.advance(2_000);
    expect(leader.leads).toBe(false);
    expect(leader.status?.revision).toBe(next.status?.revision);
  });

  it('answers no client of a paused member before it goes on', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock, members: 1 });
    const [member] = cluster.members as [TestMember];
    const etcd = cluster.client();
    await etcd.put('a', '1');
    member.pause();
    let answered = false;
    const put = etcd.put('a', '2').then(() => {
      answered = true;
    });
    await clock.advance(1_000);
    expect(answered).toBe(false);
    member.resume();
    await put;
    expect((await etcd.get('a'))?.value).toBe('2');
  });

  it('does not follow who is cut off from a majority', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const { leader, a, b } = await roles(cluster);
    cluster.partition([leader], [a, b]);
    expect(cluster.leader()).toBeUndefined();
    expect(leader.leads).toBe(true);
    const next = await cluster.waitForLeader();
    expect([a, b]).toContain(next);
    await clock.advance(3_000);
    // Without a majority it has stepped down.
    expect(leader.leads).toBe(false);
    cluster.heal();
    await clock.advance(3_000);
    expect(leader.status?.leader).toBe(cluster.leader()?.id);
  });

  it('is cut in one direction, too', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const { leader, a, b } = await roles(cluster);
    cluster.cut(leader, a);
    await clock.advance(1_500);
    const etcd = cluster.client({ endpoints: b.endpoint });
    await clock.until(etcd.put('a', '1'));
    // What it would need to know of that comes from the leader.
    expect(a.status?.revision).toBe(1);
    cluster.heal();
    await clock.advance(3_000);
    expect(a.status?.revision).toBe(2);
  });

  it('has no leader while all are isolated, and says so in time', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    for (const member of cluster.members) cluster.isolate(member);
    await expect(cluster.waitForLeader({ timeoutMs: 5_000 })).rejects.toThrow('waited 5000 ms in vain for a leader');
    await expect(cluster.waitForLeader({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    cluster.heal();
    await cluster.waitForLeader();
  });

  it('moves its leader, and stops a member in good order', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const { leader, a } = await roles(cluster);
    await cluster.moveLeader(a);
    expect(cluster.leader()).toBe(a);
    const { term } = a.status!;
    await a.stop();
    expect(a.state).toBe('stopped');
    const next = await cluster.waitForLeader();
    // It handed over: after a crash pre-votes and an election would have taken their time.
    expect(next.status?.term).toBe(term + 1);
    expect(leader.state).toBe('running');
  });

  it('hands over to nobody who is dead', async () => {
    for (let dead = 0; dead < 4; dead += 1) {
      const clock = new VirtualClock();
      await using cluster = await TestCluster.start({ clock, members: 5 });
      const leader = await cluster.waitForLeader();
      const { term } = leader.status!;
      await cluster.members.filter((member) => member !== leader)[dead]?.kill();
      const before = clock.now();
      await leader.stop();
      expect((await cluster.waitForLeader()).status?.term).toBe(term + 1);
      // Whoever has it, has it at once: an election takes a second at least.
      expect(clock.now() - before).toBeLessThan(1_000);
    }
  });

  it('leaves no timer behind', async () => {
    const clock = new VirtualClock();
    {
      await using cluster = await TestCluster.start({ clock });
      await cluster.client().put('a', '1');
      const { leader, a } = await roles(cluster);
      await leader.kill();
      a.pause();
      await clock.advance(100);
    }
    await clock.advance(60_000);
    expect(clock.pending.all).toBe(0);
  });

  it('grows and shrinks', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock, snapshotCount: 20, snapshotCatchUpEntries: 5 });
    const etcd = cluster.client();
    for (let i = 0; i < 60; i += 1) await etcd.put('a', `${i}`);
    const learner = await cluster.addMember({ learner: true, name: 'late' });
    await clock.advance(500);
    expect(learner.status).toMatchObject({ isLearner: true, revision: 61 });
    await expect(cluster.addMember({ name: 'late' })).rejects.toThrow('there is a member late already');
    await cluster.removeMember(learner);
    // Another member with the same name.
    await cluster.addMember({ learner: true, name: 'late' });
    const voter = await cluster.addMember();
    expect(voter.status?.isLearner).toBe(false);
    const { leader } = await roles(cluster);
    await cluster.removeMember(leader);
    expect(leader.state).toBe('removed');
    expect(cluster.members).toHaveLength(4);
    await cluster.waitForLeader();
    await using rest = cluster.client();
    await clock.until(rest.put('a', 'after'));
    await clock.advance(1_000);
    expect(new Set(cluster.members.map(({ status }) => status?.revision))).toEqual(new Set([62]));
    await expect(leader.restart()).rejects.toThrow('removed from its cluster');
  });

  it('expires a lease when its time is over, and not before', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    const lease = await etcd.leases.grant({ ttlSeconds: 600 });
    await etcd.put('mine', 'x', { lease });
    await clock.advance(595_000);
    expect((await clock.until(etcd.get('mine')))?.value).toBe('x');
    await clock.advance(10_000);
    expect(await clock.until(etcd.get('mine'))).toBeUndefined();
  });

  it('makes the same run of the same seed', async () => {
    const run = async (seed: number): Promise<unknown[]> => {
      const clock = new VirtualClock();
      await using cluster = await TestCluster.start({ clock, seed });
      const led: unknown[] = [];
      for (let round = 0; round < 4; round += 1) {
        const leader = await cluster.waitForLeader();
        led.push(leader.name, leader.status?.term, clock.now());
        await leader.kill();
        await cluster.waitForLeader();
        await leader.restart();
      }
      return led;
    };
    const first = await run(7);
    expect(await run(7)).toEqual(first);
    expect(await run(8)).not.toEqual(first);
  });
});

describe('clients of a member', () => {
  it('are refused, and let in again', async () => {
    await using cluster = await TestCluster.start({ members: 1 });
    const [member] = cluster.members as [TestMember];
    const etcd = cluster.client();
    await etcd.put('a', '1');
    member.refuseClients();
    const late = cluster.client({ retry: { maxAttempts: 1 } });
    await expect(late.put('a', '2')).rejects.toMatchObject({ applied: 'no' });
    member.admitClients();
    expect((await etcd.get('a', { timeoutMs: 30_000 }))?.value).toBe('1');
  });

  it('hear nothing while they are stalled', async () => {
    await using cluster = await TestCluster.start({ members: 1 });
    const [member] = cluster.members as [TestMember];
    const etcd = cluster.client({ retry: { maxAttempts: 1 } });
    await etcd.put('a', '1');
    member.stallClients();
    await expect(etcd.get('a', { timeoutMs: 100 })).rejects.toThrow('deadline');
    cluster.heal();
    expect((await etcd.get('a', { timeoutMs: 30_000 }))?.value).toBe('1');
  });

  it('keep a watch across the loss of their connections', async () => {
    await using cluster = await TestCluster.start();
    const etcd = cluster.client();
    const { revision } = await etcd.put('a', 'first');
    const seen: string[] = [];
    for await (const event of etcd.watch('a', { from: revision })) {
      if (event.type === 'put') seen.push(event.kv.value);
      if (seen.length === 5) break;
      for (const member of cluster.members) member.dropClients();
      await update(etcd, `${seen.length}`);
    }
    expect(seen).toEqual(['first', '1', '2', '3', '4']);
  });
});

describe('a data directory', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'etcdkit-testing-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('has all for the next cluster of the same members', async () => {
    const options = { dataDir: folder, unsafeNoFsync: true };
    {
      await using cluster = await TestCluster.start(options);
      await cluster.client().put('a', '1');
      const { leader } = await roles(cluster);
      await leader.kill();
      await cluster.waitForLeader();
      await leader.restart();
    }
    expect((await readdir(folder)).sort()).toEqual(['m1', 'm2', 'm3']);
    await using cluster = await TestCluster.start(options);
    expect((await cluster.client().get('a'))?.value).toBe('1');
    await expect(TestCluster.start(options)).rejects.toThrow();
  });

  it('goes with virtual time', async () => {
    const clock = new VirtualClock();
    const dataDir = path.join(folder, 'virtual');
    await using cluster = await TestCluster.start({ dataDir, clock, unsafeNoFsync: true });
    const etcd = cluster.client();
    await etcd.put('a', '1');
    await clock.advance(10_000);
    expect((await clock.until(etcd.get('a')))?.value).toBe('1');
  });
});

it('refuses what it can not be', async () => {
  await expect(TestCluster.start({ members: 0 })).rejects.toThrow(RangeError);
  const cluster = await TestCluster.start({ members: 1 });
  await cluster.close();
  await cluster.close();
  expect(() => cluster.client()).toThrow('the cluster was closed');
});
