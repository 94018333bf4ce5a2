import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PutRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { serve } from '../http/serving.ts';
import { frame } from '../http2/wire.ts';
import { connectRaw, framed, type RawClient } from './raw-client.ts';

const PUT = '/etcdserverpb.KV/Put';
const key = (text: string): Buffer => framed(PutRequest.encode({ key: Buffer.from(text) }));
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}

function ping(client: RawClient): Promise<unknown> {
  return promisify((done: (error: Error | null) => void) => client.session.ping(done))();
}

async function rawSocket(port: number, ...parts: (string | Buffer)[]): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  for (const part of parts) socket.write(part);
  return socket.resume();
}

describe('a client that is a nuisance', () => {
  it('may ping twice too often, and is told at the third time', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const told = new Promise<unknown[]>((resolve) => client.session.once('goaway', (...args) => resolve(args)));
    const closed = new Promise<void>((resolve) => client.session.once('close', resolve));
    // The first is in time; two more are forgiven.
    for (let i = 0; i < 3; i++) await ping(client);
    await ping(client).catch(() => {});
    const [code, , data] = await told;
    expect([code, String(data)]).toEqual([11, 'too_many_pings']);
    await closed;
  });

  it('may ping as often as it is answered', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    for (let i = 0; i < 20; i++) {
      await client.call({ path: PUT, data: [key('a')] });
      await ping(client);
    }
    expect(client.session.closed).toBe(false);
  });

  it('is cut off when it resets streams in a flood, and nobody else is', async () => {
    await using server = await serve();
    await using other = await connectRaw(server.url);
    await using client = await connectRaw(server.url);
    const closed = new Promise<void>((resolve) => client.session.once('close', resolve));
    for (let i = 0; i < 3_000 && !client.session.destroyed && !client.session.closed; i++) {
      client.open({ path: PUT, data: [key('wait')] }).close(8);
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    expect(await other.call({ path: PUT, data: [key('a')] })).toMatchObject({ code: 0 });
    await until(() => server.seen.waiting === 0);
  });

  it.each([
    ['garbage', Buffer.alloc(4_000, 0x55)],
    ['data for no stream', frame(0, 0, 1, Buffer.alloc(10))],
    ['settings of a wrong length', frame(4, 0, 0, Buffer.alloc(5))],
    ['headers that are no HPACK', frame(1, 5, 1, Buffer.alloc(50, 0xff))],
    ['a frame that is too long', frame(0, 0, 1, Buffer.alloc(100_000))],
  ])('sends %s, and does not hang up', async (_name, bytes) => {
    // The answer to a ping may take a while on a machine that is busy.
    await using server = await serve({ keepalive: { intervalMs: 50, timeoutMs: 1_500 } });
    const socket = await rawSocket(server.port.port as number, PREFACE, frame(4, 0, 0), bytes);
    await once(socket, 'close');
    await using client = await connectRaw(server.url);
    expect(await client.call({ path: PUT, data: [key('a')] })).toMatchObject({ code: 0 });
  });

  it('floods with headers that never end', async () => {
    await using server = await serve();
    const open = frame(1, 0, 1, Buffer.of(0x82));
    // Literal fields without indexing, one per CONTINUATION frame.
    const field = frame(9, 0, 1, Buffer.concat([Buffer.of(0, 1, 0x61, 0x7f, 0x81, 0x1e), Buffer.alloc(4_000, 0x61)]));
    const socket = await rawSocket(server.port.port as number, PREFACE, frame(4, 0, 0), open);
    const closed = once(socket, 'close');
    for (let i = 0; i < 2_000 && !socket.destroyed; i++) {
      socket.write(field);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
  });

  it('hangs up in the middle of a frame', async () => {
    await using server = await serve();
    const half = frame(1, 4, 1, Buffer.alloc(100)).subarray(0, 50);
    const socket = await rawSocket(server.port.port as number, PREFACE, frame(4, 0, 0), half);
    socket.destroy();
    await using client = await connectRaw(server.url);
    expect(await client.call({ path: PUT, data: [key('a')] })).toMatchObject({ code: 0 });
  });

  it('is gone without a word: the server finds out', async () => {
    // Long enough for one who answers, on a machine that is busy.
    await using server = await serve({ keepalive: { intervalMs: 30, timeoutMs: 1_500 } });
    // It never answers a ping.
    const socket = await rawSocket(server.port.port as number, PREFACE, frame(4, 0, 0));
    await once(socket, 'close');
    // One that answers stays.
    await using client = await connectRaw(server.url);
    await sleep(200);
    expect(await client.call({ path: PUT, data: [key('a')] })).toMatchObject({ code: 0 });
  });
});

describe('the end of a server', () => {
  it('lets calls finish in time, and ends the others', async () => {
    await using server = await serve();
    await using client = await connectRaw(server.url);
    const waiting = client.call({ path: PUT, data: [key('wait')] });
    const watching = client.call({ path: '/etcdserverpb.Watch/Watch', end: false });
    await until(() => server.seen.waiting === 1 && server.seen.calls.length === 2);
    await server.port.close({ graceMs: 50 });
    expect(server.seen.reasons).toEqual(['etcdserver: server stopped']);
    expect((await watching).code).toBe(0);
    await waiting;
  });

  it('holds nothing after 1,000 calls that were broken off', async () => {
    await using server = await serve();
    for (let connection = 0; connection < 10; connection++) {
      await using client = await connectRaw(server.url);
      for (let i = 0; i < 100; i++) {
        const path = i % 2 === 0 ? PUT : '/etcdserverpb.Watch/Watch';
        const stream = client.open({ path, data: i % 2 === 0 ? [key('wait')] : [], end: false });
        if (i % 3 === 0) stream.close(8);
      }
      await until(() => server.seen.waiting > 0);
      if (connection % 2 === 0) client.session.destroy();
    }
    await until(() => server.seen.waiting === 0);
    const stats = server.metrics.calls;
    const put = stats.of(PUT);
    await until(() => put.handled.reduce((sum, count) => sum + count, 0) === put.started);
    // The last client resets its streams, so that its calls end before its connection does.
    await until(() => server.port.connections === 0);
    expect(server.port.running).toBe(0);
  });
});
