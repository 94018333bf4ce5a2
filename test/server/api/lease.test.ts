import { describe, expect, it } from 'vitest';
import {
  Lease,
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import { leaseMethods } from '../../../src/server/api/lease.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import { newUser } from '../auth/support.ts';
import { ask, BidiCall, refusalOf } from './calls.ts';
import { FakeGuard, FakeMember, OPTIONS } from './fake-member.ts';

function setUp(random: () => number = () => 0.5) {
  const member = new FakeMember();
  const methods = leaseMethods(member, new FakeGuard(member), { ...OPTIONS, random });
  const grant = (ID: bigint, TTL: bigint) => ask(methods, Lease.leaseGrant, { ID, TTL });
  const keepAlive = (options: { room?: number; user?: string } = {}) =>
    new BidiCall<LeaseKeepAliveRequest, LeaseKeepAliveResponse>(methods, Lease.leaseKeepAlive, options);
  return { member, methods, grant, keepAlive };
}

describe('granting', () => {
  it('takes the id that is asked for, and gives the least time there is', async () => {
    const { grant } = setUp();
    expect(await grant(5n, 60n)).toMatchObject({ ID: 5n, TTL: 60n, error: '', header: { revision: 1n, raftTerm: 2n } });
    expect(await grant(-7n, -5n)).toMatchObject({ ID: -7n, TTL: 2n });
    expect(await grant(2n ** 63n - 1n, 9_000_000_000n)).toMatchObject({ TTL: 9_000_000_000n });
  });

  it('picks a positive id that is free', async () => {
    // The first two draws make an id, the next two the same one again, then another; 0 is none.
    const draws = [0.25, 0, 0.25, 0, 0, 0, 0, 0.5];
    const { grant } = setUp(() => draws.shift() ?? 0.999999999999);
    expect((await grant(0n, 10n)).ID).toBe(2n ** 61n);
    expect((await grant(0n, 10n)).ID).toBe(2n ** 31n);
    const { ID } = await grant(0n, 10n);
    expect(ID > 0n && ID < 2n ** 63n).toBe(true);
  });

  it('is refused in the words of etcd', async () => {
    const { grant } = setUp();
    await grant(5n, 60n);
    expect(await refusalOf(grant(5n, 60n))).toBe(Refusals.LeaseExists.text);
    expect(await refusalOf(grant(6n, 9_000_000_001n))).toBe(Refusals.LeaseTtlTooLarge.text);
  });
});

describe('revoking', () => {
  it('deletes the keys in one revision', async () => {
    const { member, methods, grant } = setUp();
    await grant(5n, 60n);
    for (const key of ['b', 'a']) await member.propose({ put: { key: toBytes(key), lease: 5n } });
    expect((await ask(methods, Lease.leaseRevoke, { ID: 5n })).header?.revision).toBe(4n);
    expect([...member.store.history(4, 9)].map(({ key }) => key)).toEqual(['a', 'b']);
    expect(await refusalOf(ask(methods, Lease.leaseRevoke, { ID: 5n }))).toBe(Refusals.LeaseNotFound.text);
  });
});

describe('keeping alive', () => {
  it('answers with the whole time, or with 0, and goes on', async () => {
    const { grant, keepAlive } = setUp();
    await grant(5n, 60n);
    const call = keepAlive();
    for (const ID of [5n, 9n, 0n, 5n]) call.write({ ID });
    await call.out.count(4);
    expect(call.out.sent.map(({ ID, TTL, header }) => [ID, TTL, header?.revision])).toEqual([
      [5n, 60n, 1n],
      [9n, 0n, 1n],
      [0n, 0n, 1n],
      [5n, 60n, 1n],
    ]);
    call.requests.end();
    await call.done;
    expect(call.outcome).toBe('well');
  });

  it('has a header of before the renewal', async () => {
    const { member, grant, keepAlive } = setUp();
    await grant(5n, 60n);
    member.whileRenewing = async () => void (await member.propose({ put: { key: toBytes('a') } }));
    const call = keepAlive();
    call.write({ ID: 5n });
    await call.out.count(1);
    expect(member.store.revision).toBe(2);
    expect(call.out.sent[0]?.header?.revision).toBe(1n);
    await call.cancel();
  });

  it('waits for its reader', async () => {
    const { member, keepAlive } = setUp();
    let renewals = 0;
    member.whileRenewing = () => {
      renewals += 1;
    };
    const call = keepAlive({ room: 1 });
    for (let i = 0; i < 5; i += 1) call.write({ ID: 9n });
    await member.clock.settle();
    expect(renewals).toBe(1);
    call.out.read();
    await member.clock.settle();
    expect(renewals).toBe(2);
    await call.cancel();
  });

  it('ends with what a renewal is refused with, and when it is not allowed', async () => {
    const { member, keepAlive } = setUp();
    member.whileRenewing = () => Promise.reject(new RpcError(Refusals.NoLeader));
    const call = keepAlive();
    call.write({ ID: 5n });
    await call.done;
    expect(call.outcome).toMatchObject({ refusal: Refusals.NoLeader });
    member.auth.userAdd(newUser('root'));
    member.auth.userGrantRole({ user: 'root', role: 'root' });
    member.auth.enable();
    const nobody = keepAlive();
    nobody.write({ ID: 5n });
    await nobody.done;
    expect(nobody.outcome).toMatchObject({ message: 'etcdserver: user name is empty' });
  });
});

describe('asking', () => {
  it('tells what is left, and the keys if they are wanted', async () => {
    const { member, methods, grant } = setUp();
    await grant(5n, 60n);
    await member.propose({ put: { key: toBytes('a'), lease: 5n } });
    await member.clock.advance(500);
    const ask5 = (keys: boolean) => ask(methods, Lease.leaseTimeToLive, { ID: 5n, keys });
    expect(await ask5(false)).toMatchObject({ ID: 5n, TTL: 59n, grantedTTL: 60n, keys: [], header: { revision: 2n } });
    expect((await ask5(true)).keys.map((key) => Buffer.from(key).toString())).toEqual(['a']);
  });

  it('tells -1 of what is not there', async () => {
    const { methods } = setUp();
    expect(await ask(methods, Lease.leaseTimeToLive, { ID: 9n })).toMatchObject({ ID: 9n, TTL: -1n, grantedTTL: 0n });
  });

  it('lists them, the next to end first', async () => {
    const { methods, grant } = setUp();
    await grant(1n, 60n);
    await grant(2n, 30n);
    const { leases } = await ask(methods, Lease.leaseLeases, {});
    expect(leases).toEqual([{ ID: 2n }, { ID: 1n }]);
  });
});
