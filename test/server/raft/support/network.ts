/**
 * Members in a network that delivers until nobody says anything any more.
 *
 * Messages are delivered one by one, in the order in which they were sent; what a member answers goes to the end. The
 * faults hold for what members send, never for what a test sends itself.
 */

import type { MemberId } from '../../../../src/protocol/int64.ts';
import type { Raft } from '../../../../src/server/raft/raft.ts';
import type { Message, MessageType } from '../../../../src/server/raft/types.ts';
import { type Driver, type LiveMember, type Member, NodeMember, newMember } from './members.ts';
import { id, type MemberOptions, seeded } from './parts.ts';

/** After so many messages a network that will not be quiet is taken for a fault. */
const ENDLESS = 100_000;

export class Network {
  readonly members: ReadonlyMap<MemberId, Member>;
  /** Every message that reached a member, in order; tests may empty it. */
  delivered: Message[] = [];
  /** Messages that {@link hold} keeps back. */
  held: Message[] = [];
  /** Sees each message that the links let pass; false loses it. */
  filter: ((m: Message) => boolean) | undefined;
  /** Messages that are to be kept back until {@link letGo}. */
  hold: ((m: Message) => boolean) | undefined;
  readonly #random: (bound: number) => number;
  readonly #lossByLink = new Map<string, number>();
  readonly #ignored = new Set<MessageType>();

  constructor(members: Iterable<Member>, seed = 1) {
    this.members = new Map([...members].map((member) => [member.id, member]));
    this.#random = seeded(seed);
  }

  member(n: number): LiveMember {
    const found = this.members.get(id(n));
    if (!found || !('raft' in found)) throw new Error(`no member ${n}`);
    return found as LiveMember;
  }

  raft(n: number): Raft {
    return this.member(n).raft;
  }

  /** A member with a `Ready` loop: driver `ready` or `async`. */
  node(n: number): NodeMember {
    const found = this.member(n);
    if (!(found instanceof NodeMember)) throw new Error(`member ${n} is raw`);
    return found;
  }

  /** Gives the messages to their members, all before any answer, and goes on until it is quiet. */
  send(...messages: readonly Message[]): void {
    const queue = [...messages];
    for (let at = 0; at < queue.length; at += 1) {
      if (at === ENDLESS) throw new Error('the network will not be quiet');
      const m = queue[at] as Message;
      const member = this.members.get(m.to);
      if (!member) continue;
      this.delivered.push(m);
      member.step(m);
      queue.push(...this.#passing(member.take()));
    }
  }

  /** Delivers what members have to say without having been asked, after ticks for instance. */
  settle(): void {
    const said = [...this.members.values()].flatMap((member) => member.take());
    this.send(...this.#passing(said));
  }

  /** Loses messages from one member to another with a probability of 0 to 1. */
  drop(from: number, to: number, probability: number): void {
    this.#lossByLink.set(link(id(from), id(to)), probability);
  }

  /** Cuts two members off from each other. */
  cut(one: number, other: number): void {
    this.drop(one, other, 1);
    this.drop(other, one, 1);
  }

  /** Cuts a member off from all others. */
  isolate(n: number): void {
    for (const other of this.members.keys()) if (other !== id(n)) this.cut(n, Number(other));
  }

  /** Loses every message of those kinds. */
  ignore(...types: readonly MessageType[]): void {
    for (const type of types) this.#ignored.add(type);
  }

  /** Ends all faults but `filter` and `hold`. */
  recover(): void {
    this.#lossByLink.clear();
    this.#ignored.clear();
  }

  /** Keeps back nothing any more, and delivers what was kept back. */
  letGo(): void {
    this.hold = undefined;
    const late = this.held;
    this.held = [];
    this.send(...late);
  }

  #passing(messages: readonly Message[]): Message[] {
    return messages.filter((m) => {
      if (this.#ignored.has(m.type)) return false;
      const loss = this.#lossByLink.get(link(m.from, m.to)) ?? 0;
      if (loss > 0 && this.#random(1_000_000) < loss * 1_000_000) return false;
      if (this.filter && !this.filter(m)) return false;
      if (!this.hold?.(m)) return true;
      this.held.push(m);
      return false;
    });
  }
}

/** A network of members 1 to `size`, all of them voters. */
export function newCluster(driver: Driver, size: number, options: MemberOptions = {}): Network {
  const voters = Array.from({ length: size }, (_, at) => at + 1);
  return new Network(voters.map((n) => newMember(driver, n, { voters, ...options })));
}

function link(from: MemberId, to: MemberId): string {
  return `${from}>${to}`;
}
