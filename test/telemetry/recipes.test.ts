/** The spans of recipes, and what hangs below which. */
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import { RWMutex } from '../../recipes/rwmutex.ts';
import { Semaphore } from '../../recipes/semaphore.ts';
import { Session } from '../../recipes/session.ts';
import { stm } from '../../recipes/stm/stm.ts';
import { Life } from '../../src/telemetry/recipes.ts';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';
import { below, collectSpans, one } from '../support/spans.ts';

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

describe('a lock', () => {
  it('that is free is a span for the asking and one for the holding, side by side', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    const lock = await new Mutex(session, 'spans-free').acquire();
    expect(spans.named('Mutex.hold')).toEqual([]);
    await lock.release();
    const asked = one(spans, 'Mutex.acquire');
    const held = one(spans, 'Mutex.hold');
    expect(asked.attributes).toEqual({
      'etcd.recipe.kind': 'mutex',
      'etcd.recipe.position': 0,
      'etcd.recipe.outcome': 'acquired',
      'etcd.recipe.token': Number(lock.token),
    });
    expect(below(spans, asked)).toContain('txn');
    expect(below(spans, asked)).not.toContain('Mutex.wait');
    expect(held.attributes).toEqual({
      'etcd.recipe.kind': 'mutex',
      'etcd.recipe.token': Number(lock.token),
      'etcd.recipe.outcome': 'released',
    });
    expect(held.parentSpanContext).toBeUndefined();
    expect(held.links.map((link) => link.context.spanId)).toEqual([asked.spanContext().spanId]);
  });

  it('that is taken adds a wait below the asking, and the place in the queue', async () => {
    const etcd = server.client({ telemetry: { captureKeys: 'prefix' } });
    await using session = await Session.open(etcd);
    await using other = await Session.open(etcd);
    const lock = await new Mutex(other, 'spans-taken').acquire();
    await using spans = collectSpans();
    const waiting = new Mutex(session, 'spans-taken').acquire();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThanOrEqual(2);
    await lock.release();
    await (await waiting).release();
    const asked = one(spans, 'Mutex.acquire');
    const wait = one(spans, 'Mutex.wait');
    expect(asked.attributes).toMatchObject({ 'etcd.recipe.position': 1, 'etcd.recipe.name': 'spans-taken' });
    expect(wait.parentSpanContext?.spanId).toBe(asked.spanContext().spanId);
    expect(below(spans, wait)).toEqual(['watch']);
    expect(below(spans, asked).filter((name) => name === 'txn')).toHaveLength(1);
  });

  it('that is not got in time is a span that failed', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using _lock = await new Mutex(session, 'spans-late').acquire();
    await using spans = collectSpans();
    await expect(new Mutex(session, 'spans-late').acquire({ timeoutMs: 10 })).rejects.toThrow('did not come');
    const asked = one(spans, 'Mutex.acquire');
    expect(asked.status.code).toBe(SpanStatusCode.ERROR);
    expect(asked.attributes).toMatchObject({ 'error.type': 'wait-timeout', 'etcd.recipe.outcome': 'wait-timeout' });
    expect(spans.named('Mutex.hold')).toEqual([]);
  });

  it('that was refused has not failed', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using _lock = await new Mutex(session, 'spans-refused').acquire();
    await using spans = collectSpans();
    expect((await new Mutex(session, 'spans-refused').tryAcquire()).acquired).toBe(false);
    const asked = one(spans, 'Mutex.tryAcquire');
    expect(asked.status.code).toBe(SpanStatusCode.UNSET);
    expect(asked.attributes['etcd.recipe.outcome']).toBe('refused');
  });

  it('that is lost ends its holding as an error', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    const lock = await new Mutex(session, 'spans-lost').acquire();
    await etcd.delete(lock.key);
    await expect.poll(() => lock.held).toBe(false);
    const held = one(spans, 'Mutex.hold');
    expect(held.status.code).toBe(SpanStatusCode.ERROR);
    expect(held.attributes).toMatchObject({ 'error.type': 'lost', 'etcd.recipe.outcome': 'key-gone' });
  });

  it('has the work that is run under it below the holding', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    await new Mutex(session, 'spans-run').run(() => etcd.put('under-the-lock', '1'));
    expect(below(spans, one(spans, 'Mutex.hold'))).toContain('put');
  });

  it('says nothing of its name unless asked', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    await (await new Mutex(session, 'name-n1').acquire()).release();
    expect(JSON.stringify(spans.finished.map(({ name, attributes }) => [name, attributes]))).not.toContain('name-n1');
  });

  it('for readers and writers says which', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const lock = new RWMutex(session, 'spans-rw');
    await using spans = collectSpans();
    await (await lock.acquireRead()).release();
    await (await lock.acquireWrite()).release();
    const modes = spans.named('RWMutex.acquire').map(({ attributes }) => attributes['etcd.rwmutex.mode']);
    expect(modes).toEqual(['read', 'write']);
    expect(spans.named('RWMutex.hold')).toHaveLength(2);
  });
});

describe('a semaphore', () => {
  it('tells who is ahead, and the wait for enough permits', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const semaphore = new Semaphore(session, 'spans-permits', { limit: 2 });
    const first = await semaphore.acquire({ permits: 2 });
    await using spans = collectSpans();
    const second = semaphore.acquire();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThanOrEqual(2);
    await first.release();
    await (await second).release();
    const asked = one(spans, 'Semaphore.acquire');
    expect(asked.attributes['etcd.recipe.position']).toBe(1);
    const wait = one(spans, 'Semaphore.wait');
    expect(wait.parentSpanContext?.spanId).toBe(asked.spanContext().spanId);
    expect(wait.status.code).toBe(SpanStatusCode.UNSET);
  });
});

describe('an election', () => {
  it('is a campaign and a term', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    const leader = await new Election(session, 'spans-election').campaign({ value: 'me' });
    await leader.resign();
    expect(one(spans, 'Election.campaign').attributes['etcd.recipe.token']).toBe(Number(leader.term));
    expect(one(spans, 'Election.lead').attributes['etcd.recipe.outcome']).toBe('released');
  });
});

describe('a transaction', () => {
  it('is one span with one for each attempt', async () => {
    const etcd = server.client();
    await using spans = collectSpans();
    const { attempts } = await stm(etcd, async (tx) => {
      const value = await tx.get('spans-stm');
      if (tx.attempt === 1) await etcd.put('spans-stm', 'in the way');
      tx.put('spans-stm', `${value}!`);
    });
    expect(attempts).toBe(2);
    const run = one(spans, 'Stm.run');
    expect(run.attributes).toEqual({
      'etcd.recipe.kind': 'stm',
      'etcd.stm.isolation': 'serializable-snapshot',
      'etcd.attempts': 2,
    });
    const tries = spans.named('Stm.attempt');
    expect(tries.map(({ attributes }) => [attributes['etcd.attempt'], attributes['etcd.recipe.outcome']])).toEqual([
      [1, 'conflict'],
      [2, 'committed'],
    ]);
    expect(tries.every(({ parentSpanContext }) => parentSpanContext?.spanId === run.spanContext().spanId)).toBe(true);
    expect(tries.every(({ status }) => status.code === SpanStatusCode.UNSET)).toBe(true);
  });
});

describe('a queue', () => {
  it('is a span for each put and each take, with the wait below', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const queue = new Queue(session, 'spans-queue');
    await using spans = collectSpans();
    const taken = queue.dequeue();
    await expect.poll(() => spans.named('watch').length).toBeGreaterThanOrEqual(2);
    await queue.enqueue('value-v3');
    await taken;
    expect(below(spans, one(spans, 'Queue.enqueue'))).toContain('txn');
    expect(below(spans, one(spans, 'Queue.dequeue'))).toContain('Queue.wait');
    expect(JSON.stringify(spans.finished.map(({ attributes }) => attributes))).not.toContain('value-v3');
  });
});

describe('a work queue', () => {
  it('is a span for each put and each claim, and its keeper is in no trace', async () => {
    const etcd = server.client();
    await using session = await Session.open(etcd);
    const queue = new WorkQueue(session, 'spans-work');
    await using spans = collectSpans();
    await trace.getTracer('test').startActiveSpan('request', async (request) => {
      await queue.enqueue('a');
      const job = await queue.claim();
      await job.ack();
      request.end();
    });
    const claim = one(spans, 'WorkQueue.claim');
    expect(below(spans, one(spans, 'WorkQueue.enqueue'))).toContain('txn');
    expect(below(spans, claim)).toContain('txn');
    // The keeper's first look; it goes on for as long as the session.
    const alone = (): ReadableSpan[] =>
      spans.finished.filter(
        ({ kind, parentSpanContext }) => kind === SpanKind.CLIENT && parentSpanContext === undefined,
      );
    await expect.poll(() => alone().length).toBeGreaterThan(0);
    expect(spans.named('WorkQueue.wait')).toEqual([]);
  });
});

describe('a life', () => {
  it('is a span for each step, linked to the first', async () => {
    const etcd = server.client();
    await using spans = collectSpans();
    const life = new Life(etcd, { recipe: 'Registration', name: 'orders' });
    await life.step('register', () => etcd.put('spans-life', '1'));
    life.event('lost', { 'etcd.reason': 'deadline' });
    await life.step('deregister', () => etcd.delete('spans-life'));
    const first = one(spans, 'Registration.register');
    expect(below(spans, first)).toContain('put');
    for (const name of ['Registration.lost', 'Registration.deregister']) {
      const step = one(spans, name);
      expect(step.links.map((link) => link.context.spanId)).toEqual([first.spanContext().spanId]);
      expect(step.parentSpanContext).toBeUndefined();
    }
  });
});

describe('a client with telemetry: false', () => {
  it('makes no span in any recipe', async () => {
    const etcd = server.client({ telemetry: false });
    await using session = await Session.open(etcd);
    await using spans = collectSpans();
    await new Mutex(session, 'no-spans').run(async () => {});
    await (await new Election(session, 'no-spans').campaign()).resign();
    await stm(etcd, (tx) => tx.put('no-spans', '1'));
    await new Queue(session, 'no-spans').enqueue('1');
    await new Life(etcd, { recipe: 'Registration', name: 'x' }).step('register', async () => {});
    expect(
      spans.finished.filter(({ name }) => /^(Mutex|Election|Stm|Queue|Registration|watch|txn)/.test(name)),
    ).toEqual([]);
  });
});
