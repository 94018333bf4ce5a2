/**
 * A running member, as its services see it.
 *
 * `member.ts` implements it. Whatever takes part in consensus goes through here; what is only read, services read from
 * `state`.
 *
 * @module
 */

import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Cancellation } from '../../support/signals.ts';
import type { Result } from '../apply/outcome.ts';
import type { AppliedState } from '../apply/state.ts';
import type { PasswordHasher } from '../auth/passwords.ts';
import type { Actor } from '../auth/store.ts';
import type { TokenProvider } from '../auth/tokens.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import type { WorkSpan } from '../tracing.ts';

/** Where consensus is, as of now. */
export interface RaftPosition {
  /** The leader, or 0 if none is known. */
  readonly leader: bigint;
  readonly term: number;
  /** Last entry of the log that is committed. */
  readonly committed: number;
  /** Last entry that is applied. */
  readonly applied: number;
  readonly isLearner: boolean;
}

/** How long to wait, and for whom. */
export interface ProposeOptions {
  /** Who asks; the permissions are checked again when the entry is applied. Default: nobody, as with authentication off. */
  readonly actor?: Actor | undefined;
  /** Ends the waiting; the entry may be applied all the same. */
  readonly signal?: AbortSignal | Cancellation | undefined;
  /** What it is a part of. Default: nobody keeps a trace of it. */
  readonly span?: WorkSpan | undefined;
}

/** A result with where it was applied. */
export interface Proposed {
  readonly result: Result;
  readonly index: number;
  readonly term: number;
  /** Revision of the store right after it. */
  readonly revision: number;
}

/** A change of who is in the cluster. */
export type MemberChange =
  | { readonly type: 'add'; readonly member: BackendMember }
  | { readonly type: 'remove'; readonly id: bigint }
  | { readonly type: 'update'; readonly id: bigint; readonly peerUrls: readonly string[] }
  | { readonly type: 'promote'; readonly id: bigint };

/** How often something happened since the start, for metrics. */
export interface MemberCounters {
  /** Leaders that were seen, the first one included. */
  readonly leaderChanges: number;
  /** Rounds of reads that ended without a position. */
  readonly failedReads: number;
  /** Rounds of reads that had to ask for it again. */
  readonly slowReads: number;
  /** Leases that ended since their time was over, through this member. */
  readonly expiredLeases: number;
  /** Bytes written to the log. */
  readonly logBytes: number;
}

/** See the head of this file. All that is async rejects with {@link RpcError} alone. */
export interface ServingMember {
  readonly id: bigint;
  readonly clusterId: bigint;
  /** Version that it says it has, such as `3.5.30`. */
  readonly version: string;
  readonly state: AppliedState;
  readonly tokens: TokenProvider;
  readonly hasher: PasswordHasher;
  readonly position: RaftPosition;
  /** Monotonic time in ms, as leases count it. */
  now(): number;
  /** Calls back after a while; the returned function calls it off. */
  after(delayMs: number, callback: () => void): () => void;
  /**
   * Puts a request into the log (its header is made here), and waits until it is applied here.
   *
   * @throws {@link RpcError} the refusal of applying it; `RequestTooLarge`, `TooManyRequests`, `Timeout` and its kin,
   *   `DeadlineExceeded` (no leader), `Stopped`, `Canceled`. Of these only the refusals say that nothing was done.
   */
  propose(request: Init<InternalRaftRequest>, options?: ProposeOptions): Promise<Proposed>;
  /** Waits until everything is applied here that anybody could know of when it was called. Many share one round. */
  linearize(signal?: AbortSignal | Cancellation): Promise<void>;
  /** Renews a lease, wherever its primary is. @returns Its TTL in seconds; 0 if it is gone. */
  renewLease(id: bigint, signal?: AbortSignal): Promise<number>;
  /** @returns Seconds left, -1 if there is no such lease. */
  timeToLive(
    id: bigint,
    signal?: AbortSignal,
  ): Promise<{
    readonly remainingSeconds: number;
    readonly grantedSeconds: number;
    readonly keys: readonly Uint8Array[];
  }>;
  /** Changes the configuration, after etcd's checks of it. @returns The members after it. */
  changeMembers(change: MemberChange, signal?: AbortSignal): Promise<readonly BackendMember[]>;
  /** Hands leadership over, and waits until it is. */
  moveLeader(to: bigint, signal?: AbortSignal): Promise<void>;
  /** Waits until what compactions have left behind so far is gone. Without it nobody waits for that. */
  swept?(signal?: AbortSignal): Promise<void>;
  /** Watches that are behind can read on now: one was made, or its reader has room again. Without it they do in a while. */
  wakeWatches?(): void;
  /** Gives back what compactions have freed. */
  defragment(): Promise<void>;
  /** An image of the state as of now. */
  image(): Promise<BoltImage>;
  /** Calls back at each change of leader, with its id or 0. @returns Ends that. */
  onLeader(callback: (leader: bigint) => void): () => void;
  /** How many requests wait for their entry, and how many of those have failed so far: for metrics. */
  readonly proposals: { readonly pending: number; readonly failed: number };
  readonly counters: MemberCounters;
}
