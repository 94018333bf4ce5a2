/** The parts of a client that a watch stands on, against real members or proxies in front of them. */
import { Caller } from '../../../src/client/connection/caller.ts';
import { login } from '../../../src/client/connection/login.ts';
import { Pool } from '../../../src/client/connection/pool.ts';
import { statusProbe } from '../../../src/client/connection/probe.ts';
import { type Credentials, TokenSource } from '../../../src/client/connection/token.ts';
import { utf8 } from '../../../src/client/kv/codec.ts';
import { View } from '../../../src/client/kv/results.ts';
import { type Target, toByteRange } from '../../../src/client/kv/target.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import { GrpcTransport } from '../../../src/client/transport/grpc.ts';
import { credentialsSource } from '../../../src/client/transport/grpc-tls.ts';
import { WatchHub, type WatchHubOptions } from '../../../src/client/watch/hub.ts';
import type { WatchOptions } from '../../../src/client/watch/options.ts';
import type { Watcher } from '../../../src/client/watch/watcher.ts';
import { KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import { type Revision, revision } from '../../../src/protocol/int64.ts';
import { NO_BYTES, toBytes } from '../../../src/protocol/keys.ts';
import { systemClock } from '../../../src/support/clock.ts';

export interface RealClientOptions extends WatchHubOptions {
  readonly auth?: Credentials | undefined;
}

const view = new View(utf8, 0);

export class RealClient implements AsyncDisposable {
  readonly caller: Caller;
  readonly hub: WatchHub;
  readonly #pool: Pool;

  constructor(endpoints: readonly string[], options: RealClientOptions = {}) {
    const clock = systemClock;
    const random = Math.random;
    const tokens: TokenSource = new TokenSource(
      options.auth,
      (name, password) => login(this.caller, name, password),
      clock,
    );
    this.#pool = new Pool(
      endpoints.map((endpoint) => parseEndpoint(endpoint, false)),
      {
        clock,
        random,
        transports: (endpoint) =>
          new GrpcTransport(endpoint, {
            connectTimeoutMs: 3_000,
            keepaliveTimeMs: 0,
            keepaliveTimeoutMs: 0,
            maxReceiveBytes: 2 ** 31 - 1,
            credentials: credentialsSource(undefined),
            userAgent: 'etcdkit-test',
          }),
        probe: statusProbe(() => tokens, 3_000),
      },
    );
    this.caller = new Caller({
      pool: this.#pool,
      tokens,
      clock,
      random,
      timeoutMs: 5_000,
      requireLeader: true,
      secureByDefault: false,
      retry: { maxAttempts: 20, initialMs: 25, maxMs: 1_000 },
    });
    this.hub = new WatchHub(this.caller, options);
  }

  watch(target: Target, options: WatchOptions = {}): Watcher<string> {
    return this.hub.watch(toByteRange(target, NO_BYTES), options, view);
  }

  async put(key: string, value: string | Uint8Array): Promise<Revision> {
    const request = { key: toBytes(key), value: toBytes(value) };
    const { header } = await this.caller.unary(KV.put, request, { kind: 'idempotent' });
    return revision(header?.revision ?? 0n);
  }

  async delete(key: string): Promise<Revision> {
    const { header } = await this.caller.unary(KV.deleteRange, { key: toBytes(key) }, { kind: 'idempotent' });
    return revision(header?.revision ?? 0n);
  }

  async compact(at: bigint): Promise<void> {
    await this.caller.unary(KV.compact, { revision: at, physical: true }, { kind: 'write' });
  }

  async revision(): Promise<Revision> {
    const { header } = await this.caller.unary(KV.range, { key: toBytes('x'), countOnly: true }, { kind: 'read' });
    return revision(header?.revision ?? 0n);
  }

  /** Puts many keys, `width` at a time; resolves with the last revision. */
  async fill(count: number, key: (index: number) => string, value = 'x', width = 50): Promise<Revision> {
    let last = 0n;
    for (let at = 0; at < count; at += width) {
      const indices = Array.from({ length: Math.min(width, count - at) }, (_, offset) => at + offset);
      for (const done of await Promise.all(indices.map((index) => this.put(key(index), value)))) {
        if (done > last) last = done;
      }
    }
    return last as Revision;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hub.close();
    this.#pool.close();
  }
}
