/** Locks shared with `etcdctl lock`, and so with Go's concurrency package: each excludes the other. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { WaitTimeoutError } from '../../recipes/errors.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { Actor, opener, uniqueName, untilCount, untilEmpty } from './lock-bed.ts';

describeOnEtcd('Interoperation with etcdctl lock', (suite) => {
  const open = opener(suite);

  /** An `etcdctl lock`: it says the key when it has the lock, and gives the lock up when it is interrupted. */
  function etcdctlLock(
    name: string,
    ttlSeconds?: number,
  ): { acquired: Promise<string>; release: () => Promise<void>; kill: () => void } {
    const child = suite.cluster.spawnEtcdctl([
      'lock',
      name,
      ...(ttlSeconds === undefined ? [] : [`--ttl=${ttlSeconds}`]),
    ]);
    const acquired = once(createInterface({ input: child.stdout }), 'line').then(([line]) => line as string);
    return {
      acquired,
      async release() {
        child.kill('SIGINT');
        await once(child, 'exit');
      },
      kill: () => child.kill('SIGKILL'),
    };
  }

  it('ours keeps etcdctl out until it is released', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name).acquire();
    const theirs = etcdctlLock(name);
    let theyHaveIt = false;
    void theirs.acquired.then(() => {
      theyHaveIt = true;
    });
    await untilCount(actor.etcd, `${name}/`, 2);
    await lock.guard({ then: [] });
    expect(theyHaveIt).toBe(false);
    await lock.release();
    expect(await theirs.acquired).toMatch(new RegExp(`^${name}/[0-9a-f]+$`));
    await theirs.release();
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('etcdctl keeps ours out until it gives up, and is listed as one who did not say who it is', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const theirs = etcdctlLock(name);
    const key = await theirs.acquired;
    const mutex = new Mutex(actor.session, name);
    expect(await mutex.tryAcquire()).toMatchObject({ acquired: false, holder: { key, owner: undefined } });
    await expect(mutex.acquire({ timeoutMs: 100 })).rejects.toBeInstanceOf(WaitTimeoutError);
    // It would not hear of it.
    expect(await mutex.requestRelease()).toMatchObject({ asked: false, holder: { key } });
    const waiting = mutex.acquire();
    await untilCount(actor.etcd, `${name}/`, 2);
    expect((await mutex.contenders()).map(({ owner }) => owner?.pid)).toEqual([undefined, process.pid]);
    await theirs.release();
    await using lock = await waiting;
    await lock.guard({ then: [] });
  });

  it('etcdctl meets a name with a slash under its escaped form, and under no other', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, `${name}/job`);
    const meant = etcdctlLock(`${name}%2Fjob`);
    const key = await meant.acquired;
    expect(await mutex.tryAcquire()).toMatchObject({ acquired: false, holder: { key } });
    await meant.release();
    const other = etcdctlLock(`${name}/job`);
    await other.acquired;
    const tried = await mutex.tryAcquire();
    expect(tried.acquired).toBe(true);
    if (tried.acquired) await tried.lock.release();
    await other.release();
  });

  it('meets etcdctl under a name with a slash if that stands as it is', async () => {
    await using actor = await open();
    const name = `${uniqueName(suite)}/100%/job`;
    const mutex = new Mutex(actor.session, name, { rawName: true });
    const theirs = etcdctlLock(name);
    const key = await theirs.acquired;
    expect(await mutex.tryAcquire()).toMatchObject({ acquired: false, holder: { key } });
    const waiting = mutex.acquire();
    await untilCount(actor.etcd, `${name}/`, 2);
    const behind = etcdctlLock(name);
    await untilCount(actor.etcd, `${name}/`, 3);
    await theirs.release();
    const lock = await waiting;
    expect(lock.key).toMatch(new RegExp(`^${name}/[0-9a-f]+-`));
    await lock.release();
    await behind.acquired;
    await behind.release();
  });

  it('both stand in one queue, in the order of their coming', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new Mutex(actor.session, name);
    const order: string[] = [];
    const first = await mutex.acquire();
    const second = etcdctlLock(name);
    await untilCount(actor.etcd, `${name}/`, 2);
    const third = mutex.acquire();
    await untilCount(actor.etcd, `${name}/`, 3);
    const fourth = etcdctlLock(name);
    await untilCount(actor.etcd, `${name}/`, 4);
    void second.acquired.then(() => order.push('etcdctl'));
    void fourth.acquired.then(() => order.push('etcdctl again'));
    void third.then(() => order.push('ours'));
    await first.release();
    await second.acquired;
    await second.release();
    const lock = await third;
    await lock.release();
    await fourth.acquired;
    await fourth.release();
    expect(order).toEqual(['etcdctl', 'ours', 'etcdctl again']);
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('ours gets it when an etcdctl that held it is killed and its lease runs out', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const theirs = etcdctlLock(name, 1);
    await theirs.acquired;
    const waiting = new Mutex(actor.session, name).acquire();
    await untilCount(actor.etcd, `${name}/`, 2);
    theirs.kill();
    await (await waiting).release();
  });

  it('etcdctl waits for a lock delay of ours, too', async () => {
    await using operator = await open();
    await using actor = await Actor.open(suite.cluster.endpoints, { ttlSeconds: 1 });
    const name = uniqueName(suite);
    const lock = await new Mutex(actor.session, name, { lockDelaySeconds: 1 }).acquire();
    const theirs = etcdctlLock(name);
    let theyHaveIt = false;
    void theirs.acquired.then(() => {
      theyHaveIt = true;
    });
    await untilCount(actor.etcd, `${name}/`, 2);
    await operator.etcd.leases.revoke(actor.session.id);
    await new Promise<void>((resolve) => lock.signal.addEventListener('abort', () => resolve(), { once: true }));
    expect(await operator.etcd.count({ prefix: `${name}/` })).toBe(2);
    expect(theyHaveIt).toBe(false);
    await theirs.acquired;
    await theirs.release();
  });
});
