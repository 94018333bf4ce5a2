/** Several members of tests in one process: on disks in memory, virtual time, and a network that does as it is told. */
import { Member } from '../../../src/server/member/member.ts';
import type { MemberOptions } from '../../../src/server/member/options.ts';
import type { PeerHost } from '../../../src/server/member/peers.ts';
import type { Message } from '../../../src/server/raft/index.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { Network } from '../../../src/testing/network.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { DATA_DIR, optionsOf, put, valueAt } from './support.ts';

/** A member, and what it is started from again. */
export interface Place {
  readonly name: string;
  readonly disk: MemoryDisk | undefined;
  readonly options: Partial<MemberOptions>;
  member: Member;
}

export function peerUrl(name: string): string {
  return `http://${name}:2380`;
}

export class TestMembers {
  readonly clock = new VirtualClock();
  readonly network: Network;
  readonly places = new Map<string, Place>();
  readonly #common: Partial<MemberOptions>;
  readonly #onDisk: boolean;
  readonly #hosts = new Map<string, PeerHost>();
  /** Hears of messages that arrive. */
  heard: (message: Message) => void = () => {};
  #dice = 12_345;
  #starts = 0;

  constructor(common: Partial<MemberOptions> & { readonly onDisk?: boolean } = {}) {
    const { onDisk = true, ...rest } = common;
    this.#onDisk = onDisk;
    this.#common = rest;
    this.network = new Network({
      clock: this.clock,
      random: () => this.#random(),
      observe: { delivered: (m) => this.heard(m) },
    });
  }

  /** Starts the members of a new cluster, and waits until all are ready. */
  static async found(names: readonly string[], common: Partial<MemberOptions> & { readonly onDisk?: boolean } = {}) {
    const members = new TestMembers(common);
    const initialCluster = names.map((name) => ({ name, peerUrls: [peerUrl(name)] }));
    for (const name of names) await members.start(name, { initialCluster });
    await members.until(() => members.leader !== undefined);
    await members.ready(...names);
    return members;
  }

  /** Starts a member; what it is on is new. */
  async start(name: string, options: Partial<MemberOptions>): Promise<Member> {
    const disk = this.#onDisk ? new MemoryDisk() : undefined;
    if (disk) await disk.makeDirectory('.');
    const place = { name, disk, options, member: await this.#start(name, disk, options) };
    this.places.set(name, place);
    return place.member;
  }

  /** Starts a member again that was stopped or killed. */
  async restart(name: string, more: Partial<MemberOptions> = {}): Promise<Member> {
    const place = this.#place(name);
    place.member = await this.#start(name, place.disk, { ...place.options, ...more });
    return place.member;
  }

  /** A new member joins, as it was added. */
  async join(name: string, options: Partial<MemberOptions> = {}): Promise<Member> {
    const [any] = this.places.values();
    const { member } = any as Place;
    const members = member.state.members.list();
    const initialCluster = [{ name, peerUrls: [peerUrl(name)] }];
    return this.start(name, { initialCluster, join: { clusterId: member.clusterId, members }, ...options });
  }

  get(name: string): Member {
    return this.#place(name).member;
  }

  /** What others reach of a member. */
  hostOf(name: string): PeerHost {
    return this.#hosts.get(name) as PeerHost;
  }

  disk(name: string): MemoryDisk {
    return this.#place(name).disk as MemoryDisk;
  }

  /** The one that leads and is known to. */
  get leader(): Member | undefined {
    return this.all.find((member) => member.position.leader === member.id);
  }

  get follower(): Member {
    return this.all.find((member) => member.id !== this.leader?.id) as Member;
  }

  get all(): readonly Member[] {
    return [...this.places.values()].map(({ member }) => member);
  }

  nameOf(member: Member): string {
    for (const place of this.places.values()) if (place.member === member) return place.name;
    throw new Error('no such member');
  }

  /** Lets time pass until something is so. */
  async until(condition: () => boolean, limitMs = 20_000): Promise<void> {
    for (let passed = 0; !condition(); passed += 10) {
      if (passed > limitMs) throw new Error(`it was not so within ${limitMs} ms`);
      await this.clock.advance(10);
    }
  }

  /** Lets time pass until a promise is settled. */
  async settled<T>(promise: Promise<T>, limitMs?: number): Promise<T> {
    let done = false;
    const end = (): void => {
      done = true;
    };
    promise.then(end, end);
    await this.until(() => done, limitMs);
    return promise;
  }

  async ready(...names: readonly string[]): Promise<void> {
    await this.settled(Promise.all(names.map((name) => this.get(name).ready)));
  }

  async put(member: Member, key: string, value: string, lease = 0n): Promise<void> {
    await this.settled(put(member, key, value, lease));
  }

  /** Waits until all that are named have a value. */
  async agree(key: string, value: string, ...members: readonly Member[]): Promise<void> {
    await this.until(() => members.every((member) => valueAt(member, key) === value));
  }

  /** Ends a member as if its machine had lost power. */
  async kill(name: string): Promise<void> {
    const { member, disk } = this.#place(name);
    this.network.disconnect(member.id);
    disk?.crash('none');
    await this.settled(member.stop());
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((member) => this.settled(member.stop())));
  }

  #place(name: string): Place {
    const place = this.places.get(name);
    if (place === undefined) throw new Error(`no member ${name}`);
    return place;
  }

  #start(name: string, disk: MemoryDisk | undefined, options: Partial<MemberOptions>): Promise<Member> {
    const storage = disk && { disk, dataDir: DATA_DIR, segmentBytes: 20_000 };
    this.#starts += 1;
    return Member.start(
      optionsOf(this.clock, {
        name,
        clientUrls: [`http://${name}:2379`],
        random: (bound) => Math.floor(this.#random() * bound),
        connect: (host) => {
          this.#hosts.set(name, host);
          return this.network.connect()(host);
        },
        timeOfDayMs: 1_700_000_000_000 + this.#starts * 60_000,
        storage,
        ...this.#common,
        ...options,
      }),
    );
  }

  #random(): number {
    this.#dice = (this.#dice * 1_103_515_245 + 12_345) % 2_147_483_648;
    return this.#dice / 2_147_483_648;
  }
}
