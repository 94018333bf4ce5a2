/** Others that break the protocol, or the line: nobody else may be hurt. Time is virtual here; the sockets are real. */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeFramed } from '../../../src/server/peer/message-codec.ts';
import { message } from '../../../src/server/raft/types.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { connected, FakeHost, member, numbered, PeerSeat, until } from './fake-host.ts';

const WHAT = 'no message stream from a peer';
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A seat on virtual time, beside a server of our own for the member 2. */
async function beside(serve: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = http.createServer(serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clock = new VirtualClock();
  const seat = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
  closing.push(() => {
    void seat[Symbol.asyncDispose]();
    server.close();
    server.closeAllConnections();
  });
  seat.host.members.put(2n, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return { seat, clock };
}

const isMessageStream = ({ url }: IncomingMessage): boolean => url === '/raft/stream/message/1';

/** Lets virtual time pass in small steps until something holds, each with time for sockets. */
async function untilLater(clock: VirtualClock, stepMs: number, holds: () => boolean): Promise<void> {
  while (!holds()) {
    await clock.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe('a stream that is none', () => {
  it.each([
    ['garbage', Buffer.from('no stream at all', 'utf8'), 'a length is above 134217728'],
    ['a length and then garbage', Buffer.from('0000000000000004ffffffff', 'hex'), 'not the encoding of a message'],
  ])('%s: is given up, told once, and asked for again ten times a second', async (_name, bytes, cause) => {
    let asked = 0;
    const { seat, clock } = await beside((request, response) => {
      if (!isMessageStream(request)) return response.writeHead(404).end();
      asked++;
      response.writeHead(200).write(bytes);
      return response;
    });
    seat.transport.start();
    await untilLater(clock, 10, () => asked >= 3);
    await until(() => seat.log.count(WHAT) > 0);
    expect(seat.log.count(WHAT, cause)).toBe(1);
    expect(seat.log.count(WHAT)).toBe(1);
    const [before, at] = [asked, clock.now()];
    await untilLater(clock, 10, () => asked >= before + 10);
    expect(clock.now() - at).toBeGreaterThanOrEqual(9 * 100);
  });

  it('half a frame and silence: is given up after five seconds, not before', async () => {
    let asked = 0;
    const { seat, clock } = await beside((request, response) => {
      if (!isMessageStream(request)) return response.writeHead(404).end();
      asked++;
      return response.writeHead(200).write(Buffer.from('00000000', 'hex'));
    });
    seat.transport.start();
    await until(() => seat.transport.connectedSince(2n) !== undefined);
    await clock.advance(4_900);
    expect(asked).toBe(1);
    expect(seat.transport.connectedSince(2n)).toBeDefined();
    await untilLater(clock, 10, () => asked === 2);
    expect(seat.log.count(WHAT, 'it says nothing')).toBe(1);
  });

  it('what has come while the event loop was blocked counts', async () => {
    const streams: ServerResponse[] = [];
    const one = encodeFramed(message('MsgHeartbeat', { from: member(2n), to: member(1n) }))[0];
    const { seat, clock } = await beside((request, response) => {
      if (!isMessageStream(request)) return response.writeHead(404).end();
      response.writeHead(200).write(one);
      return streams.push(response);
    });
    seat.transport.start();
    await until(() => seat.transport.connectedSince(2n) !== undefined);
    clock.block(60_000);
    await clock.advance(0);
    streams[0]?.write(one);
    await until(() => seat.host.received.length === 2);
    await clock.advance(1_000);
    // The first stream is the only one there was.
    expect(streams).toHaveLength(1);
    expect(seat.transport.connectedSince(2n)).toBeDefined();
  });

  it('no answer at all: is given up after five seconds', async () => {
    let asked = 0;
    const { seat, clock } = await beside((request) => {
      if (isMessageStream(request)) asked++;
    });
    seat.transport.start();
    await until(() => asked === 1);
    await clock.advance(4_900);
    expect(seat.log.count(WHAT)).toBe(0);
    await untilLater(clock, 10, () => asked === 2);
    expect(seat.log.count(WHAT, 'no answer')).toBe(1);
  });

  it('messages for others, of removed ones, and images without an image get nowhere', async () => {
    const [to, from] = [member(1n), member(2n)];
    const snapshot = { data: new Uint8Array(0), index: 1, term: 1, confState: undefined as never };
    const { seat } = await beside((request, response) => {
      if (!isMessageStream(request)) return response.writeHead(404).end();
      response.writeHead(200);
      for (const one of [
        message('MsgVote', { from, to: member(3n), term: 5 }),
        message('MsgVote', { from: member(8n), to, term: 5 }),
        message('MsgHup', { from, to }),
        message('MsgSnap', { from, to, term: 5, snapshot: { ...snapshot, confState: emptyConfState } }),
        message('MsgVote', { from, to, term: 6 }),
      ]) {
        for (const part of encodeFramed(one)) response.write(part);
      }
      return response;
    });
    seat.host.members.removed.add(8n);
    seat.transport.start();
    await until(() => seat.host.received.length > 0);
    expect(seat.host.received.map(({ type, term }) => [type, term])).toEqual([['MsgVote', 6]]);
  });
});

const emptyConfState = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

/** Asks for a stream as the member 2 would, and gets its socket, from which the head of the answer was read. */
async function askForStream(seat: PeerSeat, kind: string): Promise<net.Socket> {
  const socket = net.connect(seat.port, '127.0.0.1');
  closing.push(() => socket.destroy());
  const headers = ['Host: x', 'X-Server-Version: 3.5.16', 'X-Min-Cluster-Version: 3.0.0', 'X-Raft-To: 1'];
  const lines = [`GET /raft/stream/${kind}/2 HTTP/1.1`, ...headers, 'X-Etcd-Cluster-ID: abc', '', ''];
  socket.write(lines.join('\r\n'));
  const [head] = (await once(socket, 'data')) as [Buffer];
  expect(head.toString()).toMatch(/^HTTP\/1.1 200 /);
  return socket;
}

describe('a stream', () => {
  it('of appends has nothing else, the other one has all else; a new one takes the place of the old', async () => {
    const clock = new VirtualClock();
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
    seat.host.members.put(2n, 'http://127.0.0.1:1');
    seat.transport.start();
    const got = { msgapp: 0, message: 0 };
    const sockets = [];
    for (const kind of ['msgapp', 'message'] as const) {
      const old = await askForStream(seat, kind);
      const ended = once(old, 'close');
      const socket = await askForStream(seat, kind);
      await ended;
      await new Promise((resolve) => setTimeout(resolve, 20));
      socket.on('data', (chunk) => {
        got[kind] += chunk.length;
      });
      sockets.push(socket);
    }
    const ends = { from: member(1n), to: member(2n), term: 1 };
    const data = Buffer.alloc(10_000);
    seat.transport.send([
      message('MsgApp', { ...ends, logTerm: 1, entries: [{ type: 'EntryNormal', term: 1, index: 1, data }] }),
    ]);
    await until(() => got.msgapp > 10_000);
    expect(got.message).toBeLessThan(100);
    seat.transport.send([message('MsgProp', { ...ends, entries: [{ type: 'EntryNormal', term: 0, index: 0, data }] })]);
    await until(() => got.message > 10_000);
    expect(got.msgapp).toBeLessThan(11_000);
    // Without its own, appends take the other.
    seat.host.lost.length = 0;
    sockets[0]?.destroy();
    await until(() => seat.host.lost.length > 0);
    seat.transport.send([
      message('MsgApp', { ...ends, logTerm: 1, index: 1, entries: [{ type: 'EntryNormal', term: 1, index: 2, data }] }),
    ]);
    await until(() => got.message > 20_000);
  });
});

describe('a stream that nobody reads', () => {
  it('keeps a bounded number of messages, says what it drops, and is given up', async () => {
    const clock = new VirtualClock();
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
    let sentBytes = 0;
    seat.host.members.put(2n, 'http://127.0.0.1:1');
    seat.transport.start();
    // Asks for the stream, reads its head and then no more.
    const socket = await askForStream(seat, 'message');
    socket.pause();
    const entry = { type: 'EntryNormal' as const, term: 0, index: 0, data: Buffer.alloc(100_000) };
    const one = message('MsgProp', { from: member(1n), to: member(2n), entries: [entry] });
    const before = process.memoryUsage().arrayBuffers;
    // More than kernel and queue hold together; the message is the same one each time, so only bytes on their way count.
    for (let i = 0; i < 10_000; i++) {
      seat.transport.send([one]);
      sentBytes += 100_000;
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until(() => seat.host.lost.includes(2n));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(sentBytes / 20);
    await clock.advance(4_000);
    expect(seat.sockets.size).toBe(1);
    await untilLater(clock, 100, () => seat.sockets.size === 0);
    // It has said nothing, so it never was connected.
    expect(seat.log.count('peer became active')).toBe(0);
  });

  it('gets a sign of life every five thirds of a second', async () => {
    const clock = new VirtualClock();
    const [a, b] = [new FakeHost(1n, 0xabcn, clock), new FakeHost(2n, 0xabcn, clock)];
    const received: number[] = [];
    await using left = await PeerSeat.open(a, { clock });
    await using right = await PeerSeat.open(b, {
      clock,
      observe: { received: (_id, bytes) => void received.push(bytes) },
    });
    a.members.put(2n, right.url);
    b.members.put(1n, left.url);
    left.transport.start();
    right.transport.start();
    await connected(left, right);
    for (let second = 0; second < 30; second++) {
      await clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // Both streams, 18 times each, and never silent for so long that they broke.
    expect(received.length).toBeGreaterThanOrEqual(30);
    expect(right.log.all.filter(({ level }) => level === 'warn')).toEqual([]);
    expect(b.received).toEqual([]);
    left.transport.send(numbered(left, right, 1));
    await until(() => b.received.length === 1);
  });
});

describe('a post that is none', () => {
  it.each<[string, string, Buffer, number, string]>([
    ['garbage', '/raft', Buffer.from('garbage'), 400, 'error unmarshalling raft message'],
    ['a local message', '/raft', Buffer.alloc(0), 400, 'wrong raft message type'],
    ['an image cut off', '/raft/snapshot', Buffer.from('xx'), 400, 'failed to decode raft message'],
    [
      'an image without reason',
      '/raft/snapshot',
      Buffer.from('ffffffffffffffff00', 'hex'),
      400,
      'failed to decode raft message',
    ],
    ['no image', '/raft/snapshot', Buffer.concat(encodeFramed(message('MsgVote', {}))), 400, 'wrong raft message type'],
  ])('%s is refused', async (_name, path, body, status, text) => {
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn));
    seat.transport.start();
    const answer = await ask(seat, 'POST', path, { body });
    expect([answer.status, answer.text]).toEqual([status, `${text}\n`]);
    expect(seat.host.received).toEqual([]);
    expect(seat.host.images).toEqual([]);
  });

  it('one that stalls is cut after five seconds', async () => {
    const clock = new VirtualClock();
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
    seat.transport.start();
    for (const path of ['/raft', '/raft/snapshot']) {
      const ended = ask(seat, 'POST', path, { body: Buffer.alloc(4), length: 100 }).catch(() => 'cut');
      await until(() => seat.asked.includes(path));
      await clock.advance(4_900);
      expect(seat.sockets.size).toBe(1);
      await untilLater(clock, 10, () => seat.sockets.size === 0);
      expect(await ended).toBe('cut');
    }
  });
});

describe('answers', () => {
  const path = '/raft/stream/msgapp/2';

  it.each<[string, string, string, Record<string, string>, number, string]>([
    ['another method', 'POST', path, {}, 405, 'Method Not Allowed'],
    ['another method', 'GET', '/raft', {}, 405, 'Method Not Allowed'],
    ['another path', 'GET', '/raft/other', {}, 404, '404 page not found'],
    ['another stream', 'GET', '/raft/stream/other/2', {}, 404, 'invalid path'],
    ['no id', 'GET', '/raft/stream/msgapp/zz', {}, 404, 'invalid from'],
    ['an unknown sender', 'GET', '/raft/stream/msgapp/3', {}, 404, 'error sender not found'],
    ['a removed sender', 'GET', '/raft/stream/msgapp/8', {}, 410, 'removed member'],
    ['another receiver', 'GET', path, { 'X-Raft-To': '5' }, 412, 'to field mismatch'],
    ['another cluster', 'GET', path, { 'X-Etcd-Cluster-ID': '5' }, 412, 'cluster ID mismatch'],
    ['an old version', 'POST', '/raft', { 'X-Server-Version': '2.3.0' }, 412, 'incompatible version'],
    ['no version', 'POST', '/raft', { 'X-Server-Version': '' }, 412, 'incompatible version'],
    ['a version of later times', 'POST', '/raft', { 'X-Min-Cluster-Version': '4.0.0' }, 412, 'incompatible version'],
  ])('to %s are as etcd gives them: %s %s', async (_name, method, asked, headers, status, text) => {
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn));
    seat.host.members.put(2n, 'http://127.0.0.1:1');
    seat.host.members.removed.add(8n);
    seat.transport.start();
    const answer = await ask(seat, method, asked, { headers, body: Buffer.alloc(0) });
    expect([answer.status, answer.text]).toEqual([status, `${text}\n`]);
  });

  it('leave what is not theirs to others', async () => {
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn));
    expect((await ask(seat, 'GET', '/rafting', {})).status).toBe(404);
    expect((await ask(seat, 'GET', '/members', {})).text).toBe('');
  });

  it('are that nobody is there, before the start and after the end', async () => {
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn));
    expect((await ask(seat, 'GET', '/raft/probing', {})).status).toBe(503);
    seat.transport.start();
    expect((await ask(seat, 'GET', '/raft/probing', {})).status).toBe(200);
    await seat.transport.close();
    expect((await ask(seat, 'GET', '/raft/probing', {})).status).toBe(503);
  });

  it('to a probe name the time', async () => {
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn), { timeOfDayMs: () => 86_400_000 });
    seat.transport.start();
    const { text } = await ask(seat, 'GET', '/raft/probing', {});
    expect(JSON.parse(text)).toEqual({ OK: true, Now: '1970-01-02T00:00:00.000Z' });
  });
});

/** Asks as the member 2 would. `length`: what the head announces, if it is not the body's. */
async function ask(
  seat: PeerSeat,
  method: string,
  path: string,
  { headers, body, length }: { headers?: Record<string, string>; body?: Buffer; length?: number },
): Promise<{ status: number; text: string }> {
  const own = {
    'X-Server-Version': '3.5.16',
    'X-Min-Cluster-Version': '3.0.0',
    'X-Etcd-Cluster-ID': 'abc',
    'X-Raft-To': '1',
    ...(method === 'POST' && { 'Content-Length': length ?? body?.length ?? 0 }),
    ...headers,
  };
  const request = http.request(`${seat.url}${path}`, { method, headers: own, agent: false });
  const answered = once(request, 'response') as Promise<[IncomingMessage]>;
  if (length === undefined) request.end(body);
  else request.write(body);
  const [response] = await answered;
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk as string;
  return { status: response.statusCode ?? 0, text };
}
