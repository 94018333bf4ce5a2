/** Counter and IdAllocator on real etcd: nothing counts twice, no id is given twice. */
import { expect, it } from 'vitest';
import { Counter } from '../../recipes/counter.ts';
import { UnknownOutcomeError } from '../../recipes/errors.ts';
import { IdAllocator } from '../../recipes/id-allocator.ts';
import type { Clock } from '../../src/index.ts';
import { systemClock } from '../../src/support/clock.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { type ClientMessage, GrpcFaultProxy, type Verdict } from '../support/grpc-fault-proxy.ts';
import {
  Actor,
  countCalls,
  grpcProxy,
  hostOf,
  outcome,
  RANGE,
  TXN,
  uniqueName,
  until,
  untilEmpty,
} from './lock-bed.ts';

/** The longest waits after a counter's first conflicts. */
const BACKOFFS_MS = [2, 4, 8];

describeOnEtcd('Counter', (suite) => {
  const open = (options?: Parameters<typeof Actor.open>[1]): Promise<Actor> =>
    Actor.open(suite.cluster.endpoints, options);

  it('adds in one round trip once it knows the value, and gets in one', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const counter = new Counter(actor.session, uniqueName(suite));
    expect(await counter.get()).toBe(0n);
    expect(await counter.add()).toBe(1n);
    const counted = countCalls(proxy);
    expect(await counter.add(41n)).toBe(42n);
    expect(counted()).toEqual({ [TXN]: 1 });
    expect(await counter.add(-50n)).toBe(-8n);
    expect(await counter.get()).toBe(-8n);
    expect(counted()).toEqual({ [TXN]: 2, [RANGE]: 1 });
  });

  it('adds in one round trip while there is no value, and in two when it has to learn it', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const counter = new Counter(actor.session, name, { initial: 5n });
    const counted = countCalls(proxy);
    expect(await counter.add()).toBe(6n);
    expect(counted()).toEqual({ [TXN]: 1 });
    expect(await new Counter(other.session, name, { initial: 5n }).add()).toBe(7n);
    expect(await counter.add()).toBe(8n);
    expect(counted()).toEqual({ [TXN]: 3 });
    expect(await new Counter(actor.session, name, { initial: 5n }).add()).toBe(9n);
    expect(counted()).toEqual({ [TXN]: 5 });
  });

  it('steps back from others who add, longer each time, and not between reading and writing', async () => {
    await using other = await open();
    const name = uniqueName(suite);
    // Before each of the first five tries somebody else is quicker. The wait before a try says which was a guess.
    const waits: number[] = [];
    const tries: number[] = [];
    const clock: Clock = {
      now: () => systemClock.now(),
      after: (delayMs, callback, options) => {
        waits.push(delayMs);
        return systemClock.after(delayMs, callback, options);
      },
    };
    const gate = async ({ call }: ClientMessage): Promise<Verdict> => {
      if (call.path === TXN) {
        tries.push(waits.splice(0).find((ms) => BACKOFFS_MS.includes(ms)) ?? 0);
        if (tries.length <= 5) await other.etcd.increment(`${name}/value`);
      }
      return 'forward';
    };
    await using proxy = await GrpcFaultProxy.start({ target: hostOf(suite), gate });
    // The dice say that each wait is as long as it can be.
    await using actor = await Actor.open([proxy.address], { clock, random: () => 1 });
    expect(await new Counter(actor.session, name).add()).toBe(6n);
    // The value is seen by the first refusal; the wait comes after the second, and a guess after the wait.
    expect(tries).toEqual([0, 0, 2, 0, 4, 0]);
  });

  it('applies an add once whose answer is lost, even if others have added since', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const counter = new Counter(actor.session, name);
    await counter.add(5n);
    const lost = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const adding = counter.add(1n);
    await lost.waitApplied();
    // It has left the proxy; it counts once etcd has done it.
    await until(async () => (await counter.get()) === 6n);
    expect(await new Counter(other.session, name).add(100n)).toBe(106n);
    proxy.cut();
    expect(await adding).toBe(6n);
    expect(await counter.get()).toBe(106n);
  });

  it('makes sure that an add which is given up is never applied, or says so', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const counter = new Counter(actor.session, uniqueName(suite));
    await counter.add(1n);
    const hang = proxy.rule({ path: TXN, nth: 1, action: 'hang' });
    const stop = new AbortController();
    const adding = outcome(counter.add(1n, { signal: stop.signal }));
    await hang.waitApplied();
    stop.abort();
    expect((await adding).error).toMatchObject({ name: 'AbortError' });
    expect(await counter.get()).toBe(1n);
    // Applied, but nobody answers until the call has to end: it is then the result.
    const swallowed = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const again = new AbortController();
    const added = outcome(counter.add(1n, { signal: again.signal }));
    await swallowed.waitApplied();
    // The abort takes the request with it unless etcd has it already.
    await until(async () => (await counter.get()) === 2n);
    again.abort();
    expect(await added).toEqual({ value: 2n });
    const cut = proxy.rule({ path: TXN, action: 'hang' });
    const last = new AbortController();
    const unknown = outcome(counter.add(1n, { signal: last.signal }));
    await cut.waitApplied();
    last.abort();
    expect((await unknown).error).toBeInstanceOf(UnknownOutcomeError);
    cut.remove();
    proxy.cut();
  });

  it('loses no add of many clients at once while answers are lost', async () => {
    await using proxy = await grpcProxy(suite);
    await using faulty = await Actor.open([proxy.address]);
    await using b = await open();
    await using c = await open();
    const name = uniqueName(suite);
    for (const nth of [2, 7, 11, 16, 23]) proxy.rule({ path: TXN, nth, action: 'swallow-reply' });
    const counters = [faulty, faulty, b, c].map(({ session }) => new Counter(session, name));
    const sums = await Promise.all(counters.flatMap((counter) => Array.from({ length: 15 }, () => counter.add())));
    expect(new Set(sums).size).toBe(60);
    expect(await counters[0]?.get()).toBe(60n);
  });

  it('compares and sets, and sets whatever it was', async () => {
    await using a = await open();
    await using b = await open();
    const name = uniqueName(suite);
    const counter = new Counter(a.session, name, { initial: 10n });
    expect(await counter.compareAndSet(9n, 1n)).toEqual({ swapped: false, value: 10n });
    expect(await counter.compareAndSet(10n, 1n)).toEqual({ swapped: true, value: 1n });
    await new Counter(b.session, name, { initial: 10n }).set(7n);
    expect(await counter.compareAndSet(1n, 2n)).toEqual({ swapped: false, value: 7n });
    await a.etcd.put(`${name}/value`, '007');
    expect(await counter.compareAndSet(7n, 8n)).toEqual({ swapped: true, value: 8n });
    await a.etcd.put(`${name}/value`, 'many');
    for (const call of [() => counter.get(), () => counter.add(), () => counter.compareAndSet(8n, 1n)]) {
      expect((await outcome<unknown>(call())).error).toMatchObject({ name: 'DecodeError' });
    }
    expect(await counter.set(2n ** 70n)).toBe(2n ** 70n);
    expect(await counter.add(-1n)).toBe(2n ** 70n - 1n);
    await a.etcd.delete(`${name}/value`);
    expect(await counter.add(1n)).toBe(11n);
  });

  it('stops with its session, and its receipts go with it', async () => {
    await using other = await open();
    const actor = await open();
    const name = uniqueName(suite);
    const counter = new Counter(actor.session, name);
    await counter.add();
    expect(await other.etcd.count({ prefix: `${name}/receipts/` })).toBe(1);
    await actor.session.close();
    await expect(counter.add()).rejects.toThrow(/lease|session/);
    await untilEmpty(other.etcd, `${name}/receipts/`);
    expect(await new Counter(other.session, name).get()).toBe(1n);
    await actor.etcd.close();
  });
});

describeOnEtcd('IdAllocator', (suite) => {
  const open = (options?: Parameters<typeof Actor.open>[1]): Promise<Actor> =>
    Actor.open(suite.cluster.endpoints, options);

  it('claims a block in one transaction, ahead of need, and gives ids without asking the store', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const ids = new IdAllocator(actor.session, uniqueName(suite), { blockSize: 10, refillBelow: 3, first: 1000n });
    expect(await ids.next()).toBe(1000n);
    const counted = countCalls(proxy);
    for (let index = 1; index <= 5; index++) expect(await ids.next()).toBe(1000n + BigInt(index));
    expect(counted()).toEqual({});
    expect(await ids.next()).toBe(1006n);
    await proxy.waitFor(() => counted()[TXN] === 1);
    for (let index = 7; index <= 15; index++) expect(await ids.next()).toBe(1000n + BigInt(index));
    expect(counted()).toEqual({ [TXN]: 1 });
  });

  it('never gives an id twice: many clients, lost answers, crashes', async () => {
    await using proxy = await grpcProxy(suite);
    await using b = await open();
    const crashed = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    for (const nth of [1, 3, 4, 8]) proxy.rule({ path: TXN, nth, action: 'swallow-reply' });
    const drawn: bigint[][] = [];
    const draw = async (actor: Actor, count: number): Promise<void> => {
      const ids = new IdAllocator(actor.session, name, { blockSize: 7 });
      const mine: bigint[] = [];
      drawn.push(mine);
      await Promise.all(Array.from({ length: count }, async () => mine.push(await ids.next())));
    };
    await Promise.all([draw(crashed, 50), draw(b, 50), draw(b, 30)]);
    await suite.cluster.etcdctl(['lease', 'revoke', crashed.session.id.toString(16)]);
    await draw(b, 20);
    const all = drawn.flat();
    expect(all.length).toBe(150);
    expect(new Set(all).size).toBe(150);
    for (const mine of drawn) expect(mine).toEqual([...mine].sort((x, y) => (x < y ? -1 : 1)));
    await crashed.etcd.close();
  });

  it('claims ranges that overlap nothing', async () => {
    await using actor = await open();
    const ids = new IdAllocator(actor.session, uniqueName(suite), { blockSize: 5, refillBelow: 0 });
    expect(await ids.next()).toBe(1n);
    expect(await ids.range(20)).toEqual({ first: 6n, count: 20 });
    expect(await ids.next()).toBe(26n);
    expect(ids.available).toBe(4n);
  });

  it('fails whoever waits for a claim that cannot be made, and the claim serves the next', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const ids = new IdAllocator(actor.session, uniqueName(suite), { blockSize: 5, refillBelow: 0 });
    const hang = proxy.rule({ path: TXN, nth: 1, action: 'hang' });
    const stop = new AbortController();
    const first = outcome(ids.next({ signal: stop.signal }));
    await hang.waitApplied();
    const second = ids.next();
    stop.abort();
    expect((await first).error).toMatchObject({ name: 'AbortError' });
    proxy.cut();
    expect(await second).toBe(1n);
    await actor.session.close();
    for (let id = 2n; id <= 5n; id++) expect(await ids.next()).toBe(id);
    await expect(ids.next()).rejects.toMatchObject({ name: 'LeaseLostError' });
  });
});
