/** What becomes of a publication whose answer is lost; with a proxy that loses it, and others who publish meanwhile. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { Config } from '../../../recipes/config/config.ts';
import { ConfigConflictError } from '../../../recipes/config/errors.ts';
import { UnknownOutcomeError } from '../../../recipes/errors.ts';
import { type Clock, Etcd, systemClock } from '../../../src/index.ts';
import { type FaultAction, GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { bed, KEY, Limits } from './bed.ts';

const TXN = '/etcdserverpb.KV/Txn';

/** The pause before the first repetition, with the randomness of these tests. */
const PAUSE_MS = 20;

/**
 * A configuration at its first version, behind a proxy; the second transaction of the next call, which is the one that
 * writes, meets `action`. What `meanwhile` does is done before it is sent again.
 */
async function losing(action: FaultAction, times = 1) {
  const { server, operator } = await bed();
  const proxy = await GrpcFaultProxy.start({ target: new URL(server.endpoints[0] ?? '').host });
  let meanwhile = async (): Promise<unknown> => undefined;
  const clock: Clock = {
    now: () => systemClock.now(),
    after: (delayMs, callback, options) => {
      if (delayMs !== PAUSE_MS) return systemClock.after(delayMs, callback, options);
      void meanwhile().then(callback);
      return { cancel: () => {} };
    },
  };
  const etcd = new Etcd({ endpoints: proxy.address, clock, random: () => 1 });
  onTestFinished(async () => {
    await etcd.close();
    await proxy[Symbol.asyncDispose]();
  });
  const limits = new Config(etcd, KEY, { schema: Limits });
  const other = (keep: number) => new Config(operator, KEY, { schema: Limits, keep });
  const first = await other(10).publish({ perSecond: 1 });
  proxy.rule({ path: TXN, nth: 2, times, action });
  return {
    limits,
    first,
    other,
    operator,
    proxy,
    txns: () => proxy.count(TXN),
    meanwhile: (work: () => Promise<unknown>) => {
      meanwhile = work;
    },
  };
}

/** The server says that it is not there: whether it did anything nobody knows. */
const UNAVAILABLE: FaultAction = { status: { code: 14, message: 'gone' }, forward: false };

describe('a publication into a store that is full', () => {
  const full = (forward: boolean): FaultAction => {
    return { status: { code: 8, message: 'etcdserver: mvcc: database space exceeded' }, forward };
  };

  it('is found to be done: etcd applies the write that fills it, and refuses it all the same', async () => {
    const { limits, operator } = await losing(full(true));
    const revision = await limits.publish({ perSecond: 2 });
    expect(await limits.read()).toEqual({ value: { perSecond: 2 }, revision });
    expect(await operator.revision()).toBe(revision);
  });

  it('is known not to be done, at once, when it was not', async () => {
    const { limits, first, txns } = await losing(full(false));
    const publishing = limits.publish({ perSecond: 2 });
    await expect(publishing).rejects.toMatchObject({ code: 'no-space', applied: 'no' });
    expect(await limits.read()).toEqual({ value: { perSecond: 1 }, revision: first });
    // The look, the write, and the look that told.
    expect(txns()).toBe(3);
  });

  it('is nobody knows what when an answer was lost before', async () => {
    const { limits, meanwhile, proxy } = await losing(UNAVAILABLE);
    meanwhile(async () => void proxy.rule({ path: TXN, nth: 1, action: full(false) }));
    await expect(limits.publish({ perSecond: 2 })).rejects.toThrow(UnknownOutcomeError);
  });
});

describe('a publication whose answer is lost', () => {
  it('is found to be done', async () => {
    const { limits, txns } = await losing('swallow-reply');
    const revision = await limits.publish({ perSecond: 2 });
    expect(await limits.read()).toEqual({ value: { perSecond: 2 }, revision });
    expect((await limits.history()).versions).toHaveLength(2);
    // The look, the write, and the write once more, which was refused.
    expect(txns()).toBeGreaterThanOrEqual(3);
  });

  it('is done when it was not', async () => {
    const { limits } = await losing(UNAVAILABLE);
    const revision = await limits.publish({ perSecond: 2 });
    expect(await limits.read()).toEqual({ value: { perSecond: 2 }, revision });
  });

  it('is found to be done when another has replaced it since', async () => {
    const { limits, meanwhile, other, first } = await losing('swallow-reply');
    meanwhile(() => other(10).publish({ perSecond: 3 }));
    const revision = await limits.publish({ perSecond: 2 }, { expected: first });
    expect((await limits.version(revision))?.text).toContain('2');
    expect((await limits.read()).value).toEqual({ perSecond: 3 });
  });

  it('is known not to be done when another has replaced the one before', async () => {
    const { limits, meanwhile, other, first } = await losing(UNAVAILABLE);
    meanwhile(() => other(0).publish({ perSecond: 3 }));
    await expect(limits.publish({ perSecond: 2 }, { expected: first })).rejects.toThrow(ConfigConflictError);
    expect((await limits.read()).value).toEqual({ perSecond: 3 });
  });

  it('is known not to be done when another tool has written', async () => {
    const { limits, meanwhile, operator, first } = await losing(UNAVAILABLE);
    meanwhile(() => operator.put(KEY, '{"perSecond":3}'));
    await expect(limits.publish({ perSecond: 2 }, { expected: first })).rejects.toThrow(ConfigConflictError);
  });

  it('is nobody knows what when another has replaced it and kept nothing', async () => {
    const { limits, meanwhile, other, first } = await losing('swallow-reply');
    meanwhile(() => other(0).publish({ perSecond: 3 }));
    await expect(limits.publish({ perSecond: 2 }, { expected: first })).rejects.toThrow(UnknownOutcomeError);
  });

  it('is not made a second time when it was deleted since', async () => {
    const { limits, meanwhile, operator, other } = await losing('swallow-reply');
    await operator.delete({ prefix: KEY });
    meanwhile(() => operator.delete(KEY));
    const done = await limits.publish({ perSecond: 2 }).then(
      () => 'published',
      (error: Error) => error.name,
    );
    // It was published, and then deleted; it must not come back.
    expect(await operator.get(KEY)).toBeUndefined();
    expect(done).toBe('published');
    await other(10).publish({ perSecond: 4 });
  });

  it('is unknown when etcd does not answer any more', async () => {
    const { limits } = await losing('hang', 1_000);
    await expect(limits.publish({ perSecond: 2 }, { timeoutMs: 200 })).rejects.toThrow(UnknownOutcomeError);
  });
});

it('takes the round trips that the documents say', async () => {
  const { server } = await bed();
  await using proxy = await GrpcFaultProxy.start({ target: new URL(server.endpoints[0] ?? '').host });
  await using etcd = new Etcd({ endpoints: proxy.address });
  const limits = new Config(etcd, KEY, { schema: Limits });
  const calls = async (work: () => Promise<unknown>): Promise<number> => {
    const before = proxy.calls.filter(({ path }) => path.includes('.KV/')).length;
    await work();
    return proxy.calls.filter(({ path }) => path.includes('.KV/')).length - before;
  };
  expect(await calls(() => limits.publish({ perSecond: 1 }))).toBe(2);
  expect(await calls(() => limits.publish({ perSecond: 2 }))).toBe(2);
  expect(await calls(() => limits.read())).toBe(1);
  expect(await calls(() => limits.stage({ perSecond: 3 }, { share: 1 }))).toBe(2);
  expect(await calls(() => limits.promote())).toBe(2);
  await etcd.put(KEY, '{"perSecond":4}');
  expect(await calls(() => limits.publish({ perSecond: 5 }))).toBe(3);
});

describe('a candidate whose answer is lost', () => {
  it('is found to be staged', async () => {
    const { limits } = await losing('swallow-reply');
    const revision = await limits.stage({ perSecond: 2 }, { share: 5 });
    expect(await limits.staged()).toMatchObject({ revision, share: 5 });
  });

  it('is found to be abandoned', async () => {
    const { limits, other } = await losing('swallow-reply');
    await other(10).stage({ perSecond: 2 }, { share: 5 });
    await limits.abandon();
    expect(await limits.staged()).toBeUndefined();
  });

  it('is not known to have been staged when another one is', async () => {
    const { limits, meanwhile, other } = await losing('swallow-reply');
    meanwhile(() => other(10).stage({ perSecond: 3 }, { share: 6 }));
    await expect(limits.stage({ perSecond: 2 }, { share: 5 })).rejects.toThrow(UnknownOutcomeError);
    expect(await limits.staged()).toMatchObject({ value: { perSecond: 3 } });
  });
});
