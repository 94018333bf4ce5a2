/** Registering, changing, leaving, and who else has the id; on a bundled server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { WaitTimeoutError } from '../../../../recipes/errors.ts';
import { InstanceIdTakenError } from '../../../../recipes/services/errors.ts';
import { jsonLayout } from '../../../../recipes/services/json-layout.ts';
import { Registration } from '../../../../recipes/services/registration/registration.ts';
import { GrpcFaultProxy } from '../../../support/grpc-fault-proxy.ts';
import { snapshotResources } from '../../../support/leaks.ts';
import { type Bed, KEY, LAYOUT, SPEC, startBed, untilEvent, untilState } from './bed.ts';

let bed: Bed;
beforeAll(async () => {
  bed = await startBed();
});
afterAll(() => bed[Symbol.asyncDispose]());

describe('a registration', () => {
  it('is in the store when register resolves, on a lease, and gone when it has ended', async () => {
    const registration = await bed.register({ zone: 'a', weight: 2, tags: ['blue'] }, { wallClock: () => 1_700 });
    const kv = await bed.eye.get(KEY);
    expect(LAYOUT.decode(KEY, kv!.valueBytes)).toMatchObject({
      instance: registration.instance,
      owner: { pid: process.pid },
    });
    expect(registration.instance).toEqual({
      ...SPEC,
      ports: {},
      protocol: undefined,
      tags: ['blue'],
      version: undefined,
      weight: 2,
      zone: 'a',
      metadata: {},
      status: 'up',
      registeredAtMs: 1_700,
    });
    expect(registration.state).toBe('registered');
    expect(kv!.lease).toBeDefined();
    await registration.deregister();
    expect(registration.state).toBe('ended');
    expect(await bed.stored()).toBeUndefined();
    expect((await bed.eye.leases.timeToLive(kv!.lease!)).ttlSeconds).toBeUndefined();
    await expect(registration.update({ weight: 3 })).rejects.toMatchObject({ code: 'released' });
  });

  it('draws an id of its own, and takes names with slashes', async () => {
    const [one, two] = await Promise.all([
      bed.register({ name: 'eu/orders', id: undefined }),
      bed.register({ name: 'eu/orders', id: undefined }),
    ]);
    expect(one.instance.id).not.toBe(two.instance.id);
    expect(one.key).toBe(`services/eu%2Forders/${one.instance.id}`);
    expect(await bed.eye.count({ prefix: 'services/eu%2Forders/' })).toBe(2);
    await Promise.all([one.deregister(), two.deregister()]);
  });

  it.each([
    { address: '' },
    { address: 'a b' },
    { address: '[::1]' },
    { port: 0 },
    { port: 1.5 },
    { weight: -1 },
    { ports: { metrics: 70_000 } },
    { tags: [1] as never },
    { name: '' },
    { id: '' },
    { metadata: { a: 1 } as never },
  ])('refuses %o, and names the field', async (spec) => {
    const [field] = Object.keys(spec);
    await expect(bed.register(spec)).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(bed.register(spec)).rejects.toThrow(new RegExp(field!));
    expect(await bed.stored()).toBeUndefined();
  });

  it('has metadata of a type, checked before anything is written', async () => {
    const layout = jsonLayout({ metadata: z.object({ shard: z.number() }) });
    const bad = Registration.start(bed.etcd, layout, { ...SPEC, metadata: { shard: 'secret' as never } });
    const error = await bad.catch((reason: unknown) => reason as Error);
    expect(error).toMatchObject({ code: 'invalid-argument' });
    expect((error as Error).message).toMatch(/shard/);
    expect((error as Error).message).not.toMatch(/secret/);
    await using good = await Registration.start(bed.etcd, layout, { ...SPEC, metadata: { shard: 3 } });
    expect(good.instance.metadata.shard).toBe(3);
    await expect(good.update({ metadata: { shard: null as never } })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    expect((await bed.stored())!['metadata']).toEqual({ shard: 3 });
  });

  it('shows what becomes of it, and ends the loop with itself', async () => {
    const registration = await bed.register();
    const states: string[] = [];
    const told = (async () => {
      for await (const state of registration.states()) states.push(state);
    })();
    await registration.update({ weight: 5 });
    await registration.deregister();
    await told;
    expect(states[0]).toBe('registered');
    expect(states.at(-1)).toBe('ended');
    expect(states).toContain('draining');
  });
});

describe('an update', () => {
  it('changes what is given, by a patch or from what it was, and leaves key and lease as they are', async () => {
    await using registration = await bed.register({ metadata: { a: '1' }, zone: 'x' });
    const before = await bed.eye.get(KEY);
    await registration.update({ weight: 3, zone: undefined });
    await registration.update(({ metadata }) => ({ metadata: { ...metadata, b: '2' } }));
    const after = await bed.eye.get(KEY);
    expect(await bed.stored()).toMatchObject({ weight: 3, metadata: { a: '1', b: '2' }, address: SPEC.address });
    expect((await bed.stored())!['zone']).toBeUndefined();
    expect(after!.createRevision).toBe(before!.createRevision);
    expect(after!.lease).toBe(before!.lease);
    expect(registration.instance.registeredAtMs).toBe((await bed.stored())!['registeredAtMs']);
    await expect(registration.update({ port: 0 })).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(registration.instance.port).toBe(SPEC.port);
  });

  it('comes out as the last one, however many are under way', async () => {
    await using registration = await bed.register();
    await Promise.all(Array.from({ length: 20 }, (_, index) => registration.update({ weight: index })));
    expect(await bed.stored()).toMatchObject({ weight: 19 });
  });
});

describe('an id', () => {
  it('is refused to a second one, which is told who has it, and the first stays (etcd: one overwrites the other)', async () => {
    await using first = await bed.register({ port: 1 }, { owner: 'the first' });
    const error = await bed.register({ port: 2 }, { owner: 'the second' }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InstanceIdTakenError);
    expect(error).toMatchObject({ service: 'orders', id: 'a', holder: { owner: 'the first', pid: process.pid } });
    expect((error as Error).message).toMatch(/the first/);
    expect(await bed.stored()).toMatchObject({ port: 1 });
    expect(first.state).toBe('registered');
  });

  it('is refused although whoever has it wrote something else there', async () => {
    await bed.eye.put(KEY, 'not JSON');
    await expect(bed.register()).rejects.toMatchObject({ code: 'held-by-another', holder: undefined });
    expect((await bed.eye.get(KEY))!.value).toBe('not JSON');
    await bed.eye.delete(KEY);
  });

  it('can be waited for: the former life goes with its lease', async () => {
    const lease = await bed.eye.leases.grant({ ttlSeconds: 60 });
    const former = LAYOUT.encode({ instance: { ...(await instance()), port: 1 }, nonce: 'former', owner: undefined });
    await bed.eye.put(KEY, former, { lease });
    await using proxy = await GrpcFaultProxy.start({ target: bed.cluster.endpoints[0]!.replace('http://', '') });
    await using etcd = bed.cluster.client({ endpoints: [`http://${proxy.address}`] });
    const options = { whenTaken: 'wait', timeoutMs: 60_000 } as const;
    const coming = Registration.start(etcd, LAYOUT, { ...SPEC, port: 2 }, options);
    // It has seen that the id is taken.
    await proxy.waitFor((calls) => calls.some(({ path, ended }) => path === '/etcdserverpb.KV/Txn' && ended));
    await bed.eye.leases.revoke(lease.id);
    await using registration = await coming;
    expect(await bed.stored()).toMatchObject({ port: 2 });
    expect(registration.lastError).toBeUndefined();
  });

  it('is waited for no longer than was said', async () => {
    await using _first = await bed.register();
    const refused = bed.register({ port: 2 }, { whenTaken: 'wait', timeoutMs: 50 });
    await expect(refused).rejects.toBeInstanceOf(InstanceIdTakenError);
    const controller = new AbortController();
    const aborted = bed.register({ port: 2 }, { whenTaken: 'wait', signal: controller.signal });
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: 'aborted' });
    expect(await bed.eye.count({ prefix: 'services/' })).toBe(1);
  });
});

describe('the end', () => {
  it('is marked first, so that readers know that it leaves by itself', async () => {
    const registration = await bed.register();
    const { modRevision } = (await bed.eye.get(KEY))!;
    const marked = untilEvent(bed.eye, modRevision, 'put', ({ status }) => status === 'draining');
    const gone = untilEvent(bed.eye, modRevision, 'delete');
    await registration[Symbol.asyncDispose]();
    await marked;
    await gone;
  });

  it('leaves nothing running', async () => {
    await bed.etcd.get('warm');
    const before = snapshotResources();
    const registration = await bed.register({}, { checks: [{ check: () => true }] });
    await registration.drain({ propagationMs: 0 });
    await before.expectNothingAdded();
  });

  it('of the client is that of its registrations', async () => {
    const etcd = bed.cluster.client();
    const registration = await Registration.start(etcd, LAYOUT, { ...SPEC, id: 'b' }, { ttlSeconds: 5 });
    const ended = untilState(registration, 'ended');
    await etcd.close();
    await ended;
    await registration[Symbol.asyncDispose]();
    await expect(Registration.start(etcd, LAYOUT, SPEC)).rejects.toMatchObject({ code: 'closed' });
  });
});

it('tries on while the store is away, for as long as it was told', async () => {
  const etcd = bed.cluster.client({ endpoints: ['127.0.0.1:1'], timeoutMs: 50 });
  const error = await Registration.start(etcd, LAYOUT, SPEC, { timeoutMs: 300 }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(WaitTimeoutError);
  expect((error as Error).cause).toMatchObject({ code: 'unavailable' });
});

async function instance() {
  await using registration = await bed.register({ id: 'z' });
  return registration.instance;
}
