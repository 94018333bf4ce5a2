/**
 * What a member says of itself.
 *
 * @module
 */

import type { StatusResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { MemberId } from '../../protocol/int64.ts';
import { type ResponseHeader, toHeader } from '../header.ts';

/** A member's status: its own view, which may be behind the cluster's. */
export interface MemberStatus {
  /** `header.memberId` is the member this is about. */
  readonly header: ResponseHeader;
  /** The version of its program, such as `3.5.30`. */
  readonly version: string;
  /** The size of its database file. */
  readonly dbSizeBytes: number;
  /** How much of the file is in use; the rest is what a defragmentation would free. */
  readonly dbSizeInUseBytes: number;
  /** The member it takes for the leader; undefined while it knows none. */
  readonly leaderId: MemberId | undefined;
  /** Whether that is itself. */
  readonly isLeader: boolean;
  /** Whether it has no vote. */
  readonly isLearner: boolean;
  /** The highest committed Raft index it knows. */
  readonly raftIndex: bigint;
  readonly raftTerm: bigint;
  /** The Raft index it has applied: `raftIndex` less what it has yet to do. */
  readonly raftAppliedIndex: bigint;
  /** What it says is wrong: no leader, alarms. Texts for people. */
  readonly errors: readonly string[];
  /** The version of its data's layout. Since 3.6. */
  readonly storageVersion: string | undefined;
  /** The size at which the alarm `nospace` is raised. Since 3.6. */
  readonly dbSizeQuotaBytes: number | undefined;
  /** A downgrade in progress, and where to. Since 3.6. */
  readonly downgradeTo: string | undefined;
}

/** Gives a decoded status its types. */
export function toStatus(wire: StatusResponse): MemberStatus {
  const { leader, dbSizeQuota, storageVersion, downgradeInfo } = wire;
  const header = toHeader(wire.header);
  return {
    header,
    version: wire.version,
    dbSizeBytes: Number(wire.dbSize),
    dbSizeInUseBytes: Number(wire.dbSizeInUse),
    leaderId: leader === 0n ? undefined : (leader as MemberId),
    isLeader: leader !== 0n && leader === header.memberId,
    isLearner: wire.isLearner,
    raftIndex: wire.raftIndex,
    raftTerm: wire.raftTerm,
    raftAppliedIndex: wire.raftAppliedIndex,
    errors: wire.errors,
    storageVersion: storageVersion === '' ? undefined : storageVersion,
    dbSizeQuotaBytes: dbSizeQuota === 0n ? undefined : Number(dbSizeQuota),
    downgradeTo: downgradeInfo?.enabled ? downgradeInfo.targetVersion : undefined,
  };
}
