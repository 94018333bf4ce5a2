/** The faults that registries are known for: kratos, go-zero, Curator, etcd's own endpoints. On a bundled server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Registration } from '../../../../recipes/services/registration/registration.ts';
import { GrpcCode, type LeaseId, type Revision } from '../../../../src/index.ts';
import { type ClientMessage, GrpcFaultProxy, type Verdict } from '../../../support/grpc-fault-proxy.ts';
import { sendUnary } from '../../../support/grpc-send.ts';
import { type Bed, KEY, LAYOUT, SPEC, startBed, untilEvent, untilState } from './bed.ts';

const TXN = '/etcdserverpb.KV/Txn';

let bed: Bed;
beforeAll(async () => {
  bed = await startBed();
});
afterAll(() => bed[Symbol.asyncDispose]());

const leaseOf = async (): Promise<LeaseId | undefined> => (await bed.eye.get(KEY))?.lease;
const revisionNow = (): Promise<Revision> => bed.eye.revision();

describe('a key that is deleted behind its back', () => {
  it('is put again, with the latest data (go-zero #4960)', async () => {
    await using registration = await bed.register();
    await registration.update({ weight: 7 });
    for (let times = 0; times < 3; times++) {
      const before = await revisionNow();
      const back = untilEvent(bed.eye, before, 'put', ({ weight }) => weight === 7);
      await bed.eye.delete(KEY);
      await back;
    }
    await untilState(registration, 'registered');
    expect(await bed.stored()).toMatchObject({ weight: 7, status: 'up' });
  });

  it('is put again with the change that was made meanwhile', async () => {
    await using registration = await bed.register();
    const deleted = bed.eye.delete(KEY);
    const updated = registration.update({ weight: 9 });
    await Promise.all([deleted, updated]);
    await bed.eye.delete(KEY);
    const { weight } = registration.instance;
    expect(weight).toBe(9);
    await untilEvent(bed.eye, (await revisionNow()) - 2n, 'put', (value) => value['weight'] === 9);
  });

  it('is set right when somebody writes to it without a lease, or puts back what it was', async () => {
    await using registration = await bed.register();
    const old = (await bed.eye.get(KEY))!;
    const lease = old.lease;
    const oldValue = Buffer.from(old.valueBytes);
    await registration.update({ weight: 4 });
    const before = await revisionNow();
    const back = untilEvent(bed.eye, before + 1n, 'put', ({ weight }) => weight === 4);
    await bed.eye.put(KEY, oldValue);
    await back;
    expect(await leaseOf()).toBe(lease);
  });
});

it('comes back also when it was deleted, and that compacted away, before its watch was made', async () => {
  await using proxy = await GrpcFaultProxy.start({ target: bed.cluster.endpoints[0]!.replace('http://', '') });
  await using etcd = bed.cluster.client({ endpoints: [`http://${proxy.address}`] });
  const rules = ['/etcdserverpb.Watch/Watch', '/etcdserverpb.KV/Range'].map((path) =>
    proxy.rule({ path, action: 'reset-before' }),
  );
  await using registration = await Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 5 });
  await bed.eye.delete(KEY);
  await bed.eye.compact(await revisionNow());
  const back = untilEvent(bed.eye, await revisionNow(), 'put');
  for (const rule of rules) rule.remove();
  await back;
  await untilState(registration, 'registered');
});

describe('a lease that is lost', () => {
  it('is replaced, and the record with the latest data is on the new one (etcd: never; kratos: gives up)', async () => {
    await using registration = await bed.register();
    await registration.update({ metadata: { build: '2' } });
    const lost: LeaseId[] = [];
    for (let times = 0; times < 3; times++) {
      const lease = (await leaseOf())!;
      lost.push(lease);
      const before = await revisionNow();
      const back = untilEvent(bed.eye, before, 'put');
      await bed.eye.leases.revoke(lease);
      await back;
    }
    await untilState(registration, 'registered');
    expect(await bed.stored()).toMatchObject({ metadata: { build: '2' } });
    expect(lost).not.toContain(await leaseOf());
    expect(registration.lastError).toBeUndefined();
  });

  it('of one registration is none of another (kratos: one lease for all, closed by the second)', async () => {
    await using one = await bed.register();
    const other = await bed.register({ name: 'stock' });
    const otherKv = (await bed.eye.get(other.key))!;
    expect(otherKv.lease).not.toBe(await leaseOf());
    const before = await revisionNow();
    await other.deregister();
    expect(await bed.stored()).toBeDefined();
    expect(one.state).toBe('registered');
    // Not even for a moment.
    const gone: string[] = [];
    const stop = new AbortController();
    const seen = (async () => {
      for await (const event of bed.eye.watch({ prefix: 'services/' }, { from: (before + 1n) as Revision })) {
        if (event.type === 'delete') gone.push(event.kv.key);
        if (event.type === 'put' && event.kv.key === 'services/end') return;
      }
    })();
    await bed.eye.put('services/end', '');
    await seen;
    stop.abort();
    expect(gone).toEqual([other.key]);
    await bed.eye.delete('services/end');
  });
});

describe('deregistration is final', () => {
  it('whatever it meets with: a key just deleted, a lease just revoked, an update under way (CURATOR-164)', async () => {
    for (const disturbance of ['delete', 'revoke', 'update', 'delete', 'revoke'] as const) {
      const registration = await bed.register();
      const lease = (await leaseOf())!;
      if (disturbance === 'delete') await bed.eye.delete(KEY);
      if (disturbance === 'revoke') await bed.eye.leases.revoke(lease);
      const updating =
        disturbance === 'update' ? registration.update({ weight: 2 }).catch(() => {}) : Promise.resolve();
      await registration.deregister();
      await updating;
      const { revision } = await bed.eye.range({ prefix: 'services/' });
      expect(await bed.stored()).toBeUndefined();
      // Nothing comes after it, either: the next thing that happens to these keys is this.
      await bed.eye.put('services/end', disturbance);
      const next = bed.eye.watch({ prefix: 'services/' }, { from: (revision + 1n) as Revision });
      for await (const event of next) {
        expect(event).toMatchObject({ type: 'put', kv: { key: 'services/end' } });
        break;
      }
      await bed.eye.delete('services/end');
    }
  });

  it('although a write of its own is under way, and late', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: bed.cluster.endpoints[0]!.replace('http://', '') });
    await using etcd = bed.cluster.client({ endpoints: [`http://${proxy.address}`] });
    const registration = await Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 5 });
    const before = proxy.count(TXN);
    proxy.rule({ path: TXN, nth: 1, action: { delayMs: 300 } });
    const updating = registration.update({ weight: 2 }).catch(() => {});
    await proxy.waitFor(() => proxy.count(TXN) > before);
    await registration.deregister();
    await updating;
    expect(await bed.stored()).toBeUndefined();
    await proxy.waitFor((calls) => calls.every(({ path, ended }) => path !== TXN || ended));
    expect(await bed.stored()).toBeUndefined();
  });
});

describe('an answer that is lost', () => {
  it('to the first write leaves no doubt: the record is its own, and is adopted', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: bed.cluster.endpoints[0]!.replace('http://', '') });
    await using etcd = bed.cluster.client({ endpoints: [`http://${proxy.address}`] });
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    await using registration = await Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 5 });
    expect(registration.state).toBe('registered');
    expect((await bed.eye.get(KEY))!.version).toBe(1n);
    expect(proxy.count(TXN)).toBe(2);
  });

  it('to an update leaves no doubt either, and the next one goes on from there', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: bed.cluster.endpoints[0]!.replace('http://', '') });
    await using etcd = bed.cluster.client({ endpoints: [`http://${proxy.address}`] });
    await using registration = await Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 5 });
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'cut' });
    await registration.update({ weight: 2 });
    await registration.update({ weight: 3 });
    expect(await bed.stored()).toMatchObject({ weight: 3 });
  });
});

describe('a write that was given up, and comes late', () => {
  const target = (): string => bed.cluster.endpoints[0]!.replace('http://', '');

  /** A client whose n-th transaction does not get there; `late` sends it. Gives the status of its answer. */
  async function holdingBack(nth: number) {
    let held: ClientMessage | undefined;
    let txns = 0;
    const gate = (message: ClientMessage): Verdict => {
      if (message.call.path !== TXN) return 'forward';
      txns += 1;
      if (txns !== nth) return 'forward';
      held = message;
      return 'cut';
    };
    const proxy = await GrpcFaultProxy.start({ target: target(), gate });
    const etcd = bed.cluster.client({ endpoints: [`http://${proxy.address}`] });
    return {
      register: () => Registration.start(etcd, LAYOUT, SPEC, { ttlSeconds: 5, rejoinJitterMs: 0 }),
      late: (): Promise<number> => sendUnary(target(), TXN, held!.payload),
      async [Symbol.asyncDispose]() {
        await etcd.close();
        await proxy[Symbol.asyncDispose]();
      },
    };
  }

  it('changes nothing of what has been written since', async () => {
    await using first = await holdingBack(1);
    await using registration = await first.register();
    const before = (await bed.eye.get(KEY))!;
    expect(await first.late()).toBe(GrpcCode.OK);
    expect((await bed.eye.get(KEY))!.modRevision).toBe(before.modRevision);
    await registration.deregister();

    await using third = await holdingBack(3);
    await using other = await third.register();
    await other.update({ weight: 2 });
    await other.update({ weight: 3 });
    expect(await third.late()).toBe(GrpcCode.OK);
    expect(await bed.stored()).toMatchObject({ weight: 3 });
  });

  it('does not bring it back when it has been deregistered, whichever lease it was on', async () => {
    for (const isLost of [false, true]) {
      await using first = await holdingBack(1);
      const registration = await first.register();
      if (isLost) {
        const back = untilEvent(bed.eye, await revisionNow(), 'put');
        await bed.eye.leases.revoke((await leaseOf())!);
        await back;
        await untilState(registration, 'registered');
      }
      await registration.deregister();
      expect(await first.late()).toBe(GrpcCode.NOT_FOUND);
      expect(await bed.stored()).toBeUndefined();
    }
  });
});

it('is told when another has got the id after a loss, leaves that one alone, and comes back when it goes', async () => {
  await using registration = await bed.register();
  const kv = (await bed.eye.get(KEY))!;
  const other = Buffer.from(kv.value.replace(/"nonce":"[^"]*"/, '"nonce":"other"'));
  // In one transaction: its own key replaced by another's.
  await bed.eye.put(KEY, other);
  await untilState(registration, 'taken');
  expect(registration.lastError).toMatchObject({ code: 'held-by-another', holder: { pid: process.pid } });
  expect(Buffer.from((await bed.eye.get(KEY))!.valueBytes).equals(other)).toBe(true);
  const before = await revisionNow();
  const back = untilEvent(bed.eye, before, 'put', ({ nonce }) => nonce !== 'other');
  await bed.eye.delete(KEY);
  await back;
  await untilState(registration, 'registered');
});

it('outlives the death and the return of its server without leaving the list', async () => {
  await using own = await startBed();
  await using registration = await own.register({}, { ttlSeconds: 10 });
  const before = (await own.eye.get(KEY))!;
  const [member] = own.cluster.members;
  await member!.kill();
  await member!.restart();
  await registration.update({ weight: 2 });
  const after = (await own.eye.get(KEY))!;
  expect(after.createRevision).toBe(before.createRevision);
  expect(after.lease).toBe(before.lease);
});

it('comes back in a store that was set back to an earlier revision, and goes on to watch its key there', async () => {
  await using before = await startBed();
  await using after = await startBed();
  for (let times = 0; times < 50; times++) await before.eye.put('other', `${times}`);
  const registration = await before.register();
  expect((await before.eye.get(KEY))!.modRevision).toBeGreaterThan(50n);
  before.etcd.setEndpoints(after.cluster.endpoints);
  await before.cluster.members[0]!.kill();
  await untilEvent(after.eye, 0n, 'put');
  await untilState(registration, 'registered');
  const revision = await after.eye.revision();
  expect(revision).toBeLessThan(50n);
  const back = untilEvent(after.eye, revision, 'put');
  await after.eye.delete(KEY);
  await back;
  await registration.deregister();
  expect(await after.stored()).toBeUndefined();
});
