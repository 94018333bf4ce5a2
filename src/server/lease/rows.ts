/**
 * Leases as etcd's backend keeps them, in its bucket `lease`.
 *
 * Only what all members agree on is in a row: what was granted, and what was left at the last checkpoint. When a lease
 * ends is the leader's own affair and begins anew with each leader.
 *
 * @module
 */
import type { Lease } from '../../protocol/generated/leasepb.ts';

/** What a row says, as numbers. */
export interface LeaseTerms {
  readonly id: bigint;
  /** Seconds that were granted. */
  readonly ttlSeconds: number;
  /** Seconds that were left at the last checkpoint; 0 if there was none since the last renewal. */
  readonly remainingSeconds: number;
}

export function toRow({ id, ttlSeconds, remainingSeconds }: LeaseTerms): Lease {
  return { ID: id, TTL: BigInt(ttlSeconds), RemainingTTL: BigInt(remainingSeconds) };
}

/** A row may be of a server with a lower minimum than ours: then ours counts. */
export function fromRow(row: Lease, minTtlSeconds: number): LeaseTerms {
  return {
    id: row.ID,
    ttlSeconds: Math.max(Number(row.TTL), minTtlSeconds),
    remainingSeconds: Math.max(Number(row.RemainingTTL), 0),
  };
}

/** The order of the bucket: by the bytes of the id, where negative ids come last. */
export function byRowKey(a: { readonly id: bigint }, b: { readonly id: bigint }): number {
  const left = BigInt.asUintN(64, a.id);
  const right = BigInt.asUintN(64, b.id);
  return left < right ? -1 : left > right ? 1 : 0;
}
