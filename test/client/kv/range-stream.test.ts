/** A scan of a server that says it is a 3.7: a real gRPC server, so that the wire and the end of streams are real. */
import grpc from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/client/etcd.ts';
import { etcdPackageDefinition } from '../../../src/protocol/package-definition.ts';
import { snapshotResources } from '../../support/leaks.ts';

interface Request {
  readonly key: Buffer;
  readonly revision: bigint;
  readonly limit: bigint;
}
type StreamCall = grpc.ServerWritableStream<Request, unknown>;

const COUNT = 2_000;
const HEADER = { clusterId: 7n, memberId: 1n, revision: 42n, raftTerm: 2n };
const kvs = Array.from({ length: COUNT }, (_, i) => ({
  key: Buffer.from(`k${String(i).padStart(5, '0')}`),
  value: Buffer.from(`value ${i}`),
  createRevision: 2n,
  modRevision: 40n,
  version: 1n,
  lease: 0n,
}));
const from = (key: Buffer): number => {
  const index = kvs.findIndex((kv) => Buffer.compare(kv.key, key) >= 0);
  return index < 0 ? COUNT : index;
};

describe('a scan by RangeStream', () => {
  const server = new grpc.Server();
  let etcd: Etcd;
  let port = 0;
  const ranges: Request[] = [];
  const streams: Request[] = [];
  let cancelled = 0;
  let written = 0;
  let script: (call: StreamCall) => void;

  /** Sends chunks of 50 keys, stopping at `until`; heeds back-pressure. */
  async function send(call: StreamCall, until = COUNT): Promise<void> {
    for (let at = from(call.request.key); at < until && !call.cancelled; at += 50) {
      written += 1;
      const chunk = kvs.slice(at, Math.min(at + 50, until));
      if (!call.write({ rangeResponse: { kvs: chunk } }))
        await new Promise((resolve) => call.once('drain', resolve).once('cancelled', resolve));
    }
  }

  beforeAll(async () => {
    const definition = etcdPackageDefinition();
    server.addService(definition['etcdserverpb.KV'] as grpc.ServiceDefinition, {
      range: (call: grpc.ServerUnaryCall<Request, unknown>, reply: grpc.sendUnaryData<unknown>) => {
        ranges.push(call.request);
        const start = from(call.request.key);
        const page = kvs.slice(start, start + Number(call.request.limit));
        reply(null, { header: HEADER, kvs: page, count: BigInt(COUNT - start), more: start + page.length < COUNT });
      },
      rangeStream: (call: StreamCall) => {
        streams.push(call.request);
        call.on('cancelled', () => {
          cancelled += 1;
        });
        script(call);
      },
    });
    server.addService(definition['etcdserverpb.Maintenance'] as grpc.ServiceDefinition, {
      status: (_: unknown, reply: grpc.sendUnaryData<unknown>) =>
        reply(null, { header: HEADER, version: '3.7.0', leader: 1n }),
    });
    port = await new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    etcd = new Etcd({ endpoints: [`127.0.0.1:${port}`] });
  });
  afterAll(async () => {
    await etcd.close();
    server.forceShutdown();
  });
  beforeEach(() => {
    ranges.length = 0;
    streams.length = 0;
    cancelled = 0;
    written = 0;
  });

  async function scan(): Promise<string[]> {
    const seen: string[] = [];
    for await (const { key, value } of etcd.scan({ all: true })) seen.push(`${key}=${value}`);
    return seen;
  }
  const everything = kvs.map(({ key, value }) => `${key}=${value}`);

  it('is one page and one stream', async () => {
    script = (call) => void send(call).then(() => call.end());
    expect(await scan()).toEqual(everything);
    expect(ranges).toHaveLength(1);
    expect(streams).toHaveLength(1);
    expect(streams[0]).toMatchObject({ revision: 42n, limit: 0n });
    expect(streams[0]?.key.toString()).toBe('k00099\0');
  });

  it('goes on by pages at the same revision when the stream breaks', async () => {
    script = (call) =>
      void send(call, 777).then(() => call.emit('error', { code: grpc.status.UNAVAILABLE, details: 'gone' }));
    expect(await scan()).toEqual(everything);
    expect(streams).toHaveLength(1);
    expect(ranges[1]?.key.toString()).toBe('k00776\0');
    expect(new Set(ranges.slice(1).map(({ revision }) => revision))).toEqual(new Set([42n]));
  });

  it('goes on by pages when the server lacks the method after all', async () => {
    script = (call) => call.emit('error', { code: grpc.status.UNIMPLEMENTED, details: 'unknown method RangeStream' });
    expect(await scan()).toEqual(everything);
    expect(streams).toHaveLength(1);
    expect(ranges.length).toBeGreaterThan(1);
  });

  it('is cancelled at the server when its loop is left, and leaves nothing behind', async () => {
    const resources = snapshotResources();
    for (let round = 0; round < 5; round++) {
      let ended: () => void = () => {};
      const over = new Promise<void>((resolve) => {
        ended = resolve;
      });
      script = (call) => {
        call.on('cancelled', () => ended());
        void send(call);
      };
      for await (const { key } of etcd.scan({ all: true })) if (key === 'k00200') break;
      await over;
    }
    expect(cancelled).toBe(5);
    await resources.expectNothingAdded();
  });

  it('reads as fast as its reader, not as fast as the server can write', async () => {
    const large = kvs.map((kv) => kv.value);
    for (const kv of kvs) kv.value = Buffer.alloc(20_000);
    try {
      script = (call) => void send(call).then(() => call.end());
      let seen = 0;
      for await (const { key } of etcd.scan({ all: true })) {
        seen += 1;
        if (key !== 'k00150') continue;
        await new Promise((resolve) => setTimeout(resolve, 100));
        // 38 chunks of 1 MB in all: a window or two are on their way, not everything.
        expect(written).toBeLessThan(20);
      }
      expect(seen).toBe(COUNT);
      expect(written).toBe(38);
    } finally {
      kvs.forEach((kv, i) => {
        kv.value = large[i] as Buffer<ArrayBuffer>;
      });
    }
  });
});
