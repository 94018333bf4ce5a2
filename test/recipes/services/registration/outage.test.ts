/** Long outages, on virtual time: what comes back, when, and with which data. */
import { expect, it } from 'vitest';
import { InstanceIdTakenError } from '../../../../recipes/services/errors.ts';
import { Registration } from '../../../../recipes/services/registration/registration.ts';
import { TestCluster, VirtualClock } from '../../../../src/testing/index.ts';
import { KEY, LAYOUT, SPEC, untilState } from './bed.ts';

async function startVirtual(members = 1) {
  const clock = new VirtualClock();
  const cluster = await TestCluster.start({ members, clock, seed: 1 });
  return { clock, cluster };
}

it('comes back after five minutes without the store, with what was changed meanwhile (kratos gives up; CURATOR-181)', async () => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const etcd = cluster.client();
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC));
  const [member] = cluster.members;
  member!.refuseClients();
  await clock.advance(150_000);
  expect(registration.state).toBe('registering');
  expect(registration.lastError).toBeDefined();
  const updating = registration.update({ weight: 8 });
  await clock.advance(150_000);
  member!.admitClients();
  await clock.until(updating);
  const kv = await clock.until(cluster.client().get(KEY));
  expect(JSON.parse(kv!.value)).toMatchObject({ weight: 8, status: 'up' });
  expect(registration.state).toBe('registered');
  await clock.until(registration.deregister());
  expect(await clock.until(cluster.client().get(KEY))).toBeUndefined();
  await etcd.close();
  await clock.settle();
});

it('goes on with its lease, and writes nothing, if that lives when the store is back', async () => {
  const { clock, cluster } = await startVirtual(3);
  await using _ = cluster;
  const [first, second] = cluster.members;
  const etcd = cluster.client({ endpoints: [`http://${first!.endpoint}`] });
  const eye = cluster.client({ endpoints: [`http://${second!.endpoint}`] });
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 10 }));
  const before = (await clock.until(eye.get(KEY)))!;
  first!.stallClients();
  // As a new leader does it: the lease's time begins anew.
  for (let times = 0; times < 4; times++) {
    await clock.advance(5_000);
    await clock.until(eye.leases.keepAliveOnce(before.lease!));
  }
  expect(registration.state).toBe('registering');
  first!.admitClients();
  await clock.until(untilState(registration, 'registered'));
  await clock.advance(30_000);
  const after = (await clock.until(eye.get(KEY)))!;
  expect(after.modRevision).toBe(before.modRevision);
  expect(after.lease).toBe(before.lease);
  await clock.until(registration.deregister());
});

it('is missing at no moment when the servers come back after ten minutes', async () => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const etcd = cluster.client();
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 10 }));
  const eye = cluster.client();
  const before = (await clock.until(eye.get(KEY)))!;
  const [member] = cluster.members;
  await member!.kill();
  await clock.advance(600_000);
  expect(registration.state).toBe('registering');
  await member!.restart();
  await clock.advance(60_000);
  const after = (await clock.until(eye.get(KEY)))!;
  expect(after.createRevision).toBe(before.createRevision);
  expect(registration.state).toBe('registered');
  await clock.until(registration.deregister());
});

it.each(['deregister', 'drain'] as const)('is not there again when it was ended during the outage: %s', async (end) => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const etcd = cluster.client();
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC));
  const [member] = cluster.members;
  member!.refuseClients();
  await clock.advance(1_000);
  const ending =
    end === 'drain' ? registration.drain({ propagationMs: 500 }) : registration.deregister({ timeoutMs: 3_000 });
  const ended = ending.then(
    () => 'confirmed',
    (error: { code: string }) => error.code,
  );
  expect(await clock.until(ended)).not.toBe('confirmed');
  expect(registration.state).toBe('ended');
  expect(registration.lastError).toBeDefined();
  member!.admitClients();
  const eye = cluster.client();
  await clock.advance(20_000);
  expect(await clock.until(eye.get(KEY))).toBeUndefined();
  await clock.advance(60_000);
  expect(await clock.until(eye.get(KEY))).toBeUndefined();
});

it('finds out that it was deleted, also where that history was compacted away meanwhile', async () => {
  const { clock, cluster } = await startVirtual(3);
  await using _ = cluster;
  const [first, second] = cluster.members;
  const etcd = cluster.client({ endpoints: [`http://${first!.endpoint}`] });
  const eye = cluster.client({ endpoints: [`http://${second!.endpoint}`] });
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 600 }));
  first!.refuseClients();
  await clock.until(eye.delete(KEY));
  for (let times = 0; times < 5; times++) await clock.until(eye.put('other', `${times}`));
  await clock.until(eye.compact(await clock.until(eye.revision())));
  first!.admitClients();
  await clock.advance(60_000);
  expect(await clock.until(eye.get(KEY))).toBeDefined();
  expect(registration.state).toBe('registered');
  await clock.until(registration.deregister());
});

it('notices at once that its lease was revoked, not only when the next keepalive is due', async () => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const eye = cluster.client();
  const options = { ttlSeconds: 3_600, rejoinJitterMs: 0 };
  const registration = await clock.until(Registration.start(cluster.client(), LAYOUT, SPEC, options));
  await clock.until(eye.leases.revoke((await clock.until(eye.get(KEY)))!.lease!));
  await clock.advance(1_000);
  expect(await clock.until(eye.get(KEY))).toBeDefined();
  await clock.until(registration.deregister());
});

it('finds that another has the id when it comes back, and says so', async () => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const etcd = cluster.client();
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 10 }));
  const lease = (await clock.until(etcd.get(KEY)))!.lease!;
  const other = cluster.client();
  const coming = Registration.start(other, LAYOUT, { ...SPEC, port: 1 }, { whenTaken: 'wait', rejoinJitterMs: 0 });
  await clock.advance(1_000);
  await clock.until(other.leases.revoke(lease));
  const winner = await clock.until(coming);
  await clock.until(untilState(registration, 'taken'));
  expect(registration.lastError).toBeInstanceOf(InstanceIdTakenError);
  await clock.advance(60_000);
  expect(JSON.parse((await clock.until(other.get(KEY)))!.value)).toMatchObject({ port: 1 });
  await clock.until(winner.deregister());
  await clock.until(untilState(registration, 'registered'));
  expect(JSON.parse((await clock.until(other.get(KEY)))!.value)).toMatchObject({ port: SPEC.port });
  await clock.until(registration.deregister());
});

it('does not come back at the same moment as all the others', async () => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const etcd = cluster.client();
  const all = await Promise.all(
    Array.from({ length: 15 }, (_, index) =>
      clock.until(
        Registration.start(etcd, LAYOUT, { ...SPEC, id: `${index}` }, { ttlSeconds: 5, rejoinJitterMs: 8_000 }),
      ),
    ),
  );
  const [member] = cluster.members;
  member!.refuseClients();
  await clock.advance(20_000);
  const eye = cluster.client();
  member!.admitClients();
  const counts: number[] = [];
  for (let second = 0; second < 20; second++) {
    await clock.advance(1_000);
    counts.push(await clock.until(eye.count({ prefix: 'services/' })));
  }
  expect(counts.at(-1)).toBe(15);
  const most = Math.max(...counts.map((count, index) => count - (counts[index - 1] ?? 0)));
  expect(most).toBeLessThan(10);
  await clock.until(Promise.all(all.map((registration) => registration.deregister())));
});

it('is not put again ever more quickly by whoever deletes it again and again', async () => {
  const { clock, cluster } = await startVirtual();
  await using _ = cluster;
  const etcd = cluster.client();
  const registration = await clock.until(Registration.start(etcd, LAYOUT, SPEC));
  const eye = cluster.client();
  let deleted = 0;
  const stop = new AbortController();
  const vandal = (async () => {
    for await (const event of eye.watch(KEY, { from: 1n as never, signal: stop.signal })) {
      if (event.type !== 'put') continue;
      deleted += 1;
      await eye.delete(KEY);
    }
  })().catch(() => {});
  await clock.advance(10_000);
  const first = deleted;
  await clock.advance(10_000);
  expect(first).toBeGreaterThan(2);
  expect(deleted - first).toBeLessThanOrEqual(first);
  expect(deleted).toBeLessThan(40);
  stop.abort();
  await vandal;
  await clock.advance(10_000);
  expect(await clock.until(eye.get(KEY))).toBeDefined();
  await clock.until(registration.deregister());
});
