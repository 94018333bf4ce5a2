/**
 * The other members, as this one sees them, and this one as they do.
 *
 * Two sides of one seam: {@link Peers} is what a member asks of whatever connects it with others, {@link PeerHost} what
 * that asks of the member. `peer/` implements the first over HTTP, as etcd's members speak; `testing/` within a process,
 * where time and faults are a test's.
 *
 * Raft copes with messages that are lost, late, repeated or out of order; so none is answered or waited for. What has an
 * answer is what goes around the log: images for members that are far behind, and what only the leader can say.
 *
 * @module
 */
import type { Members } from '../apply/state.ts';
import type { Message } from '../raft/index.ts';
import type { Refusal } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';

/** What another member says to a question; `unreachable` too if it has no answer that counts. */
export type PeerAnswer<T> =
  | { readonly type: 'answer'; readonly value: T }
  | { readonly type: 'refused'; readonly refusal: Refusal }
  | { readonly type: 'unreachable' };

/** What is left of a lease, and what hangs on it. */
export interface LeaseTimes {
  /** Whole seconds; -1 if there is no such lease. */
  readonly remainingSeconds: number;
  readonly grantedSeconds: number;
  readonly keys: readonly Uint8Array[];
}

/** The hash of a member's keys, and as of when. */
export interface PeerHash {
  readonly hash: number;
  /** The revision that was asked about. */
  readonly hashRevision: number;
  /** Compaction that it was made after; -1 if there was none. */
  readonly compactRevision: number;
  /** The member's own revision when it answered. */
  readonly revision: number;
}

/** See the head of this file. */
export interface Peers {
  /** The member can be asked from now on: connects, and listens. Called once. */
  start(): void;
  /**
   * Sends messages, each to the member that it names. What can't be sent is dropped, and the host is told that its
   * receiver is unreachable. Never one with a snapshot.
   */
  send(messages: readonly Message[]): void;
  /**
   * Sends a message together with the image that it is about.
   *
   * @param image Is read once, as fast as it is taken, and is let go of in any case.
   * @returns Whether the other member has taken it; never rejects, and ends within a bound once nothing moves.
   */
  sendSnapshot(message: Message, image: BoltImage): Promise<boolean>;
  /** The host's members or their addresses are others than before. */
  membersChanged(): void;
  /** Since when a member has been connected without a break, on this member's clock; undefined if it is not. */
  connectedSince(id: bigint): number | undefined;
  /** Versions of the servers of other members, such as `3.5.30`, by id. One that does not answer has none. */
  versions(): Promise<ReadonlyMap<bigint, string>>;
  /** Asks the leader to renew a lease. Its TTL in seconds, 0 if it is gone. */
  renewLease(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<number>>;
  /** Asks the leader what is left of a lease. */
  timeToLive(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<LeaseTimes>>;
  /** Asks the leader to make a learner a voter. The members after it. */
  promote(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<readonly BackendMember[]>>;
  /** Asks a member for the hash of its keys at a revision; 0: its newest. */
  hashKv(id: bigint, revision: number, signal: AbortSignal | undefined): Promise<PeerAnswer<PeerHash>>;
  /** Ends all connections; nothing is taken in after that. */
  close(): Promise<void>;
}

/**
 * A member, as others reach it. What is async here rejects with {@link RpcError} alone: the refusal goes to who asked.
 */
export interface PeerHost {
  readonly id: bigint;
  readonly clusterId: bigint;
  /** Version that it says it has, such as `3.5.30`. */
  readonly version: string;
  /** Who is in the cluster as of what is applied here. */
  readonly members: Members;
  /** The leader as known here; 0: none. */
  readonly leader: bigint;
  /** Monotonic time in ms. */
  now(): number;
  /** Takes a message that came in; one for another member, or of one that was removed, never gets here. */
  receive(message: Message): void;
  /**
   * Takes a message that comes with an image. Resolves once the image is safe here and the message taken.
   *
   * @throws Error the image could not be kept; the sender may try again.
   */
  receiveSnapshot(message: Message, chunks: AsyncIterable<Uint8Array>): Promise<void>;
  /** What was sent to this member was dropped, or it does not answer. */
  unreachable(id: bigint): void;
  /** Others say that this member was removed from the cluster: it ends. */
  removed(): void;
  /** Renews a lease, if this member is the one to do it. @throws RpcError `NotLeader`, `LeaseNotFound`, `Timeout`. */
  renewLeaseHere(id: bigint, signal: AbortSignal): Promise<number>;
  /** What is left of a lease, if this member is the one to know. @throws RpcError as above. */
  timeToLiveHere(id: bigint, signal: AbortSignal): Promise<LeaseTimes>;
  /** Makes a learner a voter, if this member leads. @throws RpcError */
  promoteHere(id: bigint, signal: AbortSignal): Promise<readonly BackendMember[]>;
  /** Hash of the keys at a revision; 0: now. */
  hashKv(revision: number): PeerHash | Refusal;
}

/** Connects a member with others. */
export type Connect = (host: PeerHost) => Peers;

/** Nobody else is there. */
export const noPeers: Connect = () => ({
  start() {},
  send() {},
  sendSnapshot: async () => false,
  membersChanged() {},
  connectedSince: () => undefined,
  versions: async () => new Map(),
  renewLease: async () => ({ type: 'unreachable' }),
  timeToLive: async () => ({ type: 'unreachable' }),
  promote: async () => ({ type: 'unreachable' }),
  hashKv: async () => ({ type: 'unreachable' }),
  async close() {},
});
