/**
 * An operator writes to a key that somebody holds, as `etcdctl put` does it: without a lease. For everybody else the key
 * is nobody's place any more, so its holder must not pass for one either: not by `guard()`, not by the conditions it
 * gives to transactions of one's own, and not by waiting on. Each has the control: before the write, and with a lease
 * after it, the conditions hold.
 */
import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { LostError } from '../../recipes/errors.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import { RWMutex } from '../../recipes/rwmutex.ts';
import { Semaphore } from '../../recipes/semaphore.ts';
import type { Compare, Etcd } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { ManualWall, Node, noting } from './cron-bed.ts';
import {
  Actor,
  fired,
  grpcProxy,
  opener,
  outcome,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  WATCH,
} from './lock-bed.ts';

describeOnEtcd('A key that is held and written to without a lease', (suite) => {
  const open = opener(suite);
  /** A client that hears of nothing: what it holds it believes to hold. */
  const deaf = async (): Promise<{ actor: Actor } & AsyncDisposable> => {
    const proxy = await grpcProxy(suite);
    proxy.rule({ path: WATCH, action: 'hang' });
    const actor = await Actor.open([proxy.address]);
    return {
      actor,
      async [Symbol.asyncDispose]() {
        await actor[Symbol.asyncDispose]();
        await proxy[Symbol.asyncDispose]();
      },
    };
  };
  const passes = async (etcd: Etcd, conditions: readonly Compare[]): Promise<boolean> =>
    (await etcd.txn({ if: conditions, then: [] })).succeeded;
  const writeTo = async (etcd: Etcd, key: string): Promise<void> => void (await etcd.put(key, 'an operator was here'));

  const holders = {
    Mutex: (actor: Actor, name: string) => new Mutex(actor.session, name).acquire(),
    'Mutex with a lock delay': (actor: Actor, name: string) =>
      new Mutex(actor.session, name, { lockDelaySeconds: 1 }).acquire(),
    RWMutex: (actor: Actor, name: string) => new RWMutex(actor.session, name).acquireRead(),
    Semaphore: (actor: Actor, name: string) => new Semaphore(actor.session, name, { limit: 1 }).acquire(),
    Election: (actor: Actor, name: string) => new Election(actor.session, name).campaign(),
  };

  for (const [what, hold] of Object.entries(holders)) {
    it(`${what}: neither guard() nor the conditions pass any more`, async () => {
      await using operator = await open();
      await using unaware = await deaf();
      const { actor } = unaware;
      const held = await hold(actor, uniqueName(suite));
      expect(await passes(actor.etcd, held.conditions)).toBe(true);
      await held.guard({ then: [] });
      await operator.etcd.put(held.key, 'somebody who knows', { ignoreLease: true });
      expect(await passes(actor.etcd, held.conditions)).toBe(true);
      await writeTo(operator.etcd, held.key);
      expect(held.held).toBe(true);
      expect(await passes(actor.etcd, held.conditions)).toBe(false);
      await expect(held.guard({ then: [] })).rejects.toMatchObject({ name: 'LostError', reason: 'key-gone' });
    });

    it(`${what}: who hears of it is told at once, and takes the key away`, async () => {
      await using operator = await open();
      await using actor = await open();
      const held = await hold(actor, uniqueName(suite));
      await writeTo(operator.etcd, held.key);
      await fired(held.signal);
      expect(held.signal.reason).toMatchObject({ name: 'LostError', reason: 'key-gone' });
      await untilEmpty(operator.etcd, held.key);
      const next = await hold(operator, held.key.slice(0, held.key.indexOf('/')));
      expect(next.token).toBeGreaterThan(held.token);
      await next.release();
    });
  }

  it('a waiter whose key is written to does not wait on', async () => {
    await using operator = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    await using lock = await new Mutex(operator.session, name).acquire();
    const waiting = outcome(new Mutex(actor.session, name).acquire());
    await untilCount(operator.etcd, `${name}/`, 2);
    const [, place] = await new Mutex(operator.session, name).contenders();
    await writeTo(operator.etcd, place?.key ?? '');
    expect((await waiting).error).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    lock.assertHeld();
    expect(await operator.etcd.count({ prefix: `${name}/` })).toBe(1);
  });

  it('WorkQueue: the job is lost to its worker, and goes to another', async () => {
    await using operator = await open();
    await using unaware = await deaf();
    const { actor } = unaware;
    const name = uniqueName(suite);
    const queue = new WorkQueue(actor.session, name);
    await queue.enqueue('a');
    const job = await queue.claim();
    expect(await passes(actor.etcd, job.conditions)).toBe(true);
    const claim = `${name}/work/${job.key}`;
    await writeTo(operator.etcd, claim);
    expect(job.held).toBe(true);
    expect(await passes(actor.etcd, job.conditions)).toBe(false);
    const effect = actor.etcd.op.put(`${name}-effect`, 'stale');
    await expect(job.ack({ then: [effect] })).rejects.toMatchObject({ name: 'LostError', reason: 'key-gone' });
    await expect(job.guard({ then: [effect] })).rejects.toBeInstanceOf(LostError);
    expect(await operator.etcd.get(`${name}-effect`)).toBeUndefined();
    // No worker has it, no lease takes the claim away: a keeper does, whether it comes now or was there before.
    await using keeper = await open();
    const others = new WorkQueue(keeper.session, name);
    await actor.session.close();
    const again = await others.claim({ timeoutMs: 20_000 });
    expect(again).toMatchObject({ id: job.id, attempt: 2 });
    await writeTo(operator.etcd, `${name}/work/${again.key}`);
    await fired(again.signal);
    const third = await others.claim({ timeoutMs: 20_000 });
    expect(third).toMatchObject({ id: job.id, attempt: 3 });
    await third.ack();
  });

  it('Queue: who waits in the line does not wait on, nor spin', async () => {
    await using proxy = await grpcProxy(suite);
    await using operator = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const waiting = outcome(new Queue(actor.session, name).dequeue());
    const waiters = `${name}/queue/waiters/`;
    await until(async () => (await operator.etcd.count({ prefix: waiters })) === 1);
    const { kvs } = await operator.etcd.range({ prefix: waiters });
    await writeTo(operator.etcd, kvs[0]?.key ?? '');
    await new Queue(operator.session, name).enqueue('a');
    expect((await waiting).error).toMatchObject({ name: 'LostError' });
    await untilEmpty(operator.etcd, waiters);
    expect(await new Queue(operator.session, name).tryDequeue()).toMatchObject({ value: 'a' });
  });

  it('Cron: a run whose claim is written to is lost, and writes no history of its own', async () => {
    await using operator = await open();
    const name = uniqueName(suite);
    const wall = new ManualWall();
    const seen: unknown[] = [];
    const handler: ConstructorParameters<typeof Node>[2]['handler'] = async (run) => {
      seen.push(await passes(operator.etcd, run.held.conditions));
      await writeTo(operator.etcd, run.held.key);
      seen.push(await passes(operator.etcd, run.held.conditions));
      seen.push((await outcome(run.held.guard({ then: [] }))).error);
    };
    await using node = new Node(await open(), name, noting([], { handler }), { wallClock: wall });
    await until(() => wall.waiting === 1);
    wall.set(1);
    await until(() => seen.length === 3);
    expect(seen).toEqual([true, false, expect.any(LostError)]);
    await untilEmpty(operator.etcd, `${name}/tidy/claims/`);
    await until(async () => (await node.cron.history('tidy'))[0]?.status === 'lost');
  });
});
