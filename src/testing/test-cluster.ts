/**
 * Clusters of bundled servers, for tests.
 *
 * Clients come over real sockets, so any client of etcd will do. Members speak with each other in memory, in a turn of the
 * event loop. With a `VirtualClock` the calls of this class let as much time pass as they need, and no more; otherwise
 * nothing expires, is elected or is repeated until the test says `clock.advance(ms)`.
 *
 * Nothing of it keeps the process alive but calls that wait. Once it is closed nothing is left.
 *
 * @module
 */
import { Etcd, type EtcdOptions } from '../index.ts';
import type { ExistingCluster, InitialMember } from '../server/member/boot.ts';
import { memberIdOf } from '../server/member/ids.ts';
import type { EtcdServerOptions } from '../server/options.ts';
import { randomBelow } from '../server/system.ts';
import { type Clock, systemClock } from '../support/clock.ts';
import { onAbort, sleep } from '../support/signals.ts';
import { ClientDoor } from './client-door.ts';
import type { LinkOptions } from './links.ts';
import { timeOfDayBy } from './member-run.ts';
import { Network } from './network.ts';
import type { NewTestMember, TestClusterOptions, TestWaitOptions } from './options.ts';
import { PromptClock } from './prompt-clock.ts';
import { seededRandom } from './seeded-random.ts';
import { type Seat, TestMember } from './test-member.ts';
import { VirtualClock } from './virtual-clock.ts';

/** At once, and nothing is lost. */
const PROMPT_LINK: Partial<LinkOptions> = { minDelayMs: 0 };
const WAIT_MS = 30_000;
/** How often is looked whether something is so, in ms. */
const LOOK_MS = 5;

/**
 * A cluster of bundled servers in this process, for tests: members are killed, held, cut off and brought back by a call,
 * and, with a {@link VirtualClock}, time passes by one too.
 *
 * @example
 * ```ts
 * import { TestCluster } from 'etcdkit/testing';
 *
 * await using cluster = await TestCluster.start();          // three members, in memory, on free ports
 * const etcd = cluster.client();                            // closed with the cluster
 * await etcd.put('greeting', 'hello');
 * await (await cluster.waitForLeader()).kill();             // as SIGKILL does
 * console.log((await etcd.get('greeting'))?.value);         // hello
 * ```
 */
export class TestCluster implements AsyncDisposable {
  /** The clock that it goes by. */
  readonly clock: Clock;
  readonly #options: TestClusterOptions;
  readonly #network: Network;
  readonly #link: Partial<LinkOptions>;
  readonly #doors: ClientDoor[] = [];
  readonly #clients = new Set<Etcd>();
  readonly #closing = new AbortController();
  readonly #unwatch: () => void;
  readonly #random: () => number;
  #members: TestMember[] = [];
  /** How many names were given. */
  #named = 0;
  /** How many members were added: an id is never used again. */
  #added = 0;
  #closed: Promise<void> | undefined;

  private constructor(options: TestClusterOptions) {
    const { clock = systemClock, seed } = options;
    this.#options = options;
    this.clock = clock;
    this.#link = { ...PROMPT_LINK, ...options.link };
    this.#random = seed === undefined ? () => randomBelow(2 ** 32) / 2 ** 32 : seededRandom(seed);
    const prompt = new PromptClock(clock);
    this.#network = new Network({ clock: prompt, random: this.#random, link: this.#link });
    const activity = {
      get count(): number {
        return doors.reduce((sum, door) => sum + door.count, prompt.count);
      },
      get busy(): boolean {
        return cluster.#members.some((member) => member.busy);
      },
    };
    const [cluster, doors] = [this, this.#doors];
    this.#unwatch = clock instanceof VirtualClock ? clock.watch(activity) : () => {};
  }

  /**
   * Starts a cluster, and waits until all members serve clients.
   *
   * @throws Error it could not be had in 30 seconds; DataDirError, WalError: its data can't be used. Nothing is left then.
   */
  static async start(options: TestClusterOptions = {}): Promise<TestCluster> {
    const { members: count = 3 } = options;
    if (!Number.isInteger(count) || count < 1) throw new RangeError('members: a whole number above 0');
    const cluster = new TestCluster(options);
    try {
      const names = Array.from({ length: count }, () => cluster.#nextName());
      const founders = names.map((name): InitialMember => ({ name, peerUrls: [peerUrlOf(name)] }));
      for (const name of names) cluster.#members.push(await cluster.#seat(name, founders, undefined));
      await Promise.all(cluster.#members.map((member) => member.start({})));
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** All members that were not removed, by when they came. */
  get members(): readonly TestMember[] {
    return this.#members;
  }

  /** Where clients reach the members, in their order. */
  get endpoints(): readonly string[] {
    return this.#members.map(({ endpoint }) => `${this.#scheme}://${endpoint}`);
  }

  /**
   * A client of the cluster, of all its members unless it is told otherwise. It goes by the cluster's clock, and is closed
   * with the cluster, or before.
   */
  client(options: EtcdOptions = {}): Etcd {
    this.#assertOpen();
    const client = new Etcd({ endpoints: this.endpoints, clock: this.clock, ...options });
    this.#clients.add(client);
    return client;
  }

  /**
   * Who leads: takes itself for the leader, is connected with a majority, and is followed by it. Undefined during an
   * election, or without a majority.
   */
  leader(): TestMember | undefined {
    return this.#members.find((member) => member.state === 'running' && member.leads && this.#isFollowed(member));
  }

  /** Waits until somebody leads: {@link leader}. @throws Error nobody does in time; or the signal's reason. */
  waitForLeader(options: TestWaitOptions = {}): Promise<TestMember> {
    return this.#waitFor(() => this.leader(), options, 'a leader');
  }

  /** Makes a member the leader, and waits until it is. @throws Error it is not in time. */
  async moveLeader(to: TestMember, options: TestWaitOptions = {}): Promise<void> {
    const leader = await this.waitForLeader(options);
    if (leader === to) return;
    await this.#wait(leader.member?.moveLeader(to.id) ?? Promise.resolve(), options, `${to.name} to lead`);
    await this.#waitFor(() => this.leader() === to || undefined, options, `${to.name} to lead`);
  }

  /** Cuts members of different sides off from each other. Those that are named in none hear everybody. */
  partition(...sides: readonly (readonly TestMember[])[]): void {
    this.#network.partition(...sides.map((side) => side.map(({ id }) => id)));
  }

  /** Cuts one direction: nothing that the one sends reaches the other. */
  cut(from: TestMember, to: TestMember): void {
    this.#network.cut(from.id, to.id);
  }

  /** Cuts a member off from all others. Clients still reach it. */
  isolate(member: TestMember): void {
    this.partition(
      [member],
      this.#members.filter((other) => other !== member),
    );
  }

  /** How messages travel between members from now on: slowly, out of order, or not all of them; until {@link heal}. */
  disturb(link: Partial<LinkOptions>): void {
    this.#network.link = { ...this.#link, ...link };
  }

  /** Nothing is cut or disturbed any more, and clients are let in. Who is paused or killed stays so. */
  heal(): void {
    this.#network.mend();
    this.#network.link = this.#link;
    for (const member of this.#members) member.admitClients();
  }

  /** Adds a member, and waits until it serves clients. Clients that are there know its address only if they ask. */
  async addMember({ name = this.#nextName(), learner = false, ...options }: NewTestMember = {}): Promise<TestMember> {
    if (this.#members.some((member) => member.name === name)) throw new Error(`there is a member ${name} already`);
    const leader = await this.waitForLeader(options);
    const peerUrls = [peerUrlOf(name)];
    this.#added += 1;
    const id = memberIdOf(peerUrls, `${this.#added}`);
    const added = { id, name: '', peerUrls, clientUrls: [], isLearner: learner };
    const { member } = leader;
    if (member === undefined) throw new Error(`${leader.name} is gone`);
    const members = await this.#wait(member.changeMembers({ type: 'add', member: added }), options, 'the change');
    const join = { clusterId: member.clusterId, members };
    const seated = await this.#seat(name, [{ name, peerUrls }], join);
    this.#members.push(seated);
    await seated.start(options);
    return seated;
  }

  /** Takes a member out of the cluster for good, and ends it. */
  async removeMember(member: TestMember, options: TestWaitOptions = {}): Promise<void> {
    const leader = await this.waitForLeader(options);
    const change = leader.member?.changeMembers({ type: 'remove', id: member.id });
    await this.#wait(change ?? Promise.resolve([]), options, 'the change');
    this.#members = this.#members.filter((other) => other !== member);
    await member.retire();
  }

  /**
   * Ends all members at once, and the clients that came from here. With a data directory, what was acknowledged is there
   * for the next cluster of the same members. Idempotent.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#closing.abort(new Error('the cluster was closed'));
    await Promise.all([...this.#clients].map((client) => client.close()));
    await Promise.all(this.#members.map((member) => member.kill()));
    await Promise.all(this.#doors.map((door) => door.close()));
    this.#unwatch();
  }

  get #scheme(): string {
    return this.#options.tls ? 'https' : 'http';
  }

  #nextName(): string {
    this.#named += 1;
    return `m${this.#named}`;
  }

  async #seat(
    name: string,
    founders: readonly InitialMember[],
    join: ExistingCluster | undefined,
  ): Promise<TestMember> {
    this.#assertOpen();
    const door = await ClientDoor.open();
    this.#doors.push(door);
    const { dataDir } = this.#options;
    const seat: Seat = {
      name,
      door,
      network: this.#network,
      initialCluster: founders,
      join,
      dataDir: dataDir === undefined ? undefined : `${dataDir}/${name}`,
      optionsOf: (run) => this.#serverOptions(name, door, run),
      wait: (promise, options, what) => this.#wait(promise, options, what),
    };
    return new TestMember(seat);
  }

  #serverOptions(name: string, door: ClientDoor, run: number): EtcdServerOptions {
    const { members, seed, link, dataDir, ...server } = this.#options;
    const virtual = this.clock instanceof VirtualClock;
    // Of its own, so that who draws first changes nothing for the others.
    const random = seed === undefined ? undefined : seededRandom(Math.floor(this.#random() * 2 ** 32));
    return {
      heartbeatMs: virtual ? 100 : 10,
      electionMs: virtual ? 1_000 : 100,
      bcryptCost: 4,
      strictReconfigCheck: false,
      ...server,
      name,
      host: '127.0.0.1',
      port: 0,
      advertiseClientUrls: [`${this.#scheme}://${door.address}`],
      clock: this.clock,
      ...(virtual && { timeOfDay: timeOfDayBy(this.clock, run) }),
      ...(random && { random: (bound: number) => Math.floor(random() * bound) }),
    };
  }

  #isFollowed(leader: TestMember): boolean {
    const voters = leader.member?.state.members.list().filter(({ isLearner }) => !isLearner) ?? [];
    const followers = this.#members.filter(
      (member) =>
        member.state === 'running' &&
        member.status?.leader === leader.id &&
        voters.some(({ id }) => id === member.id) &&
        (member === leader || this.#areConnected(leader, member)),
    );
    return followers.length > voters.length / 2;
  }

  #areConnected(a: TestMember, b: TestMember): boolean {
    const end = this.#network.endpoint(a.id);
    return end !== undefined && this.#network.connectedSince(end, b.id) !== undefined;
  }

  async #waitFor<T>(find: () => T | undefined, options: TestWaitOptions, what: string): Promise<T> {
    const done = new AbortController();
    const look = async (): Promise<T> => {
      for (;;) {
        const found = find();
        if (found !== undefined) return found;
        await sleep(this.clock, LOOK_MS, done.signal);
        done.signal.throwIfAborted();
      }
    };
    const looking = look();
    // Once nobody waits any more.
    looking.catch(() => {});
    try {
      return await this.#wait(looking, options, what);
    } finally {
      done.abort();
    }
  }

  /** Waits for something, and under virtual time lets that pass. */
  async #wait<T>(promise: Promise<T>, { signal, timeoutMs = WAIT_MS }: TestWaitOptions, what: string): Promise<T> {
    const { clock } = this;
    const timer = { cancel: () => {} };
    const unlisten: (() => void)[] = [];
    const ended = new Promise<never>((_, reject) => {
      const late = (): void => reject(new Error(`waited ${timeoutMs} ms in vain for ${what}`));
      timer.cancel = clock.after(timeoutMs, late).cancel;
      for (const one of [signal, this.#closing.signal]) {
        if (one) unlisten.push(onAbort(one, () => reject(one.reason as Error)));
      }
    });
    try {
      const first = Promise.race([promise, ended]);
      return await (clock instanceof VirtualClock ? clock.until(first, { limitMs: timeoutMs }) : first);
    } finally {
      timer.cancel();
      for (const end of unlisten) end();
    }
  }

  #assertOpen(): void {
    this.#closing.signal.throwIfAborted();
  }
}

/** An address that nobody dials: it only names the member. */
function peerUrlOf(name: string): string {
  return `http://${name}:2380`;
}

/**
 * Starts a single member: a server that is enough for most tests.
 *
 * ```ts
 * await using server = await startEtcd();
 * const etcd = server.client();
 * ```
 */
export function startEtcd(options: Omit<TestClusterOptions, 'members'> = {}): Promise<TestCluster> {
  return TestCluster.start({ ...options, members: 1 });
}
