import { afterAll, beforeAll, expect, it } from 'vitest';
import { formatId, leaseId } from '../../../src/protocol/int64.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { type AdminClient, adminClient, countUnder, exists, grant } from './callers.ts';

/** Waits until a number of keys, the holder's and the waiters', stands under a name. */
async function queueOf(etcd: AdminClient, name: string, length: number): Promise<void> {
  await expect.poll(() => countUnder(etcd, `${name}/`), { timeout: 10_000 }).toBe(length);
}

describeOnEtcd('locks', (suite) => {
  let etcd: AdminClient;
  beforeAll(() => {
    etcd = adminClient(suite.cluster);
  });
  afterAll(() => etcd[Symbol.dispose]());

  it('are handed from one to the next', async () => {
    const name = `${suite.prefix()}lock`;
    const [first, second] = [await grant(etcd), await grant(etcd)];
    const held = await etcd.locks.lock(name, first);
    expect(held.key).toBe(`${name}/${formatId(first)}`);
    expect(await exists(etcd, held.keyBytes)).toBe(true);
    expect((await etcd.locks.lock(name, first)).key).toBe(held.key);
    const waiting = etcd.locks.lock(name, second);
    await queueOf(etcd, name, 2);
    await etcd.locks.unlock(held.keyBytes);
    const next = await waiting;
    expect(next.header.revision).toBeGreaterThan(held.header.revision);
    await etcd.locks.unlock(next.key);
    await etcd.locks.unlock(next.key); // a key that is gone is no error
    expect(await countUnder(etcd, name)).toBe(0);
  });

  it('leave no waiter behind when a signal or a deadline ends the wait', async () => {
    const name = `${suite.prefix()}lock`;
    const held = await etcd.locks.lock(name, await grant(etcd));
    const stop = new AbortController();
    const lease = await grant(etcd);
    const waiting = etcd.locks.lock(name, lease, { signal: stop.signal });
    await queueOf(etcd, name, 2);
    stop.abort();
    const aborted = {
      code: 'aborted',
      applied: 'maybe',
      message: expect.stringContaining('the server removes the waiter'),
    };
    await expect(waiting).rejects.toMatchObject(aborted);
    await queueOf(etcd, name, 1);
    const late = {
      code: 'deadline',
      applied: 'maybe',
      message: expect.stringContaining('the server removes the waiter'),
    };
    await expect(etcd.locks.lock(name, lease, { timeoutMs: 200 })).rejects.toMatchObject(late);
    await queueOf(etcd, name, 1);
    expect(await exists(etcd, held.keyBytes)).toBe(true);
  });

  it("wait longer than the client's own deadline", async () => {
    using hasty = adminClient({ endpoints: suite.cluster.endpoints, timeoutMs: 1_500 });
    const name = `${suite.prefix()}lock`;
    const held = await hasty.locks.lock(name, await grant(hasty));
    const waiting = hasty.locks.lock(name, await grant(hasty));
    await queueOf(hasty, name, 2);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    await hasty.locks.unlock(held.key);
    expect((await waiting).key).toContain(name);
  });

  it('are not asked for twice when the reply is lost', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    using shaky = adminClient({ endpoints: [proxy.address] });
    proxy.rule({ path: '/v3lockpb.Lock/Lock', action: 'swallow-reply' });
    const error: unknown = await shaky.locks
      .lock(`${suite.prefix()}lock`, await grant(etcd))
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'unavailable', applied: 'maybe', attempts: 1 });
    expect(proxy.count('/v3lockpb.Lock/Lock')).toBe(1);
  });

  it('name an unknown lease, and want one', async () => {
    const name = `${suite.prefix()}lock`;
    const unknown = { code: 'lease-not-found', applied: 'no' };
    await expect(etcd.locks.lock(name, leaseId(0x123n))).rejects.toMatchObject(unknown);
    await expect(etcd.locks.lock(name, leaseId(0n))).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(etcd.locks.unlock('')).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});

describeOnEtcd('elections', (suite) => {
  let etcd: AdminClient;
  beforeAll(() => {
    etcd = adminClient(suite.cluster);
  });
  afterAll(() => etcd[Symbol.dispose]());

  it('are won, proclaimed, followed and resigned', async () => {
    const name = `${suite.prefix()}election`;
    expect(await etcd.elections.leader(name)).toBeUndefined();
    const [first, second] = [await grant(etcd), await grant(etcd)];
    const won = await etcd.elections.campaign(name, first, 'ada');
    expect(Buffer.from(won.leader.name).toString()).toBe(name);
    expect(won.leader.lease).toBe(first);
    const leader = await etcd.elections.leader(name);
    expect(leader).toMatchObject({ value: 'ada', createRevision: won.leader.revision, lease: first });

    const stop = new AbortController();
    const seen: string[] = [];
    const following = (async () => {
      for await (const { value } of etcd.elections.observe(name, { signal: stop.signal })) seen.push(value);
    })();
    await expect.poll(() => seen).toEqual(['ada']);
    await etcd.elections.proclaim(won.leader, 'ada, again');
    await expect.poll(() => seen).toEqual(['ada', 'ada, again']);

    const waiting = etcd.elections.campaign(name, second, 'grace');
    await queueOf(etcd, name, 2);
    await etcd.elections.resign(won.leader);
    const next = await waiting;
    expect(next.leader.revision).toBeGreaterThan(won.leader.revision);
    await expect.poll(() => seen).toEqual(['ada', 'ada, again', 'grace']);
    stop.abort();
    await expect(following).rejects.toMatchObject({ code: 'aborted' });

    const deposed = { etcdCode: 'ElectionNotLeader', applied: 'no' };
    await expect(etcd.elections.proclaim(won.leader, 'too late')).rejects.toMatchObject(deposed);
    await etcd.elections.resign(won.leader); // twice is no error, and does not hit the successor
    expect((await etcd.elections.leader(name))?.value).toBe('grace');
    await etcd.elections.resign(next.leader);
    expect(await etcd.elections.leader(name)).toBeUndefined();
  });

  it('leave no candidate behind when a signal ends the wait', async () => {
    const name = `${suite.prefix()}election`;
    await etcd.elections.campaign(name, await grant(etcd), 'ada');
    const stop = new AbortController();
    const waiting = etcd.elections.campaign(name, await grant(etcd), 'grace', { signal: stop.signal });
    await queueOf(etcd, name, 2);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({
      code: 'aborted',
      message: expect.stringContaining('the leadership'),
    });
    await queueOf(etcd, name, 1);
  });

  it('close the stream when the follower leaves the loop', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    using client = adminClient({ endpoints: [proxy.address] });
    const name = `${suite.prefix()}election`;
    await client.elections.campaign(name, await grant(client), 'ada');
    for await (const { value } of client.elections.observe(name)) {
      expect(value).toBe('ada');
      break;
    }
    await proxy.waitFor(() => proxy.callsOf('/v3electionpb.Election/Observe')[0]?.ended === true);
  });

  it('name an unknown lease, and want one', async () => {
    const name = `${suite.prefix()}election`;
    const unknown = { code: 'lease-not-found', applied: 'no' };
    await expect(etcd.elections.campaign(name, leaseId(0x123n), 'x')).rejects.toMatchObject(unknown);
    await expect(etcd.elections.campaign(name, leaseId(0n), 'x')).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});
