/**
 * Who is in the cluster, and what was decided about all of it.
 *
 * A change of the configuration is checked again when it is applied: two that were each fine when they were proposed may
 * not go together. One that is refused changes nothing, and raft must be given it void. An id that was removed never
 * comes back, so that a member which missed its removal can do no harm.
 *
 * An update changes addresses and nothing else: with etcd 3.5.30 it makes a learner a voter.
 *
 * Source: etcd's runtime reconfiguration guide, and its servers 3.5 as observed.
 *
 * @module
 */
import type { ConfState } from '../../protocol/generated/raftpb.ts';
import type { ConfChangeSingle } from '../raft/conf-change.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import type { BackendMember, BackendState } from '../snapshot/backend-state.ts';
import type { MemberContext } from './member-context.ts';
import type { Members } from './state.ts';

/** How many learners there may be at a time, unless it is said otherwise: as many as etcd has. */
const MAX_LEARNERS = 1;

/** The part of a backend that is about the cluster. */
export type ClusterRows = Pick<
  BackendState,
  'members' | 'removedMembers' | 'clusterVersion' | 'downgradeTarget' | 'confState'
>;

export class Membership implements Members {
  readonly #maxLearners: number;
  #members = new Map<bigint, BackendMember>();
  #removed = new Set<bigint>();
  #clusterVersion: string | undefined;
  #downgradeTarget: string | undefined;

  /** @param maxLearners How many learners there may be at a time; the same on all members. */
  constructor(maxLearners: number = MAX_LEARNERS) {
    this.#maxLearners = maxLearners;
  }

  get clusterVersion(): string | undefined {
    return this.#clusterVersion;
  }

  get downgradeTarget(): string | undefined {
    return this.#downgradeTarget;
  }

  list(): readonly BackendMember[] {
    return [...this.#members.values()].sort((a, b) => byId(a.id, b.id));
  }

  get(id: bigint): BackendMember | undefined {
    return this.#members.get(id);
  }

  wasRemoved(id: bigint): boolean {
    return this.#removed.has(id);
  }

  /**
   * Applies a change of one member.
   *
   * @param context What it says of the member; of no meaning for a removal.
   */
  change(change: ConfChangeSingle, context: MemberContext | undefined): Refusal | undefined {
    const { type, nodeId: id } = change;
    if (this.#removed.has(id)) return Refusals.MemberNotFound;
    const known = this.#members.get(id);
    if (type === 'remove') return this.#remove(known);
    if (!context) return Refusals.BadMemberUrls;
    if (type === 'update') return this.#update(known, context.member.peerUrls);
    return context.isPromote && type === 'add-voter'
      ? this.#promote(known)
      : this.#add(context.member, type === 'add-learner');
  }

  /** Sets what a member says of itself. One that is gone is left alone. */
  setAttributes(id: bigint, name: string, clientUrls: readonly string[]): void {
    const known = this.#members.get(id);
    if (known) this.#members.set(id, { ...known, name, clientUrls });
  }

  setClusterVersion(version: string): void {
    this.#clusterVersion = version;
  }

  /** @param target Undefined: there is no downgrade, or no more. */
  setDowngrade(target: string | undefined): void {
    this.#downgradeTarget = target;
  }

  rows(): ClusterRows {
    const members = this.list();
    const ids = (learners: boolean): bigint[] =>
      members.filter((one) => one.isLearner === learners).map(({ id }) => id);
    const confState: ConfState = {
      voters: ids(false),
      learners: ids(true),
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    return {
      members,
      removedMembers: [...this.#removed].sort(byId),
      clusterVersion: this.#clusterVersion,
      downgradeTarget: this.#downgradeTarget,
      confState: members.length > 0 ? confState : undefined,
    };
  }

  /**
   * Becomes what a snapshot says. Who votes is known from its configuration, if it has one: servers of etcd 3.5 have
   * promoted learners without writing that to the rows of members.
   */
  restore({ members, removedMembers, clusterVersion, downgradeTarget, confState }: ClusterRows): void {
    this.#members = new Map();
    for (const member of members) {
      const isLearner = confState ? confState.learners.includes(member.id) : member.isLearner;
      this.#members.set(member.id, { ...member, isLearner });
    }
    this.#removed = new Set(removedMembers);
    this.#clusterVersion = clusterVersion;
    this.#downgradeTarget = downgradeTarget;
  }

  #add(member: BackendMember, isLearner: boolean): Refusal | undefined {
    if (this.#members.has(member.id)) return Refusals.MemberExists;
    if (this.#isTaken(member.peerUrls)) return Refusals.PeerUrlExists;
    const learners = this.list().filter((one) => one.isLearner).length;
    if (isLearner && learners >= this.#maxLearners) return Refusals.TooManyLearners;
    this.#members.set(member.id, { ...member, isLearner });
    return undefined;
  }

  #remove(known: BackendMember | undefined): Refusal | undefined {
    if (!known) return Refusals.MemberNotFound;
    this.#members.delete(known.id);
    this.#removed.add(known.id);
    return undefined;
  }

  #update(known: BackendMember | undefined, peerUrls: readonly string[]): Refusal | undefined {
    if (!known) return Refusals.MemberNotFound;
    if (this.#isTaken(peerUrls, known.id)) return Refusals.PeerUrlExists;
    this.#members.set(known.id, { ...known, peerUrls });
    return undefined;
  }

  #promote(known: BackendMember | undefined): Refusal | undefined {
    if (!known) return Refusals.MemberNotFound;
    if (!known.isLearner) return Refusals.MemberNotLearner;
    this.#members.set(known.id, { ...known, isLearner: false });
    return undefined;
  }

  #isTaken(peerUrls: readonly string[], but?: bigint): boolean {
    for (const { id, peerUrls: taken } of this.#members.values()) {
      if (id !== but && taken.some((url) => peerUrls.includes(url))) return true;
    }
    return false;
  }
}

function byId(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
