/** The latch on real etcd: each thing counts once, and nobody waits longer or shorter than that. */
import { expect, it } from 'vitest';
import { LostError, RecipeError, WaitTimeoutError } from '../../recipes/errors.ts';
import { Latch } from '../../recipes/latch.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import {
  Actor,
  countCalls,
  grpcProxy,
  outcome,
  TXN,
  uniqueName,
  untilEmpty,
  untilWatching,
  WATCH,
} from './lock-bed.ts';

describeOnEtcd('Latch', (suite) => {
  const open = (options?: Parameters<typeof Actor.open>[1]): Promise<Actor> =>
    Actor.open(suite.cluster.endpoints, options);

  const pending = async (wait: Promise<unknown>): Promise<boolean> =>
    (await Promise.race([wait.then(() => 'done'), new Promise((resolve) => setTimeout(resolve, 100, 'pending'))])) ===
    'pending';

  it('opens at zero, at one round trip for each call, and wakes nobody before', async () => {
    await using proxy = await grpcProxy(suite);
    await using waiter = await Actor.open([proxy.address]);
    await using workProxy = await grpcProxy(suite);
    await using worker = await Actor.open([workProxy.address]);
    const name = uniqueName(suite);
    const latch = new Latch(worker.session, name);
    const working = countCalls(workProxy);
    expect(await latch.create(3)).toBe(3);
    expect(working()).toEqual({ [TXN]: 1 });
    const counted = countCalls(proxy);
    const waits = [new Latch(waiter.session, name).wait(), new Latch(waiter.session, name).wait()];
    await untilWatching(proxy, 4);
    expect(await latch.countDown()).toBe(2);
    expect(working()).toEqual({ [TXN]: 3 });
    expect(await latch.countDown()).toBe(1);
    expect(working()).toEqual({ [TXN]: 4 });
    expect(await pending(Promise.race(waits))).toBe(true);
    expect(counted()).toEqual({ [TXN]: 2 });
    expect(await latch.countDown()).toBe(0);
    await Promise.all(waits);
    // One look each, which the store's word that it is open only prompts.
    expect(counted()).toEqual({ [TXN]: 4 });
    await latch.wait();
    expect(await latch.countDown()).toBe(0);
    expect(await latch.remaining()).toBe(0);
  });

  it('counts an id once, from whichever process and session', async () => {
    await using a = await open();
    await using b = await open();
    const name = uniqueName(suite);
    const [one, two] = [new Latch(a.session, name), new Latch(b.session, name)];
    await one.create(3);
    expect(await two.create(7)).toBe(3);
    expect(await one.countDown({ id: 'customers' })).toBe(2);
    expect(await two.countDown({ id: 'customers' })).toBe(2);
    expect(await one.countDown({ id: 'customers' })).toBe(2);
    expect(await two.countDown({ id: 'a/b' })).toBe(1);
    expect(await two.countDown({ id: 'a' })).toBe(0);
    await one.wait();
  });

  it('counts each call once while answers are lost, and never below zero', async () => {
    await using proxy = await grpcProxy(suite);
    await using a = await Actor.open([proxy.address]);
    await using b = await open();
    const name = uniqueName(suite);
    const latches = [a, a, b, b].map(({ session }) => new Latch(session, name));
    await latches[0]?.create(30);
    for (const nth of [1, 2, 5, 9, 14]) proxy.rule({ path: TXN, nth, action: 'swallow-reply' });
    const left = await Promise.all(latches.flatMap((latch) => Array.from({ length: 7 }, () => latch.countDown())));
    expect([...left].sort((x, y) => x - y)).toEqual(Array.from({ length: 28 }, (_, index) => index + 2));
    await Promise.all(latches.map((latch) => latch.countDown()));
    expect(await latches[0]?.remaining()).toBe(0);
  });

  it('does not take compacted history or a lost connection for the end', async () => {
    await using proxy = await grpcProxy(suite);
    await using waiter = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const latch = new Latch(other.session, name);
    await latch.create(2);
    const delayed = proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 400 } });
    const waiting = new Latch(waiter.session, name).wait();
    await delayed.waitApplied();
    await latch.countDown();
    for (let index = 0; index < 3; index++) await other.etcd.put(`${name}-other`, String(index));
    await other.etcd.compact(await other.etcd.revision());
    await proxy.waitFor((calls) => calls.filter(({ path }) => path === TXN).length >= 2);
    expect(await pending(waiting)).toBe(true);
    proxy.cut();
    expect(await pending(waiting)).toBe(true);
    await latch.countDown();
    await waiting;
  });

  it('survives those who counted, and stays shut for those who died before', async () => {
    await using proxy = await grpcProxy(suite);
    await using waiter = await Actor.open([proxy.address]);
    const worker = await open();
    const name = uniqueName(suite);
    const latch = new Latch(waiter.session, name);
    await latch.create(2);
    await new Latch(worker.session, name).countDown({ id: 'w1' });
    await suite.cluster.etcdctl(['lease', 'revoke', worker.session.id.toString(16)]);
    await expect(latch.wait({ timeoutMs: 100 })).rejects.toBeInstanceOf(WaitTimeoutError);
    expect(await latch.countDown({ id: 'w1' })).toBe(1);
    expect(await latch.countDown({ id: 'w2' })).toBe(0);
    await latch.wait();
    await worker.etcd.close();
  });

  it('tells those who wait when it is deleted, and when their session is lost', async () => {
    await using proxy = await grpcProxy(suite);
    const waiter = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const latch = new Latch(other.session, name);
    await expect(latch.wait()).rejects.toMatchObject({ code: 'lost' });
    await expect(latch.countDown()).rejects.toBeInstanceOf(RecipeError);
    expect(await latch.remaining()).toBeUndefined();
    await latch.create(1);
    const deleted = outcome(new Latch(waiter.session, name).wait());
    await untilWatching(proxy, 2);
    await latch.delete();
    expect((await deleted).error).toMatchObject({ code: 'lost' });
    await latch.delete();
    expect(await latch.create(2)).toBe(2);
    const lost = outcome(new Latch(waiter.session, name).wait());
    await untilWatching(proxy, 4);
    await waiter[Symbol.asyncDispose]();
    expect((await lost).error).toBeInstanceOf(LostError);
    await latch.delete();
    await other.session.close();
    await untilEmpty(other.etcd, `${name}/`);
  });

  it('lets those in who waited for it, though it was taken away before they looked; not those of one that was shut', async () => {
    await using proxy = await grpcProxy(suite);
    await using waiter = await Actor.open([proxy.address]);
    await using other = await open();
    const asked = (): number => proxy.callsOf(WATCH).reduce((sum, { requestMessages }) => sum + requestMessages, 0);
    /** Waits for a latch of `count`, and hears of what is done meanwhile only when all of it is done. */
    const waitingDuring = async (count: number, meanwhile: (latch: Latch) => Promise<unknown>) => {
      const latch = new Latch(other.session, uniqueName(suite));
      await latch.create(count);
      const before = asked();
      const waiting = outcome(new Latch(waiter.session, latch.name).wait());
      await untilWatching(proxy, before + 2);
      const held = proxy.rule({ path: WATCH, action: 'hang' });
      proxy.cut();
      await held.waitApplied();
      await meanwhile(latch);
      held.remove();
      proxy.cut();
      return waiting;
    };
    const openAndDelete = async (latch: Latch): Promise<void> => {
      await latch.countDown();
      await latch.delete();
    };
    const openAndReplace = async (latch: Latch): Promise<void> => {
      await openAndDelete(latch);
      await latch.create(1);
    };
    expect(await waitingDuring(1, openAndDelete)).toEqual({ value: undefined });
    expect(await waitingDuring(1, openAndReplace)).toEqual({ value: undefined });
    expect((await waitingDuring(2, openAndReplace)).error).toMatchObject({ code: 'lost' });
  });

  it('says what is wrong with counts', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const latch = new Latch(actor.session, name);
    for (const count of [0, -1, 1.5]) await expect(latch.create(count)).rejects.toThrow(/whole number/);
    await actor.etcd.put(`${name}/remaining`, 'few');
    for (const call of [() => latch.wait(), () => latch.countDown(), () => latch.remaining()]) {
      expect((await outcome<unknown>(call())).error).toMatchObject({ name: 'DecodeError' });
    }
  });
});
