/** The double barrier on real etcd: so many begin together and end together, or not at all. */
import { expect, it } from 'vitest';
import { type BarrierRound, DoubleBarrier } from '../../recipes/double-barrier.ts';
import { LostError, RecipeError, WaitTimeoutError } from '../../recipes/errors.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { type ClientMessage, GrpcFaultProxy, type Verdict } from '../support/grpc-fault-proxy.ts';
import { sendUnary } from '../support/grpc-send.ts';
import {
  Actor,
  countCalls,
  fired,
  grpcProxy,
  hostOf,
  outcome,
  TXN,
  uniqueName,
  until,
  untilCount,
  untilEmpty,
  untilWatching,
  WATCH,
} from './lock-bed.ts';

describeOnEtcd('DoubleBarrier', (suite) => {
  const open = (options?: Parameters<typeof Actor.open>[1]): Promise<Actor> =>
    Actor.open(suite.cluster.endpoints, options);

  const pending = async (wait: Promise<unknown>): Promise<boolean> =>
    (await Promise.race([wait.then(() => 'done'), new Promise((resolve) => setTimeout(resolve, 100, 'pending'))])) ===
    'pending';

  /** How many of a round have said that they leave. */
  const leftCount = async (actor: Actor, name: string): Promise<number> =>
    (await actor.etcd.range({ prefix: `${name}/` })).kvs.filter(({ value }) => value.includes('"left":true')).length;

  it('begins and ends together, at one round trip each, two for the last', async () => {
    await using proxy = await grpcProxy(suite);
    await using early = await Actor.open([proxy.address]);
    await using lastProxy = await grpcProxy(suite);
    await using last = await Actor.open([lastProxy.address]);
    const name = uniqueName(suite);
    const barrier = new DoubleBarrier(early.session, name, { count: 4 });
    const counted = countCalls(proxy);
    const entering = [barrier.enter(), barrier.enter(), barrier.enter()];
    await untilWatching(proxy, 3);
    expect(await pending(Promise.race(entering))).toBe(true);
    const countedLast = countCalls(lastProxy);
    const rounds = [
      await new DoubleBarrier(last.session, name, { count: 4 }).enter(),
      ...(await Promise.all(entering)),
    ];
    expect(counted()).toEqual({ [TXN]: 3 });
    expect(countedLast()).toEqual({ [TXN]: 2 });
    expect(new Set(rounds.map(({ round }) => round)).size).toBe(1);
    const [theLast, ...others] = rounds as [BarrierRound, ...BarrierRound[]];
    const leaving = others.map((round) => round.leave());
    await proxy.waitFor(() => counted()[TXN] === 6);
    expect(await pending(Promise.race(leaving))).toBe(true);
    await theLast.leave();
    await Promise.all(leaving);
    // Mark and make sure, whoever of them keeps watch.
    expect(counted()[TXN]).toBeGreaterThanOrEqual(9);
    expect(counted()[TXN]).toBeLessThanOrEqual(11);
    expect(countedLast()).toEqual({ [TXN]: 4 });
    expect(await last.etcd.count({ prefix: `${name}/` })).toBe(0);
    await theLast.release();
  });

  it('starts one round after another with many who come at once', async () => {
    await using a = await open();
    await using b = await open();
    const name = uniqueName(suite);
    const barriers = [a, b].map(({ session }) => new DoubleBarrier(session, name, { count: 3 }));
    let inside = 0;
    let most = 0;
    const rounds: bigint[] = [];
    await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        barriers[index % 2]!.run(async ({ round }) => {
          rounds.push(round);
          most = Math.max(most, ++inside);
          inside--;
        }),
      ),
    );
    const sizes = [...new Set(rounds)].map((round) => rounds.filter((other) => other === round).length);
    expect(sizes).toEqual([3, 3, 3, 3]);
    await untilEmpty(a.etcd, `${name}/`);
  });

  it('does not take a dead session for an entry, and does not strand the others (as etcd #16221)', async () => {
    await using proxy = await grpcProxy(suite);
    const dying = await Actor.open([proxy.address]);
    await using b = await open();
    const name = uniqueName(suite);
    const lost = outcome(new DoubleBarrier(dying.session, name, { count: 2 }).enter());
    await untilWatching(proxy, 1);
    await suite.cluster.etcdctl(['lease', 'revoke', dying.session.id.toString(16)]);
    expect((await lost).error).toBeInstanceOf(LostError);
    const barrier = new DoubleBarrier(b.session, name, { count: 2 });
    const first = barrier.enter();
    expect(await pending(first)).toBe(true);
    const [one, two] = await Promise.all([first, barrier.enter()]);
    await Promise.all([one.leave(), two.leave()]);
    await untilEmpty(b.etcd, `${name}/`);
    await dying.etcd.close();
  });

  it('does not enter with a process that was stalled beyond its session', async () => {
    await using stalled = await open({ ttlSeconds: 2 });
    await using other = await open();
    const name = uniqueName(suite);
    const entering = outcome(new DoubleBarrier(stalled.session, name, { count: 2 }).enter());
    await untilCount(other.etcd, `${name}/`, 1);
    const barrier = new DoubleBarrier(other.session, name, { count: 2 });
    const first = barrier.enter();
    const until = performance.now() + 2_500;
    while (performance.now() < until);
    expect((await entering).error).toBeInstanceOf(LostError);
    await Promise.race([first, barrier.enter()]);
    await untilEmpty(other.etcd, `${name}/${stalled.session.id.toString(16)}`);
  });

  it('does not take compacted history or a lost connection for the beginning (etcd PR #17198)', async () => {
    await using proxy = await grpcProxy(suite);
    await using waiter = await Actor.open([proxy.address]);
    await using other = await open();
    const name = uniqueName(suite);
    const delayed = proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 400 } });
    const entering = new DoubleBarrier(waiter.session, name, { count: 2 }).enter();
    await delayed.waitApplied();
    await untilCount(other.etcd, `${name}/`, 1);
    for (let index = 0; index < 3; index++) await other.etcd.put(`${name}-other`, String(index));
    await other.etcd.compact(await other.etcd.revision());
    await proxy.waitFor((calls) => calls.filter(({ path }) => path === TXN).length >= 2);
    expect(await pending(entering)).toBe(true);
    proxy.cut();
    expect(await pending(entering)).toBe(true);
    const second = await new DoubleBarrier(other.session, name, { count: 2 }).enter();
    await Promise.all([(await entering).leave(), second.leave()]);
  });

  it('begins once when the answers to entering and to beginning are lost', async () => {
    await using proxy = await grpcProxy(suite);
    await using a = await open();
    await using b = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const first = new DoubleBarrier(a.session, name, { count: 2 }).enter();
    await untilCount(a.etcd, `${name}/`, 1);
    // 1 enters, 2 finds it has, 3 looks, 4 begins.
    for (const nth of [1, 4]) proxy.rule({ path: TXN, nth, action: 'swallow-reply' });
    const second = await new DoubleBarrier(b.session, name, { count: 2 }).enter();
    expect((await first).round).toBe(second.round);
    expect(await a.etcd.count({ prefix: `${name}/` })).toBe(2);
    for (const nth of [1, 3]) proxy.rule({ path: TXN, nth, action: 'swallow-reply' });
    await Promise.all([(await first).leave(), second.leave()]);
    await untilEmpty(a.etcd, `${name}/`);
  });

  it('begins and ends with a hundred, without a loop that grows with them (etcd #14603)', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const name = uniqueName(suite);
    const barrier = new DoubleBarrier(actor.session, name, { count: 100 });
    const counted = countCalls(proxy);
    const rounds = await Promise.all(Array.from({ length: 100 }, () => barrier.enter()));
    expect(new Set(rounds.map(({ round }) => round)).size).toBe(1);
    const entered = counted()[TXN] ?? 0;
    // All came at once, so several have seen that they were enough.
    expect(entered).toBeLessThanOrEqual(200);
    await Promise.all(rounds.map((round) => round.leave()));
    expect((counted()[TXN] ?? 0) - entered).toBeLessThanOrEqual(400);
    await untilEmpty(actor.etcd, `${name}/`);
  });

  it('lets the others leave when one dies inside, whoever it is', async () => {
    await using a = await open();
    const dying = await open();
    await using b = await open();
    const name = uniqueName(suite);
    const barriers = [a, dying, b, b].map(({ session }) => new DoubleBarrier(session, name, { count: 4 }));
    const [one, dead, three, four] = (await Promise.all(barriers.map((barrier) => barrier.enter()))) as [
      BarrierRound,
      BarrierRound,
      BarrierRound,
      BarrierRound,
    ];
    const leaving = Promise.all([one.leave(), three.leave(), four.leave()]);
    await until(async () => (await leftCount(a, name)) === 3);
    expect(await pending(leaving)).toBe(true);
    await suite.cluster.etcdctl(['lease', 'revoke', dying.session.id.toString(16)]);
    await leaving;
    await fired(dead.signal);
    await expect(dead.leave()).rejects.toBeInstanceOf(LostError);
    await untilEmpty(a.etcd, `${name}/`);
    await dying.etcd.close();
  });

  it('lets the others leave when the one that keeps watch gives up, and one dies after that', async () => {
    await using a = await open();
    const dying = await open();
    await using b = await open();
    const name = uniqueName(suite);
    const enter = async (actor: Actor, place: number): Promise<{ done: Promise<BarrierRound> }> => {
      const done = new DoubleBarrier(actor.session, name, { count: 3 }).enter();
      if (place < 3) await untilCount(b.etcd, `${name}/`, place);
      return { done };
    };
    const entered = [await enter(a, 1), await enter(b, 2), await enter(dying, 3)];
    const [oldest, next] = (await Promise.all(entered.map(({ done }) => done))) as [BarrierRound, BarrierRound];
    const stop = new AbortController();
    const watching = outcome(oldest.leave({ signal: stop.signal }));
    await until(async () => (await leftCount(b, name)) === 1);
    const behind = next.leave();
    await until(async () => (await leftCount(b, name)) === 2);
    stop.abort();
    expect((await watching).error).toMatchObject({ name: 'AbortError' });
    expect(await pending(behind)).toBe(true);
    await suite.cluster.etcdctl(['lease', 'revoke', dying.session.id.toString(16)]);
    await behind;
    await untilEmpty(b.etcd, `${name}/`);
    await dying.etcd.close();
  });

  it('does not take the deletion of its own key for the end, while others are inside', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    const barrier = new DoubleBarrier(actor.session, name, { count: 2 });
    const [one, two] = await Promise.all([barrier.enter(), barrier.enter()]);
    const leaving = outcome(one.leave());
    await until(async () => (await leftCount(actor, name)) === 1);
    await actor.etcd.delete(one.key);
    expect((await leaving).error).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    await two.leave();
    const entering = outcome(barrier.enter());
    await untilCount(actor.etcd, `${name}/`, 1);
    await actor.etcd.delete({ prefix: `${name}/` });
    expect((await entering).error).toMatchObject({ reason: 'key-gone' });
  });

  it('takes a place back that a late request made between the end of the round and the look that told of it', async () => {
    let late: ClientMessage | undefined;
    let txns = 0;
    const status: number[] = [];
    // 1 enters and is late, 2 enters, 3 marks; the other ends the round; 4 looks.
    const gate = async (message: ClientMessage): Promise<Verdict> => {
      if (message.call.path !== TXN) return 'forward';
      txns += 1;
      if (txns === 1) late = message;
      if (txns === 4 && late !== undefined) status.push(await sendUnary(hostOf(suite), TXN, late.payload));
      return txns === 1 ? 'cut' : 'forward';
    };
    await using proxy = await GrpcFaultProxy.start({ target: hostOf(suite), gate });
    await using a = await Actor.open([proxy.address]);
    await using b = await open();
    const name = uniqueName(suite);
    const entering = new DoubleBarrier(a.session, name, { count: 2 }).enter();
    await untilCount(b.etcd, `${name}/`, 1);
    const other = await new DoubleBarrier(b.session, name, { count: 2 }).enter();
    const leaving = (await entering).leave();
    await until(async () => (await leftCount(b, name)) === 1);
    const before = await b.etcd.revision();
    await other.leave();
    await leaving;
    expect(status).toEqual([0]);
    await untilEmpty(b.etcd, `${name}/`);
    // The other's mark, the end of the round, the late place, and its removal.
    expect(await b.etcd.revision()).toBe(before + 4n);
  });

  it('has those who come late wait for the next round, or refuses them; strays are nobody', async () => {
    await using actor = await open();
    const name = uniqueName(suite);
    await actor.etcd.put(`${name}/stray`, 'x');
    await actor.etcd.put(`${name}X/${actor.session.id.toString(16)}`, 'x', { lease: actor.session.lease });
    const barrier = new DoubleBarrier(actor.session, name, { count: 2 });
    const first = barrier.enter({ whenLate: 'refuse' });
    expect(await pending(first)).toBe(true);
    const rounds = await Promise.all([first, barrier.enter({ whenLate: 'refuse' })]);
    await expect(barrier.enter({ whenLate: 'refuse' })).rejects.toBeInstanceOf(RecipeError);
    const late = barrier.enter();
    expect(await pending(late)).toBe(true);
    await expect(barrier.enter({ timeoutMs: 5_000 })).resolves.toBeDefined();
    expect((await late).round).toBeGreaterThan(rounds[0].round);
    await expect(rounds[0].leave({ timeoutMs: 100 })).rejects.toBeInstanceOf(WaitTimeoutError);
    await rounds[1].leave();
  });

  it('leaves nothing behind when a wait ends early, and no one inside at the close of a session', async () => {
    await using a = await open();
    const b = await open();
    const name = uniqueName(suite);
    const barrier = new DoubleBarrier(a.session, name, { count: 2 });
    await expect(barrier.enter({ timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError);
    await untilEmpty(a.etcd, `${name}/`);
    const [one] = await Promise.all([barrier.enter(), new DoubleBarrier(b.session, name, { count: 2 }).enter()]);
    const leaving = one.leave();
    await b.session.close();
    await leaving;
    expect(await a.etcd.count({ prefix: `${name}/` })).toBe(0);
    await b.etcd.close();
    for (const count of [0, 1.5, 128]) expect(() => new DoubleBarrier(a.session, name, { count })).toThrow(/count/);
  });
});
