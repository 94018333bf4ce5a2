/** Watches and leases: few spans, none that lives as long as a stream, and links in place of parents. */
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import type { Etcd } from '../../src/index.ts';
import { startEtcd, TestCluster, VirtualClock } from '../../src/testing/index.ts';
import { collectSpans } from '../support/spans.ts';
import { collectMetrics } from './meter.ts';

const tracer = trace.getTracer('test');

/** Does something in a span of the test's. */
function inside<T>(name: string, work: () => Promise<T>): Promise<T> {
  return context.with(ROOT_CONTEXT, () =>
    tracer.startActiveSpan(name, async (span) => {
      try {
        return await work();
      } finally {
        span.end();
      }
    }),
  );
}

/** Puts so many keys, many to a transaction. */
async function putMany(etcd: Etcd, prefix: string, count: number): Promise<void> {
  for (let first = 0; first < count; first += 100) {
    await etcd.txn({ then: Array.from({ length: 100 }, (_, index) => etcd.op.put(`${prefix}${first + index}`, '')) });
  }
}

describe('a watch', () => {
  it('is a short span, that ends when a server has made the watch', async () => {
    await using server = await startEtcd();
    const etcd = server.client({ telemetry: { captureKeys: 'prefix' } });
    await using spans = collectSpans();
    await inside('request', async () => {
      const watcher = etcd.watch({ prefix: 'users/' });
      await watcher.ready;
    });
    const [span] = spans.named('watch');
    expect(span?.kind).toBe(SpanKind.CLIENT);
    expect(span?.parentSpanContext?.spanId).toBe(spans.named('request')[0]?.spanContext().spanId);
    expect(span?.attributes).toMatchObject({
      'db.system.name': 'etcd',
      'db.operation.name': 'watch',
      'etcd.key.prefix': 'users/',
      'etcd.revision': 1,
      'etcd.endpoint': expect.any(String),
    });
  });

  it('that never came about is a span that failed', async () => {
    await using server = await startEtcd();
    const etcd = server.client();
    await using spans = collectSpans();
    const stop = new AbortController();
    const watcher = etcd.watch('a', { signal: stop.signal });
    stop.abort();
    await expect(watcher.ready).rejects.toThrow('aborted');
    expect(spans.named('watch')[0]?.status.code).toBe(SpanStatusCode.ERROR);
    expect(spans.named('watch')[0]?.attributes['error.type']).toBe('aborted');
  });

  it('adds no span for 10,000 events, whoever opened the stream', async () => {
    await using server = await startEtcd();
    const etcd = server.client();
    const watcher = etcd.watch({ prefix: 'many/' });
    await watcher.ready;
    const writer = server.client({ telemetry: false });
    await using spans = collectSpans();
    await putMany(writer, 'many/', 10_000);
    let seen = 0;
    for await (const _event of watcher) if (++seen === 10_000) break;
    expect(spans.finished.filter(({ kind }) => kind === SpanKind.CLIENT || kind === SpanKind.CONSUMER)).toEqual([]);
    expect(spans.finished.filter(({ name }) => name.startsWith('watch'))).toEqual([]);
  });

  it('whose stream broke is resumed by a span of its own trace, linked to what made the watch', async () => {
    await using cluster = await TestCluster.start({ members: 3 });
    const etcd = cluster.client();
    await using spans = collectSpans();
    const watcher = etcd.watch({ prefix: 'resumed/' });
    await watcher.ready;
    const made = spans.named('watch')[0];
    const events = watcher[Symbol.asyncIterator]();
    const endpoint = made?.attributes['etcd.endpoint'];
    const holder = cluster.members.find((member) => String(endpoint).includes(member.endpoint.replace(/^.*\/\//, '')));
    await holder?.kill();
    await cluster.waitForLeader();
    await etcd.put('resumed/a', '1');
    expect((await events.next()).value?.type).toBe('put');
    const [resume, ...more] = spans.named('watch resume');
    expect(more).toEqual([]);
    expect(resume?.parentSpanContext).toBeUndefined();
    expect(resume?.links.map((link) => link.context.spanId)).toEqual([made?.spanContext().spanId]);
    expect(resume?.attributes).toMatchObject({ 'etcd.watch.watchers': 1, 'etcd.reason': expect.any(String) });
    expect(resume?.attributes['etcd.endpoint']).not.toBe(endpoint);
    watcher.close();
  });

  it('links the span of a handler to the watch and to the write that caused it', async () => {
    await using server = await startEtcd();
    const etcd = server.client();
    await using spans = collectSpans();
    const watcher = etcd.watch({ prefix: 'handled/' });
    await watcher.ready;
    await inside('writer', () => etcd.put('handled/a', '1'));
    for await (const event of watcher) {
      await watcher.handle(event, () => etcd.put('elsewhere', '1'));
      break;
    }
    const [handler] = spans.named('watch handle');
    const puts = spans.finished.filter(({ attributes }) => attributes['db.operation.name'] === 'put');
    const [cause, consequence] = puts.filter(({ kind }) => kind === SpanKind.CLIENT);
    expect(handler?.kind).toBe(SpanKind.CONSUMER);
    expect(handler?.parentSpanContext).toBeUndefined();
    expect(handler?.links.map((link) => link.context.spanId)).toEqual([
      spans.named('watch')[0]?.spanContext().spanId,
      cause?.spanContext().spanId,
    ]);
    expect(consequence?.parentSpanContext?.spanId).toBe(handler?.spanContext().spanId);
  });

  it('leaves what a handler throws as it is, and marks its span', async () => {
    await using server = await startEtcd();
    const etcd = server.client();
    await using spans = collectSpans();
    const watcher = etcd.watch('a');
    await watcher.ready;
    await etcd.put('a', '1');
    for await (const event of watcher) {
      await expect(watcher.handle(event, () => Promise.reject(new RangeError('no')))).rejects.toThrow(RangeError);
      expect(() =>
        watcher.handle(event, () => {
          throw new RangeError('no');
        }),
      ).toThrow(RangeError);
      break;
    }
    expect(spans.named('watch handle').map(({ attributes }) => attributes['error.type'])).toEqual([
      'RangeError',
      'RangeError',
    ]);
  });
});

describe('a lease', () => {
  it('adds no span for 1,000 keepalives', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    const leases = await clock.until(Promise.all(Array.from({ length: 100 }, () => etcd.lease({ ttlSeconds: 30 }))));
    await using spans = collectSpans();
    using told = collectMetrics();
    await clock.advance(101_000); // ten renewals of each
    expect(told.of('etcd.client.lease.remaining')).toHaveLength(1_000);
    expect(leases.every(({ alive }) => alive)).toBe(true);
    expect(spans.finished.filter(({ kind }) => kind === SpanKind.CLIENT)).toEqual([]);
    expect(spans.named('lease lost')).toEqual([]);
  });

  it('that is lost is a span, linked to what was active when it was opened', async () => {
    const clock = new VirtualClock();
    await using cluster = await TestCluster.start({ clock });
    const etcd = cluster.client();
    await using spans = collectSpans();
    const lease = await inside('opener', () => clock.until(etcd.lease({ ttlSeconds: 10 })));
    for (const member of cluster.members) member.stallClients();
    await clock.advance(10_000);
    expect(lease.alive).toBe(false);
    const [lost, ...more] = spans.named('lease lost');
    expect(more).toEqual([]);
    expect(lost?.parentSpanContext).toBeUndefined();
    expect(lost?.links.map((link) => link.context.spanId)).toEqual([spans.named('opener')[0]?.spanContext().spanId]);
    expect(lost?.attributes).toMatchObject({ 'etcd.reason': 'deadline', 'error.type': 'lease-lost' });
  });

  it('that was revoked is none', async () => {
    await using server = await startEtcd();
    await using spans = collectSpans();
    const lease = await server.client().lease({ ttlSeconds: 10 });
    await lease.revoke();
    expect(spans.named('lease lost')).toEqual([]);
  });
});
