/** The semaphore on real etcd. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { type HeldPermits, Semaphore } from '../../recipes/semaphore.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { type ClientMessage, GrpcFaultProxy, type Verdict } from '../support/grpc-fault-proxy.ts';
import { sendUnary } from '../support/grpc-send.ts';
import {
  Actor,
  awaited,
  compactWhileCutOff,
  countCalls,
  DELETE,
  fired,
  grpcProxy,
  hostOf,
  opener,
  outcome,
  PUT,
  RANGE,
  TXN,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  untilWatched,
} from './lock-bed.ts';

describeOnEtcd('Semaphore', (suite) => {
  const open = opener(suite);

  it('hands out permits in one round trip while there are some, and takes them back in one', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 3 });
    const counted = countCalls(proxy);
    const held = [await semaphore.acquire(), await semaphore.acquire({ permits: 2 })];
    expect(counted()).toEqual({ [TXN]: 2 });
    expect(held.map(({ permits }) => permits)).toEqual([1, 2]);
    await expect(semaphore.acquire({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    await untilCount(actor.etcd, `${name}/permits/`, 2);
    expect((await semaphore.contenders()).map(({ permits, holds }) => [permits, holds])).toEqual([
      [1, true],
      [2, true],
    ]);
    const releasing = countCalls(proxy);
    for (const each of held) await each.release();
    expect(releasing()).toEqual({ [DELETE]: 2 });
    expect(await actor.etcd.count({ prefix: `${name}/permits/` })).toBe(0);
    expect((await actor.etcd.get(`${name}/limit`))?.value).toBe('3');
  });

  it('takes one round trip after the wake-up for the first who waits, and counts what comes back', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const theirs = new Semaphore(holder.session, name, { limit: 3 });
    const held = [await theirs.acquire(), await theirs.acquire(), await theirs.acquire()];
    const counted = countCalls(proxy);
    const waiting = new Semaphore(actor.session, name, { limit: 3 }).acquire({ permits: 2 });
    await untilWatched(proxy, 2);
    await held[1]?.release();
    await sleep(100);
    // One permit is not enough, and that is known without asking.
    expect(counted()).toEqual({ [TXN]: 1 });
    await held[0]?.release();
    const mine = await waiting;
    expect(counted()).toEqual({ [TXN]: 2 });
    await mine.guard({ then: [] });
    await mine.release();
    await held[2]?.release();
    await untilEmpty(holder.etcd, `${name}/permits/`);
  });

  it('serves in the order of arrival: small requests do not overtake a large one', async () => {
    await using holder = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 4 });
    const held = await new Semaphore(holder.session, name, { limit: 4 }).acquire({ permits: 2 });
    const order: number[] = [];
    const waiting: Promise<HeldPermits>[] = [];
    const come = async (permits: number): Promise<void> => {
      waiting.push(
        semaphore.acquire({ permits }).then((got) => {
          order.push(permits);
          return got;
        }),
      );
      await untilCount(holder.etcd, `${name}/permits/`, waiting.length + 1);
    };
    await come(4);
    await come(1);
    await come(2);
    // There are two left, and still nobody gets them: the first who waits needs four.
    expect((await semaphore.tryAcquire()).acquired).toBe(false);
    await sleep(50);
    expect(order).toEqual([]);
    expect((await semaphore.contenders()).map(({ holds }) => holds)).toEqual([true, false, false, false]);
    await held.release();
    const large = await waiting[0];
    expect(order).toEqual([4]);
    await large?.release();
    for (const each of await Promise.all(waiting.slice(1))) await each.release();
    expect(order).toEqual([4, 1, 2]);
    await untilEmpty(holder.etcd, `${name}/permits/`);
  });

  it('wakes one for each release, and not all who wait', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 1 });
    const held = await new Semaphore(holder.session, name, { limit: 1 }).acquire();
    const count = 15;
    const served: bigint[] = [];
    const waiting = Array.from({ length: count }, () =>
      semaphore.run(async ({ token }) => {
        served.push(token);
      }),
    );
    await untilCount(holder.etcd, `${name}/permits/`, count + 1);
    await sleep(100);
    const counted = countCalls(proxy);
    await held.release();
    await Promise.all(waiting);
    expect(served).toEqual(served.toSorted((a, b) => (a < b ? -1 : 1)));
    // To take, and to find out that one is the first now: had all looked each time, it would be over a hundred.
    expect(counted()[TXN]).toBeLessThanOrEqual(2 * count);
    await untilEmpty(holder.etcd, `${name}/permits/`);
  });

  it('never hands out more than there are, whoever comes, goes, gives up or is killed', async () => {
    await using actor = await open();
    await using operator = await open();
    const name = uniqueName(suite);
    const limit = 5;
    let out = 0;
    let most = 0;
    const worker = async (index: number): Promise<void> => {
      await using own = await open();
      const semaphore = new Semaphore(own.session, name, { limit });
      for (let round = 0; round < 8; round++) {
        const permits = 1 + ((index + round) % 3);
        const timeoutMs = (index + round) % 5 === 0 ? 10 : 20_000;
        const work = async (held: HeldPermits): Promise<void> => {
          await held.guard({ then: [] });
          out += permits;
          most = Math.max(most, out);
          await sleep(5);
          out -= permits;
        };
        const { error } = await outcome(semaphore.run(work, { permits, timeoutMs }));
        if (error !== undefined && !(error instanceof WaitTimeoutError)) throw error;
      }
      // Ends without a word, holding.
      await semaphore.acquire();
      await operator.etcd.leases.revoke(own.session.id);
    };
    await Promise.all(Array.from({ length: 8 }, (_, index) => worker(index)));
    expect(most).toBeLessThanOrEqual(limit);
    await untilEmpty(actor.etcd, `${name}/permits/`);
  });

  it('has its limit in the store, where it can be changed while everything runs', async () => {
    await using alice = await open();
    await using bob = await open();
    const name = uniqueName(suite);
    const semaphore = new Semaphore(alice.session, name, { limit: 1 });
    const other = new Semaphore(bob.session, name, { limit: 99 });
    expect(await other.limit()).toBe(99);
    const first = await semaphore.acquire();
    // What the first one set holds for all.
    expect(await other.limit()).toBe(1);
    const waiting = [other.acquire(), semaphore.acquire()];
    await untilCount(alice.etcd, `${name}/permits/`, 3);
    await sleep(50);
    await suite.cluster.etcdctl(['put', `${name}/limit`, '3']);
    const held = await Promise.all(waiting);
    // A lower limit takes nothing away, and lets nobody in before enough have gone.
    await other.setLimit(1);
    for (const each of [first, ...held]) await each.guard({ then: [] });
    const late = awaited(other.acquire());
    await untilCount(alice.etcd, `${name}/permits/`, 4);
    await held[0]?.release();
    await held[1]?.release();
    await sleep(100);
    expect(late.came).toBe(false);
    await first.release();
    await (await late.promise).release();
    await untilEmpty(alice.etcd, `${name}/permits/`);
  });

  it('after the limit was lowered and raised again, who waits is served as soon as it fits', async () => {
    await using alice = await open();
    await using bob = await open();
    const name = uniqueName(suite);
    const semaphore = new Semaphore(alice.session, name, { limit: 4 });
    const theirs = new Semaphore(bob.session, name, { limit: 4 });
    const held = [await semaphore.acquire({ permits: 2 }), await semaphore.acquire({ permits: 2 })];
    await semaphore.setLimit(3);
    // To these, the second holder looks like one that waits: it must not be waited for.
    const waiting = theirs.acquire();
    await untilCount(alice.etcd, `${name}/permits/`, 3);
    const behind = theirs.acquire();
    await untilCount(alice.etcd, `${name}/permits/`, 4);
    await sleep(50);
    await held[0]?.release();
    const first = await waiting;
    await first.guard({ then: [] });
    await semaphore.setLimit(4);
    await (await behind).release();
    expect(held[1]?.held).toBe(true);
    await first.release();
    await held[1]?.release();
    await untilEmpty(alice.etcd, `${name}/permits/`);
  });

  it('one that waits is not taken in by a limit that is lowered while it takes', async () => {
    await using proxy = await grpcProxy(suite);
    await using alice = await open();
    await using bob = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const semaphore = new Semaphore(alice.session, name, { limit: 2 });
    const held = [await semaphore.acquire(), await semaphore.acquire()];
    const waiting = awaited(new Semaphore(bob.session, name, { limit: 2 }).acquire());
    await untilWatched(proxy, 2);
    // Its taking is on the way for half a second; the limit is lowered meanwhile.
    const delay = proxy.rule({ path: TXN, nth: 1, action: { delayMs: 500 } });
    await held[0]?.release();
    await delay.waitApplied();
    await semaphore.setLimit(1);
    const counted = countCalls(proxy);
    await until(() => proxy.callsOf(TXN).every(({ ended }) => ended));
    expect(counted()[TXN] ?? 0).toBe(0);
    expect(waiting.came).toBe(false);
    await held[1]?.release();
    await (await waiting.promise).release();
    await untilEmpty(alice.etcd, `${name}/permits/`);
  });

  it('tries in two round trips, and in one, without a write, when it fails', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 3 });
    const counted = countCalls(proxy);
    const got = await semaphore.tryAcquire({ permits: 2 });
    expect(counted()).toEqual({ [RANGE]: 1, [TXN]: 1 });
    expect(got.acquired).toBe(true);
    const before = await holder.etcd.revision();
    const failing = countCalls(proxy);
    expect(await semaphore.tryAcquire({ permits: 2 })).toEqual({ acquired: false, available: 1 });
    expect(failing()).toEqual({ [RANGE]: 1 });
    expect(await holder.etcd.revision()).toBe(before);
    await expect(semaphore.tryAcquire({ permits: 4 })).rejects.toMatchObject({ code: 'invalid-argument' });
    if (got.acquired) await got.held.release();
    await untilEmpty(holder.etcd, `${name}/permits/`);
  });

  it('of many tries at once, exactly as many win as there are permits', async () => {
    await using alice = await open();
    await using bob = await open();
    const name = uniqueName(suite);
    const tries = Array.from({ length: 12 }, (_, index) =>
      new Semaphore((index % 2 === 0 ? alice : bob).session, name, { limit: 5 }).tryAcquire({ permits: 2 }),
    );
    const won = (await Promise.all(tries)).filter((tried) => tried.acquired);
    expect(won).toHaveLength(2);
    expect(await alice.etcd.count({ prefix: `${name}/permits/` })).toBe(2);
    for (const { held } of won) await held.release();
  });

  it('keeps the permits that it took when the answer was lost, and the limit is lowered before it asks again', async () => {
    await using holder = await open();
    const name = uniqueName(suite);
    const theirs = new Semaphore(holder.session, name, { limit: 2 });
    let txns = 0;
    // 1 enters, 2 takes and is not answered, 3 asks again.
    const gate = async ({ call }: ClientMessage): Promise<Verdict> => {
      if (call.path !== TXN) return 'forward';
      txns += 1;
      if (txns === 3) await theirs.setLimit(1);
      return txns === 2 ? 'swallow' : 'forward';
    };
    await using proxy = await GrpcFaultProxy.start({ target: hostOf(suite), gate });
    await using actor = await Actor.open([proxy.address]);
    const first = await theirs.acquire({ permits: 2 });
    const waiting = new Semaphore(actor.session, name, { limit: 2 }).acquire({ permits: 2, timeoutMs: 30_000 });
    await untilCount(holder.etcd, `${name}/permits/`, 2);
    await first.release();
    const held = await waiting;
    expect(await theirs.limit()).toBe(1);
    expect(await theirs.contenders()).toMatchObject([{ key: held.key, permits: 2, holds: true }]);
    await held.guard({ then: [] });
    await held.release();
  });

  it('keeps the limit that was set last, when the request of an earlier call arrives late', async () => {
    let late: ClientMessage | undefined;
    // The first write is late; reads go on.
    const gate = (message: ClientMessage): Verdict => {
      if (late !== undefined || (message.call.path !== TXN && message.call.path !== PUT)) return 'forward';
      late = message;
      return 'cut';
    };
    await using proxy = await GrpcFaultProxy.start({ target: hostOf(suite), gate });
    await using actor = await Actor.open([proxy.address]);
    const semaphore = new Semaphore(actor.session, uniqueName(suite), { limit: 1 });
    await expect(semaphore.setLimit(9)).rejects.toMatchObject({ applied: 'maybe' });
    await semaphore.setLimit(2);
    expect(await sendUnary(hostOf(suite), late?.call.path ?? '', late?.payload ?? Buffer.alloc(0))).toBe(0);
    expect(await semaphore.limit()).toBe(2);
  });

  it('refuses what can never be had, and options that make no sense', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 2 });
    await expect(semaphore.acquire({ permits: 3 })).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(await actor.etcd.count({ prefix: `${name}/permits/` })).toBe(0);
    for (const permits of [0, -1, 1.5]) await expect(semaphore.acquire({ permits })).rejects.toThrow(/positive whole/);
    expect(() => new Semaphore(actor.session, name, { limit: 0 })).toThrow(/positive whole/);
    await expect(semaphore.setLimit(0)).rejects.toThrow(/positive whole/);
    await actor.etcd.put(`${name}/limit`, 'plenty');
    await expect(semaphore.acquire()).rejects.toMatchObject({ code: 'decode' });
    await expect(semaphore.limit()).rejects.toMatchObject({ code: 'decode' });
    expect(await actor.etcd.count({ prefix: `${name}/permits/` })).toBe(0);
  });

  it('adopts its own key, and is served once, when answers are lost', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 1 });
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const adopted = await semaphore.acquire();
    await adopted.guard({ then: [] });
    expect(await holder.etcd.count({ prefix: `${name}/permits/` })).toBe(1);
    const waiting = semaphore.acquire();
    await untilCount(holder.etcd, `${name}/permits/`, 2);
    await sleep(50);
    // The answer to taking.
    const taking = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    await adopted.release();
    const second = await waiting;
    expect(taking.applied).toBe(1);
    expect((await semaphore.contenders()).map(({ key, holds }) => [key, holds])).toEqual([[second.key, true]]);
    await second.release();
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const tried = await semaphore.tryAcquire();
    expect(tried.acquired).toBe(true);
    if (tried.acquired) await tried.held.release();
    await untilEmpty(holder.etcd, `${name}/permits/`);
  });

  it('stops waiting when its session or key is gone, and tells holders', async () => {
    await using operator = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    const semaphore = new Semaphore(actor.session, name, { limit: 1 });
    const held = await semaphore.acquire();
    const first = outcome(semaphore.acquire());
    await untilCount(operator.etcd, `${name}/permits/`, 2);
    const second = semaphore.acquire();
    await untilCount(operator.etcd, `${name}/permits/`, 3);
    const [, place] = await semaphore.contenders();
    await operator.etcd.delete(place?.key ?? '');
    expect((await first).error).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    await operator.etcd.delete(held.key);
    await fired(held.signal);
    await expect(held.release()).rejects.toMatchObject({ reason: 'key-gone' });
    await (await second).release();
    const last = await semaphore.acquire();
    const waiting = outcome(semaphore.acquire());
    await untilCount(operator.etcd, `${name}/permits/`, 2);
    await operator.etcd.leases.revoke(actor.session.id);
    expect((await waiting).error).toBeInstanceOf(LostError);
    await expect(last.release()).rejects.toBeInstanceOf(LostError);
    await untilEmpty(operator.etcd, `${name}/permits/`);
  });

  it('a compaction while waiting neither lets in nor fails', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const held = await new Semaphore(holder.session, name, { limit: 1 }).acquire();
    const semaphore = new Semaphore(actor.session, name, { limit: 1 });
    const waiting: ReturnType<typeof awaited<HeldPermits>>[] = [];
    for (let index = 0; index < 2; index++) {
      waiting.push(awaited(semaphore.acquire()));
      await untilCount(holder.etcd, `${name}/permits/`, 2 + index);
    }
    await untilWatched(proxy, 4);
    const counted = countCalls(proxy);
    await compactWhileCutOff(proxy, holder);
    await until(() => (counted()[TXN] ?? 0) === 2);
    expect(waiting.map(({ came }) => came)).toEqual([false, false]);
    await held.release();
    for (const { promise } of waiting) await (await promise).release();
    await untilEmpty(holder.etcd, `${name}/permits/`);
  });
});
