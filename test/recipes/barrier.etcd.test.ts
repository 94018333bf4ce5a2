/** The barrier on real etcd: who waits, what lets them go on, and what must not. */
import { expect, it } from 'vitest';
import { Barrier } from '../../recipes/barrier.ts';
import { HeldByAnotherError, LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import {
  Actor,
  countCalls,
  DELETE,
  fired,
  grpcProxy,
  outcome,
  TXN,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  untilWatching,
  WATCH,
} from './lock-bed.ts';

describeOnEtcd('Barrier', (suite) => {
  const open = (options?: Parameters<typeof Actor.open>[1]): Promise<Actor> =>
    Actor.open(suite.cluster.endpoints, options);

  /** Whether a wait is still going on after the holder's side has done something else. */
  const pending = async (wait: Promise<unknown>): Promise<boolean> =>
    (await Promise.race([wait.then(() => 'done'), new Promise((resolve) => setTimeout(resolve, 100, 'pending'))])) ===
    'pending';

  it('costs one round trip each to hold, release and wait, and none after the wake-up', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const holding = countCalls(proxy);
    const held = await new Barrier(holder.session, name).hold();
    expect(holding()).toEqual({ [TXN]: 1 });
    await using waiterProxy = await grpcProxy(suite);
    await using waiter = await Actor.open([waiterProxy.address]);
    const barrier = new Barrier(waiter.session, name);
    const counted = countCalls(waiterProxy);
    const waits = Array.from({ length: 5 }, () => barrier.wait());
    await untilWatching(waiterProxy, 5);
    expect(counted()).toEqual({ [TXN]: 5 });
    const releasing = countCalls(proxy);
    await held.release();
    expect(releasing()).toEqual({ [DELETE]: 1 });
    await Promise.all(waits);
    expect(counted()).toEqual({ [TXN]: 5 });
    await barrier.wait();
    expect(counted()).toEqual({ [TXN]: 6 });
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('has one holder, and writes nothing for another who tries', async () => {
    await using a = await open({ owner: 'alice' });
    await using b = await open();
    const name = uniqueName(suite);
    const held = await new Barrier(a.session, name).hold();
    const before = await a.etcd.revision();
    const refused = await outcome(new Barrier(b.session, name).hold());
    expect(refused.error).toBeInstanceOf(HeldByAnotherError);
    expect(refused.error).toMatchObject({ holder: { owner: 'alice' } });
    expect(await a.etcd.revision()).toBe(before);
    await expect(new Barrier(b.session, name).close()).rejects.toBeInstanceOf(HeldByAnotherError);
    expect(await new Barrier(b.session, name).holder()).toMatchObject({ token: held.token, permanent: false });
    await held.release();
    expect(await new Barrier(b.session, name).holder()).toBeUndefined();
  });

  it('does not take compacted history for the release (etcd #16221, PR #17198)', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const held = await new Barrier(holder.session, name).hold();
    // The watch is made only after the history it starts from is gone.
    const delayed = proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 400 } });
    const waiting = new Barrier(waiter.session, name).wait();
    await delayed.waitApplied();
    for (let index = 0; index < 3; index++) await holder.etcd.put(`${name}-other`, String(index));
    await holder.etcd.compact(await holder.etcd.revision());
    await proxy.waitFor((calls) => calls.filter(({ path }) => path === TXN).length >= 2);
    expect(await pending(waiting)).toBe(true);
    await held.release();
    await waiting;
  });

  it('lets through who waited at an opening that only compacted history tells of', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const barrier = new Barrier(holder.session, name);
    const held = await barrier.hold();
    const delayed = proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 400 } });
    const waiting = new Barrier(waiter.session, name).wait({ timeoutMs: 10_000 });
    await delayed.waitApplied();
    await held.release();
    await using _again = await barrier.hold();
    await holder.etcd.compact(await holder.etcd.revision());
    await waiting;
    await expect(barrier.wait({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
  });

  it('does not take the loss of its connection for the release', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const held = await new Barrier(holder.session, name).hold();
    const waiting = new Barrier(waiter.session, name).wait();
    await untilWatching(proxy, 1);
    proxy.cut();
    expect(await pending(waiting)).toBe(true);
    await held.release();
    await waiting;
  });

  it('opens when the holder dies, and lets all through even if it is shut again at once', async () => {
    await using proxy = await grpcProxy(suite);
    await using a = await open();
    await using b = await open();
    await using waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    await new Barrier(a.session, name).hold();
    const waiting = new Barrier(waiter.session, name).wait();
    await untilWatching(proxy, 1);
    await suite.cluster.etcdctl(['lease', 'revoke', a.session.id.toString(16)]);
    await using again = await new Barrier(b.session, name).hold();
    await waiting;
    expect(again.held).toBe(true);
  });

  it('is not shut by neighbours and strays (etcd #16156, #16843)', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const barrier = new Barrier(actor.session, name);
    await actor.etcd.put(`${name}0`, 'x');
    await actor.etcd.put(`${name}/holder/stray`, 'x');
    await actor.etcd.put(`${name}/holder/leased stray`, 'x', { lease: actor.session.lease });
    await using _nested = await new Barrier(actor.session, `${name}/holder/a`).hold();
    await barrier.wait({ timeoutMs: 5_000 });
    await using held = await barrier.hold();
    await expect(barrier.wait({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    held.assertHeld();
  });

  it('tells the holder when its key is deleted, and the waiter when its session is lost', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    const waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const held = await new Barrier(holder.session, name).hold();
    const waiting = outcome(new Barrier(waiter.session, name).wait());
    await untilWatching(proxy, 1);
    await waiter[Symbol.asyncDispose]();
    expect((await waiting).error).toBeInstanceOf(LostError);
    await holder.etcd.delete(held.key);
    await fired(held.signal);
    await expect(held.guard({})).rejects.toMatchObject({ reason: 'key-gone' });
    const stop = new AbortController();
    stop.abort();
    await expect(new Barrier(holder.session, name).wait({ signal: stop.signal })).rejects.toMatchObject({
      name: 'AbortError',
    });
  });

  it('holds once when the answer is lost, and leaves nothing when it is given up', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const barrier = new Barrier(actor.session, name);
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const held = await barrier.hold();
    expect(await actor.etcd.count({ prefix: `${name}/` })).toBe(1);
    await held.release();
    const hang = proxy.rule({ path: TXN, action: 'swallow-reply', via: 'hang' });
    const stop = new AbortController();
    const trying = outcome(barrier.hold({ signal: stop.signal }));
    await hang.waitApplied();
    hang.remove();
    await untilCount(actor.etcd, `${name}/`, 1);
    stop.abort();
    expect((await trying).error).toMatchObject({ name: 'AbortError' });
    expect(await actor.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('can be closed for good: outlives the session, is closed once, and opened by its token', async () => {
    await using proxy = await grpcProxy(suite);
    await using other = await open();
    const name = uniqueName(suite);
    const closer = await Actor.open([proxy.address], { owner: 'closer' });
    const swallowed = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const token = await new Barrier(closer.session, name).close();
    expect(swallowed.applied).toBe(1);
    await closer[Symbol.asyncDispose]();
    const barrier = new Barrier(other.session, name);
    expect(await barrier.holder()).toMatchObject({ token, permanent: true, owner: { owner: 'closer' } });
    await expect(barrier.hold()).rejects.toBeInstanceOf(HeldByAnotherError);
    await expect(barrier.wait({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    expect(await barrier.open({ token: (token - 1n) as typeof token })).toBe(false);
    const waiting = barrier.wait();
    expect(await pending(waiting)).toBe(true);
    expect(await barrier.open({ token })).toBe(true);
    await waiting;
    expect(await barrier.open()).toBe(false);
    await untilEmpty(other.etcd, `${name}/`);
  });

  it('is opened again when it turns out that it was closed for somebody who could not wait for the answer', async () => {
    await using proxy = await grpcProxy(suite);
    await using closer = await Actor.open([proxy.address], { retry: { maxAttempts: 1 } });
    await using other = await open();
    const name = uniqueName(suite);
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    proxy.rule({ path: TXN, action: 'hang' });
    const stop = new AbortController();
    const closing = outcome(new Barrier(closer.session, name).close({ signal: stop.signal }));
    const barrier = new Barrier(other.session, name);
    await until(async () => (await barrier.holder()) !== undefined);
    stop.abort();
    expect((await closing).error).toMatchObject({ code: 'unknown-outcome' });
    proxy.clearRules();
    // The first finds out that it was closed.
    const refused = proxy.rule({ path: TXN, nth: 2, times: 3, action: 'reset-before' });
    proxy.cut();
    await refused.waitApplied(3);
    await until(async () => (await barrier.holder()) === undefined);
    await barrier.hold();
  });

  it('is shut while work runs, and open after it, also when the work fails', async () => {
    await using actor = await open();
    const barrier = new Barrier(actor.session, uniqueName(suite));
    await expect(
      barrier.run(async (held) => {
        held.assertHeld();
        expect(await barrier.holder()).toMatchObject({ token: held.token });
        throw new Error('failed');
      }),
    ).rejects.toThrow('failed');
    await barrier.wait({ timeoutMs: 5_000 });
  });
});
