/**
 * Real etcd clusters for tests, on loopback, with data in a temporary folder.
 *
 * Elections are quick (heartbeat 20 ms, election 200 ms), so a lost leader costs a test well under a second, and the
 * smallest lease TTL the server grants, `ceil(1.5 * election)`, is one second. Nothing is synced to disk: a killed
 * process loses nothing by that, only a killed machine would.
 */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EtcdBinaries, type EtcdVersion, ensureEtcd, unsupportedArchEnv } from '../../scripts/etcd.ts';
import { type CertificateFiles, Certificates, writeJwtKeys } from './certificates.ts';
import { EtcdMember, type MemberStatus } from './etcd-member.ts';
import type { ProbeTls } from './http-probe.ts';
import { TempFolder, tieProcess } from './lifeline.ts';
import { freePorts, releasePorts } from './ports.ts';

const START_ATTEMPTS = 5;
const ETCDCTL_TIMEOUT_MS = 30_000;
const LEADER_TIMEOUT_MS = 15_000;
const LEADER_POLL_MS = 20;
/** How long the members' answers are waited for at first; twice as long in each round after that. */
const FIRST_LEADER_ROUND_MS = 100;

/** What to start. */
export interface EtcdClusterOptions {
  version: EtcdVersion;
  /** Default 1. */
  members?: 1 | 3;
  /** On client connections: none (default), a server certificate, or certificates on both sides. */
  tls?: 'none' | 'server' | 'mutual';
  /** Kind of tokens that authentication hands out; simple ones by default. */
  authToken?: 'simple' | { jwtTtlSeconds: number };
  /** Life of simple tokens; etcd's default is 300 s. */
  authTokenTtlSeconds?: number;
  /** Further flags for every member; they come last, so they win over the launcher's own. */
  flags?: readonly string[];
  /** Further environment variables for every member. */
  env?: Readonly<Record<string, string>>;
}

/** The client's side of TLS. With `tls: 'server'` the certificate is there but nobody asks for it. */
export interface ClusterTls extends CertificateFiles {
  readonly ca: Buffer;
  readonly caPath: string;
  /** Signs more: a client certificate for a user, an expired one, … */
  readonly authority: Certificates;
}

/** How to run etcdctl. */
export interface EtcdctlOptions {
  /** For example `ETCDCTL_USER: 'root:secret'`; overrides the cluster's own settings. */
  env?: Readonly<Record<string, string>>;
  /** Where to connect instead of the members' own addresses, say a proxy; `http:` or `https:` URLs. */
  endpoints?: readonly string[];
  /** Standard input, for `txn` and for large values. */
  input?: string;
  timeoutMs?: number;
}

/** etcdctl ended with an error; the message has what it printed. */
export class EtcdctlError extends Error {
  override name = 'EtcdctlError';
  readonly stdout: string;
  readonly stderr: string;

  constructor(args: readonly string[], stdout: string, stderr: string, cause: Error) {
    super(`etcdctl ${args[0] ?? ''} failed: ${stderr.trim() || stdout.trim() || cause.message}`, { cause });
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/** What a cluster is made of, by whoever has started it. */
export interface EtcdClusterParts {
  readonly version: EtcdVersion;
  readonly members: readonly EtcdMember[];
  readonly binaries: EtcdBinaries;
  readonly tls?: ClusterTls | undefined;
  /** Called once all members have ended. */
  release(): Promise<void>;
}

/** A running cluster. Dispose it: its processes are killed and its folders removed. */
export class EtcdCluster implements AsyncDisposable {
  /** The release line asked for. */
  readonly version: EtcdVersion;
  readonly members: readonly EtcdMember[];
  readonly binaries: EtcdBinaries;
  readonly tls: ClusterTls | undefined;
  readonly #release: () => Promise<void>;

  protected constructor({ version, members, binaries, tls, release }: EtcdClusterParts) {
    this.version = version;
    this.members = members;
    this.binaries = binaries;
    this.tls = tls;
    this.#release = release;
  }

  /** Starts a cluster and waits until every member is healthy. A port that somebody else took means another try. */
  static async start(options: EtcdClusterOptions): Promise<EtcdCluster> {
    const binaries = await ensureEtcd(options.version);
    const tls = options.tls && options.tls !== 'none' ? await clientTls() : undefined;
    for (let attempt = 1; ; attempt++) {
      const cluster = await EtcdCluster.#prepare(options, binaries, tls);
      try {
        await Promise.all(cluster.members.map((member) => member.spawn()));
        // All of them, so that one that has exited is an error.
        await Promise.all(cluster.members.map((member) => member.waitHealthy()));
        return cluster;
      } catch (error) {
        const clash = cluster.members.some((member) => /address already in use/.test(member.log));
        await cluster.#stop();
        if (clash && attempt < START_ATTEMPTS) continue;
        await tls?.authority[Symbol.asyncDispose]();
        throw error;
      }
    }
  }

  static async #prepare(
    options: EtcdClusterOptions,
    binaries: EtcdBinaries,
    tls: ClusterTls | undefined,
  ): Promise<EtcdCluster> {
    const size = options.members ?? 1;
    const folder = new TempFolder('etcdkit-etcd');
    const ports = await freePorts(2 * size);
    const scheme = tls ? 'https' : 'http';
    const seats = Array.from({ length: size }, (_, index) => ({
      name: `m${index + 1}`,
      clientUrl: `${scheme}://127.0.0.1:${ports[2 * index]}`,
      peerUrl: `http://127.0.0.1:${ports[2 * index + 1]}`,
      dataDir: folder.file(`m${index + 1}`),
    }));
    const initialCluster = seats.map((seat) => `${seat.name}=${seat.peerUrl}`).join(',');
    const shared = [
      `--initial-cluster=${initialCluster}`,
      `--initial-cluster-token=${folder.path}`,
      ...tuningFlags,
      ...(await authFlags(options, folder)),
      ...(await tlsFlags(options, tls)),
    ];
    const env = { ...cleanEnv(), ...unsupportedArchEnv, ...options.env };
    const probeTls = tls && (await probeCredentials(tls));
    const members = seats.map((seat) => {
      const own = [
        `--name=${seat.name}`,
        `--data-dir=${seat.dataDir}`,
        `--listen-client-urls=${seat.clientUrl}`,
        `--advertise-client-urls=${seat.clientUrl}`,
        `--listen-peer-urls=${seat.peerUrl}`,
        `--initial-advertise-peer-urls=${seat.peerUrl}`,
      ];
      const args = [...own, ...shared, ...(options.flags ?? [])];
      return new EtcdMember({ ...seat, binary: binaries.etcd, args, env, tls: probeTls });
    });
    const release = async (): Promise<void> => {
      releasePorts(ports);
      await folder.remove();
    };
    return new EtcdCluster({ version: options.version, members, binaries, tls, release });
  }

  /** Client URLs of all members, running or not. */
  get endpoints(): string[] {
    return this.members.map((member) => member.clientUrl);
  }

  /** Waits until every running member is healthy. */
  async waitHealthy(timeoutMs?: number): Promise<void> {
    const running = this.members.filter((member) => member.running);
    await Promise.all(running.map((member) => member.waitHealthy(timeoutMs)));
  }

  /** The leader: the member that itself and a majority of all members believe to lead, waiting for one if need be. */
  async leader(timeoutMs = LEADER_TIMEOUT_MS): Promise<EtcdMember> {
    const deadline = performance.now() + timeoutMs;
    for (let roundMs = FIRST_LEADER_ROUND_MS; ; roundMs *= 2) {
      const leader = await this.#askForLeader(roundMs);
      if (leader !== undefined) return leader;
      if (performance.now() >= deadline) break;
      await sleep(LEADER_POLL_MS);
    }
    throw new Error(`no leader within ${timeoutMs} ms:\n${this.members.map((member) => member.log).join('\n')}`);
  }

  /**
   * Asks every member once. Resolves as soon as enough of them agree; with undefined when all have answered and don't,
   * or the round's time is over: a paused member is not waited for, and what the others said is old by then.
   */
  #askForLeader(roundMs: number): Promise<EtcdMember | undefined> {
    const running = this.members.filter((member) => member.running);
    const views: { readonly member: EtcdMember; readonly status: MemberStatus }[] = [];
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, roundMs, undefined);
      const done = (leader: EtcdMember | undefined): void => {
        clearTimeout(timer);
        resolve(leader);
      };
      const asking = running.map(async (member) => {
        const status = await member.status().catch(() => undefined);
        if (status === undefined) return;
        views.push({ member, status });
        // A deposed leader that has not heard of it yet still believes in itself, but only itself.
        const leader = views.find(({ status: { leaderId, memberId } }) => {
          const agreeing = views.filter((view) => view.status.leaderId === memberId);
          return leaderId === memberId && agreeing.length > this.members.length / 2;
        });
        if (leader !== undefined) done(leader.member);
      });
      void Promise.all(asking).then(() => done(undefined));
    });
  }

  /** The members that do not lead. */
  async followers(timeoutMs?: number): Promise<EtcdMember[]> {
    const leader = await this.leader(timeoutMs);
    return this.members.filter((member) => member !== leader);
  }

  /** Runs the etcdctl of the cluster's own version and returns what it prints. @throws {@link EtcdctlError} */
  etcdctl(args: readonly string[], options: EtcdctlOptions = {}): Promise<string> {
    const settings = { env: this.#etcdctlEnv(args, options), timeout: options.timeoutMs ?? ETCDCTL_TIMEOUT_MS };
    return new Promise((resolve, reject) => {
      const limits = { ...settings, maxBuffer: 256 * 1024 * 1024, killSignal: 'SIGKILL' as const };
      const child = execFile(this.binaries.etcdctl, args, limits, (error, stdout, stderr) => {
        if (error) reject(new EtcdctlError(args, stdout, stderr, error));
        else resolve(stdout);
      });
      tieProcess(child);
      // It may end before it reads its input.
      child.stdin?.on('error', () => {});
      child.stdin?.end(options.input ?? '');
    });
  }

  /** Starts an etcdctl that goes on (`watch`, `lock`, `elect`, `lease keep-alive`); the caller ends it. */
  spawnEtcdctl(args: readonly string[], options: EtcdctlOptions = {}): ChildProcessWithoutNullStreams {
    const child = spawn(this.binaries.etcdctl, args, { env: this.#etcdctlEnv(args, options) });
    tieProcess(child);
    child.stdin.on('error', () => {});
    return child;
  }

  #etcdctlEnv(args: readonly string[], options: EtcdctlOptions): NodeJS.ProcessEnv {
    const env: NodeJS.ProcessEnv = { ...cleanEnv(), ETCDCTL_API: '3' };
    // etcdctl objects to a setting that is given both by flag and by variable.
    const flagged = (flag: string): boolean => args.some((arg) => arg === flag || arg.startsWith(`${flag}=`));
    if (!flagged('--endpoints')) env.ETCDCTL_ENDPOINTS = (options.endpoints ?? this.endpoints).join(',');
    if (this.tls) {
      if (!flagged('--cacert')) env.ETCDCTL_CACERT = this.tls.caPath;
      if (!flagged('--cert')) env.ETCDCTL_CERT = this.tls.certPath;
      if (!flagged('--key')) env.ETCDCTL_KEY = this.tls.keyPath;
    }
    return { ...env, ...options.env };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    await this.tls?.authority[Symbol.asyncDispose]();
  }

  async #stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    await this.#release();
  }
}

const tuningFlags = [
  '--initial-cluster-state=new',
  '--heartbeat-interval=20',
  '--election-timeout=200',
  // Not in 3.4's help, but there.
  '--unsafe-no-fsync',
  // The cheapest there is: tests are not after passwords that are hard to guess.
  '--bcrypt-cost=4',
  '--logger=zap',
  '--log-outputs=stderr',
  '--log-level=warn',
];

async function authFlags(options: EtcdClusterOptions, folder: TempFolder): Promise<string[]> {
  const flags: string[] = [];
  const { authToken = 'simple', authTokenTtlSeconds } = options;
  if (authTokenTtlSeconds !== undefined) flags.push(`--auth-token-ttl=${authTokenTtlSeconds}`);
  if (authToken === 'simple') return [...flags, '--auth-token=simple'];
  const keys = await writeJwtKeys(folder);
  const parts = [`pub-key=${keys.publicPath}`, `priv-key=${keys.privatePath}`, `ttl=${authToken.jwtTtlSeconds}s`];
  return [...flags, `--auth-token=jwt,sign-method=RS256,${parts.join(',')}`];
}

async function tlsFlags(options: EtcdClusterOptions, tls: ClusterTls | undefined): Promise<string[]> {
  if (!tls) return [];
  const server = await tls.authority.server();
  const flags = [`--cert-file=${server.certPath}`, `--key-file=${server.keyPath}`];
  return options.tls === 'mutual' ? [...flags, '--client-cert-auth', `--trusted-ca-file=${tls.caPath}`] : flags;
}

async function clientTls(): Promise<ClusterTls> {
  const authority = await Certificates.create();
  const client = await authority.client('client');
  return { ...client, authority, ca: authority.ca.cert, caPath: authority.ca.certPath };
}

/** etcd's HTTP side turns away certificates with a common name once authentication is on, so ours has none. */
async function probeCredentials(tls: ClusterTls): Promise<ProbeTls> {
  const { cert, key } = await tls.authority.issue({ name: 'probe', commonName: '', usage: 'client' });
  return { ca: tls.ca, cert, key };
}

/** Our environment without the variables that etcd and etcdctl would take for settings. */
function cleanEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^ETCD(CTL)?_/.test(name)));
}
