/**
 * All members and the network between them.
 */
import type { MemberId } from '../../../src/protocol/int64.ts';
import { type Entry, type Message, NONE, type Peer, type ReadState } from '../../../src/server/raft/index.ts';
import { Journal } from '../journal.ts';
import type { Options } from '../options.ts';
import { Oracle } from '../oracle/oracle.ts';
import { SimNetwork } from '../world/network.ts';
import type { Random } from '../world/random.ts';
import { Scheduler } from '../world/scheduler.ts';
import { Member, type MemberWorld } from './member.ts';

/** Who wants to hear of what happens in a cluster. */
export interface ClusterEvents {
  /** A program is about to run: here a test breaks it. */
  started?: ((member: Member) => void) | undefined;
  /** A program has ended. */
  crashed?: ((member: Member) => void) | undefined;
  /** A member has applied a client's entry. */
  applied?: ((member: Member, entry: Entry) => void) | undefined;
  /** A member has served a read. */
  served?: ((member: Member, read: ReadState) => void) | undefined;
}

/** Time for which a transport may keep the outcome of a snapshot to itself. */
const LATE_REPORT_US = 3_000_000;
const STALE_SNAPSHOT_US = 2_000_000;

export class Cluster implements MemberWorld {
  readonly scheduler = new Scheduler();
  readonly journal: Journal;
  readonly oracle: Oracle;
  readonly network: SimNetwork<Message>;
  /** Everybody who ever was there, by ordinal. */
  readonly members: Member[] = [];
  readonly events: ClusterEvents = {};
  options: Options;
  readonly #random: Random;
  readonly #ids: Random;
  readonly #transport: Random;
  readonly #byId = new Map<MemberId, Member>();

  constructor(options: Options, random: Random) {
    this.options = options;
    this.#random = random;
    this.#ids = random.fork('ids');
    this.#transport = random.fork('transport');
    this.journal = new Journal(this.scheduler);
    this.oracle = new Oracle((id) => this.#byId.get(id), options.founders);
    this.network = new SimNetwork({
      scheduler: this.scheduler,
      random: random.fork('network'),
      options: options.network,
      deliver: (from, to, m) => this.#deliver(from, to, m),
      dropped: (from, to, m) => this.#dropped(from, to, m),
    });
    const founders = Array.from(
      { length: options.founders },
      (): Peer => ({ id: this.#newId(), context: new Uint8Array() }),
    );
    for (const { id } of founders) this.#make(id, founders);
  }

  /** Members that were not wiped. */
  get present(): readonly Member[] {
    return this.members.filter(({ destroyed }) => !destroyed);
  }

  /** Members whose program runs and does not stand still. */
  get awake(): readonly Member[] {
    return this.members.filter(({ process }) => process.alive && !process.paused);
  }

  /** The leader of the latest term among those that are awake. */
  get leader(): Member | undefined {
    let latest: Member | undefined;
    for (const member of this.awake) {
      const { role, term } = member.node.raft;
      if (role === 'StateLeader' && term > (latest?.node.raft.term ?? 0)) latest = member;
    }
    return latest;
  }

  memberOf(id: MemberId): Member | undefined {
    return this.#byId.get(id);
  }

  /** A new machine with an empty disk, to be added to the cluster by a change of configuration. */
  join(): Member {
    const member = this.#make(this.#newId(), []);
    member.start();
    return member;
  }

  /** Ends a member for good: its program, its disk, its name. */
  destroy(member: Member): void {
    member.destroyed = true;
    member.crash();
    this.#byId.delete(member.id);
  }

  send(from: Member, m: Message): void {
    const to = this.#byId.get(m.to);
    if (to === undefined) return;
    if (m.type === 'MsgSnap') this.#sendSnapshot(from, to, m);
    else this.network.send(from.ordinal, to.ordinal, m);
  }

  applied(member: Member, entry: Entry): void {
    this.events.applied?.(member, entry);
  }

  served(member: Member, read: ReadState): void {
    this.events.served?.(member, read);
  }

  crashed(member: Member): void {
    this.events.crashed?.(member);
  }

  started(member: Member): void {
    this.events.started?.(member);
  }

  #make(id: MemberId, founders: readonly Peer[]): Member {
    const ordinal = this.members.length;
    const random = this.#random.fork(`member ${ordinal}`);
    const { storage } = this.options;
    const async = storage === 'mixed' ? random.fork('storage').chance(0.5) : storage === 'async';
    const member = new Member(this, { ordinal, id, founders, async, random });
    this.members.push(member);
    this.#byId.set(id, member);
    return member;
  }

  /** Ids are random numbers of 64 bits, so their order is not that of the members. */
  #newId(): MemberId {
    const id = (BigInt(this.#ids.uint32()) << 32n) | BigInt(this.#ids.uint32());
    return (id === NONE || id >= 2n ** 64n - 2n || this.#byId.has(id as MemberId) ? this.#newId() : id) as MemberId;
  }

  #deliver(from: number, to: number, m: Message): void {
    const member = this.members[to] as Member;
    member.process.run(() => {
      this.journal.message(from, to, m);
      member.receive(m);
    });
    if (m.type === 'MsgSnap') this.#report(this.members[from] as Member, m.to, member.running ? 'sent' : 'failed');
  }

  #dropped(from: number, _to: number, m: Message): void {
    const sender = this.members[from] as Member;
    if (m.type === 'MsgSnap') this.#report(sender, m.to, 'failed');
    if (!this.options.faults.includes('unreachable') || !this.#transport.chance(0.2)) return;
    const { process } = sender;
    this.scheduler.after(this.#transport.below(20_000), () =>
      process.run(() => {
        this.journal.note('report', sender.ordinal, 'unreachable');
        sender.act((node) => node.reportUnreachable(m.to));
      }),
    );
  }

  #sendSnapshot(from: Member, to: Member, m: Message): void {
    const trouble = this.options.faults.includes('snapshot-trouble');
    const delayUs = trouble && this.#transport.chance(0.3) ? this.#transport.below(STALE_SNAPSHOT_US) : 0;
    this.scheduler.after(delayUs, () => this.network.send(from.ordinal, to.ordinal, m));
  }

  /** The transport says how the sending of a snapshot ended, sometimes long after. */
  #report(sender: Member, to: MemberId, outcome: 'sent' | 'failed'): void {
    const trouble = this.options.faults.includes('snapshot-trouble');
    const late = trouble && this.#transport.chance(0.3) ? LATE_REPORT_US : 2000;
    const { process } = sender;
    this.scheduler.after(this.#transport.below(late), () =>
      process.run(() => {
        this.journal.note('report', sender.ordinal, `snapshot ${outcome}`);
        sender.act((node) => node.reportSnapshot(to, outcome));
      }),
    );
  }
}
