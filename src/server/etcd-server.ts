/**
 * The server as programs have it: a member, its services, and the ports that they are served on.
 *
 * Invariants: once {@link EtcdServer.start} has resolved, a linearizable request succeeds. Once
 * {@link EtcdServer.stop} has, nothing of the server is left that would keep the process alive; it takes little longer
 * than calls in work are given, whatever clients do.
 *
 * @module
 */
import { deferred } from '../support/signals.ts';
import { ServerMetrics } from './http/metrics.ts';
import type { ServerLog } from './log.ts';
import { silentLog } from './log.ts';
import { MemberRemovedError } from './member/errors.ts';
import { type OpenPeers, openPeers } from './open-peers.ts';
import { type OpenPorts, openPorts } from './open-ports.ts';
import type { EtcdServerOptions } from './options.ts';
import { idText, type StartedMember, startMember } from './start-member.ts';

const CALLER = 'etcd-server.ts';

/** How to stop. */
export interface StopOptions {
  /** How long calls that are in work may take, in ms; streams end at once. Default: 0. */
  readonly graceMs?: number | undefined;
}

/**
 * An etcd server in this process. With `dataDir` it keeps what it has, in etcd's own formats. Several can be in one
 * process; they share nothing.
 *
 * @example
 * ```ts
 * import { Etcd } from 'etcdkit';
 * import { EtcdServer } from 'etcdkit/server';
 *
 * await using server = await EtcdServer.start();            // in memory, on any free port
 * await using etcd = new Etcd({ endpoints: server.endpoint });
 * await etcd.put('greeting', 'hello');
 * ```
 */
export class EtcdServer implements AsyncDisposable {
  /** Where the first port listens: `127.0.0.1:2379`, or the path of a Unix socket. */
  readonly endpoint: string;
  /** The same as a URL. */
  readonly clientUrl: string;
  /** Resolves with the cause if the server ends by itself: its disk fails, or it was removed from its cluster. */
  readonly failed: Promise<unknown>;
  readonly #started: StartedMember;
  readonly #peers: OpenPeers;
  readonly #ports: OpenPorts;
  readonly #log: ServerLog;
  readonly #fields: Readonly<Record<string, unknown>>;
  #stopping: Promise<void> | undefined;

  private constructor(started: StartedMember, peers: OpenPeers, ports: OpenPorts, options: EtcdServerOptions) {
    const { name = 'default', dataDir = '', log = silentLog } = options;
    this.#started = started;
    this.#peers = peers;
    this.#ports = ports;
    this.#log = log;
    this.#fields = { name, 'data-dir': dataDir, 'advertise-client-urls': ports.clientUrls };
    this.endpoint = ports.endpoint;
    this.clientUrl = ports.url;
    this.failed = started.member.failed;
    void this.failed.then((error) => this.#tellFailure(error));
  }

  /**
   * Starts a server, and waits until it can serve.
   *
   * @throws BootstrapError: the cluster that it is to join can't be reached, or is another than was said.
   * @throws DataDirError, WalError: the data directory can't be used, or another server uses it; it was left as it is.
   * @throws Error: an address can't be listened on (with Node's `code`), or a certificate or key can't be used.
   */
  static async start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
    const { log = silentLog } = options;
    const { quotaBytes: quotaBackendBytes, extensiveMetrics: extensive, slowApplyMs } = options;
    const metrics = new ServerMetrics({ quotaBackendBytes, extensive, slowApplyMs });
    const clientUrls = deferred<readonly string[]>();
    const peers = await openPeers(options, metrics.peers);
    const started = await startMember(options, peers, clientUrls.promise, metrics.observer).catch((error: unknown) =>
      peers.close().then(() => rethrow(error)),
    );
    const { member } = started;
    let ports: OpenPorts | undefined;
    try {
      ports = await openPorts(options, member, metrics, member.ready);
      clientUrls.resolve(ports.clientUrls);
      // That it has ended says less than why.
      await member.ready.catch(async () => rethrow(await member.failed));
    } catch (error) {
      await ports?.close(0);
      await member.stop();
      await peers.close();
      await started.hasher.close();
      throw error;
    }
    log.write('info', CALLER, 'published local member to cluster through raft', {
      'local-member-id': idText(member.id),
      'cluster-id': idText(member.clusterId),
    });
    for (const { secure, address } of ports.list) {
      log.write('info', CALLER, 'ready to serve client requests');
      if (secure) log.write('info', CALLER, 'serving client traffic securely', { address });
      else log.write('info', CALLER, 'serving client traffic insecurely; this is strongly discouraged!', { address });
    }
    return new EtcdServer(started, peers, ports, options);
  }

  /** Id of the member, and of its cluster. */
  get ids(): { readonly memberId: bigint; readonly clusterId: bigint } {
    const { id, clusterId } = this.#started.member;
    return { memberId: id, clusterId };
  }

  /** Ends it. Calls that wait are refused; what was acknowledged is kept. Idempotent, never rejects. */
  stop({ graceMs = 0 }: StopOptions = {}): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  /** {@link stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(graceMs: number): Promise<void> {
    const { member, hasher } = this.#started;
    this.#log.write('info', CALLER, 'closing etcd server', this.#fields);
    await this.#ports.close(graceMs);
    await member.stop();
    await this.#peers.close();
    await hasher.close();
    this.#log.write('info', CALLER, 'closed etcd server', this.#fields);
  }

  #tellFailure(error: unknown): void {
    if (this.#stopping !== undefined) return;
    if (error instanceof MemberRemovedError) {
      this.#log.write('error', CALLER, 'the member has been permanently removed from the cluster');
      this.#log.write('error', CALLER, 'data-dir used by this member must be removed');
    } else this.#log.write('error', CALLER, 'the member has failed', { error });
  }
}

function rethrow(error: unknown): never {
  throw error;
}
