/** One trace over the members of a cluster: what a put at a follower leaves behind. */
import { once } from 'node:events';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { AlwaysOnSampler, ParentBasedSampler, SamplingDecision } from '@opentelemetry/sdk-trace-node';
import { describe, expect, it } from 'vitest';
import { KV, Lease, Maintenance, Watch } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Lock } from '../../../src/protocol/generated/v3lockpb.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { unary } from '../../../src/server/rpc/call.ts';
import { tracedMethods } from '../../../src/server/tracing-otel.ts';
import { startEtcd, TestCluster, type TestMember } from '../../../src/testing/index.ts';
import { collectSpans } from '../../support/spans.ts';
import { callOf } from '../api/calls.ts';
import { connectRaw, framed } from '../rpc/raw-client.ts';
import { call, membersOf, only, SPAN_ID, TRACE_ID, traceparent } from './traced-calls.ts';

const KEY = { key: Buffer.from('orders/secret-key'), value: Buffer.from('secret-value') };

/** All ids, as spans have them. */
function idsOf(cluster: TestCluster): string[] {
  return cluster.members.map(({ id }) => id.toString(16)).sort();
}

async function settled(cluster: TestCluster): Promise<void> {
  const applied = (): Set<number | undefined> => new Set(cluster.members.map(({ status }) => status?.appliedIndex));
  await expect.poll(() => applied().size).toBe(1);
}

describe('a put at a follower of three', () => {
  it('is one trace: the call, its proposal, replication at the leader, disk and apply at each', async () => {
    await using spans = collectSpans();
    await using cluster = await TestCluster.start();
    const leader = await cluster.waitForLeader();
    const follower = cluster.members.find((member) => member !== leader) as TestMember;
    spans.clear();
    const answer = await call(follower.endpoint, KV.put, KEY, traceparent());
    expect(answer.code).toBe(0);
    await settled(cluster);
    const server = only(spans, 'etcdserverpb.KV/Put');
    expect(server.kind).toBe(SpanKind.SERVER);
    expect(server.parentSpanContext).toMatchObject({ traceId: TRACE_ID, spanId: SPAN_ID, isRemote: true });
    expect(server.spanContext().traceState?.get('vendor')).toBe('1');
    expect(server.attributes).toEqual({
      'rpc.system.name': 'grpc',
      'rpc.method': 'etcdserverpb.KV/Put',
      'rpc.response.status_code': 'OK',
      'etcd.member.id': follower.id.toString(16),
    });
    expect(server.status.code).toBe(SpanStatusCode.UNSET);
    const [propose, ...more] = spans.below(server);
    expect(more).toEqual([]);
    expect(propose).toMatchObject({ name: 'raft.propose', kind: SpanKind.INTERNAL });
    const index = follower.status?.appliedIndex;
    expect(propose!.attributes).toMatchObject({ 'etcd.raft.index': index, 'etcd.raft.term': leader.status?.term });
    const work = spans.below(propose!);
    const named = (name: string) => work.filter((span) => span.name === name);
    expect(membersOf(named('raft.replicate'))).toEqual([leader.id.toString(16)]);
    expect(membersOf(named('wal.sync'))).toEqual(idsOf(cluster));
    expect(membersOf(named('apply'))).toEqual(idsOf(cluster));
    expect(work).toHaveLength(7);
    for (const span of work) expect(span.attributes).toMatchObject({ 'etcd.raft.index': index });
    for (const { attributes } of named('apply'))
      expect(attributes).toMatchObject({ 'etcd.request.kind': 'put', 'etcd.revision': 2 });
    expect(spans.finished).toHaveLength(9);
    expect(new Set(spans.finished.map((span) => span.spanContext().traceId))).toEqual(new Set([TRACE_ID]));
    const all = spans.finished.map(({ attributes, name, status }) => [attributes, name, status]);
    expect(JSON.stringify(all)).not.toMatch(/secret|orders/);
  });

  it('is no trace when its caller keeps none', async () => {
    await using spans = collectSpans(new ParentBasedSampler({ root: new AlwaysOnSampler() }));
    await using cluster = await TestCluster.start();
    const leader = await cluster.waitForLeader();
    spans.clear();
    expect((await call(leader.endpoint, KV.put, KEY, traceparent('00'))).code).toBe(0);
    await settled(cluster);
    expect(spans.finished).toEqual([]);
  });

  it('is none where the server was told so', async () => {
    await using spans = collectSpans();
    await using cluster = await TestCluster.start({ tracing: false });
    expect((await call(cluster.members[0]!.endpoint, KV.put, KEY, traceparent())).code).toBe(0);
    expect(spans.finished).toEqual([]);
  });
});

describe('a call', () => {
  it('that reads shows how long it waited for its position', async () => {
    await using spans = collectSpans();
    await using server = await startEtcd();
    await call(server.members[0]!.endpoint, KV.range, { key: KEY.key }, traceparent());
    const range = only(spans, 'etcdserverpb.KV/Range');
    expect(spans.below(range).map(({ name }) => name)).toEqual(['raft.read_index']);
    spans.clear();
    await call(server.members[0]!.endpoint, KV.range, { key: KEY.key, serializable: true }, traceparent());
    expect(spans.finished.map(({ name }) => name)).toEqual(['etcdserverpb.KV/Range']);
  });

  it('that streams what it reads, for whom there has to be a leader, shows the same', async () => {
    await using spans = collectSpans();
    await using server = await startEtcd();
    const headers = { ...traceparent(), hasleader: 'true' };
    await call(server.members[0]!.endpoint, KV.rangeStream, { key: KEY.key }, headers);
    const range = only(spans, 'etcdserverpb.KV/RangeStream');
    expect(spans.below(range).map(({ name }) => name)).toEqual(['raft.read_index']);
  });

  it('by JSON goes on with the trace of its headers', async () => {
    await using spans = collectSpans();
    await using server = await startEtcd();
    for (const headers of [traceparent(), { 'Grpc-Metadata-traceparent': traceparent().traceparent! }] as Record<
      string,
      string
    >[]) {
      spans.clear();
      const body = JSON.stringify({ key: 'YQ==', value: 'YQ==' });
      const answer = await fetch(`http://${server.members[0]!.endpoint}/v3/kv/put`, { method: 'POST', headers, body });
      expect(answer.status).toBe(200);
      await answer.text();
      expect(only(spans, 'etcdserverpb.KV/Put').parentSpanContext?.spanId).toBe(SPAN_ID);
      expect(spans.named('wal.sync')).toHaveLength(1);
    }
  });

  it('that is refused says with what, and is a failure only if it speaks against the server', async () => {
    await using spans = collectSpans();
    await using cluster = await TestCluster.start();
    const endpoint = cluster.members[0]!.endpoint;
    spans.clear();
    await call(endpoint, Lease.leaseRevoke, { ID: 77n }, traceparent());
    const revoke = only(spans, 'etcdserverpb.Lease/LeaseRevoke');
    expect(revoke.attributes).toMatchObject({ 'rpc.response.status_code': 'NOT_FOUND' });
    expect(revoke.status.code).toBe(SpanStatusCode.UNSET);
    expect(revoke.attributes).not.toHaveProperty('error.type');
    // Nobody answers a call of one that is cut off: its deadline does.
    cluster.isolate(cluster.members[0]!);
    spans.clear();
    await call(endpoint, KV.put, KEY, { ...traceparent(), 'grpc-timeout': '50m' });
    await expect.poll(() => spans.named('etcdserverpb.KV/Put')).toHaveLength(1);
    const late = only(spans, 'etcdserverpb.KV/Put');
    expect(late.attributes).toMatchObject({
      'rpc.response.status_code': 'DEADLINE_EXCEEDED',
      'error.type': 'DEADLINE_EXCEEDED',
    });
    expect(late.status.code).toBe(SpanStatusCode.ERROR);
    const propose = only(spans, 'raft.propose');
    expect(propose.attributes).toMatchObject({ 'error.type': 'no-result' });
    expect(propose.parentSpanContext?.spanId).toBe(late.spanContext().spanId);
  });

  it('to the service Lock has what it made of it below', async () => {
    await using spans = collectSpans();
    await using server = await startEtcd();
    await call(server.members[0]!.endpoint, Lock.lock, { name: Buffer.from('a') }, traceparent());
    const lock = only(spans, 'v3lockpb.Lock/Lock');
    expect(spans.below(lock).map(({ name }) => name)).toContain('raft.propose');
  });
});

describe('a span that is recorded here alone', () => {
  it('gives the log no name', async () => {
    const sampler = { shouldSample: () => ({ decision: SamplingDecision.RECORD }), toString: () => 'here' };
    await using _ = collectSpans(sampler);
    const seen: unknown[] = [];
    const method = unary(KV.put, async (_request, { span }) => {
      seen.push(span !== undefined, span?.link);
      return {};
    });
    const traced = tracedMethods(new Map([[KV.put.path, method]]), {}).get(KV.put.path);
    if (traced?.kind !== 'unary') throw new Error('not unary');
    await traced.handle({}, callOf(KV.put.path));
    expect(seen).toEqual([true, undefined]);
  });
});

describe('streams', () => {
  it('have no span, but for those that end by themselves', async () => {
    await using spans = collectSpans();
    {
      await using server = await startEtcd();
      const { endpoint } = server.members[0]!;
      await using client = await connectRaw(`http://${endpoint}`);
      const first = async <I, O>(
        { path, request }: MethodDescriptor<I, O>,
        message: Init<NoInfer<I>>,
      ): Promise<void> => {
        const data = [framed(request.encode(message))];
        await once(client.open({ path, headers: traceparent(), data, end: false }), 'data');
      };
      await first(Watch.watch, { createRequest: { key: KEY.key } });
      await first(Lease.leaseKeepAlive, { ID: 7n });
      await call(endpoint, Maintenance.snapshot, {}, traceparent());
    }
    // All streams are over by now.
    expect(only(spans, 'etcdserverpb.Maintenance/Snapshot').kind).toBe(SpanKind.SERVER);
    expect(spans.finished).toHaveLength(1);
  });
});

describe('a member that comes back', () => {
  it('does not time again what it applies again', async () => {
    await using spans = collectSpans();
    await using cluster = await TestCluster.start({ members: 1 });
    await call(cluster.members[0]!.endpoint, KV.put, KEY, traceparent());
    expect(spans.named('apply')).toHaveLength(1);
    spans.clear();
    await cluster.members[0]!.kill();
    await cluster.members[0]!.restart();
    await using etcd = cluster.client();
    expect((await etcd.get(KEY.key.toString()))?.value).toBe('secret-value');
    expect(spans.named('apply')).toEqual([]);
  });
});
