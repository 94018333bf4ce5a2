/** The mutex while things break, and the open bugs of other locks, each as a test that passes here. */
import { expect, it } from 'vitest';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { type Etcd, formatId, type Revision } from '../../src/index.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
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
  TXN,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  untilWatched,
  WATCH,
} from './lock-bed.ts';

/** The key that somebody put below a prefix since a revision, whether or not it is still there. */
async function keyEverPut(etcd: Etcd, prefix: string, from: Revision): Promise<string> {
  for await (const event of etcd.watch({ prefix }, { from })) if (event.type === 'put') return event.kv.key;
  throw new Error('the watch has ended');
}

describeOnEtcd('Mutex through faults', (suite) => {
  const open = opener(suite);

  for (const via of ['reset', 'cut'] as const) {
    it(`adopts its own key when the answer to entering is lost by a ${via} (Go's Lock leaves an orphan)`, async () => {
      await using proxy = await grpcProxy(suite);
      await using observer = await open();
      await using actor = await Actor.open([proxy.address]);
      const name = uniqueName(suite);
      const mutex = new Mutex(actor.session, name);
      for (const way of ['acquire', 'tryAcquire'] as const) {
        const swallowed = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via });
        const counted = countCalls(proxy);
        const got = await mutex[way]();
        expect(swallowed.applied).toBe(1);
        const lock = 'acquired' in got ? (got.acquired ? got.lock : undefined) : got;
        // Entered, asked again, and for the waiting form looked: what was ahead was in the answer that got lost.
        expect(counted()[TXN]).toBe(way === 'acquire' ? 3 : 2);
        const { kvs } = await observer.etcd.range({ prefix: `${name}/` });
        expect(kvs.map(({ key, createRevision }) => [key, createRevision])).toEqual([[lock?.key, lock?.token]]);
        await lock?.guard({ then: [observer.etcd.op.put(`${name}-data`, way)] });
        await lock?.release();
        expect(await observer.etcd.count({ prefix: `${name}/` })).toBe(0);
      }
    });
  }

  it('adopts its own key when the answer to entering is lost and the cluster is away after that', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address], { retry: { maxAttempts: 1 } });
    const name = uniqueName(suite);
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const away = proxy.rule({ path: TXN, nth: 2, times: 3, action: 'reset-before' });
    const lock = await new Mutex(actor.session, name).acquire();
    expect(away.applied).toBe(3);
    await lock.guard({ then: [] });
    expect(await actor.etcd.count({ prefix: `${name}/` })).toBe(1);
    await lock.release();
  });

  it('adopts its place in the queue, and is served in turn, when the answer to entering is lost', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const waiting = new Mutex(actor.session, name).acquire();
    await untilCount(holder.etcd, `${name}/`, 2);
    const behind = new Mutex(holder.session, name).acquire();
    await untilCount(holder.etcd, `${name}/`, 3);
    await lock.release();
    const mine = await waiting;
    expect((await new Mutex(holder.session, name).contenders()).map(({ key }) => key)).toEqual([
      mine.key,
      expect.any(String),
    ]);
    await mine.release();
    await (await behind).release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('releases once when the answer to that is lost, and does not call it a loss', async () => {
    await using proxy = await grpcProxy(suite);
    await using observer = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name).acquire();
    proxy.rule({ path: DELETE, nth: 1, action: 'swallow-reply' });
    await lock.release();
    expect(proxy.count(DELETE)).toBe(2);
    expect(await observer.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('cleans up after a try that was given up while nobody knew its outcome, and after its straggler', async () => {
    await using proxy = await grpcProxy(suite);
    await using observer = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const before = await observer.etcd.revision();
    const rule = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const controller = new AbortController();
    const trying = outcome(new Mutex(actor.session, name).acquire({ signal: controller.signal }));
    await untilCount(observer.etcd, `${name}/`, 1);
    expect(rule.applied).toBe(1);
    controller.abort();
    expect((await trying).error).toMatchObject({ name: 'AbortError' });
    // Not later: the call itself waited for it.
    expect(await observer.etcd.count({ prefix: `${name}/` })).toBe(0);
    // A request that was delayed somewhere on the way creates the key after all.
    const key = await keyEverPut(observer.etcd, `${name}/`, before);
    await observer.etcd.put(key, '', { lease: actor.session.id });
    await untilEmpty(observer.etcd, `${name}/`);
  });

  it('a try that was refused in doubt leaves no straggler to become a silent owner', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    // The first is delayed for ever; the second is answered: somebody else holds it.
    proxy.rule({ path: TXN, nth: 1, action: 'reset-after' });
    const tried = await new Mutex(actor.session, name).tryAcquire();
    expect(tried).toMatchObject({ acquired: false, holder: { key: lock.key } });
    expect(proxy.count(TXN)).toBe(2);
    // It was cleaned up after, in case the first is applied yet.
    expect(proxy.count(DELETE)).toBe(1);
  });

  it('Go #19597: a waiter whose lease dies stops waiting, while the holder still holds', async () => {
    await using holder = await open();
    await using waiter = await open();
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    const waiting = outcome(new Mutex(waiter.session, name).acquire());
    await untilCount(holder.etcd, `${name}/`, 2);
    await holder.etcd.leases.revoke(waiter.session.id);
    expect((await waiting).error).toBeInstanceOf(LostError);
    expect(lock.held).toBe(true);
    expect((await new Mutex(holder.session, name).contenders()).map(({ key }) => key)).toEqual([lock.key]);
  });

  it('a waiter whose key an operator deletes rejects; those behind it wait on, and in order', async () => {
    await using holder = await open();
    await using waiters = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(waiters.session, name);
    const lock = await new Mutex(holder.session, name).acquire();
    const first = outcome(mutex.acquire());
    await untilCount(holder.etcd, `${name}/`, 2);
    const second = mutex.acquire();
    await untilCount(holder.etcd, `${name}/`, 3);
    const [, place] = await mutex.contenders();
    await holder.etcd.delete(place?.key ?? '');
    expect((await first).error).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    expect((await mutex.contenders()).map(({ key }) => key)).toEqual([lock.key, expect.any(String)]);
    await lock.release();
    await (await second).release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it("Consul's LockDeleteKey: a holder whose key an operator deletes knows at once, and its guards fail", async () => {
    await using operator = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name).acquire();
    await operator.etcd.delete(lock.key);
    await fired(lock.signal);
    expect(lock.signal.reason).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    await expect(lock.guard({ then: [actor.etcd.op.put(`${name}-data`, 'x')] })).rejects.toBeInstanceOf(LostError);
    expect(await actor.etcd.get(`${name}-data`)).toBeUndefined();
    expect(actor.session.alive).toBe(true);
    await using again = await new Mutex(actor.session, name).acquire();
    expect(again.token).toBeGreaterThan(lock.token);
  });

  it('a guard that finds the key gone tells the holder, warning or no warning', async () => {
    await using proxy = await grpcProxy(suite);
    await using operator = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    proxy.rule({ path: WATCH, action: 'hang' });
    const lock = await new Mutex(actor.session, name).acquire();
    await operator.etcd.delete(lock.key);
    expect(lock.held).toBe(true);
    await expect(lock.guard({ then: [] })).rejects.toMatchObject({ reason: 'key-gone' });
    expect(lock.signal.aborted).toBe(true);
  });

  it('Go #22082: releasing an old handle leaves a newer lock of the same session alone', async () => {
    await using operator = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name);
    const old = await mutex.acquire();
    await operator.etcd.delete(old.key);
    const newer = await mutex.acquire();
    await expect(old.release()).rejects.toMatchObject({ name: 'LostError', reason: 'key-gone' });
    expect((await operator.etcd.get(newer.key))?.createRevision).toBe(newer.token);
    await newer.guard({ then: [] });
    await newer.release();
  });

  it("npm etcd3's silent release: to release what was lost says so, whether or not the loss was noticed", async () => {
    await using proxy = await grpcProxy(suite);
    await using operator = await open();
    await using actor = await Actor.open([proxy.address]);
    const mutex = new Mutex(actor.session, uniqueName(suite));
    const noticed = await mutex.acquire();
    await operator.etcd.delete(noticed.key);
    await fired(noticed.signal);
    await expect(noticed.release()).rejects.toMatchObject({ reason: 'key-gone' });
    await expect(noticed.release()).rejects.toMatchObject({ reason: 'key-gone' });
    proxy.rule({ path: WATCH, action: 'hang' });
    proxy.cut();
    const unnoticed = await mutex.acquire();
    await operator.etcd.delete(unnoticed.key);
    expect(unnoticed.held).toBe(true);
    await expect(unnoticed.release()).rejects.toMatchObject({ reason: 'key-gone' });
    // `await using` lets go of what is lost without a word: its signal has fired.
    const disposed = await mutex.acquire();
    await operator.etcd.delete(disposed.key);
    await disposed[Symbol.asyncDispose]();
  });

  it("npm etcd3's two holders and its missing lost event: a holder that is cut off is told before the next gets it", async () => {
    await using proxy = await FaultProxy.start({ target: hostOf(suite) });
    await using rival = await open();
    await using cut = await Actor.open([proxy.address], { ttlSeconds: 2 });
    const name = uniqueName(suite);
    const order: string[] = [];
    const lock = await new Mutex(cut.session, name).acquire();
    lock.signal.addEventListener('abort', () => order.push('the first is told'));
    const waiting = new Mutex(rival.session, name).acquire().then((next) => {
      order.push('the second has it');
      return next;
    });
    await untilCount(rival.etcd, `${name}/`, 2);
    proxy.blackhole();
    const next = await waiting;
    expect(order).toEqual(['the first is told', 'the second has it']);
    expect(lock.signal.reason).toMatchObject({
      reason: 'session',
      cause: { name: 'LeaseLostError', reason: 'deadline' },
    });
    // Nothing is even sent.
    await expect(lock.guard({ then: [cut.etcd.op.put(`${name}-data`, 'x')] })).rejects.toBeInstanceOf(LostError);
    expect(next.token).toBeGreaterThan(lock.token);
    await expect(lock.release()).rejects.toMatchObject({ name: 'LostError', reason: 'session' });
    await next.release();
    proxy.heal();
    await untilEmpty(rival.etcd, `${name}/`);
  });

  it("Go's TryLock leftovers: tries leave nothing, and of many at once exactly one wins", async () => {
    await using alice = await open();
    await using bob = await open();
    const name = uniqueName(suite);
    for (let round = 0; round < 5; round++) {
      const tries = Array.from({ length: 10 }, (_, index) =>
        new Mutex((index % 2 === 0 ? alice : bob).session, name).tryAcquire(),
      );
      const won = (await Promise.all(tries)).filter((tried) => tried.acquired);
      expect(won).toHaveLength(1);
      expect(await alice.etcd.count({ prefix: `${name}/` })).toBe(1);
      for (const { lock } of won) await lock.release();
    }
    expect(await alice.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it("Redisson's FencedLock: a handle's token is its own, and never the next holder's", async () => {
    await using operator = await open();
    await using actor = await open();
    const mutex = new Mutex(actor.session, uniqueName(suite));
    const first = await mutex.acquire();
    const { token } = first;
    await operator.etcd.delete(first.key);
    const second = await mutex.acquire();
    expect(first.token).toBe(token);
    expect(second.token).toBeGreaterThan(token);
    // And Redisson #7272: what was let go of is not kept alive, nor watched, any more.
    await second.release();
    await operator.etcd.put(second.key, 'somebody else');
    await operator.etcd.delete(second.key);
    expect(second.signal.reason).toMatchObject({ reason: 'released' });
  });

  it('Go #9715, key.go: a compaction while waiting neither ends nor fails the wait', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    const waiting = awaited(new Mutex(waiter.session, name).acquire());
    await untilWatched(proxy, 2);
    // The watch breaks; what it would have to go on from is compacted before it is back.
    const counted = countCalls(proxy);
    await compactWhileCutOff(proxy, holder);
    await until(() => (counted()[TXN] ?? 0) > 0);
    expect(waiting.came).toBe(false);
    expect((await new Mutex(holder.session, name).contenders()).length).toBe(2);
    await lock.release();
    await (await waiting.promise).release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('a compaction while holding changes nothing, and the deletion of the key is noticed after it too', async () => {
    await using proxy = await grpcProxy(suite);
    await using operator = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name).acquire();
    const counted = countCalls(proxy);
    await compactWhileCutOff(proxy, operator);
    await until(() => (counted()[TXN] ?? 0) > 0);
    await lock.guard({ then: [] });
    await compactWhileCutOff(proxy, operator, () => operator.etcd.delete(lock.key));
    await fired(lock.signal);
    expect(lock.signal.reason).toMatchObject({ reason: 'key-gone' });
  });

  it('a place in the queue outlives a restart of the server, and a look that finds it away is made again', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open({ timeoutMs: 300 });
    await using waiter = await Actor.open([proxy.address], { timeoutMs: 300 });
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    const waiting = new Mutex(waiter.session, name).acquire();
    await untilWatched(proxy, 2);
    await suite.cluster.members[0]?.restart();
    await holder.etcd.connect({ timeoutMs: 10_000 });
    // The waiter is woken, and can't look for a while.
    const hang = proxy.rule({ path: TXN, nth: 1, times: 3, action: 'hang' });
    await lock.release();
    const mine = await waiting;
    expect(hang.applied).toBe(3);
    expect(lock.token).toBeLessThan(mine.token);
    await mine.release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('a release that the server refuses for good rejects instead of trying for ever', async () => {
    await using proxy = await grpcProxy(suite);
    await using observer = await open();
    const actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name).acquire();
    const status = { code: 7, message: 'etcdserver: permission denied' };
    proxy.rule({ path: DELETE, action: { status, forward: false } });
    await expect(lock.release()).rejects.toMatchObject({ name: 'PermissionDeniedError' });
    expect(lock.held).toBe(false);
    // What could not be deleted goes with the session.
    await actor[Symbol.asyncDispose]();
    expect(await observer.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('after a holder is lost, a lock delay keeps everybody out until after its session is gone; a release does not', async () => {
    await using proxy = await FaultProxy.start({ target: hostOf(suite) });
    await using rival = await open();
    await using crashed = await Actor.open([proxy.address], { ttlSeconds: 1 });
    const name = uniqueName(suite);
    const mutex = new Mutex(crashed.session, name, { lockDelaySeconds: 2 });
    const released = await mutex.acquire();
    const [own] = (await rival.etcd.range({ prefix: `${name}/` })).kvs;
    expect(own?.createRevision).toBe(released.token);
    await released.release();
    const theirs = new Mutex(rival.session, name);
    const next = await theirs.acquire();
    await next.release();
    // Its lease is gone too: nothing else was on it.
    await until(async () => !(await rival.etcd.leases.list()).some((id) => id === own?.lease));

    const tried = await mutex.tryAcquire();
    if (!tried.acquired) throw new Error('somebody else has it');
    const waiting = awaited(theirs.acquire());
    await untilCount(rival.etcd, `${name}/`, 2);
    const [holder] = (await rival.etcd.range({ prefix: `${name}/` })).kvs.filter(({ key }) => key === tried.lock.key);
    const { grantedTtlSeconds } = await rival.etcd.leases.timeToLive(holder?.lease as never);
    expect(grantedTtlSeconds).toBe(5);
    proxy.blackhole();
    await until(async () => (await rival.etcd.leases.timeToLive(crashed.session.id)).ttlSeconds === undefined);
    // The session is over for the server: without the delay its key would be gone with it.
    expect(tried.lock.held).toBe(false);
    expect(await rival.etcd.count({ prefix: `${name}/` })).toBe(2);
    expect(waiting.came).toBe(false);
    const after = await waiting.promise;
    expect((await rival.etcd.leases.list()).map(formatId)).not.toContain(formatId(holder?.lease as never));
    await after.release();
    proxy.heal();
  });

  it('kazoo #732: no contender stays behind, however many waits end at the same time', async () => {
    await using holder = await open();
    await using waiters = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(waiters.session, name);
    const lock = await new Mutex(holder.session, name).acquire();
    const waits = Array.from({ length: 30 }, () => outcome(mutex.acquire({ timeoutMs: 100 })));
    const outcomes = await Promise.all(waits);
    expect(outcomes.every(({ error }) => error instanceof WaitTimeoutError)).toBe(true);
    // Those whose time was up while they entered may come late, and go again.
    await untilCount(holder.etcd, `${name}/`, 1);
    await lock.release();
    const got = await mutex.acquire();
    await got.release();
    await untilEmpty(holder.etcd, `${name}/`);
  });
});
