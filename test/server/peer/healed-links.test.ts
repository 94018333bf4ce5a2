/** Links that are well again: what waited leaves, and nothing that died meanwhile holds it up. Time is virtual here. */
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { STREAM_KINDS } from '../../../src/server/peer/stream-reader.ts';
import { message } from '../../../src/server/raft/types.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeHost, member, PeerSeat, until } from './fake-host.ts';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a stream that was not read for a while', () => {
  it('carries all that waits once it is read again, also if nothing more is sent', async () => {
    const clock = new VirtualClock();
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
    seat.host.members.put(2n, 'http://127.0.0.1:1');
    seat.transport.start();
    const socket = net.connect(seat.port, '127.0.0.1');
    closing.push(() => socket.destroy());
    const headers = ['Host: x', 'X-Server-Version: 3.5.16', 'X-Min-Cluster-Version: 3.0.0', 'X-Raft-To: 1'];
    socket.write(['GET /raft/stream/message/2 HTTP/1.1', ...headers, 'X-Etcd-Cluster-ID: abc', '', ''].join('\r\n'));
    await once(socket, 'data');
    socket.pause();
    // Each for itself and small, as votes and heartbeats are, and together more than kernel and stream take at once.
    const [count, size] = [2_000, 10_000];
    const entry = { type: 'EntryNormal' as const, term: 0, index: 0, data: Buffer.alloc(size) };
    const one = message('MsgProp', { from: member(1n), to: member(2n), entries: [entry] });
    for (let i = 0; i < count; i++) {
      seat.transport.send([one]);
      await turn();
    }
    let got = 0;
    socket.on('data', (chunk) => {
      got += chunk.length;
    });
    socket.resume();
    await until(() => got > count * size);
    expect(seat.host.lost).toEqual([]);
  });
});

describe('connections that were kept and have died in silence', () => {
  it('are not used for streams: these are there again with the next attempt', async () => {
    const used = new WeakSet<Socket>();
    let refusals = 2;
    const server = http.createServer((request, response) => {
      // Each connection has one answer in it.
      if (used.has(request.socket)) return;
      used.add(request.socket);
      const isStream = request.url?.startsWith('/raft/stream/') === true;
      if (isStream && refusals === 0) return response.writeHead(200).write(Buffer.alloc(8));
      if (isStream) refusals -= 1;
      return response.writeHead(404, { 'Content-Length': 0 }).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => {
      server.close();
      server.closeAllConnections();
    });
    const clock = new VirtualClock();
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
    seat.host.members.put(2n, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    seat.transport.start();
    await until(() => STREAM_KINDS.every((kind) => seat.log.count(`no ${kind} stream from a peer`) > 0));
    // Far less than the five seconds after which one that is silent is given up.
    await clock.advance(200);
    await until(() => seat.transport.connectedSince(2n) !== undefined);
  });
});

describe('a refusal of what is posted', () => {
  it.each([
    ['no, it is meant for who was here before', 'cannot process message to mismatch member', false],
    ['no, somebody between does not let it through', '<html>Forbidden</html>', false],
    ['yes, says a member of ours', 'cannot process message from removed member', true],
    ['yes, says one of etcd', '{"message":"cannot process message from removed member"}', true],
  ])('is news of an own removal: %s', async (_why, text, removed) => {
    const posted: string[] = [];
    const server = http.createServer((request, response) => {
      request.resume();
      if (request.method === 'POST') posted.push(request.url ?? '');
      response.writeHead(request.method === 'POST' ? 403 : 404, { Connection: 'close' }).end(`${text}\n`);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => void server.close());
    await using seat = await PeerSeat.open(new FakeHost(1n, 0xabcn));
    seat.host.members.put(2n, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    seat.transport.start();
    const ends = { from: member(1n), to: member(2n), term: 4 };
    seat.transport.send([message('MsgPreVote', ends)]);
    await until(() => seat.host.lost.length === 1);
    const confState = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const snapshot = { data: Buffer.alloc(0), index: 7, term: 3, confState };
    const image = { sizeBytes: 1, chunks: chunksOf(Buffer.alloc(1)) };
    expect(await seat.transport.sendSnapshot(message('MsgSnap', { ...ends, snapshot }), image)).toBe(false);
    seat.transport.send([message('MsgPreVote', ends)]);
    await until(() => seat.host.lost.length === 2);
    expect(posted).toEqual(['/raft', '/raft/snapshot', '/raft']);
    // The host ends with the first one, and hears of no other.
    expect(seat.host.removals).toBe(removed ? 1 : 0);
  });
});

async function* chunksOf(...chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks;
}
