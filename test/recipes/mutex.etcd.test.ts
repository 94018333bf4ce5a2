/** The mutex on real etcd: what it promises while nothing breaks, and what that costs. */
import { expect, it } from 'vitest';
import { acquireAll } from '../../recipes/acquire-all.ts';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import type { Held } from '../../recipes/held.ts';
import { Mutex } from '../../recipes/mutex.ts';
import type { ReleaseRequest } from '../../recipes/release-requests.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import {
  Actor,
  compactWhileCutOff,
  countCalls,
  DELETE,
  fired,
  grpcProxy,
  opener,
  outcome,
  TXN,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  untilWatched,
} from './lock-bed.ts';

describeOnEtcd('Mutex', (suite) => {
  const open = opener(suite);

  it('takes one round trip to acquire and one to release when nobody is ahead', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const mutex = new Mutex(actor.session, uniqueName(suite));
    const acquiring = countCalls(proxy);
    const lock = await mutex.acquire();
    expect(acquiring()).toEqual({ [TXN]: 1 });
    const releasing = countCalls(proxy);
    await lock.release();
    expect(releasing()).toEqual({ [DELETE]: 1 });
    await lock.release();
    expect(releasing()).toEqual({ [DELETE]: 1 });
  });

  it('takes one round trip to enter and one after the wake-up when somebody is ahead', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using waiter = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    const counted = countCalls(proxy);
    const waiting = new Mutex(waiter.session, name).acquire();
    await untilWatched(proxy, 2);
    expect(counted()).toEqual({ [TXN]: 1 });
    await lock.release();
    await using mine = await waiting;
    expect(counted()).toEqual({ [TXN]: 2 });
    expect(mine.token).toBeGreaterThan(lock.token);
  });

  it('tries in one round trip, and writes nothing when that fails', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open({ owner: 'alice' });
    await using other = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const mutex = new Mutex(other.session, name);
    const lock = await new Mutex(holder.session, name).acquire();
    const before = await holder.etcd.revision();
    const counted = countCalls(proxy);
    const failed = await mutex.tryAcquire();
    expect(counted()).toEqual({ [TXN]: 1 });
    expect(failed).toMatchObject({
      acquired: false,
      holder: { key: lock.key, token: lock.token, owner: { owner: 'alice' } },
    });
    expect(await holder.etcd.revision()).toBe(before);
    await lock.release();
    const again = countCalls(proxy);
    const got = await mutex.tryAcquire();
    expect(again()).toEqual({ [TXN]: 1 });
    expect(got.acquired).toBe(true);
    if (got.acquired) await got.lock.release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('serves in the order of arrival, with tokens that grow, and wakes one at a time', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using waiters = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const first = await new Mutex(holder.session, name).acquire();
    const order: number[] = [];
    const tokens: bigint[] = [];
    const waiting: Promise<void>[] = [];
    for (let index = 0; index < 20; index++) {
      waiting.push(
        new Mutex(waiters.session, name).run(async (lock) => {
          order.push(index);
          tokens.push(lock.token);
        }),
      );
      await untilCount(holder.etcd, `${name}/`, index + 2);
    }
    const counted = countCalls(proxy);
    await first.release();
    await Promise.all(waiting);
    expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expect(tokens.every((token, index) => token > (tokens[index - 1] ?? first.token))).toBe(true);
    // One look for each hand-over: had all been woken each time, it would be 210.
    expect(counted()).toEqual({ [TXN]: 20, [DELETE]: 20 });
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('leaves nothing behind when a wait times out or is aborted, and lets the next one on', async () => {
    await using holder = await open();
    await using waiter = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(waiter.session, name);
    const lock = await new Mutex(holder.session, name).acquire();
    await expect(mutex.acquire({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    // Where the time was up while it entered, the key may come late, and goes again.
    await untilCount(holder.etcd, `${name}/`, 1);
    const controller = new AbortController();
    const aborted = outcome(mutex.acquire({ signal: controller.signal }));
    await untilCount(holder.etcd, `${name}/`, 2);
    const behind = mutex.acquire();
    await untilCount(holder.etcd, `${name}/`, 3);
    controller.abort(new Error('no longer needed'));
    expect((await aborted).error).toMatchObject({ name: 'AbortError', cause: { message: 'no longer needed' } });
    expect(await holder.etcd.count({ prefix: `${name}/` })).toBe(2);
    await expect(mutex.acquire({ signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' });
    await expect(mutex.tryAcquire({ signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' });
    await lock.release();
    await (await behind).release();
    expect(await holder.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('says what is wrong with options', async () => {
    await using actor = await open();
    expect(() => new Mutex(actor.session, '')).toThrow(/name is empty/);
    expect(() => new Mutex(actor.session, 'a', { lockDelaySeconds: 0.5 })).toThrow(/whole number/);
    await expect(new Mutex(actor.session, 'a').acquire({ timeoutMs: 0 })).rejects.toThrow(/not a positive number/);
  });

  it('keeps names with slashes, and stray keys below its own, apart (etcd-io/website #710)', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    await using lease = await actor.etcd.lease({ ttlSeconds: 30 });
    // A setting, a registration on a lease, and a lock that a Go program has below it.
    await actor.etcd.put(`${name}/last`, '17');
    await actor.etcd.put(`${name}/instance`, 'x', { lease });
    await actor.etcd.put(`${name}/b/5d8a3f`, '', { lease });
    await using inner = await new Mutex(actor.session, `${name}/b`).acquire({ timeoutMs: 5_000 });
    const mutex = new Mutex(actor.session, name);
    const tried = await mutex.tryAcquire();
    expect(tried.acquired).toBe(true);
    if (!tried.acquired) return;
    expect((await mutex.contenders()).map(({ key }) => key)).toEqual([tried.lock.key]);
    const refused = await mutex.tryAcquire();
    expect(refused).toMatchObject({ acquired: false, holder: { key: tried.lock.key } });
    await tried.lock.release();
    const waited = await mutex.acquire({ timeoutMs: 5_000 });
    // One that is put there between two of ours hides none of them.
    await actor.etcd.put(`${name}/between`, 'x', { lease });
    await expect(mutex.acquire({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    await waited.release();
    expect(inner.held).toBe(true);
  });

  it('lists the holder and those who wait', async () => {
    await using alice = await open({ owner: 'alice' });
    await using bob = await open({ owner: 'bob' });
    const name = uniqueName(suite);
    const lock = await new Mutex(alice.session, name).acquire();
    const waiting = new Mutex(bob.session, name).acquire();
    await untilCount(alice.etcd, `${name}/`, 2);
    const listed = await new Mutex(bob.session, name).contenders();
    expect(listed.map(({ owner }) => owner?.owner)).toEqual(['alice', 'bob']);
    expect(listed[0]).toMatchObject({ key: lock.key, token: lock.token });
    await lock.release();
    await (await waiting).release();
    expect(await new Mutex(bob.session, name).contenders()).toEqual([]);
  });

  it('runs work under the lock, and tells when the lock was lost before the work was done', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name);
    expect(await mutex.run(async (lock) => lock.held)).toBe(true);
    await expect(
      mutex.run(async () => {
        throw new Error('the work failed');
      }),
    ).rejects.toThrow('the work failed');
    const lostMeanwhile = mutex.run(async (lock, signal) => {
      await actor.etcd.delete(lock.key);
      await fired(signal);
    });
    await expect(lostMeanwhile).rejects.toMatchObject({ name: 'LostError', reason: 'key-gone' });
    expect(await actor.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('guards writes: they are done while it is held, and not after', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name).acquire();
    const { op } = actor.etcd;
    const done = await lock.guard({
      if: [actor.etcd.key(`${name}-data`).missing],
      then: [op.put(`${name}-data`, '1'), op.get(`${name}-data`)],
      else: [op.get(`${name}-data`)],
    });
    expect(done.succeeded && done.results[1]?.value).toBe('1');
    expect(done.revision).toBeGreaterThan(lock.token);
    const { conditions } = lock;
    await lock.release();
    await expect(lock.guard({ then: [op.put(`${name}-data`, '2')] })).rejects.toMatchObject({ reason: 'released' });
    expect((await actor.etcd.txn({ if: conditions, then: [op.put(`${name}-data`, '3')] })).succeeded).toBe(false);
    expect((await actor.etcd.get(`${name}-data`))?.value).toBe('1');
    expect(() => lock.assertHeld()).toThrow(LostError);
    expect(lock).toMatchObject({ held: false });
    expect(lock.remainingMs()).toBe(0);
    expect(lock.signal.reason).toMatchObject({ reason: 'released' });
  });

  it('asks the holder to give the lock up, once for each request, and only one that listens', async () => {
    await using alice = await open({ owner: 'alice' });
    await using bob = await open({ owner: 'bob' });
    const name = uniqueName(suite);
    const theirs = new Mutex(bob.session, name);
    expect(await theirs.requestRelease()).toEqual({ asked: false, holder: undefined });
    const requests: ReleaseRequest[] = [];
    const lock = await new Mutex(alice.session, name).acquire({
      onReleaseRequested(request, held) {
        requests.push(request);
        if (requests.length === 2) void held.release();
      },
    });
    const waiting = theirs.acquire();
    const asked = await theirs.requestRelease({ reason: 'deployment' });
    expect(asked).toMatchObject({ asked: true, holder: { key: lock.key, token: lock.token } });
    await until(() => requests.length === 1);
    expect(lock.held).toBe(true);
    await lock.guard({ then: [alice.etcd.op.put(`${name}-data`, '1')] });
    await theirs.requestRelease({ reason: 'really' });
    const next = await waiting;
    expect(requests.map(({ by, reason }) => [by.owner, reason])).toEqual([
      ['bob', 'deployment'],
      ['bob', 'really'],
    ]);
    // Bob does not listen.
    expect(await new Mutex(alice.session, name).requestRelease()).toMatchObject({
      asked: false,
      holder: { key: next.key },
    });
    await next.release();
    await untilEmpty(alice.etcd, `${name}/`);
  });

  it('hears of requests that a compaction took from the history', async () => {
    await using proxy = await grpcProxy(suite);
    await using alice = await Actor.open([proxy.address]);
    await using bob = await open({ owner: 'bob' });
    const name = uniqueName(suite);
    const requests: ReleaseRequest[] = [];
    const lock = await new Mutex(alice.session, name).acquire({
      onReleaseRequested: (request) => requests.push(request),
    });
    await compactWhileCutOff(proxy, bob, async () => {
      expect((await new Mutex(bob.session, name).requestRelease()).asked).toBe(true);
    });
    await until(() => requests.length === 1);
    expect(requests[0]?.by.owner).toBe('bob');
    expect(lock.held).toBe(true);
  });

  it('can be taken again by the same flow of control, and is free when all handles are', async () => {
    await using actor = await open();
    await using other = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name, { reentrant: true });
    const rival = new Mutex(other.session, name);
    let kept: Held | undefined;
    await mutex.run(async (outer) => {
      await mutex.run(async (inner) => {
        expect(inner.token).toBe(outer.token);
        // Another object of the same name and session, deep in some other module.
        const again = await new Mutex(actor.session, name, { reentrant: true }).tryAcquire();
        expect(again.acquired).toBe(true);
        if (again.acquired) kept = again.lock;
      });
      expect(outer.held).toBe(true);
      // Branches that run at the same time are in it too.
      await Promise.all([mutex.run(async () => {}), mutex.run(async () => {})]);
      expect(outer.held).toBe(true);
      // Another session is not.
      expect((await rival.tryAcquire()).acquired).toBe(false);
    });
    expect(kept?.held).toBe(true);
    expect((await rival.tryAcquire()).acquired).toBe(false);
    await kept?.release();
    await using got = await rival.acquire({ timeoutMs: 5_000 });
    expect(got.held).toBe(true);
  });

  it('does not enter again what was lost, nor outside the work', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name, { reentrant: true });
    let goOn!: () => void;
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let detached: Promise<Held> | undefined;
    await mutex.run(async () => {
      detached = gate.then(() => mutex.acquire({ timeoutMs: 50 }));
    });
    const outside = await mutex.acquire();
    // It was started inside, but the lock of that time is over, and this one is not its own.
    goOn();
    await expect(detached).rejects.toBeInstanceOf(WaitTimeoutError);
    await outside.release();
    let enteredAgain = false;
    const lost = mutex.run(async (lock, signal) => {
      await actor.etcd.delete(lock.key);
      await fired(signal);
      await mutex.run(async () => {
        enteredAgain = true;
      });
    });
    await expect(lost).rejects.toMatchObject({ name: 'LostError', reason: 'key-gone' });
    expect(enteredAgain).toBe(false);
    // Without the option, work that asks for its own lock waits for itself.
    const plain = new Mutex(actor.session, name);
    await expect(plain.run(() => plain.acquire({ timeoutMs: 50 }))).rejects.toBeInstanceOf(WaitTimeoutError);
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('takes several locks, all or none, whatever order they are asked for in', async () => {
    await using alice = await open();
    await using bob = await open();
    const base = uniqueName(suite);
    const names = ['a', 'b', 'c'].map((letter) => `${base}-${letter}`);
    let both = 0;
    const rounds = async (actor: Actor, order: string[]): Promise<void> => {
      for (let round = 0; round < 10; round++) {
        await using _locks = await acquireAll(actor.session, order, { timeoutMs: 10_000 });
        both++;
        expect(both).toBe(1);
        await actor.etcd.revision();
        both--;
      }
    };
    await Promise.all([rounds(alice, [...names, names[0] as string]), rounds(bob, names.toReversed())]);
    const one = await new Mutex(bob.session, names[1] as string).acquire();
    await expect(acquireAll(alice.session, names, { timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    await untilCount(alice.etcd, base, 1);
    // One that is lost while the next is waited for ends the wait.
    const waiting = outcome(acquireAll(alice.session, names, {}));
    await untilCount(bob.etcd, base, 3);
    await bob.etcd.delete({ prefix: `${names[0]}/` });
    expect((await waiting).error).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    await one.release();
    const held = await acquireAll(alice.session, names);
    held.assertHeld();
    await bob.etcd.delete((held.locks[2] as Held).key);
    await fired(held.signal);
    expect(() => held.assertHeld()).toThrow(LostError);
    await expect(held.release()).rejects.toBeInstanceOf(LostError);
    await untilEmpty(bob.etcd, base);
  });
});
