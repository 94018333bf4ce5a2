/**
 * Three members as processes, of this server or of etcd, whose peers meet over a network that can be hurt.
 *
 * A seat stays, with its name and addresses, whatever happens to who sits there: he is killed and comes back, or is
 * removed and another one is added in his place, with no data. The number of a seat's life tells one process from the
 * next, since what a process has told must not be taken back by itself, but may be by its successor.
 */
import { rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { BUNDLED_VARIABLE, type EtcdVersion, ensureEtcd, unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { Cluster, Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import { EtcdMember } from '../../support/etcd-member.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';
import { buildServer, type ServerBuild } from '../../support/server-build.ts';
import { PeerNetwork } from './cluster-network.ts';
import { TortureFailure } from './ledger.ts';
import { WireClient } from './wire-client.ts';

/** For what has to come about in the end, on a machine that is busy. */
const PATIENCE_MS = 240_000;
const CALL_MS = 5_000;
const RETRY_MS = 100;
/** From one look at a cluster that does not recover to the next: longer than a few elections. */
const SECOND_LOOK_MS = 5_000;
export const ELECTION_MS = 500;

/** Of the log no more is kept than a member needs that was away for a moment: all others get an image. */
const FLAGS = ['--snapshot-count=100', '--experimental-snapshot-catchup-entries=20'];
const TIMING = ['--heartbeat-interval=50', `--election-timeout=${ELECTION_MS}`];
const LOG = ['--logger=zap', '--log-outputs=stderr', '--log-level=warn'];

/** One place, and who sits there now. */
export interface ClusterSeat {
  readonly index: number;
  readonly name: string;
  readonly clientUrl: string;
  /** Where the others reach it. */
  readonly peerUrl: string;
  readonly listenUrl: string;
  readonly dataDir: string;
  version: EtcdVersion;
  member: EtcdMember;
  life: number;
}

/** See the head of this file. Dispose it: all processes are killed. */
export class TorturedCluster implements AsyncDisposable {
  readonly seats: ClusterSeat[] = [];
  readonly network: PeerNetwork;
  /** Of its own, unless there is one for the whole run. */
  readonly #build: ServerBuild | undefined;
  readonly #folder: TempFolder;
  readonly #ports: readonly number[];
  readonly #flags: readonly string[];
  /** Processes that ended when nobody had told them to. */
  readonly #crashes: string[] = [];
  readonly #noted = new Set<EtcdMember>();

  private constructor(
    build: ServerBuild | undefined,
    folder: TempFolder,
    ports: readonly number[],
    network: PeerNetwork,
    flags: readonly string[],
  ) {
    this.#build = build;
    this.#folder = folder;
    this.#ports = ports;
    this.network = network;
    this.#flags = flags;
  }

  /** Founds a cluster and waits until all its members are healthy. @param flags Instead of those for short logs. */
  static async found(
    versions: readonly EtcdVersion[],
    flags: readonly string[] = FLAGS,
    places = versions.length,
  ): Promise<TorturedCluster> {
    const folder = new TempFolder('etcdkit-cluster-torture');
    const ports = await freePorts(2 * places);
    const members: ClusterSeat[] = [];
    const pidOf = (at: number): number | undefined => {
      const { member } = members[at] ?? {};
      return member?.running ? member.pid : undefined;
    };
    const targets = Array.from({ length: places }, (_, i) => `127.0.0.1:${ports[2 * i + 1]}`);
    const network = await PeerNetwork.open(targets, pidOf);
    const build = process.env[BUNDLED_VARIABLE] === undefined ? buildServer() : undefined;
    const cluster = new TorturedCluster(build, folder, ports, network, flags);
    for (let index = 0; index < places; index++) {
      const seat = {
        index,
        name: `m${index}`,
        clientUrl: `http://127.0.0.1:${ports[2 * index]}`,
        peerUrl: `http://${network.address(index)}`,
        listenUrl: `http://${targets[index]}`,
        dataDir: folder.file(`m${index}`),
        version: versions[index] ?? 'bundled',
        life: 0,
      };
      cluster.seats.push({ ...seat, member: undefined as unknown as EtcdMember });
    }
    const named = cluster.seats
      .slice(0, versions.length)
      .map(({ name, peerUrl }) => `${name}=${peerUrl}`)
      .join(',');
    for (const seat of cluster.seats) await cluster.#seatNew(seat, named, 'new');
    members.push(...cluster.seats);
    const founders = cluster.seats.slice(0, versions.length);
    await Promise.all(founders.map((seat) => cluster.spawn(seat)));
    await Promise.all(founders.map(({ member }) => member.waitHealthy(PATIENCE_MS)));
    return cluster;
  }

  get endpoints(): string[] {
    return this.seats.filter(({ member }) => member.running).map(({ clientUrl }) => clientUrl);
  }

  /** Starts the process of a seat and waits for nothing. */
  async spawn(seat: ClusterSeat): Promise<void> {
    seat.life += 1;
    await seat.member.spawn();
  }

  /** Everybody up, everything healed, all healthy. */
  async recover(): Promise<void> {
    this.network.heal();
    for (const seat of this.seats) if (!seat.member.running && seat.life > 0) await this.spawn(seat);
    const seats = this.seats.filter(({ life }) => life > 0);
    await Promise.all(seats.map(({ member }) => member.waitHealthy(PATIENCE_MS))).catch(async (error: Error) => {
      const views = async (): Promise<string> => {
        const all = seats.map(({ member }) => member.status().catch((failure: Error) => failure.message));
        return JSON.stringify(await Promise.all(all));
      };
      // A term that rises tells of elections that come to nothing, as on a machine on which a vote takes longer than
      // candidates wait; one that stands, of members that are stuck.
      const [at, load] = [await views(), loadavg().map((one) => one.toFixed(1))];
      await sleep(SECOND_LOOK_MS);
      const more = `${at}\n${SECOND_LOOK_MS} ms later ${await views()}\nload ${load.join(' ')}`;
      throw new Error(`${error.message}\n${more}`, { cause: error });
    });
  }

  /** The seat of the leader, as itself says; undefined while there is none. @param among Whom to ask. Default: all. */
  async leader(among: readonly ClusterSeat[] = this.seats): Promise<ClusterSeat | undefined> {
    for (const seat of among.filter(({ member }) => member.running)) {
      const status = await seat.member.status().catch(() => undefined);
      if (status && status.memberId === status.leaderId) return seat;
    }
    return undefined;
  }

  /** Asks one member after the other until one does it. @throws when none has for a long time. */
  async patiently<T>(call: (client: WireClient) => Promise<T>, seats: readonly ClusterSeat[] = this.seats): Promise<T> {
    const deadline = performance.now() + PATIENCE_MS;
    for (let attempt = 0; ; attempt++) {
      const asked = seats[attempt % seats.length] as ClusterSeat;
      try {
        return await within(asked.clientUrl, CALL_MS, call);
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await sleep(RETRY_MS);
      }
    }
  }

  /** The members that a quorum stands for: ids by peer URL. */
  async members(seats?: readonly ClusterSeat[]): Promise<Map<string, { id: bigint; learner: boolean }>> {
    const list = await this.patiently((client) => client.unary(Cluster.memberList, { linearizable: true }), seats);
    return new Map(
      list.members.map(({ ID, peerURLs, isLearner }) => [peerURLs[0] ?? '', { id: ID, learner: isLearner }]),
    );
  }

  /** Removes who sits there, for good. His process ends, or is ended. */
  async remove(seat: ClusterSeat): Promise<void> {
    const others = this.seats.filter((other) => other !== seat && other.member.running);
    for (;;) {
      const known = (await this.members(others)).get(seat.peerUrl);
      if (known === undefined) break;
      // Whether an attempt without an answer has done it the list will say.
      await this.patiently(async (client) => {
        await client.unary(Cluster.memberRemove, { ID: known.id }).catch(() => sleep(RETRY_MS));
      }, others);
    }
    await sleep(RETRY_MS);
    await seat.member.kill();
    this.#note(seat.member);
    await rm(seat.dataDir, { recursive: true, force: true });
  }

  /** Adds a new member in that place. Resolves once it has a vote. */
  async add(seat: ClusterSeat, version: EtcdVersion = seat.version, learner = false): Promise<void> {
    const others = this.seats.filter((other) => other !== seat && other.member.running);
    while (!(await this.members(others)).has(seat.peerUrl))
      await this.patiently(async (client) => {
        const asked = { peerURLs: [seat.peerUrl], isLearner: learner };
        await client.unary(Cluster.memberAdd, asked).catch(() => sleep(RETRY_MS));
      }, others);
    await this.join(seat, version);
    for (;;) {
      const known = (await this.members(others)).get(seat.peerUrl);
      if (known === undefined) throw new Error(`${seat.name} was added and is not there`);
      if (!known.learner) break;
      // Refused until it has caught up.
      await this.patiently(async (client) => {
        await client.unary(Cluster.memberPromote, { ID: known.id }).catch(() => sleep(RETRY_MS));
      }, others);
      if (!seat.member.running) throw new Error(`${seat.name} has ended:\n${seat.member.log}`);
    }
    await seat.member.waitHealthy(PATIENCE_MS);
  }

  /** Starts a member that was added to the cluster, and waits for nothing. */
  async join(seat: ClusterSeat, version: EtcdVersion = seat.version): Promise<void> {
    const others = this.seats.filter((other) => other !== seat && other.member.running);
    const urls = new Set((await this.members(others)).keys());
    const named = this.seats
      .filter(({ peerUrl }) => urls.has(peerUrl))
      .map(({ name, peerUrl }) => `${name}=${peerUrl}`);
    seat.version = version;
    await this.#seatNew(seat, named.join(','), 'existing');
    await this.spawn(seat);
  }

  /** Waits until all members have the same at a revision, or as of now if that is 0. @throws TortureFailure when after so many ms they do not. */
  async agree(revision: number | bigint, ms: number): Promise<void> {
    const deadline = performance.now() + ms;
    for (;;) {
      const hashes = await Promise.all(
        this.seats.map((seat) =>
          this.patiently((client) => client.unary(Maintenance.hashKV, { revision: BigInt(revision) }), [seat]),
        ),
      );
      const views = hashes.map(({ header, hash, compactRevision }) => `${header?.revision} ${hash} ${compactRevision}`);
      if (new Set(views).size === 1) return;
      if (performance.now() > deadline) throw new TortureFailure(`the members differ: ${views.join(', ')}`);
      await sleep(RETRY_MS);
    }
  }

  /** What has ended by itself, with its log. */
  get crashes(): readonly string[] {
    for (const { member } of this.seats) this.#note(member);
    return this.#crashes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.seats.map(({ member }) => member.kill()));
    await this.network[Symbol.asyncDispose]();
    this.#build?.[Symbol.dispose]();
    releasePorts(this.#ports);
    await this.#folder.remove();
  }

  #note(member: EtcdMember): void {
    if (member.crash === undefined || this.#noted.has(member)) return;
    this.#noted.add(member);
    this.#crashes.push(`${member.name} ended by ${member.crash}:\n${member.log}`);
  }

  async #seatNew(seat: ClusterSeat, named: string, state: 'new' | 'existing'): Promise<void> {
    const { name, clientUrl, peerUrl, listenUrl, dataDir, version } = seat;
    const args = [
      ...[`--name=${name}`, `--data-dir=${dataDir}`, `--initial-cluster=${named}`, `--initial-cluster-state=${state}`],
      ...[`--listen-client-urls=${clientUrl}`, `--advertise-client-urls=${clientUrl}`],
      ...[`--listen-peer-urls=${listenUrl}`, `--initial-advertise-peer-urls=${peerUrl}`],
      ...TIMING,
      ...LOG,
      ...this.#flags,
    ];
    const bundled = version === 'bundled';
    const binary = bundled ? process.execPath : (await ensureEtcd(version)).etcd;
    const main = this.#build?.main ?? process.env[BUNDLED_VARIABLE] ?? '';
    const own = bundled ? [main, 'server'] : [];
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...unsupportedArchEnv };
    seat.member = new EtcdMember({ name, clientUrl, peerUrl, dataDir, binary, args: [...own, ...args], env });
  }
}

/** Uses a connection of its own, for a while. @throws WireFailure when the time is over, too. */
export async function within<T>(url: string, ms: number, use: (client: WireClient) => Promise<T>): Promise<T> {
  const opening = WireClient.open(url);
  const timer = setTimeout(
    () =>
      void opening.then(
        (client) => client.close(),
        () => {},
      ),
    ms,
  );
  try {
    return await use(await opening);
  } finally {
    clearTimeout(timer);
    void opening.then(
      (client) => client.close(),
      () => {},
    );
  }
}
