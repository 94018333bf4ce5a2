/** The namespaces under test on a caller of their own: over real connections, or over a script. */

import { AuthApi } from '../../../src/client/admin/auth.ts';
import { ClusterApi } from '../../../src/client/admin/cluster.ts';
import { ElectionApi } from '../../../src/client/admin/elections.ts';
import { LockApi } from '../../../src/client/admin/locks.ts';
import { MaintenanceApi } from '../../../src/client/admin/maintenance.ts';
import { Caller } from '../../../src/client/connection/caller.ts';
import { login } from '../../../src/client/connection/login.ts';
import { Pool } from '../../../src/client/connection/pool.ts';
import { statusProbe } from '../../../src/client/connection/probe.ts';
import { type Credentials, TokenSource } from '../../../src/client/connection/token.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import { GrpcTransport } from '../../../src/client/transport/grpc.ts';
import { credentialsSource, type TlsOptions } from '../../../src/client/transport/grpc-tls.ts';
import {
  type CallFailure,
  type StreamHandlers,
  type Transport,
  TransportError,
  type TransportFactory,
  type TransportStream,
} from '../../../src/client/transport/transport.ts';
import { KV, Lease } from '../../../src/protocol/generated/etcdserverpb.ts';
import { type LeaseId, leaseId, type Revision, revision } from '../../../src/protocol/int64.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { type Clock, systemClock } from '../../../src/support/clock.ts';

/** What a test works with. */
export interface AdminClient extends Disposable {
  readonly caller: Caller;
  readonly auth: AuthApi;
  readonly cluster: ClusterApi;
  readonly maintenance: MaintenanceApi;
  readonly locks: LockApi;
  readonly elections: ElectionApi;
}

export interface AdminClientOptions {
  readonly endpoints: readonly string[];
  readonly credentials?: Credentials | undefined;
  readonly tls?: TlsOptions | undefined;
  readonly timeoutMs?: number | undefined;
  readonly transports?: TransportFactory | undefined;
  readonly clock?: Clock | undefined;
}

/** A client without the parts that these tests do not need. */
export function adminClient(options: AdminClientOptions): AdminClient {
  const { credentials, tls, timeoutMs = 5_000, clock = systemClock } = options;
  const random = (): number => 0.5;
  const source = credentialsSource(tls);
  const settings = { connectTimeoutMs: 3_000, keepaliveTimeMs: 10_000, keepaliveTimeoutMs: 3_000 };
  const grpc: TransportFactory = (endpoint) =>
    new GrpcTransport(endpoint, { ...settings, maxReceiveBytes: 2 ** 31 - 1, credentials: source, userAgent: 'test' });
  const secure = tls !== undefined;
  const tokens: TokenSource = new TokenSource(credentials, (user, password) => login(caller, user, password), clock);
  const pool = new Pool(
    options.endpoints.map((endpoint) => parseEndpoint(endpoint, secure)),
    { clock, random, transports: options.transports ?? grpc, probe: statusProbe(() => tokens, 3_000) },
  );
  const retry = { maxAttempts: 20, initialMs: 25, maxMs: 1_000 };
  const shared = { pool, tokens, clock, random, timeoutMs, retry };
  const caller: Caller = new Caller({ ...shared, requireLeader: true, secureByDefault: secure });
  const cluster = new ClusterApi(caller);
  return {
    caller,
    auth: new AuthApi(caller),
    cluster,
    maintenance: new MaintenanceApi(caller, cluster),
    locks: new LockApi(caller),
    elections: new ElectionApi(caller),
    [Symbol.dispose]: () => pool.close(),
  };
}

/** Writes a key and tells the revision of that. */
export async function put({ caller }: AdminClient, key: string, value: string | Uint8Array): Promise<Revision> {
  const request = { key: Buffer.from(key), value: Buffer.from(value) };
  const { header } = await caller.unary(KV.put, request, { kind: 'write' });
  return revision(header?.revision ?? 0n);
}

/** Whether a key exists. */
export async function exists({ caller }: AdminClient, key: string | Uint8Array): Promise<boolean> {
  const { count } = await caller.unary(KV.range, { key: Buffer.from(key), countOnly: true }, { kind: 'read' });
  return count > 0n;
}

/** How many keys have a prefix. */
export async function countUnder({ caller }: AdminClient, prefix: string): Promise<number> {
  const request = { key: Buffer.from(prefix), rangeEnd: Buffer.from(`${prefix}\xff`, 'latin1'), countOnly: true };
  return Number((await caller.unary(KV.range, request, { kind: 'read' })).count);
}

/** A lease that outlives the test. */
export async function grant({ caller }: AdminClient): Promise<LeaseId> {
  return leaseId((await caller.unary(Lease.leaseGrant, { TTL: 300n }, { kind: 'write' })).ID);
}

/** Answers one call of a script: a message, or how it fails. */
export type Answer = { readonly failure: CallFailure } | { readonly message: object } | 'hang';

/** A server in a script. Messages of a stream are handed out one by one, as they are asked for. */
export interface Script {
  unary(path: string, request: object, endpoint: string): Answer;
  /** The messages of a stream; `hang` stops there, a failure ends it, else it ends with OK. */
  stream?(path: string): readonly (Answer | object)[];
}

/** What a script has seen. */
export interface ScriptRecord {
  readonly unary: { readonly path: string; readonly endpoint: string; readonly request: object }[];
  pulls: number;
  opened: number;
  cancelled: number;
}

/** Transports that play a script, encoding and decoding every message on the way. */
export function scripted(script: Script): { transports: TransportFactory; record: ScriptRecord } {
  const record: ScriptRecord = { unary: [], pulls: 0, opened: 0, cancelled: 0 };
  const transports: TransportFactory = ({ name }): Transport => ({
    state: 'ready',
    connect: async () => {},
    close: () => {},
    unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, { signal }: { signal?: AbortSignal | undefined }) {
      const sent = method.request.decode(method.request.encode(request)) as object;
      record.unary.push({ path: method.path, endpoint: name, request: sent });
      const answer = script.unary(method.path, sent, name);
      if (answer === 'hang') {
        const aborted = { grpcCode: 1, details: 'aborted by the caller', sent: 'maybe' } as const;
        return new Promise<O>((_, reject) => {
          signal?.addEventListener('abort', () => reject(new TransportError(aborted)), { once: true });
        });
      }
      if ('failure' in answer) return Promise.reject(new TransportError(answer.failure));
      return Promise.resolve(method.response.decode(method.response.encode(answer.message as Init<O>)));
    },
    stream<I, O>(method: MethodDescriptor<I, O>, _: object, handlers: StreamHandlers<O>): TransportStream<I> {
      record.opened++;
      const answers = [...(script.stream?.(method.path) ?? [])];
      let closed = false;
      const close = (failure: CallFailure | undefined): void => {
        if (closed) return;
        closed = true;
        queueMicrotask(() => handlers.onClose(failure));
      };
      return {
        send: () => {},
        halfClose: () => {},
        pull() {
          record.pulls++;
          const next = answers.shift();
          if (next === 'hang' || closed) return;
          if (next === undefined) return close(undefined);
          if ('failure' in next) return close(next.failure);
          const message = method.response.decode(method.response.encode(next as Init<O>));
          queueMicrotask(() => closed || handlers.onMessage(message));
        },
        cancel() {
          if (!closed) record.cancelled++;
          close({ grpcCode: 1, details: 'cancelled', sent: 'maybe' });
        },
      };
    },
  });
  return { transports, record };
}
