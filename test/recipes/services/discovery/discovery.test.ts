/** Discovery on a bundled server, on virtual time: what it sees, and what it is spared. */
import { describe, expect, it, vi } from 'vitest';
import { NoInstanceError } from '../../../../recipes/services/errors.ts';
import { ServiceRegistry } from '../../../../recipes/services/service-registry.ts';
import { ClosedError, PermissionDeniedError } from '../../../../src/index.ts';
import { TestCluster } from '../../../../src/testing/index.ts';
import { bed, ids, layout, numbered, stored } from './bed.ts';

describe('a service without instances', () => {
  it('is told as such, so that nobody waits (etcd’s resolver: no first update for an empty list)', async () => {
    await using on = await bed();
    const orders = await on.discover();
    expect(orders.instances).toEqual([]);
    expect(orders.synced).toBe(true);
    expect(() => orders.pick()).toThrow(NoInstanceError);
    expect(() => orders.pick()).toThrow(/orders: no instance is registered/);
  });

  it('says why there is none', async () => {
    await using on = await bed();
    const follows = on.registry.follow('orders');
    expect(() => follows.pick()).toThrow(/no list/);
    await on.put('a1', { status: 'down' });
    await on.put('a2', { status: 'draining' });
    const orders = await on.discover({ where: { tags: ['fast'] } });
    expect(() => orders.pick()).toThrow(/down or draining/);
    await on.put('a3');
    expect(() => orders.pick()).toThrow(/filters/);
    expect(ids(orders.registered)).toEqual(['a1', 'a2', 'a3']);
    expect(orders.instances).toEqual([]);
    const few = await on.discover({ maxInFlight: 1 });
    using picked = few.pick();
    expect(() => few.pick()).toThrow(/as many requests under way as they may/);
    expect(() => few.pick()).toThrow(expect.objectContaining({ reason: 'all-busy' }));
    expect([...few.full]).toEqual([picked.instance.id]);
  });
});

describe('what is registered', () => {
  it('is followed, and told to who reads the changes', async () => {
    await using on = await bed();
    await on.put('a1');
    const orders = await on.discover();
    const changes = orders.changes();
    await on.put('a2');
    await on.put('a1', { weight: 3 });
    await on.remove('a2');
    await on.put('a3');
    const told = [await changes.next(), await changes.next()].map(({ value }) => value);
    expect(told).toMatchObject([
      { type: 'updated', instance: { id: 'a1', weight: 3 }, previous: { weight: 1 } },
      { type: 'added', instance: { id: 'a3' } },
    ]);
    expect(ids(orders.instances)).toEqual(['a1', 'a3']);
    expect(orders.revision).toBe(await on.clock.until(on.writer.revision()));
    await orders.close();
    expect((await changes.next()).done).toBe(true);
  });

  it('is of this service only, whatever begins like it (etcd’s naming: `foo` had `foo_other`)', async () => {
    await using on = await bed();
    for (const name of ['orders', 'orders_other', 'orders/eu', 'order']) await on.put('a1', { name, version: name });
    const orders = await on.discover();
    expect(orders.registered.map(({ version }) => version)).toEqual(['orders']);
    expect(await on.clock.until(on.registry.names())).toEqual(['order', 'orders', 'orders/eu', 'orders_other']);
  });

  it('is not spoilt by an entry that cannot be used, and says so (kratos: one fails the list; etcd’s naming: silence)', async () => {
    await using on = await bed();
    await on.put('a1');
    await on.clock.until(on.writer.put(layout.keyOf('orders', 'a2'), '{"address":'));
    const orders = await on.discover();
    expect(ids(orders.instances)).toEqual(['a1']);
    expect(orders.badEntries).toEqual([
      { key: layout.keyOf('orders', 'a2'), problem: expect.stringContaining('JSON') },
    ]);
    await on.put('a3');
    expect(ids(orders.instances)).toEqual(['a1', 'a3']);
    const { services, badEntries } = await on.clock.until(on.registry.list());
    expect(ids(services.get('orders') ?? [])).toEqual(['a1', 'a3']);
    expect(badEntries).toHaveLength(1);
  });

  it('is watched once, however many look, until the last has left', async () => {
    await using on = await bed();
    await on.put('a1', { zone: 'a' });
    let copies = 0;
    const cache = on.etcd.cache.bind(on.etcd);
    on.etcd.cache = (...given) => {
      copies += 1;
      return cache(...given);
    };
    const [one, other] = [await on.discover(), await on.discover({ where: { zones: ['b'] } })];
    expect(copies).toBe(1);
    expect([one.instances.length, other.instances.length]).toEqual([1, 0]);
    await one.close();
    await on.put('a2', { zone: 'b' });
    expect(ids(other.instances)).toEqual(['a2']);
    expect(ids(one.instances)).toEqual(['a1']);
    await other.close();
    await on.put('a3', { zone: 'b' });
    expect(ids(other.registered)).toEqual(['a1', 'a2']);
    expect(ids((await on.discover()).instances)).toEqual(['a1', 'a2', 'a3']);
    expect(copies).toBe(2);
  });
});

it('waits for a first list until its signal, or its end, also where others wait for the same one', async () => {
  await using on = await bed();
  on.member.refuseClients();
  await using other = on.registry.follow('orders');
  const stop = new AbortController();
  const reason = new Error('enough');
  let outcome: unknown = 'none';
  void on.registry.discover('orders', { signal: stop.signal }).then(
    () => {
      outcome = 'a discovery';
    },
    (error: unknown) => {
      outcome = error;
    },
  );
  await on.clock.settle();
  expect(outcome).toBe('none');
  stop.abort(reason);
  await on.clock.settle();
  expect(outcome).toBe(reason);
  const left = on.registry.follow('orders');
  await left.close();
  await expect(left.ready).rejects.toBeInstanceOf(ClosedError);
  on.member.admitClients();
  await on.clock.until(other.ready);
});

describe('while the store is away', () => {
  it('serves what it knew last, says since when, and misses nobody afterwards (go-kit, goframe: the watch’s end unnoticed)', async () => {
    await using on = await bed();
    for (const id of numbered(5)) await on.put(id);
    const orders = await on.discover();
    expect(orders.staleSince).toBeUndefined();
    await on.member.kill();
    await on.clock.advance(1_000);
    const since = orders.staleSince;
    expect(since).toBeLessThanOrEqual(on.clock.now());
    await on.clock.advance(60_000);
    expect(orders.staleSince).toBe(since);
    expect(orders.synced).toBe(true);
    expect(ids(orders.instances)).toEqual(numbered(5));
    orders.pick().done('success');
    await on.member.restart();
    await on.put('a6');
    await on.clock.advance(5_000);
    expect(orders.staleSince).toBeUndefined();
    expect(ids(orders.instances)).toEqual(numbered(6));
  });

  it('learns what happened meanwhile although history was compacted (etcd’s resolver: frozen; APISIX: entries lost)', async () => {
    await using on = await bed();
    for (const id of numbered(5)) await on.put(id);
    await on.clock.until(on.writer.put(layout.keyOf('orders', 'bad'), '{'));
    const orders = await on.discover();
    on.etcd.setEndpoints(['127.0.0.1:1']);
    await on.clock.advance(100);
    await on.remove('a1');
    await on.put('a6');
    // Good before, and unreadable now: its key says that it is there.
    await on.clock.until(on.writer.put(layout.keyOf('orders', 'a2'), '{'));
    const revision = await on.clock.until(on.writer.revision());
    await on.clock.until(on.writer.compact(revision));
    expect(ids(orders.instances)).toEqual(numbered(5));
    on.etcd.setEndpoints(on.cluster.endpoints);
    await on.clock.advance(5_000);
    expect(ids(orders.instances)).toEqual(['a2', 'a3', 'a4', 'a5', 'a6']);
    expect(orders.badEntries.map(({ key }) => key)).toEqual(['a2', 'bad'].map((id) => layout.keyOf('orders', id)));
    await on.put('a7');
    expect(ids(orders.instances)).toContain('a7');
  });

  it('is told when the client is closed, and not before', async () => {
    await using on = await bed();
    await on.put('a1');
    const orders = await on.discover();
    const next = orders.changes().next();
    await on.etcd.close();
    await expect(next).rejects.toBeInstanceOf(ClosedError);
    expect(orders.synced).toBe(false);
    expect(orders.staleSince).toBeDefined();
    expect(orders.pick().instance.id).toBe('a1');
    await expect(on.registry.discover('orders')).rejects.toBeInstanceOf(ClosedError);
  });
});

describe('a permission', () => {
  // On the machine's time: passwords are hashed by threads, which virtual time does not wait for.
  it('that is missing is told; one that was taken away and given back is mended (etcd’s resolver: frozen for good)', async () => {
    await using cluster = await TestCluster.start({ members: 1 });
    const { auth } = cluster.client();
    const permission = { permission: 'read', target: { prefix: 'services/' } } as const;
    for (const [user, role] of [
      ['root', 'root'],
      ['app', 'reader'],
    ] as const) {
      await auth.users.add(user, { password: user });
      await auth.roles.add(role);
      await auth.users.grantRole(user, role);
    }
    await auth.enable();
    const root = cluster.client({ auth: { username: 'root', password: 'root' } });
    const app = cluster.client({ auth: { username: 'app', password: 'app' } });
    const put = ({ key, value }: ReturnType<typeof stored>) => root.put(key, value);
    await put(stored('a1'));
    const registry = new ServiceRegistry(app);
    await expect(registry.discover('orders')).rejects.toBeInstanceOf(PermissionDeniedError);
    await root.auth.roles.grantPermission('reader', permission);
    const orders = await registry.discover('orders');
    await root.auth.roles.revokePermission('reader', permission.target);
    cluster.members[0]?.dropClients();
    await vi.waitFor(() => expect(orders.error).toBeInstanceOf(PermissionDeniedError), { timeout: 20_000 });
    expect(orders.staleSince).toBeDefined();
    expect(ids(orders.instances)).toEqual(['a1']);
    const changes = orders.changes();
    await root.auth.roles.grantPermission('reader', permission);
    await put(stored('a2'));
    expect((await changes.next()).value).toMatchObject({ type: 'added', instance: { id: 'a2' } });
    expect(orders.error).toBeUndefined();
  });
});

describe('instances that vanish', () => {
  it('together stay, picked last, until they are back or their grace is over (etcd’s resolver: an empty list at once)', async () => {
    await using on = await bed({ protect: { graceMs: 20_000 } });
    const orders = await on.discover({ balance: 'round-robin' });
    const lease = await on.clock.until(on.writer.leases.grant({ ttlSeconds: 15 }));
    for (const id of numbered(4)) await on.put(id, {}, lease);
    // Away for longer than the lease: nobody could renew it, and it ends one TTL after the return.
    await on.member.kill();
    await on.clock.advance(60_000);
    await on.member.restart();
    await on.clock.advance(18_000);
    expect(await on.clock.until(on.writer.count({ prefix: 'services/' }))).toBe(0);
    expect(ids(orders.instances)).toEqual(numbered(4));
    expect(orders.suspects.size).toBe(4);
    expect(numbered(4)).toContain(orders.pick().instance.id);
    await on.put('a2');
    expect([...orders.suspects].sort()).toEqual(['a1', 'a3', 'a4']);
    expect(Array.from({ length: 8 }, () => orders.pick().instance.id)).toEqual(Array(8).fill('a2'));
    await on.clock.advance(22_000);
    expect(ids(orders.registered)).toEqual(['a2']);
    expect(on.clock.pending.foreground).toBe(0);
  });

  it('after having said so are gone at once', async () => {
    await using on = await bed();
    for (const id of numbered(3)) await on.put(id);
    const orders = await on.discover();
    for (const id of numbered(3)) {
      await on.put(id, { status: 'draining' });
      await on.remove(id);
    }
    expect(orders.registered).toEqual([]);
    expect(() => orders.pick()).toThrow(NoInstanceError);
    // Also when both come in one piece, as after an interruption.
    for (const id of numbered(3)) await on.put(id);
    on.etcd.setEndpoints(['127.0.0.1:1']);
    await on.clock.advance(100);
    for (const id of numbered(3)) {
      await on.put(id, { status: 'draining' });
      await on.remove(id);
    }
    expect(ids(orders.instances)).toEqual(numbered(3));
    on.etcd.setEndpoints(on.cluster.endpoints);
    await on.clock.advance(5_000);
    expect(orders.registered).toEqual([]);
  });

  it('are not given up while the store cannot be reached', async () => {
    await using on = await bed({ protect: { graceMs: 10_000 } });
    for (const id of numbered(3)) await on.put(id);
    const orders = await on.discover();
    await on.remove(...numbered(3));
    await on.clock.advance(5_000);
    await on.member.kill();
    await on.clock.advance(60_000);
    expect(orders.suspects.size).toBe(3);
    await on.member.restart();
    await on.clock.advance(8_000);
    expect(orders.suspects.size).toBe(3);
    await on.clock.advance(8_000);
    expect(orders.registered).toEqual([]);
  });

  it('are gone at once when nothing is protected', async () => {
    await using on = await bed({ protect: false });
    for (const id of numbered(3)) await on.put(id);
    const orders = await on.discover();
    await on.remove(...numbered(3));
    expect(orders.registered).toEqual([]);
  });
});

it('a list that does not come is waited for no longer than said, and nothing is left of the wait', async () => {
  await using on = await bed();
  await on.member.kill();
  await expect(on.clock.until(on.registry.discover('orders', { timeoutMs: 3_000 }))).rejects.toThrow(/3000 ms/);
  const stop = new AbortController();
  const waiting = on.registry.discover('orders', { signal: stop.signal });
  stop.abort(new Error('enough'));
  await expect(on.clock.until(waiting)).rejects.toThrow('enough');
  await on.clock.settle();
  expect(on.clock.pending.foreground).toBe(0);
});

it('finds what Go programs have registered, and they what is registered here', async () => {
  await using on = await bed({ layout: 'go' });
  const put = (key: string, value: object) => on.clock.until(on.writer.put(key, JSON.stringify(value)));
  await put('orders/1', { Op: 0, Addr: '10.0.0.1:80', Metadata: null });
  await put('orders_other/1', { Op: 0, Addr: '10.0.0.2:80', Metadata: null });
  const orders = await on.discover();
  expect(orders.pick().authority).toBe('10.0.0.1:80');
  expect(orders.instances).toHaveLength(1);
  await expect(on.registry.names()).rejects.toThrow(/prefix/);
});

it('a strategy that throws is told where it is asked, and stops nothing', async () => {
  await using on = await bed();
  let broken = true;
  const update = (): void => {
    if (broken) throw new Error('no idea');
  };
  const orders = await on.discover({ balance: () => ({ update, pick: ([first]) => first, done: () => {} }) });
  expect(() => orders.pick()).toThrow('no idea');
  await on.put('a1');
  expect(ids(orders.instances)).toEqual(['a1']);
  broken = false;
  await on.put('a2');
  expect(orders.pick().instance.id).toBe('a1');
});
