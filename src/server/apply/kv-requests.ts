/**
 * Requests about keys: reads that came through the log, puts, deletes, transactions, compactions.
 *
 * The API refuses malformed ones before they get into the log. They are refused here too: an entry that made a member
 * throw would end all of them, and again at each start.
 *
 * @module
 */
import {
  type PutRequest,
  type RangeRequest,
  RangeRequestSortTarget,
  type RequestOp,
  type TxnRequest,
} from '../../protocol/generated/etcdserverpb.ts';
import { query } from '../mvcc/query.ts';
import type { KvRecord } from '../mvcc/record.ts';
import {
  type Applied,
  applyDelete,
  applyPut,
  applyTxn,
  type ApplyError as KvError,
  type OpResult,
  readTxn,
} from '../mvcc/txn.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import type { Outcome } from './outcome.ts';
import { type Appliers, type Parts, refused } from './parts.ts';

const REFUSALS: Readonly<Record<KvError, Refusal>> = {
  compacted: Refusals.Compacted,
  future: Refusals.FutureRevision,
  'key-not-found': Refusals.KeyNotFound,
  'lease-not-found': Refusals.LeaseNotFound,
};

const SORT_TARGETS: ReadonlySet<number> = new Set(Object.values(RangeRequestSortTarget));

export const KV_APPLIERS: Appliers<'range' | 'put' | 'deleteRange' | 'txn' | 'compaction'> = {
  range: ({ store }, request) => {
    const malformed = checkRange(request);
    if (malformed) return refused(malformed);
    const found = query(store, request);
    return typeof found === 'string' ? refused(REFUSALS[found]) : { type: 'range', revision: store.revision, found };
  },

  put: (parts, request) => {
    const malformed = checkPut(request);
    return malformed ? refused(malformed) : finish(parts, applyPut(parts.store, leaseLookup(parts), request));
  },

  deleteRange: (parts, request) => finish(parts, applyDelete(parts.store, request)),

  txn: (parts, request) => {
    const malformed = checkTxn(request);
    if (malformed) return refused(malformed);
    if (!isReadOnly(request)) return finish(parts, applyTxn(parts.store, leaseLookup(parts), request));
    const result = readTxn(parts.store, request);
    return typeof result === 'string' ? refused(REFUSALS[result]) : result;
  },

  compaction: ({ store, hashes }, request) => {
    const revision = Number(request.revision);
    if (revision > store.revision) return refused(Refusals.FutureRevision);
    if (revision <= store.compactRevision) return refused(Refusals.Compacted);
    hashes.begin(store, revision);
    store.compact(revision);
    return { type: 'compact' };
  },
};

/** Whether a transaction only reads, by etcd's rule: one that has another one inside it does not. */
export function isReadOnly({ success, failure }: TxnRequest): boolean {
  const reads = (op: RequestOp): boolean => op.requestRange !== undefined;
  return success.every(reads) && failure.every(reads);
}

/** Tells watchers what was written as soon as it is. */
export function publish({ watches }: Parts, records: readonly KvRecord[]): void {
  watches.publish(records);
}

function finish(parts: Parts, applied: Applied<OpResult> | KvError): Outcome {
  if (typeof applied === 'string') return refused(REFUSALS[applied]);
  publish(parts, applied.records);
  return applied.result;
}

function leaseLookup({ lessor }: Parts): (lease: bigint) => boolean {
  return (lease) => lessor.has(lease);
}

function checkRange({ sortTarget }: RangeRequest): Refusal | undefined {
  return SORT_TARGETS.has(sortTarget) ? undefined : Refusals.InvalidSortOption;
}

function checkPut({ key }: PutRequest): Refusal | undefined {
  return key.length === 0 ? Refusals.EmptyKey : undefined;
}

/** All of it, also the branch that is not taken. How deep it goes, the decoder has limited. */
function checkTxn({ success, failure }: TxnRequest): Refusal | undefined {
  for (const op of [...success, ...failure]) {
    const malformed = checkOp(op);
    if (malformed) return malformed;
  }
  return undefined;
}

function checkOp({ requestRange, requestPut, requestDeleteRange, requestTxn }: RequestOp): Refusal | undefined {
  if (requestRange) return checkRange(requestRange);
  if (requestPut) return checkPut(requestPut);
  if (requestTxn) return checkTxn(requestTxn);
  return requestDeleteRange ? undefined : Refusals.KeyNotFound;
}
