/** The spans of barriers, latches, counters, memberships and crons, and what hangs below which. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Barrier } from '../../recipes/barrier.ts';
import { Config } from '../../recipes/config/config.ts';
import { ConfigError } from '../../recipes/config/errors.ts';
import { Counter } from '../../recipes/counter.ts';
import { Cron, type CronRun } from '../../recipes/cron/cron.ts';
import { DoubleBarrier } from '../../recipes/double-barrier.ts';
import { Latch } from '../../recipes/latch.ts';
import { Membership } from '../../recipes/membership/membership.ts';
import { Partitions } from '../../recipes/membership/partitions.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { Session } from '../../recipes/session.ts';
import { AbortError } from '../../src/index.ts';
import { doing, handling, whileWaiting } from '../../src/telemetry/recipes.ts';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';
import { below, collectSpans, one } from '../support/spans.ts';

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

describe('a barrier', () => {
  it('is a span for shutting it, one for as long as it is held, and one for each wait', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const barrier = new Barrier(session, 'spans-barrier');
    const heard: unknown[] = [];
    const listen = (message: unknown): number => heard.push(message);
    subscribe('etcdkit:recipe:ended', listen);
    await using spans = collectSpans();
    const held = await barrier.hold();
    const waiting = barrier.wait();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThanOrEqual(2);
    await held.release();
    await waiting;
    unsubscribe('etcdkit:recipe:ended', listen);
    expect(heard).toMatchObject([{ recipe: 'barrier', name: 'spans-barrier', token: held.token, reason: 'released' }]);
    const asked = one(spans, 'Barrier.acquire');
    expect(below(spans, asked)).toContain('txn');
    expect(one(spans, 'Barrier.hold').attributes).toEqual({
      'etcd.recipe.kind': 'barrier',
      'etcd.recipe.token': Number(held.token),
      'etcd.recipe.outcome': 'released',
    });
    expect(below(spans, one(spans, 'Barrier.wait'))).toContain('watch');
  });

  it('that is shut already, or does not open in time, is a span that failed', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const barrier = new Barrier(session, 'spans-shut');
    await using _held = await barrier.hold();
    await using spans = collectSpans();
    await expect(barrier.hold()).rejects.toThrow('shut');
    await expect(barrier.wait({ timeoutMs: 10 })).rejects.toThrow('did not come');
    expect(one(spans, 'Barrier.acquire').attributes['error.type']).toBe('held-by-another');
    expect(one(spans, 'Barrier.wait').attributes['error.type']).toBe('wait-timeout');
    expect(spans.named('Barrier.hold')).toEqual([]);
  });
});

describe('a double barrier', () => {
  it('is the entering with its wait, the round, and the leaving with its wait', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const barrier = new DoubleBarrier(session, 'spans-double', { count: 2 });
    await using spans = collectSpans();
    const first = barrier.enter();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThan(0);
    const rounds = [await barrier.enter(), await first] as const;
    expect(spans.named('DoubleBarrier.round')).toEqual([]);
    const left = rounds[0].leave();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThanOrEqual(4);
    await Promise.all([left, rounds[1].leave()]);
    const entered = spans.named('DoubleBarrier.enter');
    expect(entered).toHaveLength(2);
    const waits = spans.named('DoubleBarrier.wait').map(({ parentSpanContext }) => parentSpanContext?.spanId);
    const leaving = spans.named('DoubleBarrier.leave');
    expect(leaving).toHaveLength(2);
    const parents = [...entered, ...leaving].map((span) => span.spanContext().spanId);
    expect(parents).toEqual(expect.arrayContaining(waits));
    expect(leaving.some((span) => waits.includes(span.spanContext().spanId))).toBe(true);
    expect(entered.some((span) => waits.includes(span.spanContext().spanId))).toBe(true);
    const outcomes = spans.named('DoubleBarrier.round').map(({ attributes }) => attributes['etcd.recipe.outcome']);
    expect(outcomes).toEqual(['released', 'released']);
  });
});

describe('a latch', () => {
  it('is one span for a wait, with its watch right below', async () => {
    const etcd = server.client({ telemetry: { captureKeys: 'full' } });
    await using session = await Session.open(etcd);
    const latch = new Latch(session, 'spans-latch');
    await latch.create(1);
    await using spans = collectSpans();
    const waiting = latch.wait();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThan(0);
    await latch.countDown();
    await waiting;
    const wait = one(spans, 'Latch.wait');
    expect(wait.attributes).toEqual({ 'etcd.recipe.kind': 'latch', 'etcd.recipe.name': 'spans-latch' });
    expect(below(spans, wait)).toContain('watch');
  });
});

describe('a counter', () => {
  it('is a span for each change, with its transactions below, and says nothing of the value', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const counter = new Counter(session, 'spans-counter');
    await using spans = collectSpans();
    await counter.add(77_777_777n);
    await counter.set(88_888_888n);
    await counter.compareAndSet(88_888_888n, 99_999_999n);
    for (const verb of ['add', 'set', 'compareAndSet']) {
      expect(below(spans, one(spans, `Counter.${verb}`))).toContain('txn');
    }
    const told = JSON.stringify(spans.finished.map(({ name, attributes }) => [name, attributes]));
    expect(told).not.toMatch(/77777777|88888888|99999999|spans-counter/);
  });
});

describe('a configuration', () => {
  it('is a span for each change, with its calls below, and says nothing of what is published', async () => {
    const config = new Config<string>(server.client(), 'spans/config');
    await using spans = collectSpans();
    const first = await config.publish('text-1111');
    await config.stage('text-2222', { share: 10 });
    await config.setShare(20);
    await config.promote();
    await config.stage('text-3333', { share: 10 });
    await config.abandon();
    await config.rollBack(first);
    for (const verb of ['publish', 'setShare', 'promote', 'abandon', 'rollBack'])
      expect(below(spans, one(spans, `Config.${verb}`))).toContain('txn');
    expect(spans.named('Config.stage')).toHaveLength(2);
    const told = JSON.stringify(spans.finished.map(({ name, attributes }) => [name, attributes]));
    expect(told).not.toMatch(/text-|spans/);
  });

  it('that does not fit is a span that failed', async () => {
    const config = new Config(server.client(), 'spans/wrong', { schema: z.object({ limit: z.number() }) });
    await using spans = collectSpans();
    await expect(config.publish({ limit: 'none' } as never)).rejects.toThrow(ConfigError);
    expect(one(spans, 'Config.publish').status.code).toBe(SpanStatusCode.ERROR);
  });
});

describe('partitions', () => {
  it('are a span for each claim', async () => {
    await using session = await Session.open(server.client());
    const stop = new AbortController();
    const worked: string[] = [];
    await using spans = collectSpans();
    const running = new Partitions(session, 'spans-parts', { partitions: 2 }).run(
      async ({ partition }) => {
        if (worked.push(partition) === 2) stop.abort();
      },
      { signal: stop.signal },
    );
    await expect(running).rejects.toThrow(AbortError);
    const claims = spans.named('Partitions.claim');
    expect(claims).toHaveLength(2);
    for (const claim of claims) expect(below(spans, claim)).toEqual(['txn']);
  });
});

describe('a membership', () => {
  it('is a span for joining, with the wait for an id that is taken', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using other = await Session.open(etcd);
    const first = await new Membership(other, 'spans-group').join({ id: 'a' });
    await using spans = collectSpans();
    const joining = new Membership(session, 'spans-group').join({ id: 'a' });
    await expect.poll(() => spans.named('watch').length).toBeGreaterThanOrEqual(2);
    await first.leave();
    await (await joining).leave();
    const joined = one(spans, 'Membership.join');
    expect(joined.attributes).toEqual({ 'etcd.recipe.kind': 'membership' });
    expect(below(spans, joined)).toEqual(expect.arrayContaining(['txn', 'Membership.wait']));
  });
});

describe('a cron', () => {
  it('is a trace of its own for each run, with what the handler does, and no part of the one that started it', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const lock = new Mutex(session, 'spans-cron');
    const stop = new AbortController();
    const runs: CronRun[] = [];
    const handler = async (run: CronRun): Promise<void> => {
      runs.push(run);
      await lock.run(async () => {});
      if (runs.length === 2) stop.abort();
      if (runs.length > 1) throw new TypeError('secret-s1');
    };
    // Its wall clock stands still until it is asked to wait, and then has the moment come.
    let now = Date.UTC(2026, 0, 1);
    const wallClock = {
      now: () => now,
      at: (epochMs: number, then: () => void) => {
        const timer = session.clock.after(1, () => {
          now = epochMs;
          then();
        });
        return { cancel: () => timer.cancel() };
      },
    };
    const cron = new Cron(session, 'spans-cron-jobs', [{ name: 'tidy', schedule: '* * * * *', handler }], {
      wallClock,
    });
    await using spans = collectSpans();
    await trace.getTracer('test').startActiveSpan('start', async (start) => {
      await cron.run({ signal: stop.signal });
      start.end();
    });
    const [first, second] = spans.named('Cron.run');
    expect(first?.attributes).toEqual({
      'etcd.recipe.kind': 'cron',
      'etcd.cron.tick': runs[0]?.tick.toISOString(),
      'etcd.cron.missed': 0,
    });
    expect(below(spans, first as ReadableSpan)).toEqual(expect.arrayContaining(['Mutex.acquire', 'Mutex.hold']));
    expect(first?.status.code).toBe(SpanStatusCode.UNSET);
    expect(second?.status.code).toBe(SpanStatusCode.ERROR);
    expect(second?.attributes['error.type']).toBe('TypeError');
    expect(first?.parentSpanContext).toBeUndefined();
    expect(below(spans, one(spans, 'start'))).toEqual([]);
    expect(JSON.stringify(spans.finished.map(({ name, attributes }) => [name, attributes]))).not.toContain('secret-s1');
  });
});

describe('work of the program that a recipe calls', () => {
  it('is no part of that recipe: what waits in it is no wait of it', async () => {
    const etcd = server.client();
    await using spans = collectSpans();
    const wait = (): Promise<void> => whileWaiting(async () => {});
    const outer = { recipe: 'Outer', name: 'a', verb: 'do' };
    await doing(etcd, outer, () => handling(etcd, { recipe: 'Handler', name: 'b', verb: 'run' }, wait));
    expect(spans.finished.map(({ name }) => name)).toEqual(['Handler.run', 'Outer.do']);
    await doing(etcd, outer, wait);
    expect(spans.named('Outer.wait')).toHaveLength(1);
  });
});

describe('a client with telemetry: false', () => {
  it('makes no span in any of them', async () => {
    const etcd = server.client({ telemetry: false });
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    const barrier = new Barrier(session, 'none');
    await (await barrier.hold()).release();
    await barrier.wait();
    await (await new DoubleBarrier(session, 'none-2', { count: 1 }).enter()).leave();
    const latch = new Latch(session, 'none-3');
    await latch.create(1);
    await latch.countDown();
    await latch.wait();
    await new Counter(session, 'none-4').add();
    await (await new Membership(session, 'none-5').join()).leave();
    const ours = spans.finished.filter(({ name }) => /^(Barrier|DoubleBarrier|Latch|Counter|Membership)/.test(name));
    expect(ours).toEqual([]);
  });
});
