/** The STM while things break: outcomes stay certain, waits end, nothing is left behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LostError, UnknownOutcomeError, WaitTimeoutError } from '../../recipes/errors.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { Markers } from '../../recipes/stm/markers.ts';
import { StmConflictError, type StmTransaction, stm } from '../../recipes/stm/stm.ts';
import {
  AbortError,
  ClosedError,
  DeadlineError,
  Etcd,
  EtcdError,
  formatId,
  InvalidArgumentError,
  systemClock,
} from '../../src/index.ts';
import { errorOf } from '../conformance/helpers.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import type { FaultAction } from '../support/grpc-fault-proxy.ts';
import { snapshotResources } from '../support/leaks.ts';
import { Actor, GRANT, grpcProxy, TXN, uniqueName } from './lock-bed.ts';

/** Adds one to a counter: twice applied is twice counted. */
const count = (key: string) => async (tx: StmTransaction) => {
  tx.put(key, String(Number((await tx.get(key)) ?? 0) + 1));
};

/** The commit goes nowhere, and its client cannot know that. */
const NEVER_ARRIVED: FaultAction = { status: { code: 14, message: 'the connection broke' }, forward: false };

describeOnEtcd('stm through faults', (suite) => {
  const open = (): Etcd => new Etcd({ endpoints: suite.cluster.endpoints });
  const textAt = async (etcd: Etcd, key: string): Promise<string | undefined> => (await etcd.get(key))?.value;

  for (const via of ['reset', 'cut'] as const) {
    it(`adopts a commit whose answer was swallowed (${via}), and does not do it twice`, async () => {
      await using proxy = await grpcProxy(suite);
      await using etcd = new Etcd({ endpoints: [proxy.address] });
      const key = `${suite.prefix()}n`;
      await stm(etcd, count(key));
      const rule = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via });
      const { attempts, revision } = await stm(etcd, count(key));
      expect([rule.applied, attempts, await textAt(etcd, key)]).toEqual([1, 1, '2']);
      expect((await etcd.get(key))?.modRevision).toBe(revision);
    });
  }

  it('does a commit again that never arrived, once', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const key = `${suite.prefix()}n`;
    await stm(etcd, count(key));
    const rule = proxy.rule({ path: TXN, nth: 1, action: NEVER_ARRIVED });
    const { attempts } = await stm(etcd, count(key));
    expect([rule.applied, attempts, await textAt(etcd, key)]).toEqual([1, 2, '2']);
  });

  it('finds out about the finding out, when that answer is lost too', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const key = `${suite.prefix()}n`;
    await stm(etcd, count(key));
    proxy.rule({ path: TXN, nth: 1, action: NEVER_ARRIVED });
    proxy.rule({ path: TXN, nth: 2, action: 'swallow-reply' });
    await stm(etcd, count(key));
    expect(await textAt(etcd, key)).toBe('2');
    proxy.clearRules();
    proxy.rule({ path: TXN, nth: 1, times: 2, action: 'swallow-reply' });
    await stm(etcd, count(key));
    expect(await textAt(etcd, key)).toBe('3');
  });

  it('makes sure that a commit which was given up cannot happen later', async () => {
    await using etcd = open();
    const p = suite.prefix();
    const markers = Markers.of(etcd, `${p}markers/`);
    // Both a marker that is new and one that was used before.
    for (const round of ['new', 'used']) {
      const marker = await markers.take();
      const { condition, write } = marker.begin(etcd);
      expect(await marker.resolve(etcd, 5_000)).toEqual({ fate: 'void' });
      // The straggler arrives: the very request that was given up.
      const late = await etcd.txn({ if: [condition], then: [etcd.op.put(`${p}x`, round), write] });
      expect(late.succeeded).toBe(false);
      expect(await marker.resolve(etcd, 5_000)).toEqual({ fate: 'void' });
      const next = marker.begin(etcd);
      const done = await etcd.txn({ if: [next.condition], then: [next.write] });
      expect(await marker.resolve(etcd, 5_000)).toEqual({ fate: 'applied', revision: done.revision });
      markers.giveBack(marker);
    }
    expect(await etcd.get(`${p}x`)).toBeUndefined();
  });

  it('counts once, though the request that was given up arrives in the end', async () => {
    await using etcd = open();
    const key = `${suite.prefix()}n`;
    await stm(etcd, count(key));
    const { txn } = etcd;
    const held: Parameters<Etcd['txn']>[0][] = [];
    // The next commit is held up on its way; the caller's time for it runs out.
    etcd.txn = async (spec) => {
      held.push(spec);
      etcd.txn = txn;
      throw new DeadlineError('no answer came', { applied: 'maybe' });
    };
    const blind = (tx: StmTransaction): void => tx.put(key, 'mine');
    expect(await stm(etcd, blind)).toMatchObject({ attempts: 2 });
    await etcd.put(key, 'newer');
    expect(await etcd.txn(held[0]!)).toMatchObject({ succeeded: false });
    expect(await textAt(etcd, key)).toBe('newer');
  });

  it('says that it does not know, when nobody can be asked', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const key = `${suite.prefix()}n`;
    await stm(etcd, count(key));
    proxy.rule({ path: TXN, action: 'hang' });
    const error = await errorOf(stm(etcd, count(key), { timeoutMs: 300 }));
    expect(error).toBeInstanceOf(UnknownOutcomeError);
    expect(error).toMatchObject({ code: 'unknown-outcome', applied: 'maybe' });
  });

  it('without markers says what the client knows', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const key = `${suite.prefix()}n`;
    await stm(etcd, count(key), { markerPrefix: false });
    expect(proxy.count(GRANT)).toBe(0);
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const error = await errorOf(stm(etcd, count(key), { markerPrefix: false }));
    expect(error).toBeInstanceOf(EtcdError);
    expect(error).toMatchObject({ applied: 'maybe' });
    expect(await textAt(etcd, key)).toBe('2');
  });

  it('reports a commit that happened as done, though the caller gave up waiting for its answer', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const key = `${suite.prefix()}n`;
    await stm(etcd, count(key));
    const stop = new AbortController();
    const rule = proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const run = stm(etcd, count(key), { signal: stop.signal });
    await using observer = open();
    while ((await textAt(observer, key)) !== '2') await sleep(5);
    stop.abort();
    expect(await run).toMatchObject({ attempts: 1 });
    expect(rule.applied).toBe(1);
  });

  it('ends by signal or time limit with nothing written: in the work, between attempts, in the commit', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const p = suite.prefix();
    await stm(etcd, (tx) => tx.put(`${p}warm`, ''));
    const before = snapshotResources();
    const interfere = async (tx: StmTransaction) => {
      await tx.get(`${p}busy`);
      await etcd.put(`${p}busy`, '');
      tx.put(`${p}out`, '');
    };
    const idle = async (tx: StmTransaction) => {
      tx.put(`${p}out`, '');
      await new Promise(() => {});
    };
    const endless = { maxAttempts: 1_000_000 };
    for (const work of [idle, interfere]) {
      expect(await errorOf(stm(etcd, work, { ...endless, timeoutMs: 100 }))).toBeInstanceOf(WaitTimeoutError);
      const stop = new AbortController();
      const ended = errorOf(stm(etcd, work, { ...endless, signal: stop.signal }));
      await sleep(50);
      stop.abort(new Error('enough'));
      expect(await ended).toBeInstanceOf(AbortError);
      expect(await ended).toMatchObject({ cause: stop.signal.reason, applied: 'no' });
      expect(await errorOf(stm(etcd, work, { signal: stop.signal }))).toBeInstanceOf(AbortError);
    }
    const held = proxy.rule({ path: TXN, nth: 1, action: 'hang' });
    const error = await errorOf(stm(etcd, (tx) => tx.put(`${p}out`, ''), { timeoutMs: 200 }));
    expect(held.applied).toBe(1);
    // It was asked, and the commit made impossible: so the time limit is all that there is to say.
    expect(error).toBeInstanceOf(WaitTimeoutError);
    expect(await etcd.get(`${p}out`)).toBeUndefined();
    await before.expectNothingAdded();
  });

  it('gives up after so many conflicts, and says which keys they were about', async () => {
    await using etcd = open();
    const p = suite.prefix();
    const error = (await errorOf(
      stm(
        etcd,
        async (tx) => {
          await Promise.all([tx.get(`${p}hot`), tx.get(`${p}cold`)]);
          await tx.range({ prefix: `${p}l/` });
          await etcd.put(`${p}hot`, '');
          if (tx.attempt === 3) await etcd.put(`${p}l/phantom`, '');
          tx.put(`${p}out`, '');
        },
        { maxAttempts: 4 },
      ),
    )) as StmConflictError;
    expect(error).toBeInstanceOf(StmConflictError);
    expect(error).toMatchObject({ code: 'conflict', attempts: 4 });
    expect(Object.fromEntries(error.conflicts)).toEqual({ [`${p}hot`]: 4, [`${p}l/phantom`]: 1 });
    expect(error.message).not.toContain(p);
    expect(await etcd.get(`${p}out`)).toBeUndefined();
  });

  it('waits longer from retry to retry, but not before the first, and never beyond the cap', async () => {
    const bounds: number[] = [];
    const clock = {
      ...systemClock,
      after: (ms: number, run: () => void, options?: { background?: boolean }) => {
        if (Number.isInteger(ms) && ms < 300) bounds.push(ms);
        return systemClock.after(Number.isInteger(ms) && ms < 300 ? 0 : ms, run, options);
      },
    };
    // With this draw each pause is its bound, which makes it a whole number.
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints, clock, random: () => 1 });
    const key = `${suite.prefix()}busy`;
    const work = async (tx: StmTransaction) => {
      await tx.get(key);
      await etcd.put(key, '');
      tx.put(key, '');
    };
    await errorOf(stm(etcd, work, { maxAttempts: 12 }));
    expect(bounds).toEqual([2, 4, 8, 16, 32, 64, 128, 250, 250, 250]);
  });

  it('lnd PR #5392: refuses what a server would not take before anything is sent', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const p = suite.prefix();
    const many = (n: number) => (tx: StmTransaction) => {
      for (let i = 0; i < n; i++) tx.put(`${p}${i}`, '');
    };
    const error = await errorOf(stm(etcd, many(128)));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect([proxy.count(TXN), proxy.count(GRANT)]).toEqual([0, 0]);
    await stm(etcd, many(127));
    expect(await etcd.count({ prefix: p })).toBe(127);
    // A range of so many keys has one condition more than keys.
    expect(
      await errorOf(
        stm(etcd, async (tx) => {
          tx.put(`${p}out`, String((await tx.range({ prefix: p })).length));
        }),
      ),
    ).toBeInstanceOf(InvalidArgumentError);
    // Reads alone have no limit: they need no condition.
    const { value } = await stm(etcd, (tx) => Promise.all(Array.from({ length: 300 }, (_, i) => tx.get(`${p}${i}`))));
    expect(value.filter((each) => each !== undefined)).toHaveLength(127);
    // Right at the limit there is no room for the rereads of a refusal; it works without.
    let runs = 0;
    const { attempts } = await stm(etcd, async (tx) => {
      await Promise.all(Array.from({ length: 127 }, (_, i) => tx.get(`${p}${i}`)));
      if (runs++ === 0) await etcd.put(`${p}5`, 'changed');
      tx.put(`${p}5`, 'mine');
    });
    expect(attempts).toBe(2);
  });

  it('commits only while the lock it is guarded by is held; without the guard it does not ask', async () => {
    await using actor = await Actor.open(suite.cluster.endpoints);
    await using operator = open();
    const name = uniqueName(suite);
    const key = `${suite.prefix()}n`;
    const lock = await new Mutex(actor.session, name).acquire();
    const { revision } = await stm(actor.etcd, count(key), { guard: lock });
    expect((await operator.get(key))?.modRevision).toBe(revision);
    // A guarded read asks as well.
    expect((await stm(actor.etcd, (tx) => tx.get(key), { guard: lock })).value).toBe('1');
    const lostInside = errorOf(
      stm(
        actor.etcd,
        async (tx) => {
          await count(key)(tx);
          await operator.delete(lock.key);
        },
        { guard: lock },
      ),
    );
    expect(await lostInside).toBeInstanceOf(LostError);
    expect(await errorOf(stm(actor.etcd, count(key), { guard: lock }))).toBeInstanceOf(LostError);
    expect(await textAt(operator, key)).toBe('1');
    await stm(actor.etcd, count(key));
    expect(await textAt(operator, key)).toBe('2');
  });

  it('resolves a guarded commit whose answer was swallowed, though the lock is lost since', async () => {
    await using proxy = await grpcProxy(suite);
    await using actor = await Actor.open([proxy.address]);
    const key = `${suite.prefix()}n`;
    const lock = await new Mutex(actor.session, uniqueName(suite)).acquire();
    await stm(actor.etcd, count(key), { guard: lock });
    proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    expect(await stm(actor.etcd, count(key), { guard: lock })).toMatchObject({ attempts: 1 });
    expect(await textAt(actor.etcd, key)).toBe('2');
  });

  it('retries under a guard like without one', async () => {
    await using actor = await Actor.open(suite.cluster.endpoints);
    const p = suite.prefix();
    const lock = await new Mutex(actor.session, uniqueName(suite)).acquire();
    const { attempts } = await stm(
      actor.etcd,
      async (tx) => {
        await tx.get(`${p}a`);
        if (tx.attempt === 1) await actor.etcd.put(`${p}a`, '1');
        tx.put(`${p}b`, (await tx.get(`${p}a`)) ?? 'none');
      },
      { guard: lock },
    );
    expect([attempts, await textAt(actor.etcd, `${p}b`)]).toEqual([2, '1']);
  });

  it('goes on when an operator deletes its marker, or revokes the lease that it hangs on', async () => {
    await using etcd = open();
    const p = suite.prefix();
    const markerPrefix = `${p}markers/`;
    const key = `${p}n`;
    const run = () => stm(etcd, count(key), { markerPrefix });
    expect((await run()).attempts).toBe(1);
    expect((await run()).attempts).toBe(1);
    await etcd.delete({ prefix: markerPrefix });
    expect((await run()).attempts).toBe(2);
    const { kvs } = await etcd.range({ prefix: markerPrefix });
    expect(kvs).toHaveLength(1);
    await etcd.leases.revoke(kvs[0]!.lease!);
    expect((await run()).attempts).toBeLessThanOrEqual(2);
    expect(await textAt(etcd, key)).toBe('4');
    // A lease that was never used for a marker is not known to be gone before the commit.
    const unused = open();
    await Markers.of(unused, markerPrefix).take();
    const [mine] = (await etcd.leases.list()).filter((id) => !kvs.some((kv) => kv.lease === id));
    expect(mine).toBeDefined();
    for (const id of await etcd.leases.list()) await etcd.leases.revoke(id);
    expect((await stm(unused, count(key), { markerPrefix })).attempts).toBe(1);
    await unused.close();
  });

  it('leaves nothing that stays: as many markers as commits at once, on a lease that nobody keeps', async () => {
    await using etcd = open();
    const p = suite.prefix();
    const markerPrefix = `${p}markers/`;
    for (let round = 0; round < 3; round++) {
      await Promise.all(['a', 'b', 'c'].map((name) => stm(etcd, count(p + name), { markerPrefix })));
    }
    const { kvs } = await etcd.range({ prefix: markerPrefix });
    expect(kvs).toHaveLength(3);
    const leases = new Set(kvs.map((kv) => kv.lease));
    expect(leases.size).toBe(1);
    expect(kvs.every((kv) => kv.key.startsWith(`${markerPrefix}${formatId(kv.lease!)}-`))).toBe(true);
    const [lease] = leases;
    expect((await etcd.leases.timeToLive(lease!)).grantedTtlSeconds).toBe(120);
    await etcd.leases.revoke(lease!);
    expect((await etcd.range({ prefix: p })).kvs.map((kv) => kv.key)).toEqual([`${p}a`, `${p}b`, `${p}c`]);
  });

  it('refuses a transaction that is over, and options that make no sense', async () => {
    await using etcd = open();
    const p = suite.prefix();
    let kept!: StmTransaction;
    await stm(etcd, (tx) => {
      kept = tx;
    });
    await expect(kept.get(`${p}a`)).rejects.toBeInstanceOf(ClosedError);
    await expect(kept.range({ prefix: p })).rejects.toBeInstanceOf(ClosedError);
    expect(() => kept.put(`${p}a`, '')).toThrow(ClosedError);
    for (const options of [{ maxAttempts: 0 }, { timeoutMs: 0 }, { isolation: 'chaos' as never }]) {
      await expect(stm(etcd, () => {}, options)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    await expect(stm(etcd, (tx) => tx.get(''))).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(stm(etcd, (tx) => tx.range({ prefix: p }, { limit: 0 }))).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});
