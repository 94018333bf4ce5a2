import http2 from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeOnRealEtcd, type EtcdSuite } from '../support/fixtures.ts';
import { type FaultRule, GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { connect, fields, RawCall } from './h2-client.ts';

const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';
const WATCH = '/etcdserverpb.Watch/Watch';
const KEEP_ALIVE = '/etcdserverpb.Lease/LeaseKeepAlive';
const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;

describeOnRealEtcd('GrpcFaultProxy', (suite) => {
  let proxy: GrpcFaultProxy;
  let session: ReturnType<typeof connect>;
  let key: string;
  beforeEach(async () => {
    proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    session = connect(proxy.address);
    key = `${suite.prefix()}a`;
  });
  afterEach(async () => {
    session.destroy();
    await proxy[Symbol.asyncDispose]();
  });

  const put = (value: string, metadata?: http2.OutgoingHttpHeaders): Promise<string> =>
    new RawCall(session, PUT, metadata).finish(fields({ 1: key, 2: value }));
  const stored = (): Promise<string> => readValue(suite, key);

  it('carries unary calls, streams and errors of etcdctl, and records them', async () => {
    const through = { endpoints: [`http://${proxy.address}`] };
    await suite.cluster.etcdctl(['put', key, '1'], through);
    expect(await suite.cluster.etcdctl(['get', '--print-value-only', key], through)).toBe('1\n');
    await expect(suite.cluster.etcdctl(['lease', 'revoke', '1234'], through)).rejects.toThrow(/lease not found/);
    await suite.cluster.etcdctl(['put', key], { ...through, input: 'x'.repeat(1_000_000) });
    const large = await suite.cluster.etcdctl(['get', '--print-value-only', key], through);
    expect(large.length).toBe(1_000_001);
    expect(proxy.count(PUT)).toBe(2);
    expect(proxy.callsOf(PUT)[1]).toMatchObject({
      nth: 2,
      requestMessages: 1,
      responseMessages: 1,
      status: 0,
      ended: true,
    });
    expect(proxy.calls.map((call) => call.order)).toEqual(proxy.calls.map((_, index) => index));
    expect(proxy.calls.find((call) => call.path.endsWith('LeaseRevoke'))?.status).toBe(5);
    // Our own session is there still; etcdctl's connections are not.
    await expect.poll(() => proxy.connections.open).toBe(1);
  });

  it('keeps what unary calls ask for, when it is to', async () => {
    await put('unseen');
    proxy.keepsRequests = true;
    await put('kept');
    proxy.keepsRequests = false;
    await put('unseen');
    const [before, kept, after] = proxy.callsOf(PUT).map(({ request }) => request);
    expect([before, after]).toEqual([undefined, undefined]);
    expect(kept).toEqual(fields({ 1: key, 2: 'kept' }));
    expect(await stored()).toBe('unseen');
  });

  it('carries a bidirectional stream and the cancellation of it', async () => {
    const watch = new RawCall(session, WATCH).send(watchRequest(key));
    await expect.poll(() => watch.messages.length).toBe(1);
    await suite.cluster.etcdctl(['put', key, '1']);
    await suite.cluster.etcdctl(['put', key, '2']);
    await proxy.waitFor(([call]) => call?.responseMessages === 3);
    watch.stream.close(NGHTTP2_CANCEL);
    await proxy.waitFor(([call]) => call?.ended === true);
  });

  it('carries a half-close, with messages before it', async () => {
    const keepAlive = new RawCall(session, KEEP_ALIVE).send(fields({})).send(fields({}));
    expect(await keepAlive.finish()).toBe('status 0');
    expect(keepAlive.messages).toHaveLength(2);
    // etcd goes on with a watch whose client has nothing more to ask.
    const watch = new RawCall(session, WATCH).send(watchRequest(key));
    watch.stream.end();
    await suite.cluster.etcdctl(['put', key, '1']);
    await expect.poll(() => watch.messages.length).toBe(2);
    expect(watch.closed).toBe(false);
  });

  it('records metadata', async () => {
    expect(await put('1', { 'x-test': 'abc' })).toBe('status 0');
    expect(proxy.calls[0]?.requestMetadata).toMatchObject({ 'x-test': 'abc', ':path': PUT });
  });

  it.each<[string, Omit<FaultRule, 'action'>, string]>([
    ['by default', {}, `reset ${NGHTTP2_INTERNAL_ERROR}`],
    ['with the code asked for', { resetCode: NGHTTP2_CANCEL }, `reset ${NGHTTP2_CANCEL}`],
    ['by cutting the connection', { via: 'cut' }, 'reset'],
    ['by silence', { via: 'hang' }, 'still open'],
  ])('swallows the reply of a call that etcd has executed, %s', async (_, rule, outcome) => {
    const active = proxy.rule({ path: PUT, action: 'swallow-reply', ...rule });
    const call = new RawCall(session, PUT).send(fields({ 1: key, 2: '1' }));
    call.stream.end();
    await active.waitApplied();
    expect(await call.outcome(300)).toContain(outcome);
    expect(call.messages).toHaveLength(0);
    expect(await stored()).toBe('1');
  });

  it('applies to the n-th call and the given number of calls only', async () => {
    const rule = proxy.rule({ path: PUT, nth: 2, times: 2, action: 'reset-before' });
    const outcomes = [await put('1'), await put('2'), await put('3'), await put('4')];
    const refused = `reset ${NGHTTP2_REFUSED_STREAM}`;
    expect(outcomes).toEqual(['status 0', refused, refused, 'status 0']);
    expect(rule).toMatchObject({ matched: 4, applied: 2 });
    expect(proxy.callsOf(PUT).map((call) => call.fault)).toEqual([
      undefined,
      'reset-before',
      'reset-before',
      undefined,
    ]);
  });

  it('resets before etcd hears of a call, and after', async () => {
    proxy.rule({ path: PUT, nth: 1, action: 'reset-before' });
    proxy.rule({ path: PUT, nth: 2, action: 'reset-after' });
    expect(await put('1')).toBe(`reset ${NGHTTP2_REFUSED_STREAM}`);
    expect(await stored()).toBe('');
    expect(await put('2')).toBe(`reset ${NGHTTP2_INTERNAL_ERROR}`);
    await expect.poll(stored).toBe('2');
  });

  it('answers with a status, with and without execution', async () => {
    const status = { code: 14, message: 'etcdserver: request timed out, ünsure 100%' };
    proxy.rule({ path: PUT, nth: 1, action: { status, forward: false } });
    proxy.rule({ path: PUT, nth: 2, action: { status, forward: true } });
    const first = new RawCall(session, PUT);
    expect(await first.finish(fields({ 1: key, 2: '1' }))).toBe('status 14');
    expect(decodeURIComponent(first.statusMessage ?? '')).toBe(status.message);
    expect(await stored()).toBe('');
    expect(await put('2')).toBe('status 14');
    expect(await stored()).toBe('2');
    expect(proxy.callsOf(PUT).map((call) => call.status)).toEqual([14, 14]);
  });

  it('hangs and delays', async () => {
    proxy.rule({ path: PUT, nth: 1, action: 'hang' });
    proxy.rule({ path: PUT, nth: 2, action: { delayMs: 150 } });
    const hanging = new RawCall(session, PUT);
    void hanging.finish(fields({ 1: key, 2: '1' }));
    await proxy.waitFor((calls) => calls.length === 1);
    const start = performance.now();
    expect(await put('2')).toBe('status 0');
    expect(performance.now() - start).toBeGreaterThan(145);
    expect(hanging.closed).toBe(false);
    hanging.stream.close(NGHTTP2_CANCEL);
    await proxy.waitFor((calls) => calls[0]?.ended === true);
  });

  it.each<[string, FaultRule['action'], string]>([
    ['a reset', { afterMessages: 2, ending: 'reset' }, `reset ${NGHTTP2_INTERNAL_ERROR}`],
    ['a broken connection', { afterMessages: 2, ending: 'cut' }, 'reset'],
    ['an OK', { afterMessages: 2, ending: 'end-ok' }, 'status 0'],
    ['a status', { afterMessages: 2, ending: { status: { code: 14, message: 'gone' } } }, 'status 14'],
    ['silence', { afterMessages: 2, ending: 'hang' }, 'still open'],
  ])('ends a stream after its n-th message with %s', async (_, action, outcome) => {
    proxy.rule({ path: WATCH, action });
    const watch = new RawCall(session, WATCH).send(watchRequest(key));
    await expect.poll(() => watch.messages.length).toBe(1);
    await suite.cluster.etcdctl(['put', key, '1']);
    await suite.cluster.etcdctl(['put', key, '2']);
    expect(await watch.outcome(300)).toContain(outcome);
    expect(watch.messages).toHaveLength(2);
    expect(proxy.calls[0]?.responseMessages).toBe(2);
  });

  it('stops when a rule is removed', async () => {
    const rule = proxy.rule({ path: /KV/, action: 'reset-before' });
    expect(await put('1')).toMatch(/reset/);
    rule.remove();
    expect(await put('2')).toBe('status 0');
    proxy.rule({ action: 'reset-before' });
    proxy.clearRules();
    expect(await put('3')).toBe('status 0');
  });

  it('breaks connections and takes new ones', async () => {
    const hanging = new RawCall(session, WATCH).send(watchRequest(key));
    await proxy.waitFor(([call]) => call?.responseMessages === 1);
    proxy.cut();
    expect(await hanging.outcome()).toMatch(/reset/);
    await using next = connect(proxy.address);
    expect(await new RawCall(next, RANGE).finish(fields({ 1: key }))).toBe('status 0');
    expect(proxy.connections).toMatchObject({ opened: 2, open: 1 });
  });

  it('takes the connection of a client with it when the member dies', async () => {
    const member = suite.cluster.members[0];
    const watch = new RawCall(session, WATCH).send(watchRequest(key));
    await proxy.waitFor(([call]) => call?.responseMessages === 1);
    await member?.kill();
    expect(await watch.outcome()).toMatch(/reset/);
    await using refused = connect(proxy.address);
    expect(await new RawCall(refused, RANGE).finish(fields({ 1: key }))).toMatch(/reset/);
    await member?.restart();
    await using next = connect(proxy.address);
    expect(await new RawCall(next, RANGE).finish(fields({ 1: key }))).toBe('status 0');
  });

  it('carries a large reply to a reader that begins late', async () => {
    const size = 1_000_000;
    for (let i = 0; i < 4; i++) await suite.cluster.etcdctl(['put', `${key}${i}`], { input: 'x'.repeat(size) });
    const call = new RawCall(session, RANGE);
    call.stream.pause();
    call.send(fields({ 1: key, 2: `${key.slice(0, -1)}b` }));
    call.stream.end();
    await sleep(200);
    call.stream.resume();
    expect(await call.outcome()).toBe('status 0');
    expect(call.messages[0]?.length).toBeGreaterThan(4 * size);
  });
});

/** WatchRequest { create_request: { key } } */
function watchRequest(key: string): Buffer {
  return fields({ 1: fields({ 1: key }) });
}

async function readValue(suite: EtcdSuite, key: string): Promise<string> {
  return (await suite.cluster.etcdctl(['get', '--print-value-only', key])).trim();
}
