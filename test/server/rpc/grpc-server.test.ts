import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  KV,
  PutRequest,
  PutResponse,
  RangeResponse,
  WatchRequest,
  WatchResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import { type ServerCall, unary } from '../../../src/server/rpc/call.ts';
import { onAbort } from '../../../src/support/signals.ts';
import { SECRET, serve } from '../http/serving.ts';
import { connectRaw, framed } from './raw-client.ts';

const PUT = '/etcdserverpb.KV/Put';
const WATCH = '/etcdserverpb.Watch/Watch';
const SNAPSHOT = '/etcdserverpb.Maintenance/Snapshot';

const key = (text: string): Buffer => framed(PutRequest.encode({ key: Buffer.from(text), value: Buffer.from('v') }));
const create = (watchId: bigint): Buffer => framed(WatchRequest.encode({ createRequest: { watchId } }));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}

describe('a unary call', () => {
  it('answers with headers, the message, and trailers with an empty text', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const answer = await client.call({ path: PUT, data: [key('a')] });
    expect(answer).toMatchObject({ httpStatus: 200, code: 0, message: '', trailersOnly: false });
    expect(PutResponse.decode(answer.messages[0] as Buffer).header?.revision).toBe(2n ** 53n + 1n);
    expect(server.seen.puts.map((put) => Buffer.from(put.key).toString())).toEqual(['a']);
  });

  it('passes encoded answers on, and long ones', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const range = await client.call({ path: '/etcdserverpb.KV/Range', data: [key('a')] });
    expect(RangeResponse.decode(range.messages[0] as Buffer).count).toBe(1n);
    const big = await client.call({ path: PUT, data: [key('big')] });
    expect(PutResponse.decode(big.messages[0] as Buffer).prevKv?.value.length).toBe(100_000);
  });

  it('refuses in the headers, and keeps faults to itself', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const refused = await client.call({ path: PUT, data: [key('refuse')] });
    expect(refused).toMatchObject({ code: 3, message: 'etcdserver: key is not provided', trailersOnly: true });
    const odd = await client.call({ path: PUT, data: [key('odd')] });
    expect(odd).toMatchObject({ code: 9, message: 'odd: 100%25 %C3%BCn%C3%AF%0A' });
    const broken = await client.call({ path: PUT, data: [key('break')] });
    expect(broken).toMatchObject({ code: GrpcCode.INTERNAL, message: 'internal error' });
    expect(server.faults.map(String)).toEqual([`Error: ${SECRET}`]);
  });

  it('takes messages that come in pieces, and drops what follows the first', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const stream = client.open({ path: PUT, end: false });
    for (const byte of key('a')) {
      stream.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    stream.write(key('b'));
    stream.end();
    await once(stream.resume(), 'close');
    expect(server.seen.puts).toHaveLength(1);
    // The request is not ended: the answer ends the call all the same.
    const open = await client.call({ path: PUT, data: [key('c')], end: false });
    expect(open).toMatchObject({ code: 0, rstCode: 0 });
  });

  it('shows metadata, path and the way it came', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    await client.call({ path: PUT, data: [key('a')], headers: { token: 't.1', 'x-bin': 'AAAA' } });
    const [call] = server.seen.calls;
    expect(call).toMatchObject({ path: PUT, via: 'grpc', commonName: undefined });
    expect(call?.metadata.get('token')).toBe('t.1');
    expect(call?.metadata.get('x-bin')).toBeUndefined();
    expect(call?.metadata.get('none')).toBeUndefined();
  });

  it('hears that its client has gone, and that its time is over', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const stream = client.open({ path: PUT, data: [key('wait')] });
    await until(() => server.seen.waiting === 1);
    stream.close(8);
    await until(() => server.seen.cancelled === 1);
    const late = await client.call({ path: PUT, data: [key('wait')], headers: { 'grpc-timeout': '20m' } });
    expect(late).toMatchObject({ code: 4, message: 'context deadline exceeded' });
    client.open({ path: PUT, data: [key('wait')] });
    await until(() => server.seen.waiting === 1);
    client.session.destroy();
    await until(() => server.seen.cancelled === 3);
    expect(server.seen.reasons).toEqual(['context canceled', 'context deadline exceeded', 'context canceled']);
  });

  it('calls off waits that ask for no signal: when its client goes, and when its time is over', async () => {
    const told: string[] = [];
    const calls: ServerCall[] = [];
    const put = unary(KV.put, (request, call) => {
      calls.push(call);
      return new Promise<never>((_resolve, reject) => {
        const off = onAbort(call.cancellation, () => told.push('taken off'));
        onAbort(call.cancellation, () => {
          told.push(Buffer.from(request.key).toString());
          reject(new RpcError(Refusals.Canceled));
        });
        off();
      });
    });
    await using server = await serve({ methods: new Map([[PUT, put]]) });
    await using client = await connectRaw(server.url);
    const stream = client.open({ path: PUT, data: [key('gone')] });
    await until(() => calls.length === 1);
    expect(calls[0]?.cancellation?.aborted).toBe(false);
    stream.close(8);
    await until(() => told.length === 1);
    const late = await client.call({ path: PUT, data: [key('late')], headers: { 'grpc-timeout': '20m' } });
    // Whoever waits knows only that it was called off; the client is told why.
    expect(late).toMatchObject({ code: 4, message: 'context deadline exceeded' });
    expect(told).toEqual(['gone', 'late']);
    onAbort(calls[0]?.cancellation, () => told.push('at once'));
    expect(told).toEqual(['gone', 'late', 'at once']);
  });
});

describe('what is no proper call', () => {
  // What etcd 3.5 answers to the same bytes.
  const put = PutRequest.encode({ key: Buffer.from('a') });
  const cases: [string, Parameters<Awaited<ReturnType<typeof connectRaw>>['call']>[0], object][] = [
    ['truncated protobuf', { path: PUT, data: [framed(Buffer.of(0x0a, 50, 1))] }, { code: 13 }],
    [
      'unknown method',
      { path: '/etcdserverpb.KV/Nope' },
      { code: 12, message: 'unknown method Nope for service etcdserverpb.KV' },
    ],
    ['unknown service', { path: '/x.Y/Z' }, { code: 12, message: 'unknown service x.Y' }],
    ['no method at all', { path: '/foo' }, { code: 12, message: 'malformed method name: "/foo"' }],
    ['no message', { path: PUT }, { code: 2, message: 'EOF' }],
    ['part of a message', { path: PUT, data: [framed(put).subarray(0, 7)] }, { code: 2, message: 'unexpected EOF' }],
    ['part of a prefix', { path: PUT, data: [framed(put).subarray(0, 3)] }, { code: 2, message: 'unexpected EOF' }],
    ['gzip', { path: PUT, data: [framed(gzipSync(put), 1)], headers: { 'grpc-encoding': 'gzip' } }, { code: 0 }],
    [
      'gzip that was not announced',
      { path: PUT, data: [framed(gzipSync(put), 1)] },
      { code: 13, message: 'grpc: compressed flag set with identity or empty encoding' },
    ],
    [
      'half of gzip',
      { path: PUT, data: [framed(gzipSync(put).subarray(0, 8), 1)], headers: { 'grpc-encoding': 'gzip' } },
      { code: 13, message: 'grpc: failed to decompress the received message: unexpected EOF' },
    ],
    [
      'a gzip bomb',
      { path: PUT, data: [framed(gzipSync(Buffer.alloc(3_000_000)), 1)], headers: { 'grpc-encoding': 'gzip' } },
      { code: 8, message: 'grpc: received message after decompression larger than max (3000000 vs. 2097152)' },
    ],
    [
      'another compression',
      { path: PUT, data: [framed(put)], headers: { 'grpc-encoding': 'snappy' } },
      { code: 12, message: 'grpc: Decompressor is not installed for grpc-encoding "snappy"' },
    ],
    [
      'a strange flag',
      { path: PUT, data: [framed(put, 2)] },
      { code: 13, message: 'grpc: received unexpected payload format 2' },
    ],
    [
      'a message that is too long, told before it is there',
      { path: PUT, data: [framed(Buffer.alloc(2_097_153)).subarray(0, 100)], end: false },
      { code: 8, message: 'grpc: received message larger than max (2097153 vs. 2097152)' },
    ],
    [
      'GET',
      { path: PUT, headers: { ':method': 'GET' } },
      { httpStatus: 405, code: 13, message: 'Received a HEADERS frame with :method "GET" which should be POST' },
    ],
    [
      'another content type',
      { path: '/health', headers: { 'content-type': 'application/json' } },
      { httpStatus: 415, code: 3, message: 'invalid gRPC request content-type "application/json"' },
    ],
    ['a timeout that is none', { path: PUT, headers: { 'grpc-timeout': 'xx' } }, { httpStatus: 400, code: 13 }],
    [
      'a subtype',
      { path: PUT, data: [framed(put)], headers: { 'content-type': 'application/grpc+proto' } },
      { code: 0 },
    ],
  ];

  it.each(cases)('%s', async (_name, request, expected) => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    expect(await client.call(request)).toMatchObject(expected);
    // The connection is as good as before.
    expect(await client.call({ path: PUT, data: [key('a')] })).toMatchObject({ code: 0 });
  });

  it('says of malformed protobuf nothing that was in it', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const { message } = await client.call({ path: PUT, data: [framed(Buffer.from('\x0a\x7fsecret'))] });
    expect(message).toMatch(/^grpc: error unmarshalling request: /);
    expect(message).not.toContain('secret');
  });
});

describe('a stream', () => {
  it('goes both ways, and ends when its service does', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const answer = await client.call({ path: WATCH, data: [create(1n), create(2n)] });
    expect(answer.messages.map((message) => WatchResponse.decode(message).watchId)).toEqual([1n, 2n]);
    expect(answer).toMatchObject({ code: 0, message: '' });
    expect(await client.call({ path: WATCH })).toMatchObject({ code: 0, trailersOnly: true, messages: [] });
  });

  it('is refused after answers, and before', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const after = await client.call({ path: WATCH, data: [create(1n), create(99n)], end: false });
    expect(after).toMatchObject({ code: 11, trailersOnly: false });
    expect(after.messages).toHaveLength(1);
    expect(await client.call({ path: WATCH, data: [create(99n)], end: false })).toMatchObject({
      code: 11,
      trailersOnly: true,
    });
  });

  it('ends with what is malformed', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const answer = await client.call({ path: WATCH, data: [framed(Buffer.of(0x0a, 50, 1))], end: false });
    expect(answer.code).toBe(13);
    expect(answer.message).toMatch(/^grpc: failed to unmarshal the received message: /);
  });

  it('waits for a client that does not read, and hears of its end', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const stream = client.open({ path: SNAPSHOT, data: [framed(Buffer.alloc(0))] });
    stream.pause();
    await until(() => server.seen.waiting > 0);
    let before = -1;
    while (before !== server.seen.waiting) {
      before = server.seen.waiting;
      await sleep(50);
    }
    // A window of 64 KiB on the client's side, and what Node holds.
    expect(server.seen.waiting * 32).toBeLessThan(1024);
    stream.close(8);
    await until(() => server.seen.reasons.length === 1);
    expect(server.seen.reasons).toEqual(['context canceled']);
  });

  it('makes a client wait that its service does not read', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const stream = client.open({ path: WATCH, data: [create(98n)], end: false });
    await until(() => server.seen.waiting === 1);
    const filler = framed(WatchRequest.encode({ createRequest: { key: new Uint8Array(100_000) } }));
    for (let i = 0; i < 400; i++) stream.write(filler);
    const stats = server.metrics.calls.of(WATCH);
    await until(() => stats.messagesReceived > 1);
    let before = -1;
    while (before !== stats.messagesReceived) {
      before = stats.messagesReceived;
      await sleep(50);
    }
    expect(before).toBeLessThan(100);
    stream.close(8);
    await until(() => server.seen.cancelled === 1);
  });
});
