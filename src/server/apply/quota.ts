/**
 * How much a request adds to the backend, how much may be in it, and how large it is.
 *
 * A write that might not fit is refused before it gets into the log, by who proposes it: {@link QuotaGate.admits}. Some
 * pass there at the same time and don't fit together; applied they are all the same, since members may differ in size,
 * and all have to do the same. The alarm follows then.
 *
 * The size is reckoned as that of etcd's file would be: it never shrinks but by defragmenting, since bbolt uses free
 * pages again and gives none back.
 *
 * Source: etcd's maintenance guide ("Space quota"), and its servers 3.5 as observed; those up to 3.5.32 don't count
 * what transactions inside transactions put.
 *
 * @module
 */
import type { PutRequest, RequestOp, TxnRequest } from '../../protocol/generated/etcdserverpb.ts';
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { KvStore } from '../mvcc/store.ts';

/** The quota that a member has if nobody sets another: 2 GiB. */
export const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;

/** What a key costs besides its bytes and those of its value. */
const KEY_COST_BYTES = 256;
const LEASE_COST_BYTES = 64;

/**
 * What a request adds to the backend, in bytes, by etcd's rule of thumb; 0 if it adds nothing. A transaction costs as
 * much as the dearer of its branches.
 */
export function costOf(request: Pick<InternalRaftRequest, 'put' | 'txn' | 'leaseGrant'>): number {
  if (request.put) return costOfPut(request.put);
  if (request.txn) return costOfTxn(request.txn);
  return request.leaseGrant ? LEASE_COST_BYTES : 0;
}

function costOfPut({ key, value }: PutRequest): number {
  return KEY_COST_BYTES + key.length + value.length;
}

function costOfTxn({ success, failure }: TxnRequest): number {
  return Math.max(costOfOps(success), costOfOps(failure));
}

function costOfOps(ops: readonly RequestOp[]): number {
  let cost = 0;
  for (const { requestPut, requestTxn } of ops) {
    if (requestPut) cost += costOfPut(requestPut);
    if (requestTxn) cost += costOfTxn(requestTxn);
  }
  return cost;
}

/** Knows how large the backend may be. */
export class QuotaGate {
  /** The quota in bytes; infinite if there is none. */
  readonly quotaBytes: number;

  /** @param quotaBytes 0: {@link DEFAULT_QUOTA_BYTES}; negative: no quota. */
  constructor(quotaBytes: number) {
    this.quotaBytes = quotaBytes < 0 ? Number.POSITIVE_INFINITY : quotaBytes || DEFAULT_QUOTA_BYTES;
  }

  /** Whether what a request costs fits into a backend of this size. What costs nothing always does. */
  admits(costBytes: number, sizeBytes: number): boolean {
    return costBytes === 0 || sizeBytes + costBytes < this.quotaBytes;
  }
}

const PAGE_BYTES = 4096;
/** What bbolt's header of an entry takes. */
const ENTRY_BYTES = 16;
/** etcd lets bbolt fill pages that far. */
const PAGE_FILL = 0.9;
/** Meta pages, list of free pages and one page for most of the ten buckets. */
const FIXED_PAGES = 6;
/** Key and value of a lease's row. */
const LEASE_ROW_BYTES = 32;

/** What etcd's file would have in use, roughly, in bytes: whole pages. */
export function sizeInUse(store: KvStore, leaseCount: number): number {
  const entries = store.recordBytes + store.recordCount * ENTRY_BYTES + leaseCount * (LEASE_ROW_BYTES + ENTRY_BYTES);
  return (FIXED_PAGES + Math.ceil(entries / (PAGE_BYTES * PAGE_FILL))) * PAGE_BYTES;
}
