/** A client of the lease services on a real etcd, with nothing around it. */
import { Caller } from '../../../src/client/connection/caller.ts';
import { login } from '../../../src/client/connection/login.ts';
import { Pool } from '../../../src/client/connection/pool.ts';
import { statusProbe } from '../../../src/client/connection/probe.ts';
import { type Credentials, TokenSource } from '../../../src/client/connection/token.ts';
import { LeaseKeeper } from '../../../src/client/lease/keeper.ts';
import { Leases } from '../../../src/client/lease/leases.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import { GrpcTransport } from '../../../src/client/transport/grpc.ts';
import { credentialsSource } from '../../../src/client/transport/grpc-tls.ts';
import { KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { LeaseId } from '../../../src/protocol/int64.ts';
import { systemClock } from '../../../src/support/clock.ts';

export class RealClient implements Disposable {
  readonly caller: Caller;
  readonly keeper: LeaseKeeper;
  readonly leases: Leases;

  constructor(endpoints: readonly string[], credentials?: Credentials) {
    const clock = systemClock;
    const random = Math.random;
    const tokens: TokenSource = new TokenSource(
      credentials,
      (user, password) => login(this.caller, user, password),
      clock,
    );
    const addresses = endpoints.map((endpoint) => parseEndpoint(endpoint, false));
    const pool = new Pool(addresses, {
      clock,
      random,
      transports: (address) =>
        new GrpcTransport(address, {
          connectTimeoutMs: 3_000,
          keepaliveTimeMs: 10_000,
          keepaliveTimeoutMs: 3_000,
          maxReceiveBytes: 2 ** 31 - 1,
          credentials: credentialsSource(undefined),
          userAgent: 'test',
        }),
      probe: statusProbe(() => tokens, 1_000),
    });
    this.caller = new Caller({
      pool,
      tokens,
      clock,
      random,
      timeoutMs: 10_000,
      requireLeader: true,
      secureByDefault: false,
      retry: { initialMs: 25, maxMs: 1_000, maxAttempts: 20 },
    });
    this.keeper = new LeaseKeeper(this.caller);
    this.leases = new Leases(this.caller, this.keeper);
  }

  async put(key: string, lease?: LeaseId): Promise<void> {
    const request = { key: Buffer.from(key), value: Buffer.from('x'), lease: lease ?? 0n };
    await this.caller.unary(KV.put, request, { kind: 'idempotent' });
  }

  async has(key: string): Promise<boolean> {
    const answer = await this.caller.unary(KV.range, { key: Buffer.from(key) }, { kind: 'read' });
    return answer.count > 0n;
  }

  [Symbol.dispose](): void {
    this.keeper.close();
    this.caller.pool.close();
  }
}
