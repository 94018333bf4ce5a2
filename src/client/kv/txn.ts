/**
 * Transactions: conditions, and what to do if all of them hold, or else.
 *
 * @module
 */

import type { RequestOp, ResponseOp, TxnRequest, TxnResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import type { CallTraits } from '../connection/caller.ts';
import { type Applied, EtcdError, InvalidArgumentError } from '../errors.ts';
import type { Compare } from './compare.ts';

/** One operation of a transaction; `R` is its result. Make it from `etcd.op`. */
export interface Op<R> {
  /** @internal */
  readonly wire: Init<RequestOp>;
  /** @internal */
  read(response: ResponseOp | undefined): R;
}

/**
 * A transaction. `then` is done when all conditions of `if` hold (also when there are
 * none), `else` when one does not; either way at one revision, all or nothing.
 */
export interface TxnSpec<Then extends readonly Op<unknown>[], Else extends readonly Op<unknown>[]> {
  /** What must hold, all of it: conditions from `etcd.key(…)` and `etcd.keys(…)`. Default: nothing, so `then` is done. */
  readonly if?: readonly Compare[] | undefined;
  /** What is done if it does: operations from `etcd.op`. Default: nothing. */
  readonly then?: Then | undefined;
  /** What is done otherwise. Default: nothing. */
  readonly else?: Else | undefined;
}

/** The results of operations, one for one. */
export type OpResults<Ops extends readonly Op<unknown>[]> = {
  readonly [Index in keyof Ops]: Ops[Index] extends Op<infer R> ? R : never;
};

/** What a transaction did: `succeeded` says which branch was taken, and so what `results` holds. */
export type TxnResult<Then extends readonly Op<unknown>[], Else extends readonly Op<unknown>[]> =
  | { readonly succeeded: true; readonly results: OpResults<Then>; readonly revision: Revision }
  | { readonly succeeded: false; readonly results: OpResults<Else>; readonly revision: Revision };

/**
 * The request of a transaction.
 *
 * @throws InvalidArgumentError for an entry that is no condition, or no operation; and for parts that there are none of,
 * since a program without types that says `success` would else be told that nothing at all has succeeded.
 */
export function txnRequest(spec: TxnSpec<readonly Op<unknown>[], readonly Op<unknown>[]>): Init<TxnRequest> {
  if (typeof spec !== 'object' || spec === null) throw new InvalidArgumentError('a transaction is { if, then, else }');
  for (const part in spec) {
    if (part === 'if' || part === 'then' || part === 'else') continue;
    throw new InvalidArgumentError(`a transaction is { if, then, else }, and has no ${part}`);
  }
  return {
    compare: wires('if', spec.if, isCompare),
    success: wires('then', spec.then, isOp),
    failure: wires('else', spec.else, isOp),
  };
}

function wires<W>(list: string, entries: readonly { readonly wire: W }[] = [], fits: (entry: object) => boolean): W[] {
  if (!Array.isArray(entries)) throw new InvalidArgumentError(`${list} is no list`);
  return entries.map((entry, index) => {
    if (typeof entry === 'object' && entry !== null && fits(entry)) return entry.wire;
    const what = fits === isOp ? 'operation' : 'condition';
    throw new InvalidArgumentError(`${list}[${index}] is no ${what} of a transaction`);
  });
}

const isOp = (entry: object): boolean => 'wire' in entry && 'read' in entry;
const isCompare = (entry: object): boolean => 'wire' in entry && !('read' in entry);

/**
 * Makes a transaction of conditions alone linearizable. A server asks the others whether it
 * is up to date only for the sake of a read among the operations: without any it answers
 * from its own copy, even while it is cut off, and a check of ownership would be a guess.
 * So one is added, of a key that a condition has to read anyway; nobody looks at its answer.
 */
export function linearizableTxn(request: Init<TxnRequest>): Init<TxnRequest> {
  const { compare: [first] = [], success = [], failure = [] } = request;
  if (first === undefined || success.length > 0 || failure.length > 0) return request;
  return { ...request, success: [{ requestRange: { key: first.key, countOnly: true } }] };
}

/** Reads the answer with the operations that were asked for. */
export function readTxn<Then extends readonly Op<unknown>[], Else extends readonly Op<unknown>[]>(
  spec: TxnSpec<Then, Else>,
  response: TxnResponse,
): TxnResult<Then, Else> {
  const ops: readonly Op<unknown>[] = (response.succeeded ? spec.then : spec.else) ?? [];
  return {
    succeeded: response.succeeded,
    results: ops.map((op, index) => op.read(response.responses[index])),
    // A nested transaction's answer has no revision of its own.
    revision: (response.header?.revision ?? 0n) as Revision,
  } as TxnResult<Then, Else>;
}

/**
 * How a transaction may be repeated: freely when neither branch can write. A nested
 * transaction counts as a write, as it does for the server.
 */
export function txnTraits(request: Init<TxnRequest>): CallTraits {
  const reads = (ops: readonly Init<RequestOp>[] = []): boolean => ops.every((op) => op.requestRange !== undefined);
  return { kind: reads(request.success) && reads(request.failure) ? 'read' : 'write' };
}

/**
 * Checks a transaction against what a server refuses, before it is sent.
 *
 * The rules are the server's: each list holds at most `maxOps` entries, a nested
 * transaction has to do with what the one around it leaves, and no key is written twice.
 * The last is checked within a list only; overlaps across nesting are left to the server.
 *
 * @throws InvalidArgumentError
 */
export function checkTxn(request: Init<TxnRequest>, maxOps: number, depth = 0): void {
  const { compare = [], success = [], failure = [] } = request;
  const largest = Math.max(compare.length, success.length, failure.length);
  if (largest > maxOps) {
    const where = depth === 0 ? 'a transaction' : `a transaction nested ${depth} deep`;
    throw new InvalidArgumentError(
      `${where} has ${largest} conditions or operations in one list; the server takes ${Math.max(0, maxOps)}`,
    );
  }
  for (const branch of [success, failure]) {
    checkPutKeys(branch);
    for (const { requestTxn } of branch) {
      if (requestTxn !== undefined) checkTxn(requestTxn, maxOps - largest, depth + 1);
    }
  }
}

function checkPutKeys(ops: readonly Init<RequestOp>[]): void {
  const seen = new Set<string>();
  for (const { requestPut } of ops) {
    if (requestPut?.key === undefined) continue;
    const key = toLatin1(requestPut.key);
    if (seen.has(key)) throw new InvalidArgumentError('a transaction may not write the same key twice');
    seen.add(key);
  }
}

/** The error for an answer that does not fit its request: whatever sent it is no etcd, or a broken proxy. */
export function wrongAnswer(applied: Applied): EtcdError {
  return new EtcdError('server', 'the server answered a transaction with something else than was asked for', {
    applied,
  });
}
