/** The span of a call: what it says, what it never says, and where it hangs. */
import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AlwaysOffSampler, type ReadableSpan } from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Etcd, GrpcCode, type Revision } from '../../src/index.ts';
import { CallTelemetry } from '../../src/telemetry/calls.ts';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';
import { collectSpans, type Spans } from '../support/spans.ts';
import { fakeTransport, unavailable } from './fake-transport.ts';

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

/** The client's spans; those of the bundled server, which is in this process too, are another story. */
function clientSpans(spans: Spans): ReadableSpan[] {
  return spans.finished.filter(({ kind }) => kind === SpanKind.CLIENT);
}

function only(spans: Spans): ReadableSpan {
  const [span, ...more] = clientSpans(spans);
  expect(more).toEqual([]);
  return span as ReadableSpan;
}

/** Does something with a client that is connected, and returns the one span of it. */
async function spanOf(work: (etcd: Etcd) => Promise<unknown>, options = {}): Promise<ReadableSpan> {
  const etcd = server.client(options);
  await etcd.connect();
  await using spans = collectSpans();
  await work(etcd);
  return only(spans);
}

describe('a call', () => {
  it('is one span of a database client', async () => {
    const span = await spanOf((etcd) => etcd.put('calls/secret-key', 'secret-value'));
    const [host, port] = (server.endpoints[0] as string).replace('http://', '').split(':');
    expect(span.name).toBe(`put ${host}:${port}`);
    expect(span.kind).toBe(SpanKind.CLIENT);
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
    expect(span.instrumentationScope.name).toBe('etcdkit');
    expect(span.attributes).toEqual({
      'db.system.name': 'etcd',
      'db.operation.name': 'put',
      'rpc.system.name': 'grpc',
      'rpc.method': 'etcdserverpb.KV/Put',
      'rpc.response.status_code': 'OK',
      'server.address': host,
      'server.port': Number(port),
      'etcd.endpoint': expect.stringContaining(`${host}:${port}`),
      'etcd.attempts': 1,
      'etcd.request.bytes': 'calls/secret-key'.length + 'secret-value'.length,
      'etcd.revision': expect.any(Number),
    });
  });

  it('tells counts and sizes of what it read', async () => {
    const etcd = server.client();
    await etcd.put('counted/a', '12345');
    await etcd.put('counted/b', '1');
    const span = await spanOf((client) => client.range({ prefix: 'counted/' }));
    expect(span.attributes).toMatchObject({
      'db.operation.name': 'range',
      'db.response.returned_rows': 2,
      'etcd.keys': 2,
      'etcd.response.bytes': 2 * 'counted/a'.length + 6,
    });
  });

  it('tells how many keys it deleted', async () => {
    const etcd = server.client();
    await etcd.put('deleted/a', '');
    const span = await spanOf((client) => client.delete({ prefix: 'deleted/' }));
    expect(span.attributes).toMatchObject({ 'db.operation.name': 'delete_range', 'etcd.keys': 1 });
  });

  it('that is a transaction tells its size, and has not failed when its compares did not hold', async () => {
    const span = await spanOf((etcd) =>
      etcd.txn({
        if: [etcd.key('txn/none').exists],
        then: [etcd.op.put('txn/a', '1'), etcd.op.put('txn/b', '1')],
        else: [etcd.op.get('txn/a')],
      }),
    );
    expect(span.attributes).toMatchObject({
      'db.operation.name': 'txn',
      'db.operation.batch.size': 3,
      'etcd.txn.compares': 1,
      'etcd.txn.succeeded': false,
    });
    expect(span.attributes).not.toHaveProperty('error.type');
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
  });

  it('that fails tells the code, the class, and what the server said', async () => {
    const future = ((await server.client().revision()) + 1_000n) as Revision;
    const span = await spanOf((etcd) => expect(etcd.get('a', { revision: future })).rejects.toThrow('future'));
    expect(span.status).toEqual({ code: SpanStatusCode.ERROR });
    expect(span.attributes).toMatchObject({
      'error.type': 'future-revision',
      'etcd.error.class': 'EtcdError',
      'etcd.server_error.code': 'FutureRevision',
      'db.response.status_code': 'OUT_OF_RANGE',
      'rpc.response.status_code': 'OUT_OF_RANGE',
      'etcd.applied': 'no',
    });
  });

  it('says nothing of keys and values unless asked, and never of values', async () => {
    const etcd = server.client();
    await etcd.connect();
    await using spans = collectSpans();
    await etcd.put('key-k1/x', 'value-v1');
    await etcd.get('key-k1/x');
    await etcd.delete({ prefix: 'key-k1/' });
    await etcd.txn({ then: [etcd.op.put('key-k1/x', 'value-v1')], else: [] });
    const told = JSON.stringify(clientSpans(spans).map(({ name, attributes, events }) => [name, attributes, events]));
    expect(clientSpans(spans)).toHaveLength(4);
    expect(told).not.toContain('key-k1');
    expect(told).not.toContain('value-v1');
  });

  it.each([
    ['prefix', { 'etcd.key.prefix': 'users/' }],
    ['full', { 'etcd.key.prefix': 'users/', 'etcd.key.full': 'users/42' }],
  ] as const)('tells of the key what captureKeys %s allows', async (captureKeys, expected) => {
    const span = await spanOf((etcd) => etcd.put('users/42', 'value-v2'), { telemetry: { captureKeys } });
    const keys = Object.entries(span.attributes).filter(([name]) => name.startsWith('etcd.key'));
    expect(Object.fromEntries(keys)).toEqual(expected);
    expect(JSON.stringify(span.attributes)).not.toContain('value-v2');
  });

  it('is the child of what is active', async () => {
    const etcd = server.client();
    await etcd.connect();
    await using spans = collectSpans();
    const tracer = trace.getTracer('test');
    await tracer.startActiveSpan('request', async (span) => {
      await etcd.put('child', '1');
      span.end();
    });
    const [request] = spans.named('request');
    expect(only(spans).parentSpanContext?.spanId).toBe(request?.spanContext().spanId);
  });

  it('that is a stream ends with its first answer, however long it goes on', async () => {
    const etcd = server.client();
    await etcd.connect();
    await using spans = collectSpans();
    const snapshot = await etcd.maintenance.snapshot();
    for await (const _chunk of snapshot) if (clientSpans(spans).length > 0) break;
    expect(only(spans).attributes).toMatchObject({
      'rpc.method': 'etcdserverpb.Maintenance/Snapshot',
      'rpc.response.status_code': 'OK',
      'etcd.attempts': 1,
    });
  });

  it('makes no span with telemetry: false', async () => {
    const etcd = server.client({ telemetry: false });
    await using spans = collectSpans();
    await etcd.put('quiet', '1');
    expect(clientSpans(spans)).toEqual([]);
  });

  it('costs nothing but a look where nobody listens', () => {
    const calls = new CallTelemetry({ enabled: true, captureKeys: 'none' }, () => 0);
    expect(calls.begin('/etcdserverpb.KV/Put')).toBeUndefined();
  });
});

describe('attempts', () => {
  it('are one span, and each retry is an event', async () => {
    let failures = 2;
    const { factory } = fakeTransport(() => (failures-- > 0 ? { fail: unavailable } : {}));
    await using etcd = new Etcd({ endpoints: ['a:1', 'b:2'], transport: factory });
    await using spans = collectSpans();
    await etcd.get('x');
    const span = only(spans);
    expect(span.name).toBe('range'); // of several endpoints none is the target
    expect(span.attributes['etcd.attempts']).toBe(3);
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
    expect(span.events.map(({ name, attributes }) => [name, attributes?.['etcd.attempt']])).toEqual([
      ['retry', 1],
      ['retry', 2],
    ]);
    expect(span.events[0]?.attributes).toMatchObject({ 'etcd.reason': unavailable.details });
  });

  it('end with what may have happened to a write', async () => {
    const { factory } = fakeTransport(() => ({
      fail: { grpcCode: GrpcCode.UNAVAILABLE, details: 'gone', sent: 'maybe' },
    }));
    await using etcd = new Etcd({ endpoints: ['a:1'], transport: factory });
    await using spans = collectSpans();
    await expect(etcd.put('x', '1')).rejects.toThrow('gone');
    expect(only(spans).attributes).toMatchObject({
      'etcd.applied': 'maybe',
      'error.type': 'unavailable',
      'etcd.error.class': 'UnavailableError',
      'server.address': 'a',
      'server.port': 1,
    });
  });
});

describe('trace context', () => {
  it('goes along in the metadata of every attempt, and no baggage', async () => {
    let failures = 1;
    const { factory, calls } = fakeTransport(() => (failures-- > 0 ? { fail: unavailable } : {}));
    await using etcd = new Etcd({ endpoints: ['a:1', 'b:2'], transport: factory });
    await using spans = collectSpans();
    const baggage = propagation.createBaggage({ user: { value: 'ada' } });
    await context.with(propagation.setBaggage(context.active(), baggage), () => etcd.get('x'));
    const { traceId, spanId } = only(spans).spanContext();
    expect(calls.map(({ metadata }) => metadata)).toEqual([
      { hasleader: 'true', traceparent: `00-${traceId}-${spanId}-01` },
      { hasleader: 'true', traceparent: `00-${traceId}-${spanId}-01` },
    ]);
  });

  it('goes along, marked as not sampled, when the span is not', async () => {
    const { factory, calls } = fakeTransport(() => ({}));
    await using etcd = new Etcd({ endpoints: ['a:1'], transport: factory });
    await using spans = collectSpans(new AlwaysOffSampler());
    await etcd.get('x');
    expect(spans.finished).toEqual([]);
    expect(calls[0]?.metadata['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  });

  it('is not there without an SDK', async () => {
    const { factory, calls } = fakeTransport(() => ({}));
    await using etcd = new Etcd({ endpoints: ['a:1'], transport: factory });
    await etcd.get('x');
    expect(calls[0]?.metadata).toEqual({ hasleader: 'true' });
  });

  it('of several callers whose gets are sent together: the first is the parent, the others are linked', async () => {
    const { factory } = fakeTransport(({ path }) =>
      path.endsWith('Txn') ? { succeeded: true, responses: [{ responseRange: {} }, { responseRange: {} }] } : {},
    );
    await using etcd = new Etcd({ endpoints: ['a:1'], transport: factory, coalesce: { gets: true } });
    await etcd.connect();
    await using spans = collectSpans();
    const tracer = trace.getTracer('test');
    const from = (name: string): Promise<unknown> =>
      context.with(ROOT_CONTEXT, () =>
        tracer.startActiveSpan(name, async (span) => {
          await etcd.get(name).catch(() => {});
          span.end();
        }),
      );
    await Promise.all([from('first'), from('second')]);
    const [txn] = clientSpans(spans);
    expect(txn?.attributes['db.operation.name']).toBe('txn');
    expect(txn?.parentSpanContext?.spanId).toBe(spans.named('first')[0]?.spanContext().spanId);
    expect(txn?.links.map((link) => link.context.spanId)).toEqual([spans.named('second')[0]?.spanContext().spanId]);
  });
});
