/** The read-write mutex on real etcd. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import type { Held } from '../../recipes/held.ts';
import { RWMutex, WriteLock } from '../../recipes/rwmutex.ts';
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
  TXN,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  untilWatched,
  WATCH,
} from './lock-bed.ts';

describeOnEtcd('RWMutex', (suite) => {
  const open = opener(suite);

  it('lets readers in together and a writer alone, in one round trip each', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const mutex = new RWMutex(actor.session, uniqueName(suite));
    const counted = countCalls(proxy);
    const readers = [await mutex.acquireRead(), await mutex.acquireRead(), await mutex.acquireRead()];
    expect(counted()).toEqual({ [TXN]: 3 });
    await expect(mutex.acquireWrite({ timeoutMs: 250 })).rejects.toBeInstanceOf(WaitTimeoutError);
    for (const reader of readers) await reader.release();
    const writing = countCalls(proxy);
    const writer = await mutex.acquireWrite();
    expect(writing()).toEqual({ [TXN]: 1 });
    expect(writer.token).toBeGreaterThan(readers[2]?.token ?? 0n);
    await expect(mutex.acquireRead({ timeoutMs: 250 })).rejects.toBeInstanceOf(WaitTimeoutError);
    await expect(mutex.acquireWrite({ timeoutMs: 250 })).rejects.toBeInstanceOf(WaitTimeoutError);
    const releasing = countCalls(proxy);
    await writer.release();
    expect(releasing()).toEqual({ [DELETE]: 1 });
    expect(await mutex.contenders()).toEqual([]);
  });

  it('serves in the order of arrival: readers behind a waiting writer wait, so it does not starve', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const early = await new RWMutex(holder.session, name).acquireRead();
    const mutex = new RWMutex(actor.session, name);
    const order: string[] = [];
    const note = (what: string) => (lock: Held) => {
      order.push(what);
      return lock;
    };
    const writer = mutex.acquireWrite().then(note('writer'));
    await untilCount(holder.etcd, `${name}/`, 2);
    const late = [];
    for (let index = 0; index < 5; index++) {
      late.push(mutex.acquireRead().then(note('reader')));
      await untilCount(holder.etcd, `${name}/`, 3 + index);
    }
    const lastWriter = mutex.acquireWrite().then(note('last writer'));
    await untilCount(holder.etcd, `${name}/`, 8);
    expect((await mutex.contenders()).map(({ mode }) => mode)).toEqual([
      'read',
      'write',
      'read',
      'read',
      'read',
      'read',
      'read',
      'write',
    ]);
    expect(order).toEqual([]);
    const counted = countCalls(proxy);
    await early.release();
    await (await writer).release();
    const readers = await Promise.all(late);
    expect(order).toEqual(['writer', 'reader', 'reader', 'reader', 'reader', 'reader']);
    // One look of the writer, one of each reader; the last writer was not woken.
    expect(counted()[TXN]).toBe(6);
    // It watches the reader just ahead: those that go before that one do not wake it.
    for (const reader of readers) await reader.release();
    await (await lastWriter).release();
    expect(counted()[TXN]).toBe(7);
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('tries in one round trip, writes nothing when that fails, and says who is in the way', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open({ owner: 'alice' });
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const theirs = new RWMutex(holder.session, name);
    const mine = new RWMutex(actor.session, name);
    const reader = await theirs.acquireRead();
    const counted = countCalls(proxy);
    const before = await holder.etcd.revision();
    expect(await mine.tryAcquireWrite()).toMatchObject({
      acquired: false,
      holder: { key: reader.key, mode: 'read', owner: { owner: 'alice' } },
    });
    expect(counted()).toEqual({ [TXN]: 1 });
    expect(await holder.etcd.revision()).toBe(before);
    const second = await mine.tryAcquireRead();
    expect(second.acquired).toBe(true);
    expect(counted()).toEqual({ [TXN]: 2 });
    // A writer that only waits is in a reader's way too.
    const writing = theirs.acquireWrite();
    await untilCount(holder.etcd, `${name}/`, 3);
    expect(await mine.tryAcquireRead()).toMatchObject({ acquired: false, holder: { mode: 'write' } });
    await reader.release();
    if (second.acquired) await second.lock.release();
    await (await writing).release();
    const writer = await mine.tryAcquireWrite();
    expect(writer.acquired && writer.lock).toBeInstanceOf(WriteLock);
    if (writer.acquired) await writer.lock.release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('never lets a writer in beside anybody, whoever comes, goes and gives up', async () => {
    await using actor = await open();
    await using other = await open();
    const name = uniqueName(suite);
    let readers = 0;
    let writers = 0;
    let most = 0;
    const tokens: bigint[] = [];
    const worker = async (index: number): Promise<void> => {
      const mutex = new RWMutex((index % 2 === 0 ? actor : other).session, name);
      for (let round = 0; round < 12; round++) {
        const timeoutMs = (index + round) % 5 === 0 ? 5 : 20_000;
        const write = (index + round) % 3 === 0;
        const work = write
          ? mutex.runWrite(
              async (lock) => {
                expect(++writers + readers).toBe(1);
                tokens.push(lock.token);
                await sleep(1);
                writers--;
              },
              { timeoutMs },
            )
          : mutex.runRead(
              async (lock) => {
                most = Math.max(most, ++readers);
                expect(writers).toBe(0);
                expect(tokens.every((token) => token < lock.token)).toBe(true);
                await sleep(1);
                readers--;
              },
              { timeoutMs },
            );
        const { error } = await outcome(work);
        if (error !== undefined && !(error instanceof WaitTimeoutError)) throw error;
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, index) => worker(index)));
    expect(most).toBeGreaterThan(1);
    expect(tokens).toEqual(tokens.toSorted((a, b) => (a < b ? -1 : 1)));
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('goes from writer to reader without letting a waiting writer in between', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const mutex = new RWMutex(actor.session, name);
    const rival = new RWMutex(other.session, name);
    const writer = await mutex.acquireWrite();
    const readerBehind = rival.acquireRead();
    await untilCount(other.etcd, `${name}/`, 2);
    const writerBehind = awaited(rival.acquireWrite());
    await untilCount(other.etcd, `${name}/`, 3);
    const counted = countCalls(proxy);
    const reader = await writer.downgrade();
    expect(counted()).toEqual({ [TXN]: 1 });
    expect([writer.held, reader.held, reader.token === writer.token, reader.name]).toEqual([
      false,
      true,
      true,
      `the read lock ${name}`,
    ]);
    await expect(writer.downgrade()).rejects.toBeInstanceOf(LostError);
    await writer.release();
    // The reader right behind gets in beside it; the writer behind both does not.
    const beside = await readerBehind;
    await reader.guard({ then: [] });
    expect(writerBehind.came).toBe(false);
    expect((await mutex.contenders()).map(({ mode }) => mode)).toEqual(['read', 'read', 'write']);
    expect((await mutex.tryAcquireRead()).acquired).toBe(false);
    await beside.release();
    await other.etcd.revision();
    expect(writerBehind.came).toBe(false);
    await reader.release();
    await (await writerBehind.promise).release();
    await untilEmpty(other.etcd, `${name}/`);
  });

  it('lets new readers in, and tries of readers, beside one that was a writer', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new RWMutex(actor.session, name);
    const reader = await (await mutex.acquireWrite()).downgrade();
    const tried = await mutex.tryAcquireRead();
    expect(tried.acquired).toBe(true);
    const waited = await mutex.acquireRead({ timeoutMs: 5_000 });
    expect(await mutex.tryAcquireWrite()).toMatchObject({ acquired: false, holder: { key: reader.key, mode: 'read' } });
    for (const lock of [reader, waited, ...(tried.acquired ? [tried.lock] : [])]) await lock.release();
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('says so when a writer has lost the lock that it would downgrade', async () => {
    await using proxy = await grpcProxy(suite);
    await using operator = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    proxy.rule({ path: WATCH, action: 'hang' });
    const writer = await new RWMutex(actor.session, name).acquireWrite();
    await operator.etcd.delete(writer.key);
    await expect(writer.downgrade()).rejects.toMatchObject({ name: 'LostError', reason: 'key-gone' });
    expect(writer.signal.aborted).toBe(true);
    expect(await operator.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('downgrades once when the answer to that is lost', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const writer = await new RWMutex(actor.session, name).acquireWrite();
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const reader = await writer.downgrade();
    await reader.guard({ then: [] });
    await reader.release();
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('gives the lock up when nobody knows whether it was downgraded: readers are in already', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const writer = await new RWMutex(actor.session, name).acquireWrite();
    await expect(writer.downgrade({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
    expect(writer.held).toBe(true);
    await writer.guard({ then: [] });
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const controller = new AbortController();
    const downgraded = outcome(writer.downgrade({ signal: controller.signal }));
    const beside = await new RWMutex(other.session, name).acquireRead();
    // Until it is given up, the writer believes to be alone; the store knows better.
    expect((await actor.etcd.txn({ if: writer.conditions, then: [] })).succeeded).toBe(false);
    controller.abort();
    expect((await downgraded).error).toMatchObject({ name: 'AbortError' });
    expect(writer.held).toBe(false);
    await expect(writer.guard({ then: [] })).rejects.toBeInstanceOf(LostError);
    expect((await new RWMutex(other.session, name).contenders()).map(({ key }) => key)).toEqual([beside.key]);
    await beside.release();
  });

  it('a write of the writer that arrives after the downgrade is not done beside readers', async () => {
    let late: ClientMessage | undefined;
    let txns = 0;
    // 1 acquires, 2 writes and is late, 3 downgrades.
    const gate = (message: ClientMessage): Verdict => {
      if (message.call.path !== TXN || ++txns !== 2) return 'forward';
      late = message;
      return 'cut';
    };
    await using proxy = await GrpcFaultProxy.start({ target: hostOf(suite), gate });
    await using actor = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const writer = await new RWMutex(actor.session, name).acquireWrite();
    const write = writer.guard({ then: [actor.etcd.op.put(`${name}-data`, 'late')] });
    await expect(write).rejects.toMatchObject({ applied: 'maybe' });
    await using reader = await writer.downgrade();
    await using beside = await new RWMutex(other.session, name).acquireRead();
    expect(await sendUnary(hostOf(suite), TXN, late?.payload ?? Buffer.alloc(0))).toBe(0);
    await beside.guard({ then: [] });
    expect(await other.etcd.get(`${name}-data`)).toBeUndefined();
    await reader.guard({ then: [] });
  });

  it('adopts its own key when the answer to entering is lost (Go leaves an orphan reader that blocks writers)', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const mutex = new RWMutex(actor.session, name);
    for (const way of ['acquireRead', 'acquireWrite', 'tryAcquireRead', 'tryAcquireWrite'] as const) {
      proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
      const got = await mutex[way]({ timeoutMs: 10_000 });
      expect(await actor.etcd.count({ prefix: `${name}/` })).toBe(1);
      await ('acquired' in got ? (got.acquired ? got.lock : undefined) : got)?.release();
      expect(await actor.etcd.count({ prefix: `${name}/` })).toBe(0);
    }
  });

  it('Go #16221: whose session ends while it waits does not get the lock', async () => {
    await using holder = await open();
    await using reader = await open();
    await using writer = await open();
    const name = uniqueName(suite);
    const lock = await new RWMutex(holder.session, name).acquireWrite();
    const reading = outcome(new RWMutex(reader.session, name).acquireRead());
    await untilCount(holder.etcd, `${name}/`, 2);
    const writing = outcome(new RWMutex(writer.session, name).acquireWrite());
    await untilCount(holder.etcd, `${name}/`, 3);
    await holder.etcd.leases.revoke(reader.session.id);
    await holder.etcd.leases.revoke(writer.session.id);
    expect((await reading).error).toBeInstanceOf(LostError);
    expect((await writing).error).toBeInstanceOf(LostError);
    await lock.guard({ then: [] });
  });

  it('Go, R/rwmutex.go: a compaction while waiting neither lets in nor spins', async () => {
    await using proxy = await grpcProxy(suite);
    await using holder = await open();
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const mutex = new RWMutex(actor.session, name);
    const lock = await new RWMutex(holder.session, name).acquireWrite();
    const waiting = [mutex.acquireRead(), mutex.acquireRead()].map(awaited);
    await untilWatched(proxy, 4);
    const counted = countCalls(proxy);
    await compactWhileCutOff(proxy, holder);
    await until(() => (counted()[TXN] ?? 0) === 2);
    await sleep(100);
    // One look each, and then they wait again.
    expect(counted()[TXN]).toBe(2);
    expect(waiting.map(({ came }) => came)).toEqual([false, false]);
    await lock.release();
    for (const { promise } of waiting) await (await promise).release();
    await untilEmpty(holder.etcd, `${name}/`);
  });

  it('is lost with its key, for readers and writers, and leaves nothing behind when waits end', async () => {
    await using operator = await open();
    await using actor = await open();
    const name = uniqueName(suite);
    const mutex = new RWMutex(actor.session, name);
    const reader = await mutex.acquireRead();
    const controller = new AbortController();
    const aborted = outcome(mutex.acquireWrite({ signal: controller.signal }));
    await untilCount(operator.etcd, `${name}/`, 2);
    const behind = mutex.acquireRead();
    await untilCount(operator.etcd, `${name}/`, 3);
    controller.abort();
    expect((await aborted).error).toMatchObject({ name: 'AbortError' });
    // The writer that gave up stood in this one's way.
    await (await behind).release();
    await operator.etcd.delete(reader.key);
    await fired(reader.signal);
    await expect(reader.release()).rejects.toMatchObject({ reason: 'key-gone' });
    await using writer = await mutex.acquireWrite();
    expect(writer.token).toBeGreaterThan(reader.token);
    await writer.release();
    await untilEmpty(operator.etcd, `${name}/`);
  });
});
