/**
 * The applied state of a member, to read.
 *
 * `machine.ts` is the one that changes it, entry by entry. Whoever reads takes what he needs in one go: after an `await`
 * everything may be another, the store itself too once a snapshot has come.
 *
 * @module
 */
import type { AlarmMember } from '../../protocol/generated/etcdserverpb.ts';
import type { Access } from '../auth/access.ts';
import type { AuthStore } from '../auth/store.ts';
import type { Lessor } from '../lease/lessor.ts';
import type { KvStore, RevisionError } from '../mvcc/store.ts';
import type { WatchHub } from '../mvcc/watch.ts';
import type { BackendMember, BackendState } from '../snapshot/backend-state.ts';

/** The alarms that are raised. */
export interface Alarms {
  /** All, or those of one type, in the order of their rows. */
  list(type?: number): readonly AlarmMember[];
  /** Whether any member has raised one of this type. */
  has(type: number): boolean;
}

/** Who is in the cluster. */
export interface Members {
  /** By id, ascending. */
  list(): readonly BackendMember[];
  get(id: bigint): BackendMember | undefined;
  /** Whether a member was there once, and must not come back. */
  wasRemoved(id: bigint): boolean;
  /** Lowest version in the cluster, such as `3.5.0`; undefined until the leader has decided. */
  readonly clusterVersion: string | undefined;
  /** The version that the cluster is being downgraded to. */
  readonly downgradeTarget: string | undefined;
}

/** The hash of the keys at a revision. */
export interface KvHash {
  readonly hash: number;
  /** Compaction that it was made after; -1 if there was none. */
  readonly compactRevision: number;
}

/** See the head of this file. */
export interface AppliedState {
  readonly store: KvStore;
  readonly watches: WatchHub;
  readonly lessor: Lessor;
  readonly auth: AuthStore;
  readonly access: Access;
  readonly alarms: Alarms;
  readonly members: Members;
  /** Index and term of the last entry that was applied. */
  readonly index: number;
  readonly term: number;
  /** Size of the bbolt image as it would be now, roughly, in bytes; what defragmenting would free is in it. */
  readonly sizeBytes: number;
  /** The same without what compactions and deletes have freed. */
  readonly sizeInUseBytes: number;
  /** Hash of all keys at a revision; 0: now. Those of the last compactions are remembered. */
  hashKv(revision: number): KvHash | RevisionError;
  /** Everything but the keys, for an image. */
  rows(): BackendState;
}
