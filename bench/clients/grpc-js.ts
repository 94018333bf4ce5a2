/**
 * A bare grpc-js client with this package's codec: what the calls cost without a client
 * around them.
 *
 * @module
 */

import { Client, credentials } from '@grpc/grpc-js';
import { KV } from '../../dist/src/protocol/generated/etcdserverpb.js';
import type { Init, MethodDescriptor } from '../../dist/src/protocol/wire.js';
import type { BenchClient } from './client.ts';

export async function make(endpoint: string): Promise<BenchClient> {
  const client = new Client(endpoint, credentials.createInsecure());
  const call = <I, O>(method: MethodDescriptor<I, O>, request: Init<I>): Promise<O> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.request.encode,
        method.response.decode,
        request,
        { deadline: Date.now() + 5000 },
        (error, answer) => (error === null ? resolve(answer as O) : reject(error)),
      );
    });
  await call(KV.range, { key: Buffer.from('warm-up') });
  return {
    put: (key, value) => call(KV.put, { key: Buffer.from(key), value: Buffer.from(value) }),
    get: (key) => call(KV.range, { key: Buffer.from(key) }),
    watch: () => Promise.reject(new Error('a bare client has no watch')),
    close: () => client.close(),
  };
}
