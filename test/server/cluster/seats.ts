/** Members of a cluster as processes, with the flags of etcd's clustering guide. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type EtcdVersion, ensureEtcd, unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';
import { ServerProcess } from '../cli/server-process.ts';

const run = promisify(execFile);
const POLL_MS = 100;

/** One place for a member. */
export interface Seat {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly dataDir: string;
  /** Who sits there: this server, or etcd itself. */
  readonly server: EtcdVersion;
}

export interface ClusterProcessesOptions {
  readonly peerScheme?: 'http' | 'https';
  /** Who sits where. Default: the bundled server, everywhere. */
  readonly servers?: readonly EtcdVersion[];
  /** For every member, after those of its seat. */
  readonly flags?: readonly string[];
}

/** Places for members, of which some run. Dispose it: all are killed. */
export class ClusterProcesses implements AsyncDisposable {
  readonly seats: readonly Seat[];
  readonly folder: TempFolder;
  readonly #flags: readonly string[];
  readonly #ports: readonly number[];
  readonly #etcdctl: string;
  readonly #started = new Set<ServerProcess>();

  private constructor(folder: TempFolder, ports: readonly number[], etcdctl: string, options: ClusterProcessesOptions) {
    const { peerScheme = 'http', flags = [], servers = [] } = options;
    this.folder = folder;
    this.#ports = ports;
    this.#etcdctl = etcdctl;
    this.#flags = flags;
    this.seats = Array.from({ length: ports.length / 2 }, (_, i) => ({
      name: `infra${i}`,
      clientUrl: `http://127.0.0.1:${ports[2 * i]}`,
      peerUrl: `${peerScheme}://127.0.0.1:${ports[2 * i + 1]}`,
      dataDir: folder.file(`infra${i}`),
      server: servers[i] ?? 'bundled',
    }));
  }

  /** @param count Of places. */
  static async prepare(count: number, options: ClusterProcessesOptions = {}): Promise<ClusterProcesses> {
    const { etcdctl } = await ensureEtcd('3.5');
    return new ClusterProcesses(new TempFolder('etcdkit-cluster'), await freePorts(2 * count), etcdctl, options);
  }

  /** Founds a cluster of the first places, and waits until all serve. */
  async found(count: number): Promise<ServerProcess[]> {
    const cluster = this.named(...this.seats.slice(0, count));
    // An etcd 3.4 does not say that it is ready when it logs as the others do.
    const said = ({ server }: Seat): string =>
      server === '3.4' ? 'serving client traffic insecurely' : 'ready to serve client requests';
    return Promise.all(
      this.seats.slice(0, count).map(async (seat) => {
        const process = await this.start(seat, cluster, 'new');
        await process.printed(said(seat));
        return process;
      }),
    );
  }

  /** `name=peerUrl,…` */
  named(...seats: readonly Seat[]): string {
    return seats.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
  }

  /** Starts a member, and waits for nothing. */
  async start(seat: Seat, cluster: string, state: 'new' | 'existing'): Promise<ServerProcess> {
    const { name, clientUrl, peerUrl, dataDir, server } = seat;
    const { etcd } = await ensureEtcd(server);
    const args = [
      ...['--name', name, '--data-dir', dataDir, '--initial-advertise-peer-urls', peerUrl],
      ...['--listen-peer-urls', peerUrl, '--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
      ...['--initial-cluster-token', 'etcd-cluster-1', '--initial-cluster', cluster, '--initial-cluster-state', state],
      // Short, and yet so long that a busy machine makes no election of its own.
      ...['--heartbeat-interval', '50', '--election-timeout', '1000', '--unsafe-no-fsync'],
      ...(server === '3.4' ? ['--logger=zap'] : []),
      ...this.#flags,
    ];
    const process = new ServerProcess(args, unsupportedArchEnv, etcd);
    this.#started.add(process);
    return process;
  }

  /** Runs etcdctl against some members, and returns what it prints. */
  async etcdctl(seats: Seat | readonly Seat[], ...args: readonly string[]): Promise<string> {
    const endpoints = [seats].flat().map(({ clientUrl }) => clientUrl);
    const { stdout } = await run(this.#etcdctl, [`--endpoints=${endpoints.join(',')}`, ...args], { timeout: 30_000 });
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#started].map((process) => process[Symbol.asyncDispose]()));
    releasePorts(this.#ports);
    await this.folder.remove();
  }
}

/** What etcdctl says of a member. */
interface StatusLine {
  readonly Status: {
    readonly header: { readonly member_id: number };
    readonly leader: number;
    readonly raftTerm: number;
  };
}

/** Who leads, as itself says; waits until somebody does. */
export async function leaderOf(
  cluster: ClusterProcesses,
  seats: readonly Seat[],
): Promise<{ leader: Seat; term: number }> {
  for (;;) {
    const lines = JSON.parse(await cluster.etcdctl(seats, 'endpoint', 'status', '--write-out=json')) as StatusLine[];
    const at = lines.findIndex(({ Status: status }) => status.leader === status.header.member_id);
    const [leader, line] = [seats[at], lines[at]];
    if (leader && line) return { leader, term: line.Status.raftTerm };
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Tries again as long as a cluster is too young to be changed, or a learner too new: etcd refuses both. */
export async function patiently(call: () => Promise<string>): Promise<string> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (attempt === 100 || !/unhealthy cluster|in sync with leader/.test(String(error))) throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
