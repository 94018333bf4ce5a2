/** The session on real etcd: what stands on it stops with it, in order, and nothing stays behind. */
import { expect, it } from 'vitest';
import { LostError } from '../../recipes/errors.ts';
import { Mutex } from '../../recipes/mutex.ts';
import type { Session } from '../../recipes/session.ts';
import { supervise } from '../../recipes/supervise.ts';
import { Etcd } from '../../src/index.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { snapshotResources } from '../support/leaks.ts';
import {
  Actor,
  DELETE,
  fired,
  grpcProxy,
  hostOf,
  opener,
  outcome,
  REVOKE,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
} from './lock-bed.ts';

describeOnEtcd('Session', (suite) => {
  const open = opener(suite);

  it('closes in order: what runs under it stops, its keys go, then the lease is revoked', async () => {
    await using proxy = await grpcProxy(suite);
    await using observer = await open();
    const actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const told: string[] = [];
    let begun = false;
    let finish!: () => void;
    const work = new Mutex(actor.session, name).run(async (lock, signal) => {
      begun = true;
      await fired(signal);
      told.push(`signal: ${(signal.reason as LostError).reason}`);
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      // The work is still going on: nobody else may have the lock yet.
      told.push(`key there: ${(await observer.etcd.get(lock.key)) !== undefined}`);
      await expect(lock.guard({ then: [] })).rejects.toBeInstanceOf(LostError);
    });
    await until(() => begun);
    const closing = actor.session.close();
    expect(actor.session.close()).toBe(closing);
    expect(actor.session.alive).toBe(false);
    await until(() => told.length === 1);
    expect(proxy.count(DELETE)).toBe(0);
    finish();
    await closing;
    await work;
    expect(told).toEqual(['signal: released', 'key there: true']);
    expect(proxy.callsOf(DELETE)[0]?.order).toBeLessThan(proxy.callsOf(REVOKE)[0]?.order ?? -1);
    expect(await observer.etcd.count({ prefix: `${name}/` })).toBe(0);
    expect((await observer.etcd.leases.timeToLive(actor.session.id)).ttlSeconds).toBeUndefined();
    await actor.etcd.close();
  });

  it('ends the waits that stand on it, and cleans up after them, before it is closed', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    const name = uniqueName(suite);
    const lock = await new Mutex(holder.session, name).acquire();
    const waiter = await Actor.open([proxy.address]);
    const waiting = outcome(new Mutex(waiter.session, name).acquire());
    await untilCount(holder.etcd, `${name}/`, 2);
    await waiter.session.close();
    expect(proxy.count(DELETE)).toBe(1);
    expect(proxy.callsOf(DELETE)[0]?.order).toBeLessThan(proxy.callsOf(REVOKE)[0]?.order ?? -1);
    expect((await waiting).error).toMatchObject({ name: 'LostError', reason: 'session', cause: { reason: 'revoked' } });
    expect((await holder.etcd.range({ prefix: `${name}/` })).kvs.map(({ key }) => key)).toEqual([lock.key]);
    for (const late of [new Mutex(waiter.session, name).acquire(), new Mutex(waiter.session, name).tryAcquire()]) {
      await expect(late).rejects.toMatchObject({ name: 'LeaseLostError' });
    }
    expect(() => waiter.session.use({ release: async () => {} })).toThrow(/lost: revoked/);
    await waiter.etcd.close();
  });

  it('does not hand its own lock from a holder to a waiter while it is closing', async () => {
    await using observer = await open();
    const actor = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name);
    await mutex.acquire();
    const second = outcome(mutex.acquire());
    await untilCount(observer.etcd, `${name}/`, 2);
    await actor.session.close();
    expect((await second).error).toMatchObject({ name: 'LostError', reason: 'session' });
    await actor.etcd.close();
    expect(await observer.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('when its lease is revoked behind its back, tells holders and waiters, and stays lost', async () => {
    await using operator = await open();
    await using actor = await open({ ttlSeconds: 2 });
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name);
    const lock = await mutex.acquire();
    const waiting = outcome(mutex.acquire());
    await untilCount(operator.etcd, `${name}/`, 2);
    await operator.etcd.leases.revoke(actor.session.id);
    await fired(lock.signal);
    expect(lock.signal.reason).toBeInstanceOf(LostError);
    expect((await waiting).error).toBeInstanceOf(LostError);
    // The keys' deletion is seen first; that it was the lease, with the next keepalive.
    await fired(actor.session.signal);
    expect(actor.session.alive).toBe(false);
    expect(actor.session.remainingMs()).toBe(0);
    await expect(mutex.acquire()).rejects.toMatchObject({ name: 'LeaseLostError', reason: 'expired' });
    await expect(lock.release()).rejects.toBeInstanceOf(LostError);
    await untilEmpty(operator.etcd, `${name}/`);
  });

  it('is known to be lost by the first try that the server refuses for want of the lease', async () => {
    await using operator = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    await operator.etcd.leases.revoke(actor.session.id);
    // Ten seconds before the next keepalive would tell.
    const mutex = new Mutex(actor.session, name);
    await expect(mutex.tryAcquire()).rejects.toMatchObject({ name: 'LostError', reason: 'session' });
    expect(actor.session.signal.aborted).toBe(true);
    expect(await operator.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('leaves no socket, timer or stream behind', async () => {
    const before = snapshotResources();
    const name = uniqueName(suite);
    {
      await using actor = await open();
      const mutex = new Mutex(actor.session, name);
      await using _lock = await mutex.acquire();
      await expect(mutex.acquire({ timeoutMs: 50 })).rejects.toThrow(/did not come within/);
      expect((await mutex.tryAcquire()).acquired).toBe(false);
    }
    await before.expectNothingAdded();
  });

  it('under supervision is replaced when it is lost, and the work runs again only after it has stopped', async () => {
    await using operator = await open();
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints });
    const sessions: Session[] = [];
    const lostBy: unknown[] = [];
    let running = 0;
    const result = await supervise(
      etcd,
      { ttlSeconds: 2, onLost: (error) => lostBy.push(error) },
      async (session, signal) => {
        expect(++running).toBe(1);
        sessions.push(session);
        if (sessions.length < 3) {
          await operator.etcd.leases.revoke(session.id);
          await fired(signal);
          await operator.etcd.revision();
        }
        running--;
        if (sessions.length === 2) throw new Error('whatever comes of a lost session');
        return `run ${sessions.length}`;
      },
    );
    expect(result).toBe('run 3');
    expect(new Set(sessions.map(({ id }) => id)).size).toBe(3);
    expect(lostBy).toMatchObject([{ reason: 'expired' }, { reason: 'expired' }]);
    for (const session of sessions) expect(session.alive).toBe(false);
    expect((await etcd.leases.timeToLive(sessions[2]?.id as Session['id'])).ttlSeconds).toBeUndefined();
  });

  it('under supervision survives that etcd is away for longer than the session lives', async () => {
    await using proxy = await FaultProxy.start({ target: hostOf(suite) });
    // One attempt, so that a try to open a session ends with the first refusal.
    await using etcd = new Etcd({ endpoints: [proxy.address], retry: { maxAttempts: 1 } });
    const lost: string[] = [];
    let runs = 0;
    const onLost = (error: unknown): void => {
      lost.push((error as { code: string }).code);
      if (lost.length === 3) void proxy.accept();
    };
    const result = await supervise(etcd, { ttlSeconds: 1, onLost }, async (session, signal) => {
      if (++runs === 2) return session.alive;
      proxy.refuse();
      proxy.cut();
      await fired(signal);
      return false;
    });
    expect(result).toBe(true);
    expect(runs).toBe(2);
    expect(lost.slice(0, 3)).toEqual(['lease-lost', 'unavailable', 'unavailable']);
  });

  it('under supervision ends with the work, with what it throws, and with the signal', async () => {
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints });
    const failing = supervise(etcd, {}, async () => {
      throw new Error('a bug');
    });
    await expect(failing).rejects.toThrow('a bug');
    const controller = new AbortController();
    const stopped = supervise(etcd, { signal: controller.signal }, async (session, signal) => {
      controller.abort(new Error('shut down'));
      expect(signal.aborted).toBe(true);
      expect(session.alive).toBe(true);
      signal.throwIfAborted();
    });
    await expect(stopped).rejects.toThrow('shut down');
    await expect(supervise(etcd, { ttlSeconds: 0.5 }, async () => {})).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    const wrong = new Etcd({ endpoints: suite.cluster.endpoints });
    await wrong.close();
    await expect(supervise(wrong, {}, async () => {})).rejects.toMatchObject({ code: 'closed' });
  });
});
