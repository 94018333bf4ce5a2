/**
 * What a member keeps besides the keys, as a snapshot has it.
 *
 * @module
 */
import type { Role, User } from '../../protocol/generated/authpb.ts';
import type { AlarmMember } from '../../protocol/generated/etcdserverpb.ts';
import type { Lease } from '../../protocol/generated/leasepb.ts';
import type { ConfState } from '../../protocol/generated/raftpb.ts';

/** A member of the cluster, as the backend has it. */
export interface BackendMember {
  readonly id: bigint;
  /** Empty until it has started for the first time. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  /** etcd 3.5 does not always have them in its backend. */
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

/** All of a backend but the keys. */
export interface BackendState {
  /** Index of the last log entry that is in it. */
  readonly consistentIndex: bigint;
  /** Term of that entry; 0 in files of etcd 3.4. */
  readonly term: bigint;
  /** Who votes; undefined in files of etcd 3.4. */
  readonly confState: ConfState | undefined;
  readonly leases: Iterable<Lease>;
  readonly alarms: Iterable<AlarmMember>;
  /** Lowest version in the cluster, such as `3.5.0`; undefined as long as the leader has not decided. */
  readonly clusterVersion: string | undefined;
  /** Version that the cluster is being downgraded to; undefined if it is not. */
  readonly downgradeTarget: string | undefined;
  readonly members: Iterable<BackendMember>;
  /** Ids of former members, which must not come back. */
  readonly removedMembers: Iterable<bigint>;
  readonly authEnabled: boolean;
  /** Number of changes to users and roles; 1 at the start, 0 if etcd has not written it yet. */
  readonly authRevision: bigint;
  readonly users: Iterable<User>;
  readonly roles: Iterable<Role>;
}
