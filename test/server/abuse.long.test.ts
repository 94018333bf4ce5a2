/** Clients that send what they should not, or stop where they should not: they hurt nobody but themselves. */
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  Auth,
  Cluster,
  KV,
  Lease,
  Maintenance,
  PutRequest,
  Watch,
  WatchRequest,
} from '../../src/protocol/generated/etcdserverpb.ts';
import { Health } from '../../src/protocol/generated/grpc_health_v1.ts';
import { Election } from '../../src/protocol/generated/v3electionpb.ts';
import { Lock } from '../../src/protocol/generated/v3lockpb.ts';
import type { MethodDescriptor } from '../../src/protocol/wire.ts';
import { collectGarbage } from './abuse/garbage.ts';
import { absurdNumbers, bytesField, deep, randomMessages } from './abuse/messages.ts';
import { inLanes, Target } from './abuse/target.ts';
import { connectRaw, framed, type RawClient } from './rpc/raw-client.ts';

const METHODS = [KV, Watch, Lease, Cluster, Maintenance, Auth, Lock, Election, Health].flatMap(
  // biome-ignore lint/suspicious/noExplicitAny: the messages differ from method to method
  (service): MethodDescriptor<any, any>[] => Object.values(service),
);
const SEED = 20_260_101;
const SECRET = 'hunter2';
const PUT = KV.put.path;
const LANES = 32;

const put = (key: string, value = 'v'): Buffer =>
  framed(PutRequest.encode({ key: Buffer.from(key), value: Buffer.from(value) }));
const watchAll = framed(WatchRequest.encode({ createRequest: { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) } }));

async function expectAlive(target: Target): Promise<void> {
  await using client = await target.connect();
  expect(await client.call({ path: PUT, data: [put('alive')] })).toMatchObject({ code: 0 });
}

/** Sends messages to a method; each is answered by a status that is no fault of the server. */
async function sendAll(client: RawClient, path: string, frames: Iterable<Buffer>, timeout = '100m'): Promise<number> {
  let accepted = 0;
  await inLanes(LANES, frames, async (frame) => {
    const { code, message } = await client.call({ path, data: [frame], headers: { 'grpc-timeout': timeout } });
    if (code === undefined || message === 'internal error')
      throw new Error(`${path}: ${code} ${message} for ${frame.toString('hex').slice(0, 200)}`);
    if (code === 0) accepted += 1;
  });
  return accepted;
}

describe('requests that are none', () => {
  it(`of random bytes, seed ${SEED}, to every method`, async () => {
    await using target = await Target.start();
    await using client = await target.connect();
    for (const [at, { path }] of METHODS.entries()) {
      await sendAll(
        client,
        path,
        [...randomMessages(SEED + at, 150)].map((message) => framed(message)),
      );
    }
    await client[Symbol.asyncDispose]();
    await expectAlive(target);
    await target.expectNothingLeft();
  });

  it('with absurd numbers in every field of every method', async () => {
    await using target = await Target.start();
    await using client = await target.connect();
    for (const { path, kind } of METHODS) {
      const frames = [...absurdNumbers(path)].map((message) => framed(message));
      // What waits, waits out its time: for those a part is enough.
      const waits = kind !== 'unary' || /Lock$|Campaign$/.test(path);
      await sendAll(client, path, waits ? frames.filter((_, at) => at % 8 === 0) : frames, waits ? '5m' : '5S');
    }
    await client[Symbol.asyncDispose]();
    await expectAlive(target);
    await target.expectNothingLeft();
  });

  it('in frames that are none', async () => {
    await using target = await Target.start();
    await using client = await target.connect();
    const whole = put('a');
    const huge = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
    const wrong = [huge, framed(Buffer.alloc(0), 1), framed(Buffer.alloc(10), 2), framed(Buffer.alloc(10), 1)];
    const cut = Array.from({ length: whole.length }, (_, length) => whole.subarray(0, length));
    for (const { path } of METHODS) {
      await sendAll(client, path, [...wrong, ...cut], '20m');
      const compressed = { 'grpc-encoding': 'gzip', 'grpc-timeout': '20m' };
      const { code } = await client.call({ path, headers: compressed, data: [framed(Buffer.alloc(30, 7), 1)] });
      expect(code, path).not.toBe(0);
    }
    await client[Symbol.asyncDispose]();
    await target.expectNothingLeft();
  });

  it('that are within themselves too often', async () => {
    await using target = await Target.start();
    await using client = await target.connect();
    for (const times of [50, 1_000, 20_000]) {
      // A transaction in the first operation of a transaction, and so on.
      const half = deep(2, 2);
      const frames = [framed(deep(2, times)), framed(Buffer.concat([half, deep(3, times)])), framed(deep(4, times))];
      await sendAll(client, KV.txn.path, frames, '5S');
    }
    let txn: Buffer = bytesField(2, bytesField(2, bytesField(1, 'a')));
    for (let i = 0; i < 5_000; i++) txn = bytesField(2, bytesField(4, txn));
    await sendAll(client, KV.txn.path, [framed(txn)], '5S');
    await client[Symbol.asyncDispose]();
    await expectAlive(target);
    await target.expectNothingLeft();
  });
});

describe('connections that end where they should not', () => {
  it('hang up after each byte of a request', async () => {
    await using target = await Target.start();
    const bytes = await recordPut();
    await inLanes(LANES, bytes.keys(), async (length) => {
      const socket = net.connect(target.port, '127.0.0.1');
      socket.on('error', () => {});
      await once(socket, 'connect');
      socket.write(bytes.subarray(0, length + 1));
      await turn();
      if (length % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    });
    await expectAlive(target);
    await target.expectNothingLeft();
  });

  it('break off 10,000 calls', async () => {
    await using target = await Target.start();
    const paths = METHODS.map(({ path }) => path);
    for (let connection = 0; connection < 25; connection++) {
      await using client = await target.connect();
      for (let i = 0; i < 400; i++) {
        const stream = client.open({ path: paths[i % paths.length] as string, data: [put('a')], end: i % 2 === 0 });
        if (i % 3 === 0) setImmediate(() => stream.close(8));
        if (i % 50 === 0) await turn();
      }
    }
    await expectAlive(target);
    await target.expectNothingLeft();
  });

  it('stay half open, 1,000 of them', async () => {
    await using target = await Target.start();
    const halves = ['', 'PRI * HT', 'GET /health HT', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x16\x03\x01'];
    const sockets = await Promise.all(
      Array.from({ length: 1_000 }, async (_, i) => {
        const socket = net.connect(target.port, '127.0.0.1');
        socket.on('error', () => {});
        await once(socket, 'connect');
        socket.write(halves[i % halves.length] as string);
        return socket;
      }),
    );
    await expectAlive(target);
    for (const socket of sockets) socket.destroy();
    await target.expectNothingLeft();
  });
});

describe('readers that do not read', () => {
  it('cost a bounded amount of memory, and nobody else any time', async () => {
    await using target = await Target.start();
    await using slow = await target.connect();
    await using writer = await target.connect();
    const streams = Array.from({ length: 50 }, () =>
      slow.open({ path: Watch.watch.path, data: [watchAll], end: false }),
    );
    for (const stream of streams) stream.pause();
    for (let i = 0; i < 50; i++) await writer.call({ path: PUT, data: [put('warm', 'w'.repeat(4_096))] });
    const before = collectGarbage();
    const puts = 4_000;
    await inLanes(16, Array(puts).keys(), (i) =>
      writer.call({ path: PUT, data: [put(`k${i % 10}`, `${i}`.padEnd(4_096))] }),
    );
    const grownMib = (collectGarbage() - before) / 2 ** 20;
    // The history itself is 16 MiB; a buffer for each reader would be 800.
    expect(grownMib).toBeLessThan(150);
    await slow[Symbol.asyncDispose]();
    await writer[Symbol.asyncDispose]();
    await target.expectNothingLeft();
  });
});

describe('secrets', () => {
  it('are in no line of the log, whatever is done with them', async () => {
    await using target = await Target.start();
    await using client = await target.connect();
    const named = bytesField(1, 'someone');
    const secret = bytesField(2, SECRET);
    for (const { path } of METHODS) {
      const frames = [Buffer.concat([named, secret]), secret, Buffer.concat([secret, Buffer.from([0xff])])];
      await sendAll(
        client,
        path,
        frames.map((message) => framed(message)),
        '50m',
      );
      await client.call({ path, data: [framed(secret)], headers: { token: SECRET, 'grpc-timeout': '50m' } });
    }
    expect(target.log.join('\n')).not.toContain(SECRET);
    await client[Symbol.asyncDispose]();
    await target.expectNothingLeft();
  });
});

/** What a client sends for one put: preface, settings, headers, data. */
async function recordPut(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const listener = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => chunks.push(chunk));
    // Empty settings: the client goes on.
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  {
    await using client = await connectRaw(`http://127.0.0.1:${(listener.address() as net.AddressInfo).port}`);
    client.open({ path: PUT, data: [put('recorded')] });
    while (!Buffer.concat(chunks).includes('recorded')) await turn();
  }
  listener.close();
  return Buffer.concat(chunks);
}
