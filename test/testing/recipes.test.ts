/** What the recipes promise, with members that are killed and cut off, under virtual time. */
import { expect, it } from 'vitest';
import { Mutex, Session } from '../../recipes/index.ts';
import { TestCluster, type TestMember, VirtualClock } from '../../src/testing/index.ts';

it('a lock survives the death of the leader', async () => {
  const clock = new VirtualClock();
  await using cluster = await TestCluster.start({ clock });
  const etcd = cluster.client();
  const session = await clock.until(Session.open(etcd, { ttlSeconds: 15 }));
  const lock = await clock.until(new Mutex(session, 'orders').acquire());
  const leader = await cluster.waitForLeader();
  await leader.kill();
  await cluster.waitForLeader();
  // Twice its life: somebody renews it.
  await clock.advance(30_000);
  expect(lock.signal.aborted).toBe(false);
  expect((await clock.until(lock.guard({ then: [etcd.op.put('last', '17')] }))).succeeded).toBe(true);
  await leader.restart();
  await clock.until(lock.release());
  await clock.until(session.close());
});

it('who holds a lock through a leader that is cut off loses it before another one has it', async () => {
  const clock = new VirtualClock();
  await using cluster = await TestCluster.start({ clock });
  const leader = await cluster.waitForLeader();
  const [other] = cluster.members.filter((member) => member !== leader) as [TestMember];
  const here = cluster.client({ endpoints: leader.endpoint });
  const there = cluster.client({ endpoints: other.endpoint });
  const mine = await clock.until(Session.open(here, { ttlSeconds: 10 }));
  const lock = await clock.until(new Mutex(mine, 'orders').acquire());
  const theirs = await clock.until(Session.open(there, { ttlSeconds: 10 }));
  const order: string[] = [];
  lock.signal.addEventListener('abort', () => order.push('lost'));
  const next = new Mutex(theirs, 'orders').acquire().then((held) => {
    order.push('acquired');
    return held;
  });
  await clock.advance(5_000);
  expect(order).toEqual([]);

  cluster.isolate(leader);
  const held = await clock.until(next);
  expect(order).toEqual(['lost', 'acquired']);
  expect(() => lock.assertHeld()).toThrow();
  expect(held.signal.aborted).toBe(false);
  cluster.heal();
  await cluster.waitForLeader();
  await clock.until(held.release());
});
