/**
 * Changes of who is in the cluster, as somebody asks for them.
 *
 * What is checked here is etcd's strict check, which keeps a cluster from changes that it could not live with: nobody is
 * added while there are not enough members to make up the larger quorum, nobody is removed whom the quorum needs, and
 * nothing is changed while too few members are connected. What the change itself must fulfil (ids, addresses, number of
 * learners) is checked where it is applied, the same on all members.
 *
 * Source: etcd's runtime reconfiguration guide, and its servers 3.5 as observed.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { EMPTY } from '../../protocol/wire.ts';
import { encodeMemberContext } from '../apply/member-context.ts';
import type { AppliedState } from '../apply/state.ts';
import type { ConfChangeSingle, Progress } from '../raft/index.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { MemberChange } from './serving.ts';

/** How long members have to be connected to count, in ms. */
export const HEALTHY_MS = 5_000;

/** How much of the leader's log a learner must have to become a voter. */
const READY_PART = 0.9;

/** What the checks look at. */
export interface ClusterView {
  readonly self: bigint;
  readonly now: number;
  readonly members: AppliedState['members'];
  /** Since when another member has been connected; undefined if it is not. */
  readonly connectedSince: (id: bigint) => number | undefined;
  /** How far the members are, on the leader. */
  readonly progress: ReadonlyMap<bigint, Pick<Progress, 'match'>>;
}

/** A change, as the log has it. */
export interface PlannedChange {
  readonly change: ConfChangeSingle;
  readonly context: Uint8Array;
}

/** Why a change must not be made now; undefined if it may. @param strict whether quorums are guarded. */
export function checkChange(change: MemberChange, view: ClusterView, strict: boolean): Refusal | undefined {
  const { members } = view;
  switch (change.type) {
    case 'add': {
      const { member } = change;
      if (members.get(member.id) || members.wasRemoved(member.id)) return Refusals.MemberExists;
      if (isTaken(members.list(), member.peerUrls)) return Refusals.PeerUrlExists;
      return strict ? checkAdd(member, view) : undefined;
    }
    case 'remove':
      if (!members.get(change.id)) return Refusals.MemberNotFound;
      return checkRemove(change.id, view, strict);
    case 'update':
      return members.get(change.id) ? undefined : Refusals.MemberNotFound;
    case 'promote':
      return checkPromote(change.id, view, strict);
  }
}

/** The entry of a change. @throws RpcError `MemberNotFound` */
export function planChange(change: MemberChange, { members }: ClusterView): PlannedChange {
  if (change.type === 'add') {
    const { member } = change;
    const type = member.isLearner ? 'add-learner' : 'add-voter';
    return entryOf(type, member.id, encodeMemberContext({ member, isPromote: false }));
  }
  if (change.type === 'remove') return entryOf('remove', change.id, EMPTY);
  const member = members.get(change.id);
  if (!member) throw new RpcError(Refusals.MemberNotFound);
  if (change.type === 'promote') {
    return entryOf('add-voter', change.id, encodeMemberContext({ member, isPromote: true }));
  }
  const updated = { ...member, peerUrls: change.peerUrls };
  return entryOf('update', change.id, encodeMemberContext({ member: updated, isPromote: false }));
}

function entryOf(type: ConfChangeSingle['type'], id: bigint, context: Uint8Array): PlannedChange {
  return { change: { type, nodeId: id as MemberId }, context };
}

function checkAdd(member: BackendMember, view: ClusterView): Refusal | undefined {
  const voters = votersOf(view);
  if (!member.isLearner && !enoughStarted(voters, 1)) return Refusals.NotEnoughStartedMembers;
  return connected(voters, view) === voters.length ? undefined : Refusals.Unhealthy;
}

function checkRemove(id: bigint, view: ClusterView, strict: boolean): Refusal | undefined {
  const { self, members, connectedSince } = view;
  if (members.get(id)?.isLearner) return undefined;
  const voters = votersOf(view);
  const left = voters.filter((member) => member.id !== id);
  // A cluster of nobody is none: raft could not make it.
  if (left.length === 0) return Refusals.NotEnoughStartedMembers;
  if (!strict) return undefined;
  if (left.filter(isStarted).length < quorum(left.length)) return Refusals.NotEnoughStartedMembers;
  // One that is down is of no use to the quorum that there is.
  if (id !== self && connectedSince(id) === undefined) return undefined;
  return connected(voters, view) - 1 < quorum(left.length) ? Refusals.Unhealthy : undefined;
}

function checkPromote(id: bigint, view: ClusterView, strict: boolean): Refusal | undefined {
  const { self, members, progress } = view;
  const member = members.get(id);
  const own = progress.get(id);
  if (!member || !own) return Refusals.MemberNotFound;
  if (!member.isLearner) return Refusals.MemberNotLearner;
  const leader = progress.get(self)?.match ?? 0;
  if (own.match < leader * READY_PART) return Refusals.LearnerNotReady;
  return !strict || enoughStarted(votersOf(view), 1, isStarted(member)) ? undefined : Refusals.NotEnoughStartedMembers;
}

/** Whether those who have started make up a quorum once `more` voters are there. A second member may always come. */
function enoughStarted(voters: readonly BackendMember[], more: number, alsoStarted = false): boolean {
  const started = voters.filter(isStarted).length + (alsoStarted ? 1 : 0);
  const count = voters.length + more;
  return (started === 1 && count === 2) || started >= quorum(count);
}

function connected(voters: readonly BackendMember[], { self, now, connectedSince }: ClusterView): number {
  const stable = ({ id }: BackendMember): boolean => {
    const since = id === self ? Number.NEGATIVE_INFINITY : connectedSince(id);
    return since !== undefined && since <= now - HEALTHY_MS;
  };
  return voters.filter(stable).length;
}

function votersOf({ members }: ClusterView): readonly BackendMember[] {
  return members.list().filter(({ isLearner }) => !isLearner);
}

/** A member has a name since it has started for the first time. */
function isStarted({ name }: BackendMember): boolean {
  return name !== '';
}

function isTaken(members: readonly BackendMember[], peerUrls: readonly string[]): boolean {
  return members.some((member) => member.peerUrls.some((url) => peerUrls.includes(url)));
}

function quorum(count: number): number {
  return Math.floor(count / 2) + 1;
}
