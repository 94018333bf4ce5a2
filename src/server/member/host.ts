/**
 * A member as others reach it: see {@link PeerHost}.
 *
 * What comes in may be late, repeated, or of somebody who is confused, and the core copes with that. Only what would
 * pass for the member's own is kept from it here: answers of storage threads, and snapshots without their image.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Clock } from '../../support/clock.ts';
import type { AppliedState, Members } from '../apply/state.ts';
import { isThread, type Message } from '../raft/index.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import { MemberRemovedError } from './errors.ts';
import type { Images } from './images.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { Loop } from './loop.ts';
import type { PeerHash, PeerHost } from './peers.ts';
import type { Reconfigure } from './reconfigure.ts';

/** What others reach. They do so only after the member was begun, so these may be made after the host. */
export interface HostParts {
  readonly id: bigint;
  readonly clusterId: bigint;
  readonly version: string;
  readonly clock: Clock;
  readonly members: Members;
  readonly state: AppliedState;
  readonly leader: () => bigint;
  readonly loop: () => Loop;
  readonly images: () => Images;
  readonly leases: () => LeaseKeeper;
  readonly reconfigure: () => Reconfigure;
  readonly failed: (error: unknown) => void;
}

/** See the head of this file. */
export function hostOf(parts: HostParts): PeerHost {
  const { id, clusterId, version, clock, members, state, leader, loop, images, leases, reconfigure, failed } = parts;
  return {
    id,
    clusterId,
    version,
    members,
    get leader() {
      return leader();
    },
    now: () => clock.now(),
    receive(message: Message): void {
      if (isThread(message.from) || message.type === 'MsgSnap') return;
      loop().with((node) => node.step(message));
    },
    receiveSnapshot: (message, chunks) => images().receive(message, chunks),
    unreachable: (peer) => loop().with((node) => node.reportUnreachable(peer as MemberId)),
    removed: () => failed(new MemberRemovedError()),
    renewLeaseHere: (lease, signal) => leases().renewHere(lease, signal),
    timeToLiveHere: (lease, signal) => leases().timeToLiveHere(lease, signal),
    promoteHere: (learner, signal) => reconfigure().promoteHere(learner, signal),
    hashKv: (revision) => hashAt(state, revision),
  };
}

function hashAt(state: AppliedState, revision: number): PeerHash | Refusal {
  const { revision: now } = state.store;
  const found = state.hashKv(revision);
  if (found === 'compacted') return Refusals.Compacted;
  if (found === 'future') return Refusals.FutureRevision;
  return { ...found, hashRevision: revision === 0 ? now : revision, revision: now };
}
