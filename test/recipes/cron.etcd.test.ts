/** The cron on real etcd: each tick once, whoever comes, goes, is late, or never hears the answer. */
import { expect, it, vi } from 'vitest';
import { Cron, type CronJob, type CronOptions, type CronRun } from '../../recipes/cron/cron.ts';
import { LostError } from '../../recipes/errors.ts';
import { DeadlineError, type Etcd, InvalidArgumentError, type RetryOptions } from '../../src/index.ts';
import { errorOf } from '../conformance/helpers.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { gate, ManualWall, MINUTE, NOON, Node, noting } from './cron-bed.ts';
import { Actor, countCalls, DELETE, fired, grpcProxy, RANGE, TXN, uniqueName, until } from './lock-bed.ts';

describeOnEtcd('Cron', (suite) => {
  const node = async (
    name: string,
    job: CronJob,
    wallClock: ManualWall,
    options: CronOptions & { endpoints?: readonly string[]; ttlSeconds?: number; retry?: RetryOptions } = {},
  ): Promise<Node> => {
    const { endpoints = suite.cluster.endpoints, ttlSeconds = 30, retry, ...rest } = options;
    const actor = await Actor.open(endpoints, { ttlSeconds, retry });
    return new Node(actor, name, job, { wallClock, ...rest });
  };
  const lastOf = async (etcd: Etcd, name: string): Promise<string | undefined> =>
    (await etcd.get(`${name}/tidy/last`))?.value;
  /** Waits until a node has nothing to do before the next tick. */
  const idle = (wall: ManualWall, nodes = 1): Promise<void> => until(() => wall.waiting === nodes);
  /** Waits until no run is under way. */
  const quiet = (etcd: Etcd, name: string): Promise<void> =>
    until(async () => (await etcd.count({ prefix: `${name}/tidy/claims/` })) === 0);
  const statuses = async ({ cron }: Node): Promise<string[]> =>
    (await cron.history('tidy')).map(({ tick, status }) => `${(tick.getTime() - NOON) / MINUTE} ${status}`);

  it('runs each tick once, with five processes at it', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    const nodes = await Promise.all(Array.from({ length: 5 }, () => node(name, noting(ran), wall)));
    for (let minute = 1; minute <= 6; minute++) {
      await idle(wall, 5);
      wall.set(minute);
      await until(() => ran.length === minute);
      await quiet(nodes[0]!.actor.etcd, name);
    }
    await idle(wall, 5);
    expect(ran).toEqual([1, 2, 3, 4, 5, 6]);
    await until(async () => (await statuses(nodes[0]!))[0] === '6 done');
    expect(await statuses(nodes[1]!)).toEqual(['6 done', '5 done', '4 done', '3 done', '2 done', '1 done']);
    await Promise.all(nodes.map((each) => each[Symbol.asyncDispose]()));
  });

  it('costs a runner three round trips a tick, and the others one', async () => {
    const name = uniqueName(suite);
    const wall = new ManualWall();
    const ran: number[] = [];
    await using proxy = await grpcProxy(suite);
    await using _runner = await node(name, noting(ran), wall, { endpoints: [proxy.address] });
    await idle(wall);
    expect([proxy.count(RANGE), proxy.count(TXN)]).toEqual([1, 1]);
    let counted = countCalls(proxy);
    wall.set(1);
    await until(() => ran.length === 1 && proxy.count(DELETE) === 1);
    await idle(wall);
    expect(counted()).toEqual({ [TXN]: 2, [DELETE]: 1 });
    // The other one comes second, since the first has claimed by the time its clock gets there.
    const late = new ManualWall(NOON + MINUTE);
    await using behind = await grpcProxy(suite);
    await using behindObserver = await Actor.open(suite.cluster.endpoints);
    await using _other = await node(name, noting(ran), late, { endpoints: [behind.address] });
    await idle(late);
    expect([behind.count(RANGE), behind.count(TXN)]).toEqual([1, 0]);
    wall.set(2);
    await until(() => ran.length === 2);
    await quiet(behindObserver.etcd, name);
    counted = countCalls(behind);
    late.set(2);
    await until(() => behind.count(TXN) === 1);
    await idle(late);
    expect(counted()).toEqual({ [TXN]: 1 });
    expect(ran).toEqual([1, 2]);
  });

  it('dkron #541: does not run a tick twice for a process whose clock is slow, nor for one that is new', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const [fast, slow] = [new ManualWall(), new ManualWall()];
    await using first = await node(name, noting(ran), fast, { historyLimit: 1 });
    await using _second = await node(name, noting(ran), slow);
    await Promise.all([idle(fast), idle(slow)]);
    for (let minute = 1; minute <= 3; minute++) {
      fast.set(minute);
      await until(() => ran.length === minute);
      await quiet(first.actor.etcd, name);
      await idle(fast);
    }
    await until(async () => (await statuses(first)).length === 1);
    // The history has forgotten the ticks that the slow one comes to now.
    for (let minute = 1; minute <= 3; minute++) {
      slow.set(minute);
      await idle(slow);
    }
    const fresh = new ManualWall(NOON + 2 * MINUTE);
    await using _third = await node(name, noting(ran), fresh);
    await idle(fresh);
    fresh.set(3);
    await idle(fresh);
    expect(ran).toEqual([1, 2, 3]);
  });

  it('dkron #541: does not run a tick again when its runner dies in the middle', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    const hung = gate();
    let dying: CronRun | undefined;
    await using victim = await node(
      name,
      noting(ran, {
        handler: async (run) => {
          dying = run;
          await hung.passed;
        },
      }),
      wall,
      { ttlSeconds: 3 },
    );
    await idle(wall);
    wall.set(1);
    await until(() => dying !== undefined);
    await using operator = await Actor.open(suite.cluster.endpoints);
    await operator.etcd.leases.revoke(victim.actor.session.id);
    await fired(dying!.held.signal);
    expect(dying!.signal.aborted).toBe(true);
    // What it still believes to be its own is refused by the store.
    const late = dying!.held.guard({ then: [operator.etcd.op.put(`${name}-effect`, '')] });
    expect(await errorOf(late)).toBeInstanceOf(LostError);
    const next = new ManualWall(NOON + MINUTE);
    await using heir = await node(name, noting(ran), next);
    await idle(next);
    next.set(2);
    await until(() => ran.length === 1);
    expect(ran).toEqual([2]);
    await until(async () => (await statuses(heir))[0] === '2 done');
    expect(await statuses(heir)).toEqual(['2 done', '1 lost']);
    hung.open();
    expect(await victim.ended).toBeInstanceOf(LostError);
    expect(await statuses(heir)).toEqual(['2 done', '1 lost']);
    expect(await operator.etcd.get(`${name}-effect`)).toBeUndefined();
  });

  it('dkron #1210: misses no tick when whoever ran the last one is gone', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const by: number[] = [];
    await using observer = await Actor.open(suite.cluster.endpoints);
    const walls = [new ManualWall(), new ManualWall(), new ManualWall()];
    const nodes: Node[] = [];
    for (const [index, wall] of walls.entries()) {
      const handler = (run: CronRun): void => {
        ran.push((run.tick.getTime() - NOON) / MINUTE);
        by.push(index);
      };
      nodes.push(await node(name, noting(ran, { handler }), wall));
    }
    for (let minute = 1; minute <= 3; minute++) {
      await until(() => walls.every((wall, index) => nodes[index]!.over || wall.waiting === 1));
      for (const wall of walls) wall.set(minute);
      await until(() => ran.length === minute);
      // The one that ran it goes at once, in ever worse ways.
      const runner = nodes[by.at(-1)!]!;
      if (minute === 1) await runner.stop();
      if (minute === 2) await runner.actor.session.close();
      await quiet(observer.etcd, name);
    }
    expect(ran).toEqual([1, 2, 3]);
    expect(new Set(by).size).toBe(3);
    await Promise.all(nodes.map((each) => each[Symbol.asyncDispose]()));
  });

  it('runs a tick once whose claim was applied and never answered', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    await using proxy = await grpcProxy(suite);
    await using runner = await node(name, noting(ran), wall, { endpoints: [proxy.address] });
    await idle(wall);
    const rule = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    wall.set(1);
    await until(async () => (await statuses(runner))[0] === '1 done');
    await quiet(runner.actor.etcd, name);
    wall.set(2);
    await until(async () => (await statuses(runner))[0] === '2 done');
    expect([rule.applied, ran]).toEqual([1, [1, 2]]);
  });

  it('runs a tick whose claim was applied and never answered, also when the cluster is away after that', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    await using proxy = await grpcProxy(suite);
    await using runner = await node(name, noting(ran), wall, { endpoints: [proxy.address], retry: { maxAttempts: 1 } });
    await idle(wall);
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const away = proxy.rule({ path: TXN, nth: 2, times: 3, action: 'reset-before' });
    wall.set(1);
    await until(async () => ['1 done', '1 lost'].includes((await statuses(runner))[0] ?? ''));
    expect([away.applied, ran, (await statuses(runner))[0]]).toEqual([3, [1], '1 done']);
  });

  it('shuts out a claim that was given up without an answer, so that its tick is not lost when it arrives', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const [here, there] = [new ManualWall(), new ManualWall()];
    const slow = gate();
    await using _busy = await node(name, noting(ran, { overlap: 'wait', handler: () => slow.passed }), here);
    await using waiter = await node(name, noting(ran, { overlap: 'wait' }), there);
    const { etcd } = waiter.actor;
    await Promise.all([idle(here), idle(there)]);
    here.set(1);
    await until(async () => (await etcd.count({ prefix: `${name}/tidy/claims/` })) === 1);
    there.set(1);
    await idle(there);
    const { txn } = etcd;
    const sent: Parameters<Etcd['txn']>[0][] = [];
    etcd.txn = async (spec) => {
      sent.push(spec);
      etcd.txn = txn;
      throw new DeadlineError('no answer came', { applied: 'maybe' });
    };
    await using operator = await Actor.open(suite.cluster.endpoints);
    const lastRevision = async () => (await operator.etcd.get(`${name}/tidy/last`))?.modRevision;
    const settled = await lastRevision();
    there.set(2);
    await until(async () => (await lastRevision()) !== settled);
    // It arrives when nobody is in the way any more (its last condition), and claims nothing.
    const { if: conditions = [], then = [] } = sent[0]!;
    expect(await operator.etcd.txn({ if: conditions.slice(0, -1), then })).toMatchObject({ succeeded: false });
    slow.open();
    await until(() => ran.length === 1);
    expect(ran).toEqual([2]);
    await until(async () => (await statuses(waiter))[0] === '2 done');
    expect(await statuses(waiter)).toEqual(['2 done', '1 done']);
  });

  it.each([
    ['cannot be reached', 14, 'away'],
    ['refuses', 8, 'etcdserver: mvcc: database space exceeded'],
  ])('runs a tick late that it could not claim, as the cluster %s for a while', async (_what, code, message) => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    await using proxy = await grpcProxy(suite);
    await using _runner = await node(name, noting(ran), wall, { endpoints: [proxy.address] });
    await idle(wall);
    const rule = proxy.rule({ path: /KV/, action: { status: { code, message }, forward: false } });
    wall.set(1);
    await rule.waitApplied(3);
    expect(ran).toEqual([]);
    rule.remove();
    await until(() => ran.length === 1);
    expect(ran).toEqual([1]);
  });

  it.each([
    ['skip', 'skip', [9, 10]],
    ['run-once', 'skip', [9, 10]],
    ['run-all', 'skip', [6, 7, 8, 9, 10]],
    ['run-all', 'wait', [6, 7, 8, 9, 10]],
    ['run-all', 'allow', [6, 7, 8, 9, 10]],
  ] as const)('golly #178: after ten minutes without anybody: %s (%s)', async (misfire, overlap, expected) => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const missed: number[] = [];
    const before = new ManualWall();
    await (
      await node(name, noting(ran), before).then(async (first) => {
        await idle(before);
        return first;
      })
    )[Symbol.asyncDispose]();
    const handler = (run: CronRun): void => {
      ran.push((run.tick.getTime() - NOON) / MINUTE);
      missed.push(run.missed);
    };
    const job = noting(ran, { misfire, overlap, handler, misfireAfterMs: 1.5 * MINUTE, maxCatchUp: 3 });
    // Two of them: between them too, each tick is run once.
    const wall = new ManualWall(NOON + 10 * MINUTE);
    await using _one = await node(name, job, wall);
    await using _two = await node(name, job, wall);
    await until(() => ran.includes(10));
    await idle(wall, 2);
    expect(overlap === 'allow' ? ran.toSorted((a, b) => a - b) : ran).toEqual(expected);
    expect(missed[0]).toBe(expected[0] - 1);
  });

  it('passes a tick over while the job still runs, here or elsewhere', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    const slow = gate();
    const handler = async (run: CronRun): Promise<void> => {
      ran.push((run.tick.getTime() - NOON) / MINUTE);
      if (ran.length === 1) await slow.passed;
    };
    await using one = await node(name, noting(ran, { handler }), wall);
    await using _two = await node(name, noting(ran, { handler }), wall);
    await idle(wall, 2);
    for (const minute of [1, 2, 3]) {
      wall.set(minute);
      await idle(wall, 2);
    }
    await until(async () => (await statuses(one))[0] === '3 skipped');
    expect(await statuses(one)).toEqual(['3 skipped', '2 skipped', '1 running']);
    slow.open();
    await until(async () => (await statuses(one))[2] === '1 done');
    await quiet(one.actor.etcd, name);
    wall.set(4);
    await until(() => ran.length === 2);
    expect(ran).toEqual([1, 4]);
  });

  it('waits for the run before, and goes on when that is lost', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const [here, there] = [new ManualWall(), new ManualWall()];
    const hung = gate();
    await using victim = await node(name, noting(ran, { overlap: 'wait', handler: () => hung.passed }), here);
    await using proxy = await grpcProxy(suite);
    await using _heir = await node(name, noting(ran, { overlap: 'wait' }), there, { endpoints: [proxy.address] });
    await Promise.all([idle(here), idle(there)]);
    here.set(1);
    await until(async () => (await victim.actor.etcd.count({ prefix: `${name}/tidy/claims/` })) === 1);
    there.set(2);
    // It watches, and asks nobody meanwhile.
    await until(() => proxy.count('/etcdserverpb.Watch/Watch') > 0);
    expect(ran).toEqual([]);
    await using operator = await Actor.open(suite.cluster.endpoints);
    await operator.etcd.leases.revoke(victim.actor.session.id);
    await until(() => ran.length === 1);
    expect(ran).toEqual([2]);
    hung.open();
  });

  it('tells a handler that stood still for longer than its session lives before it does anything more', async () => {
    const name = uniqueName(suite);
    const wall = new ManualWall();
    let told: unknown;
    const handler = (run: CronRun): void => {
      const until = performance.now() + 2_200;
      while (performance.now() < until);
      told = [run.held.held, run.held.signal.aborted];
      run.held.assertHeld();
    };
    await using stalled = await node(name, noting([], { handler }), wall, { ttlSeconds: 2 });
    await using observer = await node(name, noting([]), new ManualWall());
    await idle(wall);
    wall.set(1);
    expect(await stalled.ended).toBeInstanceOf(LostError);
    expect(told).toEqual([false, true]);
    await quiet(observer.actor.etcd, name);
    expect(await statuses(observer)).toEqual(['1 lost']);
  });

  it('says that a handler failed, tells what it threw, and goes on', async () => {
    const name = uniqueName(suite);
    const wall = new ManualWall();
    const onError = vi.fn();
    const handler = (run: CronRun): void => {
      if (run.tick.getTime() === NOON + MINUTE) throw new RangeError('secret');
    };
    await using runner = await node(name, noting([], { handler }), wall, { onError });
    await idle(wall);
    wall.set(1);
    await until(async () => (await statuses(runner))[0] === '1 failed');
    await quiet(runner.actor.etcd, name);
    expect(onError).toHaveBeenCalledOnce();
    expect(onError.mock.calls[0]).toMatchObject([{ message: 'secret' }, { job: 'tidy' }]);
    wall.set(2);
    await until(async () => (await statuses(runner))[0] === '2 done');
    const { kvs } = await runner.actor.etcd.range({ prefix: `${name}/` });
    expect(kvs.map((kv) => kv.value).join()).not.toContain('secret');
  });

  it('ends when onError throws, and every job with it', async () => {
    const name = uniqueName(suite);
    const wall = new ManualWall();
    const fail = (error: unknown): never => {
      throw error;
    };
    const handler = fail.bind(undefined, new RangeError('no'));
    await using runner = await node(name, noting([], { handler }), wall, { onError: fail });
    await idle(wall);
    wall.set(1);
    expect(await runner.ended).toBeInstanceOf(RangeError);
    await quiet(runner.actor.etcd, name);
  });

  it('stops: tells the handlers, waits for them, and leaves no claim', async () => {
    const name = uniqueName(suite);
    const wall = new ManualWall();
    const order: string[] = [];
    const handler = async (run: CronRun): Promise<void> => {
      order.push('begun');
      await fired(run.signal);
      order.push(`told ${run.held.held}`);
      await run.held.guard({});
      order.push('done');
    };
    const runner = await node(name, noting([], { handler }), wall);
    await idle(wall);
    wall.set(1);
    await until(() => order.length === 1);
    expect(await runner.stop()).toBeUndefined();
    expect(order).toEqual(['begun', 'told true', 'done']);
    expect(await statuses(runner)).toEqual(['1 done']);
    const { kvs } = await runner.actor.etcd.range({ prefix: `${name}/` });
    expect(kvs.map((kv) => kv.key).sort()).toEqual([`${name}/tidy/last`, `${name}/tidy/runs/2026-07-01T12:01:00.000Z`]);
    await runner.actor[Symbol.asyncDispose]();
    expect(wall.waiting).toBe(0);
  });

  it('is over when the session is closed under it, after what ran has said so', async () => {
    const name = uniqueName(suite);
    const wall = new ManualWall();
    await using observer = await node(name, noting([]), new ManualWall());
    const begun = gate();
    const handler = async (run: CronRun): Promise<void> => {
      begun.open();
      await fired(run.signal);
      for (let step = 0; step < 5; step++) await observer.actor.etcd.revision();
    };
    await using runner = await node(name, noting([], { handler }), wall);
    await idle(wall);
    wall.set(1);
    await begun.passed;
    await runner.actor.session.close();
    expect(await runner.ended).toBeInstanceOf(LostError);
    expect(await statuses(observer)).toEqual(['1 done']);
  });

  it('keeps a short history, and gives a job up for good when told to', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    await using runner = await node(name, noting(ran), wall, { historyLimit: 3 });
    const { etcd } = runner.actor;
    for (let minute = 1; minute <= 6; minute++) {
      await idle(wall);
      wall.set(minute);
      await until(async () => (await statuses(runner))[0] === `${minute} done`);
      await quiet(etcd, name);
    }
    expect(await statuses(runner)).toEqual(['6 done', '5 done', '4 done']);
    expect((await runner.cron.history('tidy'))[0]).toMatchObject({ owner: { pid: process.pid }, missed: 0 });
    expect(runner.cron.next('tidy')).toEqual(new Date(NOON + 7 * MINUTE));
    await runner.stop();
    expect(await runner.cron.forget('tidy')).toBe(true);
    expect(await etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('goes on from now when its keys were deleted, and gives no job up that runs', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    const slow = gate();
    const handler = async (run: CronRun): Promise<void> => {
      ran.push((run.tick.getTime() - NOON) / MINUTE);
      if (ran.length === 1) await slow.passed;
    };
    await using runner = await node(name, noting(ran, { handler }), wall);
    const { etcd } = runner.actor;
    await idle(wall);
    wall.set(1);
    await until(() => ran.length === 1);
    expect(await runner.cron.forget('tidy')).toBe(false);
    slow.open();
    await quiet(etcd, name);
    expect(await runner.cron.forget('tidy')).toBe(true);
    await idle(wall);
    wall.set(2);
    await until(async () => (await lastOf(etcd, name)) !== undefined);
    await idle(wall);
    wall.set(3);
    await until(() => ran.length === 2);
    expect(ran).toEqual([1, 3]);
    await quiet(etcd, name);
    // What strays there hangs on no lease and runs nothing.
    await etcd.put(`${name}/tidy/claims/stray`, '');
    await etcd.put(`${name}/tidy/last`, 'nonsense');
    await idle(wall);
    wall.set(4);
    await until(async () => (await lastOf(etcd, name)) !== 'nonsense');
    await idle(wall);
    wall.set(5);
    await until(() => ran.includes(5));
  });

  it('does not run again what the history has, though an operator deleted the last tick', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const [fast, slow] = [new ManualWall(), new ManualWall()];
    await using first = await node(name, noting(ran), fast);
    await using _second = await node(name, noting(ran), slow);
    const { etcd } = first.actor;
    await Promise.all([idle(fast), idle(slow)]);
    for (const minute of [1, 2]) {
      fast.set(minute);
      await until(() => ran.length === minute);
      await quiet(etcd, name);
      await idle(fast);
    }
    await etcd.delete(`${name}/tidy/last`);
    for (const minute of [1, 2, 3]) {
      slow.set(minute);
      await until(async () => (await lastOf(etcd, name)) === `2026-07-01T12:0${minute}:00.000Z`);
      await quiet(etcd, name);
      await idle(slow);
    }
    expect(ran).toEqual([1, 2, 3]);
  });

  it('claims a random time after the tick where it is told to', async () => {
    const name = uniqueName(suite);
    const ran: number[] = [];
    const wall = new ManualWall();
    const actor = await Actor.open(suite.cluster.endpoints, { random: () => 0.5 });
    await using _runner = new Node(actor, name, noting(ran, { jitterMs: 30_000 }), { wallClock: wall });
    await idle(wall);
    wall.set(1.2);
    expect(wall.waiting).toBe(1);
    wall.set(1.25);
    await until(() => ran.length === 1);
    expect(ran).toEqual([1]);
  });

  it('refuses jobs that make no sense', async () => {
    await using actor = await Actor.open(suite.cluster.endpoints);
    const make = (...jobs: CronJob[]): Cron => new Cron(actor.session, 'x', jobs);
    expect(() => make()).toThrow(InvalidArgumentError);
    expect(() => make(noting([]), noting([]))).toThrow(InvalidArgumentError);
    for (const wrong of [
      { name: '' },
      { schedule: 'often' },
      { timeZone: 'Mars/Olympus' },
      { misfire: 'often' as never },
      { overlap: 'often' as never },
      { jitterMs: 60_001 },
      { maxCatchUp: 0 },
    ] as const) {
      expect(() => make(noting([], wrong)), JSON.stringify(wrong)).toThrow(InvalidArgumentError);
    }
    await expect(make(noting([])).history('other')).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});
