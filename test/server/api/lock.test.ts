import { describe, expect, it, vi } from 'vitest';
import { Auth, KV, Lease } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Lock } from '../../../src/protocol/generated/v3lockpb.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import type { CallOptions } from './machine-member.ts';
import { bytes, refusalOf, Served, text } from './served.ts';

const NAME = bytes('l');
const EXPIRED = '2 mutex: session is expired';

async function withLeases(...ids: readonly bigint[]): Promise<Served> {
  const served = new Served();
  for (const ID of ids) await served.call(Lease.leaseGrant, { TTL: 60n, ID });
  return served;
}

/** A call to Lock, and whether it has been answered. */
function lock(served: Served, lease: bigint, options: CallOptions = {}) {
  const state = { held: false, reply: served.call(Lock.lock, { name: NAME, lease }, options) };
  state.reply.then(
    () => {
      state.held = true;
    },
    () => {},
  );
  return state;
}

function keysOf(served: Served): string[] {
  const found = served.member.state.store.range({ key: '\0', end: '\0' }, 0, 0);
  if (typeof found === 'string') throw new TypeError(found);
  return found.records.map(({ key }) => key);
}

describe('Lock', () => {
  it('is taken in one proposal when it is free', async () => {
    const served = await withLeases(0xabn);
    const { key, header } = await lock(served, 0xabn).reply;
    expect(text(key)).toBe('l/ab');
    expect(header?.revision).toBe(2n);
    expect(served.member.proposed).toHaveLength(2);
    expect(served.member.linearized).toBe(0);
  });

  it('makes a lease of 60 s for who has none, and writes negative ones as Go does', async () => {
    const served = await withLeases(-0x1fn);
    const { key } = await lock(served, 0n).reply;
    const [id] = served.member.state.lessor.list().filter((lease) => lease !== -0x1fn);
    expect(text(key)).toBe(`l/${id?.toString(16)}`);
    expect(served.member.state.lessor.timeToLive(id ?? 0n, served.member.now())).toMatchObject({ grantedSeconds: 60 });
    await served.call(Lock.unlock, { key });
    expect(text((await lock(served, -0x1fn).reply).key)).toBe('l/-1f');
  });

  it('goes from hand to hand in the order of arrival, at the revision of each unlock', async () => {
    const served = await withLeases(1n, 2n, 3n);
    const { key } = await lock(served, 3n).reply;
    const second = lock(served, 2n);
    await served.settle();
    const third = lock(served, 1n);
    await served.settle();
    expect([second.held, third.held]).toEqual([false, false]);
    const watch = vi.spyOn(served.member.state.watches, 'watch');
    const { header } = await served.call(Lock.unlock, { key });
    const won = await second.reply;
    expect(won.header?.revision).toBe(header?.revision);
    await served.settle();
    expect(third.held).toBe(false);
    // The end of one wakes the next one alone.
    expect(watch).not.toHaveBeenCalled();
    await served.call(Lock.unlock, { key: won.key });
    expect(text((await third.reply).key)).toBe('l/1');
    expect(served.member.state.watches.counts).toEqual({ upToDate: 0, behind: 0 });
  });

  it('is held still by the lease that holds it, and is not given up by that lease’s other calls', async () => {
    const served = await withLeases(1n);
    const { key } = await lock(served, 1n).reply;
    const abort = new AbortController();
    abort.abort();
    await refusalOf(lock(served, 1n, { signal: abort.signal }).reply);
    expect((await lock(served, 1n).reply).key).toEqual(key);
    expect(keysOf(served)).toEqual(['l/1']);
  });

  it('passes on when the lease of who holds it ends', async () => {
    const served = await withLeases(1n, 2n);
    await lock(served, 1n).reply;
    const waiting = lock(served, 2n);
    await served.settle();
    await served.call(Lease.leaseRevoke, { ID: 1n });
    expect(text((await waiting.reply).key)).toBe('l/2');
  });

  it('leaves no key of who stops waiting, and those behind wait on', async () => {
    const served = await withLeases(1n, 2n, 3n);
    const { key } = await lock(served, 1n).reply;
    const abort = new AbortController();
    const gone = lock(served, 2n, { signal: abort.signal });
    await served.settle();
    const last = lock(served, 3n);
    await served.settle();
    abort.abort();
    expect(await refusalOf(gone.reply)).toBe('1 context canceled');
    await served.settle();
    expect(keysOf(served)).toEqual(['l/1', 'l/3']);
    expect(last.held).toBe(false);
    await served.call(Lock.unlock, { key });
    expect(text((await last.reply).key)).toBe('l/3');
  });

  it('ends the lease that it made for who stops waiting', async () => {
    const served = await withLeases(1n);
    await lock(served, 1n).reply;
    const abort = new AbortController();
    const gone = lock(served, 0n, { signal: abort.signal });
    await served.settle();
    expect(served.member.state.lessor.size).toBe(2);
    abort.abort();
    await refusalOf(gone.reply);
    await served.settle();
    expect(served.member.state.lessor.list()).toEqual([1n]);
    expect(keysOf(served)).toEqual(['l/1']);
  });

  it('leaves no key of who was gone before the key was written', async () => {
    const served = await withLeases(1n);
    const abort = new AbortController();
    served.member.beforeApply = ({ txn }) => {
      if (txn) abort.abort();
    };
    expect(await refusalOf(lock(served, 1n, { signal: abort.signal }).reply)).toBe('1 context canceled');
    await served.settle();
    expect(keysOf(served)).toEqual([]);
  });

  it('takes a key away until it succeeds', async () => {
    const served = await withLeases(1n, 2n);
    await lock(served, 1n).reply;
    const abort = new AbortController();
    const gone = lock(served, 2n, { signal: abort.signal });
    await served.settle();
    let failures = 3;
    served.member.beforeApply = () => {
      if (failures > 0) {
        failures -= 1;
        throw new RpcError(Refusals.Timeout);
      }
    };
    abort.abort();
    await refusalOf(gone.reply);
    await served.settle();
    expect(keysOf(served)).toEqual(['l/1', 'l/2']);
    await served.member.clock.advance(3_000);
    expect(keysOf(served)).toEqual(['l/1']);
    expect(served.member.clock.pending.all).toBe(0);
  });

  it('keeps the key of two calls with one lease until the last of them gives up', async () => {
    const served = await withLeases(1n, 2n);
    const { key } = await lock(served, 1n).reply;
    const abort = new AbortController();
    const gone = lock(served, 2n, { signal: abort.signal });
    const other = lock(served, 2n);
    await served.settle();
    abort.abort();
    await refusalOf(gone.reply);
    await served.call(Lock.unlock, { key });
    expect(text((await other.reply).key)).toBe('l/2');
    await served.settle();
    expect(keysOf(served)).toEqual(['l/2']);
  });

  it('tells who waits that their own key is gone, before its turn comes', async () => {
    const served = await withLeases(1n, 2n);
    await lock(served, 1n).reply;
    const waiting = lock(served, 2n);
    await served.settle();
    await served.call(Lease.leaseRevoke, { ID: 2n });
    expect(await refusalOf(waiting.reply)).toBe(EXPIRED);
    expect(keysOf(served)).toEqual(['l/1']);
  });

  it('looks at the newest there is before it says yes', async () => {
    const served = await withLeases(1n, 2n);
    const { key } = await lock(served, 1n).reply;
    const waiting = lock(served, 2n);
    await served.settle();
    // Both ends come together: to be alone is not enough.
    const ends = [served.call(Lock.unlock, { key }), served.call(Lease.leaseRevoke, { ID: 2n })];
    expect(await refusalOf(waiting.reply)).toBe(EXPIRED);
    await Promise.all(ends);
  });

  it('loses the codes of its errors', async () => {
    const served = await withLeases();
    expect(await refusalOf(lock(served, 9n).reply)).toBe('2 etcdserver: requested lease not found');
    expect(await refusalOf(served.call(Lock.unlock))).toBe('2 etcdserver: key is not provided');
    expect((await served.call(Lock.unlock, { key: bytes('none') })).header?.revision).toBe(1n);
    expect(text((await served.call(Lock.lock, { name: bytes('') })).key)).toMatch(/^\/[0-9a-f]+$/);
  });

  it('needs what its calls need, and asks again who is there after the waiting', async () => {
    const served = new Served();
    const { root, user } = await served.enableAuth('ann', 'l/');
    await served.call(Lease.leaseGrant, { TTL: 60n, ID: 1n }, root);
    await served.call(Lease.leaseGrant, { TTL: 60n, ID: 2n }, user);
    expect(await refusalOf(lock(served, 2n).reply)).toBe('2 etcdserver: user name is empty');
    const other = served.call(Lock.lock, { name: bytes('m'), lease: 2n }, user);
    expect(await refusalOf(other)).toBe('2 etcdserver: permission denied');
    const { key } = await lock(served, 1n, root).reply;
    expect(await refusalOf(served.call(Lock.unlock, { key: bytes('m/1') }, user))).toBe(
      '2 etcdserver: permission denied',
    );
    // A change of users makes nobody lose the place in the queue.
    const waiting = lock(served, 2n, user);
    await served.settle();
    await served.call(Auth.userAdd, { name: 'bob', password: 'b' }, root);
    await served.call(Lock.unlock, { key }, user);
    expect(text((await waiting.reply).key)).toBe('l/2');
  });

  it('cleans up behind those who may do nothing any more', async () => {
    const served = new Served();
    const { root, user } = await served.enableAuth('ann', 'l/');
    await served.call(Lease.leaseGrant, { TTL: 60n, ID: 1n }, root);
    await served.call(Lease.leaseGrant, { TTL: 60n, ID: 2n }, user);
    const { key } = await lock(served, 1n, root).reply;
    const waiting = lock(served, 2n, user);
    await served.settle();
    await served.call(Auth.userDelete, { name: 'ann' }, root);
    await served.call(KV.deleteRange, { key }, root);
    expect(await refusalOf(waiting.reply)).toBe('2 etcdserver: invalid auth token');
    await served.settle();
    expect(keysOf(served)).toEqual([]);
  });
});
