/**
 * What is refused while an alarm is raised, whichever member has raised it.
 *
 * - No space: what would add to the backend, so a transaction with a put in either branch too. What frees it goes on.
 * - Corrupt: whatever writes keys or leases.
 *
 * Source: etcd's maintenance guide ("Space quota"), and its servers 3.5 as observed.
 *
 * @module
 */
import { AlarmType } from '../../protocol/generated/etcdserverpb.ts';
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import { isReadOnly } from './kv-requests.ts';
import { costOf } from './quota.ts';
import type { Alarms } from './state.ts';

/** Why an alarm forbids a request; undefined if none does. */
export function alarmRefusal(alarms: Alarms, request: InternalRaftRequest): Refusal | undefined {
  if (alarms.has(AlarmType.CORRUPT) && writes(request)) return Refusals.Corrupt;
  if (alarms.has(AlarmType.NOSPACE) && costOf(request) > 0) return Refusals.NoSpace;
  return undefined;
}

function writes({ put, deleteRange, txn, compaction, leaseGrant, leaseRevoke }: InternalRaftRequest): boolean {
  if (txn) return !isReadOnly(txn);
  return [put, deleteRange, compaction, leaseGrant, leaseRevoke].some((request) => request !== undefined);
}
