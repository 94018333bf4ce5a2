import * as grpc from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KV, Watch } from '../../src/protocol/generated/etcdserverpb.ts';
import { etcdPackageDefinition } from '../../src/protocol/package-definition.ts';
import type { Init, MethodDescriptor } from '../../src/protocol/wire.ts';

const REVISION = 2n ** 62n + 1n;

/** A server made of the package definition: it answers each call with what it was asked. */
function startServer(): Promise<{ server: grpc.Server; address: string }> {
  const server = new grpc.Server();
  const definition = etcdPackageDefinition();
  server.addService(definition['etcdserverpb.KV'] as grpc.ServiceDefinition, {
    Range: ({ request }: grpc.ServerUnaryCall<RawRange, unknown>, reply: grpc.sendUnaryData<unknown>) => {
      const { key, revision, limit, sortOrder } = request;
      reply(null, { header: { revision }, kvs: [{ key, value: Buffer.from(sortOrder), version: 1 }], count: limit });
    },
  });
  server.addService(definition['etcdserverpb.Watch'] as grpc.ServiceDefinition, {
    Watch: (call: grpc.ServerDuplexStream<RawWatch, unknown>) => {
      call.on('data', ({ requestUnion, createRequest }: RawWatch) => {
        const { startRevision } = createRequest;
        call.write({
          watchId: -1n,
          cancelReason: requestUnion,
          events: [{ type: 'DELETE', kv: { modRevision: startRevision } }],
        });
      });
      call.on('end', () => call.end());
    },
  });
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve({ server, address: `127.0.0.1:${port}` });
    });
  });
}

interface RawRange {
  readonly key: Buffer;
  readonly revision: bigint;
  readonly limit: bigint;
  readonly sortOrder: string;
}

interface RawWatch {
  readonly requestUnion: string;
  readonly createRequest: { readonly startRevision: bigint };
}

function call<I, O>(client: grpc.Client, method: MethodDescriptor<I, O>, request: Init<I>): Promise<O> {
  const { path, request: input, response } = method;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, input.encode, response.decode, request, (error, reply) => {
      if (error) reject(error);
      else resolve(reply as O);
    });
  });
}

describe('etcdPackageDefinition', () => {
  let server: grpc.Server;
  let client: grpc.Client;

  beforeAll(async () => {
    const started = await startServer();
    server = started.server;
    client = new grpc.Client(started.address, grpc.credentials.createInsecure());
  });

  afterAll(() => {
    client.close();
    server.forceShutdown();
  });

  it('is made once and has every service', () => {
    const definition = etcdPackageDefinition();
    expect(etcdPackageDefinition()).toBe(definition);
    for (const name of ['KV', 'Watch', 'Lease', 'Cluster', 'Maintenance', 'Auth']) {
      expect(definition).toHaveProperty([`etcdserverpb.${name}`]);
    }
    expect(definition).toHaveProperty(['v3lockpb.Lock', 'Unlock', 'path'], '/v3lockpb.Lock/Unlock');
    expect(definition).toHaveProperty(['v3electionpb.Election', 'Observe', 'responseStream'], true);
    expect(definition).toHaveProperty(['grpc.health.v1.Health', 'Check', 'path'], '/grpc.health.v1.Health/Check');
  });

  it('serves our codecs over a real connection', async () => {
    const reply = await call(client, KV.range, { key: Buffer.from('k'), revision: REVISION, limit: 3n, sortOrder: 2 });
    expect(reply.header?.revision).toBe(REVISION);
    expect(reply.count).toBe(3n);
    expect(reply.kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()])).toEqual([
      ['k', 'DESCEND'],
    ]);
  });

  it('streams', async () => {
    const { path, request, response } = Watch.watch;
    const stream = client.makeBidiStreamRequest(path, request.encode, response.decode);
    stream.write({ createRequest: { startRevision: REVISION } });
    stream.end();
    const replies = await stream.toArray();
    expect(replies).toMatchObject([
      { watchId: -1n, cancelReason: 'createRequest', events: [{ type: 1, kv: { modRevision: REVISION } }] },
    ]);
  });

  it('refuses methods it was not given', async () => {
    await expect(call(client, KV.put, {})).rejects.toMatchObject({ code: grpc.status.UNIMPLEMENTED });
  });
});
