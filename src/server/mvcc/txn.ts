/**
 * Applies transactions, and single operations the same way.
 *
 * First all conditions are looked at, in the state before; then everything that could fail on the way that they lead
 * is checked; then it is done. So a transaction happens whole or not at all, although the store can't undo. What the
 * conditions lead away from is not checked.
 *
 * Source: etcd's API reference (`Txn`), and its servers as observed.
 *
 * @module
 */
import type {
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from '../../protocol/generated/etcdserverpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import { holds } from './compare.ts';
import { type QueryResult, query, type RangeSource, rangeOf } from './query.ts';
import { type KvRecord, recordValue } from './record.ts';
import type { KvStore, RevisionError, WriteTxn } from './store.ts';

/** Why a request can't be applied. */
export type ApplyError = RevisionError | 'key-not-found' | 'lease-not-found';

/** What an operation came to. `revision` is that of the store as the operation left it. */
export type OpResult =
  | { readonly type: 'range'; readonly revision: number; readonly found: QueryResult }
  | { readonly type: 'put'; readonly revision: number; readonly previous: KvRecord | undefined }
  | { readonly type: 'delete'; readonly revision: number; readonly deleted: readonly KvRecord[] }
  | { readonly type: 'txn'; readonly succeeded: boolean; readonly results: readonly OpResult[] };

/** What became of a request. `records` is what it wrote, for watchers. */
export interface Applied<Result> {
  readonly result: Result;
  readonly records: readonly KvRecord[];
}

/** Whether a lease is there. */
export type LeaseLookup = (lease: bigint) => boolean;

type Result<Type extends OpResult['type']> = Extract<OpResult, { readonly type: Type }>;

/** Applies a put. */
export function applyPut(
  store: KvStore,
  leases: LeaseLookup,
  request: PutRequest,
): Applied<Result<'put'>> | ApplyError {
  if (request.lease !== 0n && !leases(request.lease)) return 'lease-not-found';
  const key = toLatin1(request.key);
  if ((request.ignoreValue || request.ignoreLease) && !store.get(key)) return 'key-not-found';
  const txn = store.write();
  const result = put(txn, request);
  return { result, records: txn.end() };
}

/** Applies a delete. */
export function applyDelete(store: KvStore, request: DeleteRangeRequest): Applied<Result<'delete'>> {
  const txn = store.write();
  const result = remove(txn, request);
  return { result, records: txn.end() };
}

/** Applies a transaction. */
export function applyTxn(
  store: KvStore,
  leases: LeaseLookup,
  request: TxnRequest,
): Applied<Result<'txn'>> | ApplyError {
  const plan = planOf(store, request);
  // Of several errors, one of a put comes first.
  const error =
    firstError(plan, (op) => checkPut(store, leases, op)) ?? firstError(plan, (op) => checkRange(store, op));
  if (error !== undefined) return error;
  const txn = store.write();
  const result = run(txn, plan);
  return { result, records: txn.end() };
}

/** Reads what a transaction that only reads asks for. */
export function readTxn(store: KvStore, request: TxnRequest): Result<'txn'> | ApplyError {
  const plan = planOf(store, request);
  return firstError(plan, (op) => checkRange(store, op)) ?? run(readOnly(store), plan);
}

/** The way that a transaction's conditions lead. */
interface Plan {
  readonly succeeded: boolean;
  readonly steps: readonly (RequestOp | Plan)[];
}

function planOf(source: RangeSource, { compare, success, failure }: TxnRequest): Plan {
  const succeeded = compare.every((condition) => holds(source, condition));
  const ops = succeeded ? success : failure;
  return { succeeded, steps: ops.map((op) => (op.requestTxn ? planOf(source, op.requestTxn) : op)) };
}

type OpCheck = (op: RequestOp) => ApplyError | undefined;

function firstError(plan: Plan, check: OpCheck): ApplyError | undefined {
  for (const step of plan.steps) {
    const error = 'steps' in step ? firstError(step, check) : check(step);
    if (error !== undefined) return error;
  }
  return undefined;
}

function checkPut(store: KvStore, leases: LeaseLookup, { requestPut }: RequestOp): ApplyError | undefined {
  if (!requestPut) return undefined;
  const { key, lease, ignoreValue, ignoreLease } = requestPut;
  if ((ignoreValue || ignoreLease) && !store.get(toLatin1(key))) return 'key-not-found';
  return lease === 0n || leases(lease) ? undefined : 'lease-not-found';
}

/** Here a revision below 0 is one before the compaction, unlike in a range on its own. */
function checkRange(store: KvStore, { requestRange }: RequestOp): ApplyError | undefined {
  const revision = Number(requestRange?.revision ?? 0n);
  if (revision === 0) return undefined;
  if (revision > store.revision) return 'future';
  return revision < store.compactRevision ? 'compacted' : undefined;
}

/** What a plan runs on. */
type Target = RangeSource & Pick<WriteTxn, 'current' | 'put' | 'deleteRange'>;

function run(target: Target, { succeeded, steps }: Plan): Result<'txn'> {
  const results = steps.map((step): OpResult => {
    if ('steps' in step) return run(target, step);
    if (step.requestPut) return put(target, step.requestPut);
    if (step.requestDeleteRange) return remove(target, step.requestDeleteRange);
    return range(target, step.requestRange as RangeRequest);
  });
  return { type: 'txn', succeeded, results };
}

function range(target: Target, request: RangeRequest): Result<'range'> {
  // Its revision was checked.
  const found = query(target, request) as QueryResult;
  return { type: 'range', revision: target.current, found };
}

function put(target: Target, request: PutRequest): Result<'put'> {
  const key = toLatin1(request.key);
  const { prevKv, ignoreValue, ignoreLease } = request;
  const wanted = prevKv || ignoreValue || ignoreLease;
  const [previous] = wanted ? (target.range({ key, end: '' }, 0, 0) as QueryResult).records : [];
  const value = ignoreValue && previous ? recordValue(previous) : request.value;
  const lease = ignoreLease && previous ? previous.lease : request.lease;
  target.put(request.key, key, value, lease);
  return { type: 'put', revision: target.current, previous: prevKv ? previous : undefined };
}

function remove(target: Target, request: DeleteRangeRequest): Result<'delete'> {
  const deleted = target.deleteRange(rangeOf(request));
  return { type: 'delete', revision: target.current, deleted };
}

function readOnly(store: KvStore): Target {
  const refuse = (): never => {
    throw new TypeError('a transaction that only reads was to write');
  };
  return {
    current: store.revision,
    range: (wanted, revision, limit) => store.range(wanted, revision, limit),
    put: refuse,
    deleteRange: refuse,
  };
}
