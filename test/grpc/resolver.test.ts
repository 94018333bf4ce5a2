/** Channels of the user's own grpc-js, against real gRPC servers. */
import * as grpc from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { type EtcdResolverOptions, registerEtcdResolver } from '../../src/grpc/index.ts';
import { VirtualClock } from '../../src/testing/index.ts';
import { FakeService } from '../recipes/services/fake-service.ts';
import { Greeter, GreeterClient } from './greeter.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function greeters(...ids: string[]): Promise<Greeter[]> {
  const started = await Promise.all(ids.map((id) => Greeter.start(id)));
  closing.push(() => started.forEach((greeter) => void greeter.kill()));
  return started;
}

function register(service: FakeService, options: EtcdResolverOptions = {}): void {
  const registration = registerEtcdResolver(grpc, () => service, options);
  closing.push(() => registration[Symbol.dispose]());
}

function client(target = 'etcd:///orders', options: grpc.ChannelOptions = {}): GreeterClient {
  const made = new GreeterClient(target, options);
  closing.push(() => made.close());
  return made;
}

/** Calls until this answers, one call after another. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
}

async function tally(orders: GreeterClient, calls: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let call = 0; call < calls; call += 1) {
    const who = await orders.greet();
    counts[who] = (counts[who] ?? 0) + 1;
  }
  return counts;
}

const config = (policy: string): grpc.ChannelOptions => ({
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ [policy]: {} }] }),
});

describe('a channel to etcd:///orders', () => {
  it('calls the instances that the discovery picks, and tells it how the calls end', async () => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const service = new FakeService('orders', [a.instance, b.instance]);
    register(service);
    const orders = client();
    await until(async () => (await orders.greet()) === 'b');
    await until(async () => (await orders.greet()) === 'a');
    service.picks.length = 0;
    expect(await tally(orders, 20)).toEqual({ a: 10, b: 10 });
    expect(service.outcomes()).toEqual(Array(20).fill('success'));
    b.failWith = grpc.status.INTERNAL;
    a.failWith = grpc.status.NOT_FOUND;
    service.picks.length = 0;
    await expect(orders.greet()).rejects.toThrow();
    await expect(orders.greet()).rejects.toThrow();
    expect([...service.outcomes('a'), ...service.outcomes('b')]).toEqual(['success', 'failure']);
  });

  it('reports a call that is cancelled as such', async () => {
    const [a] = (await greeters('a')) as [Greeter];
    a.hold();
    const service = new FakeService('orders', [a.instance]);
    register(service);
    const called = a.called();
    const ended = new Promise<grpc.ServiceError | null>((resolve) => {
      const call = client().start({}, (error) => resolve(error));
      void called.then(() => call.cancel());
    });
    expect((await ended)?.code).toBe(grpc.status.CANCELLED);
    expect(service.outcomes()).toEqual(['cancelled']);
  });

  it('fails calls at once while nobody takes requests, and lets those wait that want to', async () => {
    const service = new FakeService('orders', []);
    register(service);
    const orders = client();
    await expect(orders.greet()).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: 'orders has no instance that takes requests',
    });
    const patient = orders.greet({ waitForReady: true });
    const [a] = (await greeters('a')) as [Greeter];
    service.set(a.instance);
    expect(await patient).toBe('a');
  });

  it.each(['etcdkit', 'round_robin', 'pick_first'])('fails calls when the last one leaves, with %s', async (policy) => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const service = new FakeService('orders', [a.instance]);
    register(service, { policy });
    const orders = client();
    expect(await orders.greet()).toBe('a');
    service.set();
    await until(() =>
      orders.greet().then(
        () => false,
        () => true,
      ),
    );
    await expect(orders.greet()).rejects.toMatchObject({ code: grpc.status.UNAVAILABLE });
    const calls = a.calls;
    service.set(b.instance);
    expect(await orders.greet({ waitForReady: true })).toBe('b');
    expect(a.calls).toBe(calls);
  });

  it('gives a drained instance no new calls, and lets those under way end well', async () => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const service = new FakeService('orders', [a.instance]);
    register(service);
    const orders = client();
    a.hold();
    const called = a.called();
    const slow = orders.greet();
    await called;
    service.set(b.instance);
    expect(await orders.greet({ waitForReady: true })).toBe('b');
    expect(await tally(orders, 10)).toEqual({ b: 10 });
    a.letGo();
    expect(await slow).toBe('a');
    expect(a.calls).toBe(1);
  });

  it('goes on with the others when one is killed, and comes back to it when it is there again', async () => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const service = new FakeService('orders', [a.instance, b.instance]);
    register(service);
    const orders = client('etcd:///orders', { 'grpc.initial_reconnect_backoff_ms': 100 });
    await until(async () => (await orders.greet()) === 'a');
    a.kill();
    await until(() =>
      orders.greet().then(
        () => true,
        () => false,
      ),
    );
    expect(await tally(orders, 10)).toEqual({ b: 10 });
    const again = await Greeter.start('a again', a.port);
    closing.push(() => again.kill());
    await until(async () => (await orders.greet()) === 'a again');
  });

  it('fails calls when no instance can be reached', async () => {
    const [a] = (await greeters('a')) as [Greeter];
    a.kill();
    register(new FakeService('orders', [a.instance]));
    await expect(client().greet()).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: expect.stringContaining('no instance of orders can be reached'),
    });
  });

  it('follows an instance that comes back with another address', async () => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const service = new FakeService('orders', [a.instance]);
    register(service);
    const orders = client();
    expect(await orders.greet()).toBe('a');
    service.set({ ...b.instance, id: 'a' });
    await until(async () => (await orders.greet()) === 'b');
    expect(await tally(orders, 5)).toEqual({ b: 5 });
  });

  it('uses the port with the name that was asked for', async () => {
    const [a] = (await greeters('a')) as [Greeter];
    const service = new FakeService('orders', [{ ...a.instance, port: 1, ports: { grpc: a.port } }]);
    register(service, { portName: 'grpc' });
    const orders = client();
    expect(await orders.greet()).toBe('a');
    service.set(a.instance);
    expect(await orders.greet()).toBe('a');
  });

  it('hashes calls by a metadata entry', async () => {
    const [a] = (await greeters('a')) as [Greeter];
    const service = new FakeService('orders', [a.instance]);
    register(service, { hashMetadata: 'x-user' });
    await client().greet({ metadata: { 'x-user': 'ada' } });
    expect(service.picks.at(-1)?.options.hashKey).toBe('ada');
  });
});

describe("grpc-js' own policies", () => {
  it('spread calls, without the instances whose weight is 0', async () => {
    const [a, b, c] = (await greeters('a', 'b', 'c')) as [Greeter, Greeter, Greeter];
    const service = new FakeService('orders', [a.instance, b.instance, { ...c.instance, weight: 0 }]);
    register(service, { policy: 'round_robin' });
    const orders = client();
    await until(async () => (await orders.greet()) === 'b');
    await until(async () => (await orders.greet()) === 'a');
    expect(await tally(orders, 10)).toEqual({ a: 5, b: 5 });
    expect(service.picks).toEqual([]);
  });

  it('are taken from the service config of the channel, whose other settings stay', async () => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const service = new FakeService('orders', [a.instance, b.instance]);
    register(service);
    const picked = client('etcd:///orders', config('pick_first'));
    const who = await picked.greet();
    expect(await tally(picked, 5)).toEqual({ [who]: 5 });
    expect(service.picks).toEqual([]);
    a.hold();
    b.hold();
    const methodConfig = [{ name: [{ service: '' }], timeout: '0.05s' }];
    const hurried = client('etcd:///orders', { 'grpc.service_config': JSON.stringify({ methodConfig }) });
    await expect(hurried.greet()).rejects.toMatchObject({ code: grpc.status.DEADLINE_EXCEEDED });
    expect(service.outcomes()).toEqual(['failure']);
  });

  it('can have ours below them', async () => {
    const [a] = (await greeters('a')) as [Greeter];
    const service = new FakeService('orders', [a.instance]);
    register(service, { policy: { outlier_detection: { child_policy: [{ etcdkit: {} }] } } });
    const orders = client();
    expect(await orders.greet()).toBe('a');
    expect(service.outcomes()).toEqual(['success']);
    service.set({ ...a.instance, weight: 0 });
    // Nobody is left who takes calls: they fail, and do not wait for a connection that nobody makes.
    await until(() =>
      orders.greet().then(
        () => false,
        (error: grpc.ServiceError) => error.code === grpc.status.UNAVAILABLE,
      ),
    );
  });

  it('have to be known', () => {
    expect(() => registerEtcdResolver(grpc, () => new FakeService(), { policy: 'magic' })).toThrow(/policy magic/);
  });
});

describe('the first list', () => {
  it('is waited for no longer than the limit; who wants to wait, waits on', async () => {
    const clock = new VirtualClock();
    const service = new FakeService();
    register(service, { clock, resolveTimeoutMs: 5_000 });
    const orders = client();
    const impatient = orders.greet();
    const patient = orders.greet({ waitForReady: true });
    impatient.catch(() => {});
    await until(() => clock.pending.all > 0);
    await clock.advance(5_000);
    await expect(impatient).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: expect.stringContaining('orders cannot be resolved'),
    });
    const [a] = (await greeters('a')) as [Greeter];
    service.set(a.instance);
    expect(await patient).toBe('a');
  });

  it('is asked for again when the discovery fails, and when its news end', async () => {
    const [a, b] = (await greeters('a', 'b')) as [Greeter, Greeter];
    const services = [
      new FakeService(),
      new FakeService('orders', [a.instance]),
      new FakeService('orders', [b.instance]),
    ];
    services[0]?.fail(new Error('no permission'));
    let asked = 0;
    const registration = registerEtcdResolver(grpc, () => services[asked++] as FakeService);
    closing.push(() => registration[Symbol.dispose]());
    const orders = client('etcd:///orders', { 'grpc.initial_reconnect_backoff_ms': 100 });
    await expect(orders.greet()).rejects.toThrow('orders cannot be resolved: no permission');
    expect(await orders.greet({ waitForReady: true })).toBe('a');
    expect(services[0]?.closed).toBe(true);
    services[1]?.end();
    // Until then the last list holds.
    await until(async () => (await orders.greet()) === 'b');
    expect(asked).toBe(3);
  });
});

describe('registrations', () => {
  it('share one discovery among channels, and close it with the last of them', async () => {
    const [a] = (await greeters('a')) as [Greeter];
    const service = new FakeService('orders', [a.instance]);
    let asked = 0;
    const registration = registerEtcdResolver(grpc, () => {
      asked += 1;
      return service;
    });
    closing.push(() => registration[Symbol.dispose]());
    const channels = [new GreeterClient('etcd:///orders'), new GreeterClient('etcd:///orders')];
    for (const channel of channels) await channel.greet();
    expect(asked).toBe(1);
    channels[0]?.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect(service.closed).toBe(false);
    channels[1]?.close();
    await until(() => service.closed);
  });

  it('stand side by side by authority, and are replaced for later channels', async () => {
    const [a, b, c] = (await greeters('a', 'b', 'c')) as [Greeter, Greeter, Greeter];
    register(new FakeService('orders', [a.instance]));
    register(new FakeService('orders', [b.instance]), { authority: 'eu' });
    const before = client();
    register(new FakeService('orders', [c.instance]));
    expect(await before.greet()).toBe('a');
    expect(await client('etcd://eu/orders').greet()).toBe('b');
    expect(await client().greet()).toBe('c');
  });

  it('refuse targets that nobody serves', () => {
    register(new FakeService('orders', []), { authority: 'eu' });
    expect(() => new GreeterClient('etcd://us/orders')).toThrow(/etcd:\/\/us\/orders/);
  });

  it('want a grpc-js that has what is needed', () => {
    expect(() => registerEtcdResolver({ experimental: {} } as never, () => new FakeService())).toThrow(/1\.14/);
  });
});
