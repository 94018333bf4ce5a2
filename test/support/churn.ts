/**
 * A cluster for suites that know nothing of it: three members, of which one is always in trouble.
 *
 * Before each test the trouble moves on: the last one is undone, and once all are well again the next one hits a member,
 * more often the leader than not. By then the others have a leader among them, so there is always a quorum, and what the
 * test asks of the cluster as a whole must come about. It lasts for the test: a member is down, stands still, is cut off
 * from its peers, comes back from a kill, or is removed and a new one joins in its place while the test runs.
 *
 * `endpoints` are those of all three. Who asks for a member by its place, such as the first one to put a proxy in front
 * of it, gets one that is well: the member in trouble comes last. A test that hurts members by itself, or with
 * etcdctl adds some or turns authentication on, which would shut this out, is left out in the moment it tries.
 *
 * All choices come from a seed and the suite's name.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type EtcdBinaries, type EtcdVersion, ensureEtcd } from '../../scripts/etcd.ts';
import { KV } from '../../src/protocol/generated/etcdserverpb.ts';
import { type ClusterSeat, TorturedCluster } from '../server/torture/cluster-seats.ts';
import { TortureFailure } from '../server/torture/ledger.ts';
import { type Random, Sfc32 } from '../simulation/world/random.ts';
import { EtcdCluster, type EtcdctlOptions } from './etcd-cluster.ts';
import type { EtcdMember } from './etcd-member.ts';

/** Logs are short, so that who was away gets an image now and then; the rest is as suites have it elsewhere. */
const FLAGS = [
  ...['--snapshot-count=100', '--experimental-snapshot-catchup-entries=20'],
  ...['--unsafe-no-fsync', '--bcrypt-cost=4'],
  // Who has just been in trouble may be replaced at once, and not only after five seconds.
  '--strict-reconfig-check=false',
];
/** For what has to come about in the end, on a machine that is busy. */
const PATIENCE_MS = 60_000;
const POLL_MS = 20;
/** How often it is the leader, whether or not its turn comes by chance. */
const LEADER_SHARE = 0.4;

/** What a member does only when it is told to. */
const HURTS: ReadonlySet<PropertyKey> = new Set(['kill', 'terminate', 'pause', 'resume', 'restart', 'spawn']);

/** What can befall a member. */
const troubles = ['kill', 'stop', 'partition', 'restart', 'replace'] as const;

type Trouble = (typeof troubles)[number];

/** What to start. */
export interface ChurnOptions {
  readonly seed: number;
  /** Of the suite. Suites of the same seed have their troubles in orders of their own. */
  readonly name: string;
  readonly version: EtcdVersion;
  /** Further flags for every member. */
  readonly flags?: readonly string[] | undefined;
}

/** See the head of this file. */
export class ChurnedCluster extends EtcdCluster {
  readonly #tortured: TorturedCluster;
  readonly #random: Random;
  /** What `members` is: the well ones first. */
  readonly #shown: EtcdMember[];
  readonly #guards = new WeakMap<EtcdMember, EtcdMember>();
  #next: Trouble[] = [];
  #victim: ClusterSeat | undefined;
  #undo: () => Promise<unknown> = async () => {};
  #refuse: (reason: string) => never = throwReason;
  /** Settled when the last trouble is there. */
  #moved: Promise<unknown> = Promise.resolve();

  private constructor(options: ChurnOptions, binaries: EtcdBinaries, tortured: TorturedCluster) {
    const shown: EtcdMember[] = [];
    super({ version: options.version, members: shown, binaries, release: async () => {} });
    this.#tortured = tortured;
    this.#shown = shown;
    this.#random = new Sfc32(options.seed).fork(options.name);
    this.#show();
  }

  /** Starts three members, all of them well. */
  static async found(options: ChurnOptions): Promise<ChurnedCluster> {
    const { version, flags = [] } = options;
    const binaries = await ensureEtcd(version);
    const tortured = await TorturedCluster.found([version, version, version], [...FLAGS, ...flags]);
    return new ChurnedCluster(options, binaries, tortured);
  }

  /** Those who are well. */
  get well(): readonly ClusterSeat[] {
    return this.#tortured.seats.filter((seat) => seat !== this.#victim);
  }

  /**
   * Undoes the last trouble and makes the next one; where tests run at once, one after the other: then trouble moves on
   * while some of them run.
   *
   * @param refuse Called with the reason when a test does what can't be done here; must throw.
   * @returns what has befallen whom, such as `stop of m1, the leader`
   */
  moveOn(refuse: (reason: string) => never): Promise<string> {
    const move = (): Promise<string> => this.#moveOn(refuse);
    const moving = this.#moved.then(move, move);
    this.#moved = moving;
    return moving;
  }

  async #moveOn(refuse: (reason: string) => never): Promise<string> {
    await this.#heal();
    this.#refuse = refuse;
    if (this.#next.length === 0) this.#next = [...troubles];
    const [trouble] = this.#next.splice(this.#random.below(this.#next.length), 1) as [Trouble];
    const { seats } = this.#tortured;
    const leader = await this.#leaderOf(seats);
    const victim = leader !== undefined && this.#random.chance(LEADER_SHARE) ? leader : this.#random.pick(seats);
    const { raftTerm: term } = await victim.member.status();
    this.#victim = victim;
    this.#undo = await this.#inflict(trouble, victim);
    await this.#leaderOf(this.well, term);
    if (trouble === 'partition') await this.#leaderless(victim);
    this.#show();
    return `${trouble} of ${victim.name}${victim === leader ? ', the leader' : ''}`;
  }

  /** Ends all trouble, and looks whether it has left anything behind. @throws TortureFailure */
  async conclude(): Promise<void> {
    this.#refuse = throwReason;
    await this.#heal();
    const key = new TextEncoder().encode('churn');
    const { header } = await this.#tortured.patiently((client) => client.unary(KV.range, { key }));
    await this.#tortured.agree(header?.revision ?? 0n, PATIENCE_MS);
    const { crashes } = this.#tortured;
    if (crashes.length > 0) throw new TortureFailure(crashes.join('\n'));
  }

  override async waitHealthy(timeoutMs?: number): Promise<void> {
    await Promise.all(this.well.map(({ member }) => member.waitHealthy(timeoutMs)));
  }

  override async etcdctl(args: readonly string[], options: EtcdctlOptions = {}): Promise<string> {
    if (args[0] === 'auth') this.#refuse('it is about authentication');
    if (args[0] === 'member') this.#refuse('it changes the members itself');
    return super.etcdctl(args, { endpoints: this.well.map(({ clientUrl }) => clientUrl), ...options });
  }

  override [Symbol.asyncDispose](): Promise<void> {
    return this.#tortured[Symbol.asyncDispose]();
  }

  async #heal(): Promise<void> {
    const undo = this.#undo;
    this.#undo = async () => {};
    await undo();
    await this.#tortured.recover();
    this.#victim = undefined;
    this.#show();
  }

  /** @returns what undoes it, beyond bringing up who is down and healing the network */
  async #inflict(trouble: Trouble, seat: ClusterSeat): Promise<() => Promise<unknown>> {
    const tortured = this.#tortured;
    switch (trouble) {
      case 'kill':
        await seat.member.kill();
        return async () => {};
      case 'stop':
        seat.member.pause();
        return async () => seat.member.resume();
      case 'partition':
        tortured.network.isolate(seat.index);
        return async () => {};
      case 'restart':
        await seat.member.kill();
        await tortured.spawn(seat);
        return async () => {};
      case 'replace': {
        await tortured.remove(seat);
        const joining = tortured.add(seat);
        joining.catch(() => {}); // told where it is waited for
        return () => joining;
      }
    }
  }

  /**
   * Waits until these agree on a leader.
   *
   * @returns its seat; undefined if it is none of these, which will do only if it was elected after `term`: a member that
   * was killed and is back may win
   */
  async #leaderOf(seats: readonly ClusterSeat[], term = Infinity): Promise<ClusterSeat | undefined> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const views = await Promise.all(seats.map(({ member }) => member.status().catch(() => undefined)));
      const [first] = views;
      const at = views.findIndex((view) => view?.memberId === first?.leaderId);
      const agreed = first !== undefined && views.every((view) => view?.leaderId === first.leaderId);
      if (agreed && first.leaderId !== '0' && (at >= 0 || first.raftTerm > term)) return seats[at];
      if (performance.now() > deadline) throw new TortureFailure(`no leader: ${JSON.stringify(views)}`);
      await sleep(POLL_MS);
    }
  }

  /** Waits until a member knows that it has no leader: until then it takes what it can do nothing with. */
  async #leaderless({ member }: ClusterSeat): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while ((await member.status()).leaderId !== '0') {
      if (performance.now() > deadline) throw new TortureFailure(`${member.name} is cut off and still has a leader`);
      await sleep(POLL_MS);
    }
  }

  #show(): void {
    const others = this.#tortured.seats.filter((seat) => seat === this.#victim);
    const seats = [...this.well, ...others];
    this.#shown.splice(0, this.#shown.length, ...seats.map(({ member }) => this.#guarded(member)));
  }

  /** The member as tests may use it. */
  #guarded(member: EtcdMember): EtcdMember {
    const known = this.#guards.get(member);
    if (known !== undefined) return known;
    const guard = new Proxy(member, {
      get: (target, name) => {
        if (HURTS.has(name)) return () => this.#refuse('it hurts members itself');
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    this.#guards.set(member, guard);
    return guard;
  }
}

function throwReason(reason: string): never {
  throw new Error(`under churn it can't be so: ${reason}`);
}
