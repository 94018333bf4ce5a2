/** What real clients make of the server: grpc-js by itself, and the package's own client. */
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/index.ts';
import * as pb from '../../../src/protocol/generated/etcdserverpb.ts';
import { serve } from '../http/serving.ts';

const { path, request, response } = pb.KV.put;

function put(client: Client, key: string, deadlineMs?: number): Promise<pb.PutResponse | ServiceError> {
  const options = deadlineMs === undefined ? {} : { deadline: new Date(Date.now() + deadlineMs) };
  const message = { key: Buffer.from(key) };
  return new Promise((resolve) => {
    const done = (error: ServiceError | null, answer?: pb.PutResponse): void =>
      resolve(error ?? (answer as pb.PutResponse));
    client.makeUnaryRequest(
      path,
      request.encode,
      (bytes) => response.decode(bytes),
      message,
      new Metadata(),
      options,
      done,
    );
  });
}

describe('grpc-js', () => {
  it('makes calls, and understands refusals', async () => {
    await using server = await serve();
    const client = new Client(`127.0.0.1:${server.port.port}`, credentials.createInsecure());
    expect(await put(client, 'a')).toMatchObject({ header: { revision: 2n ** 53n + 1n } });
    expect(await put(client, 'refuse')).toMatchObject({ code: 3, details: 'etcdserver: key is not provided' });
    expect(await put(client, 'odd')).toMatchObject({ code: 9, details: 'odd: 100% ünï\n' });
    expect(await put(client, 'wait', 50)).toMatchObject({ code: 4 });
    const { watch } = pb.Watch;
    const decode = (bytes: Buffer): pb.WatchResponse => watch.response.decode(bytes);
    const stream = client.makeBidiStreamRequest(watch.path, watch.request.encode, decode, new Metadata());
    stream.write({ createRequest: { watchId: 5n } });
    const [first] = (await stream.take(1).toArray()) as [pb.WatchResponse];
    expect(first.watchId).toBe(5n);
    client.close();
  });

  it('has 500 calls under way at a time', async () => {
    await using server = await serve();
    const client = new Client(`127.0.0.1:${server.port.port}`, credentials.createInsecure());
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, i) => put(client, i % 10 === 0 ? 'big' : `k${i}`)),
    );
    expect(answers.filter((answer) => 'code' in answer)).toEqual([]);
    client.close();
  });
});

describe('the client of this package', () => {
  it('writes', async () => {
    await using server = await serve();
    await using etcd = new Etcd({ endpoints: [`127.0.0.1:${server.port.port}`] });
    await etcd.put('greeting', 'hello');
    expect(server.seen.puts.map(({ key }) => Buffer.from(key).toString())).toEqual(['greeting']);
  });
});
