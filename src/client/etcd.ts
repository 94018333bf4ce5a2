/**
 * The client.
 *
 * @module
 */

import type { Revision } from '../protocol/int64.ts';
import { NO_BYTES } from '../protocol/keys.ts';
import type { Clock } from '../support/clock.ts';
import type { TelemetrySettings } from '../telemetry/api.ts';
import { CallTelemetry } from '../telemetry/calls.ts';
import { hostAndPort } from '../telemetry/methods.ts';
import { AuthApi } from './admin/auth.ts';
import { ClusterApi } from './admin/cluster.ts';
import { ElectionApi } from './admin/elections.ts';
import { LockApi } from './admin/locks.ts';
import { MaintenanceApi } from './admin/maintenance.ts';
import { type Capabilities, readCapabilities } from './admin/server-capabilities.ts';
import type { CallOptions } from './call-options.ts';
import { AutoSync } from './connection/auto-sync.ts';
import { Caller } from './connection/caller.ts';
import { type DiscoveryOptions, resolveEndpoints } from './connection/discovery.ts';
import { login } from './connection/login.ts';
import { Pool } from './connection/pool.ts';
import { statusProbe } from './connection/probe.ts';
import { TokenSource } from './connection/token.ts';
import type { ClientContext } from './context.ts';
import { PermissionDeniedError } from './errors.ts';
import { GetCoalescer, PutCoalescer } from './kv/coalesce.ts';
import { utf8 } from './kv/codec.ts';
import { type CompactOptions, compact } from './kv/compact.ts';
import { Keyspace } from './kv/keyspace.ts';
import { LastCounts } from './kv/last-counts.ts';
import { Reader } from './kv/reads.ts';
import { LeaseKeeper } from './lease/keeper.ts';
import { Leases } from './lease/leases.ts';
import type { LiveLease } from './lease/live-lease.ts';
import { type EtcdOptions, parseEndpoints, type ResolvedOptions, resolveOptions } from './options.ts';
import { GrpcTransport } from './transport/grpc.ts';
import { credentialsSource } from './transport/grpc-tls.ts';
import type { TransportFactory } from './transport/transport.ts';
import { WatchHub } from './watch/hub.ts';

export type { CompactOptions } from './kv/compact.ts';

/** What the client knows of one of its endpoints. */
export interface EndpointStatus {
  readonly endpoint: string;
  /** `ready` takes calls; `doubtful` is connected but failed last or has no leader; `down` has no connection. */
  readonly state: 'ready' | 'doubtful' | 'connecting' | 'down';
  /** The member's version; absent until it is known, and when the user may not ask. */
  readonly version: string | undefined;
  readonly isLearner: boolean | undefined;
  readonly hasLeader: boolean | undefined;
  /** Why the last attempt to connect failed. */
  readonly lastFailure: string | undefined;
}

/**
 * A client of an etcd cluster. It connects when it is first used, keeps its connections,
 * and is closed when no longer needed; `await using` does that at the end of a block.
 *
 * It is the keyspace of all keys, with text for values: see {@link Keyspace} for reading,
 * writing and watching, and {@link Keyspace.keyspace} for a part of the store with a codec
 * of its own.
 *
 * @example
 * ```ts
 * await using etcd = new Etcd({ endpoints: ['10.0.0.1:2379', '10.0.0.2:2379'] });
 * await etcd.put('greeting', 'hello');
 * const greeting = await etcd.get('greeting');
 * ```
 */
export class Etcd extends Keyspace<string, string | Uint8Array> implements AsyncDisposable {
  /** Leases: keys with a time to live. */
  readonly leases: Leases;
  /** Users, roles and permissions. */
  readonly auth: AuthApi;
  /** The members of the cluster. */
  readonly cluster: ClusterApi;
  /** Status, alarms, defragmentation, snapshots. */
  readonly maintenance: MaintenanceApi;
  /** The server's own locks. The recipes' `Mutex` is safer; this is for sharing a lock with users of the RPC. */
  readonly locks: LockApi;
  /** The server's own elections. The recipes' `Election` is safer. */
  readonly elections: ElectionApi;
  readonly #options: ResolvedOptions;
  readonly #inside: ClientContext;
  readonly #sync: AutoSync;

  /**
   * Makes a client. Nothing is connected until the first call.
   *
   * @throws InvalidArgumentError that names every option that is wrong.
   */
  constructor(options: EtcdOptions = {}) {
    const resolved = resolveOptions(options);
    const context = createContext(resolved);
    super(context, NO_BYTES, utf8);
    this.#options = resolved;
    this.#inside = context;
    const { caller } = context;
    this.leases = new Leases(caller, context.leases);
    this.auth = new AuthApi(caller);
    this.cluster = new ClusterApi(caller);
    this.maintenance = new MaintenanceApi(caller, this.cluster);
    this.locks = new LockApi(caller);
    this.elections = new ElectionApi(caller);
    this.#sync = new AutoSync(caller, resolved);
  }

  /**
   * Makes a client whose endpoints come from DNS SRV records, as etcd's own
   * `--discovery-srv` finds them: `_etcd-client-ssl._tcp.<domain>` and
   * `_etcd-client._tcp.<domain>`.
   *
   * @throws UnavailableError when there are no such records.
   */
  static async discover(
    domain: string,
    options: Omit<EtcdOptions, 'endpoints'> & DiscoveryOptions = {},
  ): Promise<Etcd> {
    const { serviceName, resolveSrv, ...rest } = options;
    return new Etcd({ ...rest, endpoints: await resolveEndpoints(domain, { serviceName, resolveSrv }) });
  }

  /**
   * Connects, so that a wrong address, certificate or password shows now and not at the
   * first call.
   *
   * @throws EtcdError
   */
  async connect(options: CallOptions = {}): Promise<void> {
    // A read of a key that cannot exist: linearizable, so it also shows that there is a leader.
    try {
      await this.revision(options);
    } catch (error) {
      // A user who may not read that key is connected and logged in all the same.
      if (!(error instanceof PermissionDeniedError)) throw error;
    }
  }

  /** The clock that this client goes by. */
  get clock(): Clock {
    return this.#options.clock;
  }

  /** The source of randomness that this client draws its jitter from: a number from 0 to below 1. */
  get random(): () => number {
    return this.#options.random;
  }

  /** The most operations in one list of a transaction, as the client was told; see `maxTxnOps` of the options. */
  get maxTxnOps(): number {
    return this.#options.maxTxnOps;
  }

  /** What this client and the recipes on it tell OpenTelemetry. */
  get telemetry(): TelemetrySettings {
    return this.#options.telemetry;
  }

  /** The endpoints and their state. */
  get endpoints(): readonly EndpointStatus[] {
    return this.#inside.caller.pool.members.map((member) => ({
      endpoint: member.name,
      state: member.healthy ? 'ready' : member.connecting ? 'connecting' : member.usable ? 'doubtful' : 'down',
      version: member.facts.version,
      isLearner: member.facts.isLearner,
      hasLeader: member.facts.hasLeader,
      lastFailure: member.lastFailure?.error.message,
    }));
  }

  /**
   * Replaces the endpoints. Connections to those that stay are kept; calls under way on
   * the others fail as on any lost connection, watches and keepalives move.
   *
   * @throws InvalidArgumentError
   */
  setEndpoints(endpoints: readonly string[]): void {
    const parsed = parseEndpoints(endpoints, this.#options.secureByDefault);
    this.#inside.caller.pool.setEndpoints(parsed);
    this.#sync.setSeeds(parsed);
  }

  /**
   * Asks the cluster for its members now and adopts those that can be reached. The
   * endpoints the client was made with are kept.
   */
  async sync(options: CallOptions = {}): Promise<void> {
    await this.#sync.run(options);
  }

  /**
   * Forgets the history before a revision: reads and watches that need it fail from now
   * on. The keys as they are, and everything since that revision, stay.
   *
   * @throws CompactedError when that was done before, EtcdError `future-revision` when the
   * store has not got there yet.
   */
  compact(revision: Revision, options?: CompactOptions): Promise<void> {
    return compact(this.#inside.caller, revision, options);
  }

  /** What the servers can do, by the version they tell. See {@link Capabilities}. */
  capabilities(options: CallOptions = {}): Promise<Capabilities> {
    return readCapabilities(this.#inside.caller, options);
  }

  /**
   * Grants a lease and keeps it alive until it is revoked or lost.
   *
   * @example
   * ```ts
   * await using lease = await etcd.lease({ ttlSeconds: 15 });
   * await etcd.put('services/orders/1', '10.0.0.7:8080', { lease });
   * ```
   */
  lease(options: Parameters<Leases['open']>[0]): Promise<LiveLease> {
    return this.leases.open(options);
  }

  /**
   * Closes the client: ends watches and keepalives, fails what is under way, and drops the
   * connections. Leases are left to run out, unless they were revoked before. Can be
   * called twice.
   */
  async close(): Promise<void> {
    this.#sync.close();
    this.#inside.watches.close();
    this.#inside.leases.close();
    this.#inside.caller.pool.close();
  }

  /** Closes the client; see {@link Etcd.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function createContext(options: ResolvedOptions): ClientContext {
  const { clock, random } = options;
  const telemetry = callTelemetry(options);
  const tokens: TokenSource = new TokenSource(
    options.auth,
    (username, password) => login(caller, username, password),
    clock,
  );
  const pool = new Pool(options.endpoints, {
    clock,
    random,
    transports: options.transport ?? grpcTransports(options),
    probe: statusProbe(() => tokens, options.connectTimeoutMs),
    telemetry,
  });
  const caller: Caller = new Caller({
    pool,
    tokens,
    clock,
    random,
    timeoutMs: options.timeoutMs,
    requireLeader: options.requireLeader,
    secureByDefault: options.secureByDefault,
    retry: options.retry,
    telemetry,
  });
  return {
    caller,
    reader: new Reader(caller, options.monotonicReads),
    gets: options.coalesce.gets ? new GetCoalescer(caller, options.maxTxnOps) : undefined,
    puts: options.coalesce.puts ? new PutCoalescer(caller, options.maxTxnOps) : undefined,
    lastCounts: new LastCounts(),
    watches: new WatchHub(caller),
    leases: new LeaseKeeper(caller),
    limits: { maxTxnOps: options.maxTxnOps },
  };
}

function callTelemetry({ telemetry, clock, endpoints: [first, second] }: ResolvedOptions): CallTelemetry {
  // Of several endpoints none is the target: which of them served a call is known when it ends.
  const target = first === undefined || second !== undefined ? undefined : hostAndPort(first.name);
  return new CallTelemetry(telemetry, () => clock.now(), target);
}

function grpcTransports(options: ResolvedOptions): TransportFactory {
  const credentials = credentialsSource(options.tls);
  return (endpoint) =>
    new GrpcTransport(endpoint, {
      connectTimeoutMs: options.connectTimeoutMs,
      keepaliveTimeMs: options.keepalive.timeMs,
      keepaliveTimeoutMs: options.keepalive.timeoutMs,
      maxReceiveBytes: options.maxReceiveBytes,
      credentials,
      userAgent: 'etcdkit',
    });
}
