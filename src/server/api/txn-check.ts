/**
 * What is looked at before a transaction goes anywhere: its size, its operations, and that no key is written twice.
 *
 * Within one list of operations a key may be put once, and not be put and deleted. Lists that exclude each other (the
 * two branches of a transaction) don't count against each other. Three facts of etcd are kept, since what it accepts
 * must be accepted: both branches are looked at, whichever will be taken; of two transactions in one list, the second
 * must not put what the first deletes, but may delete what it puts; and a delete without an upper bound counts for
 * nothing.
 *
 * So a put collides with every earlier write of its key that is not in the other branch of a transaction around both,
 * if the order is: a list's own deletes, the transactions in it, its own puts. One walk in that order finds them all.
 * While it is in one branch, what it has met in the other is hidden. The branch with fewer writes is walked first and
 * hidden, so no write is hidden more often than the logarithm of their number: a transaction nested deep, with hundreds
 * of thousands of operations, is looked through in a moment.
 *
 * Recursion is as deep as transactions are nested: at most as deep as operations are allowed, as each level uses one of
 * them up, and no deeper than the decoder goes.
 *
 * Source: etcd's API reference (`Txn`), and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import type { DeleteRangeRequest, RequestOp, TxnRequest } from '../../protocol/generated/etcdserverpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import type { KeyString } from '../mvcc/record.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import { checkDelete, checkPut, checkRange } from './kv-check.ts';

/**
 * Checks a transaction.
 *
 * @param maxOps Conditions, and operations in each branch, at most; one inside another has what that leaves over.
 */
export function checkTxn(request: TxnRequest, maxOps: number): Refusal | undefined {
  const refusal = checkOps(request, maxOps);
  if (refusal) return refusal;
  return writesTwice(request.success) || writesTwice(request.failure) ? Refusals.DuplicateKey : undefined;
}

/** Whether it reads, and does nothing else: no transaction is inside, and no write, not in the other branch either. */
export function isReadOnly({ success, failure }: TxnRequest): boolean {
  return success.every(isRange) && failure.every(isRange);
}

/**
 * Whether it may be answered from what is here: all its reads say so. One that has only conditions does not: etcd answers
 * that from what the member happens to know, and whoever asks so whether he still owns something may hear a stale yes.
 */
export function isSerializable({ success, failure }: TxnRequest): boolean {
  const ops = [...success, ...failure];
  return ops.length > 0 && ops.every(({ requestRange }) => requestRange?.serializable !== false);
}

function isRange({ requestRange }: RequestOp): boolean {
  return requestRange !== undefined;
}

function checkOps({ compare, success, failure }: TxnRequest, maxOps: number): Refusal | undefined {
  const count = Math.max(compare.length, success.length, failure.length);
  if (count > maxOps) return Refusals.TooManyOps;
  for (const { key } of compare) if (key.length === 0) return Refusals.EmptyKey;
  for (const ops of [success, failure]) {
    for (const op of ops) {
      const refusal = checkOp(op, maxOps - count);
      if (refusal) return refusal;
    }
  }
  return undefined;
}

function checkOp(op: RequestOp, opsLeft: number): Refusal | undefined {
  if (op.requestRange) return checkRange(op.requestRange);
  if (op.requestPut) return checkPut(op.requestPut);
  if (op.requestDeleteRange) return checkDelete(op.requestDeleteRange);
  if (op.requestTxn) return checkOps(op.requestTxn, opsLeft);
  // What etcd says of an operation that is none.
  return Refusals.KeyNotFound;
}

type Ops = readonly RequestOp[];

function writesTwice(ops: Ops): boolean {
  const alone = ops.length < 2 && !ops.some(({ requestTxn }) => requestTxn);
  return !alone && new Walk(ops).finds(ops);
}

/** A write that was met: of one key, or of those from `from` up to and without `to`, as numbers in the order of keys. */
interface Write {
  readonly put: boolean;
  readonly from: number;
  readonly to: number;
}

class Walk {
  /** The keys that are put, in order, and their numbers in that. */
  readonly #keys: readonly KeyString[];
  readonly #numbers = new Map<KeyString, number>();
  /** How many writes are in each list, with all that is in it. */
  readonly #sizes = new Map<Ops, number>();
  /** What was met, in that order. */
  readonly #met: Write[] = [];
  readonly #puts: Int32Array;
  readonly #deletes: Counts;

  constructor(ops: Ops) {
    const keys = new Set<KeyString>();
    this.#measure(ops, keys);
    this.#keys = [...keys].sort();
    for (const [number, key] of this.#keys.entries()) this.#numbers.set(key, number);
    this.#puts = new Int32Array(this.#keys.length);
    this.#deletes = new Counts(this.#keys.length);
  }

  /** Whether a put of the list collides with something that was met before and is not hidden. */
  finds(ops: Ops): boolean {
    for (const { requestDeleteRange } of ops) if (requestDeleteRange) this.#meet(this.#deleteOf(requestDeleteRange));
    for (const { requestTxn } of ops) if (requestTxn && this.#findsInTxn(requestTxn)) return true;
    for (const { requestPut } of ops) {
      if (!requestPut) continue;
      const from = this.#numbers.get(toLatin1(requestPut.key)) as number;
      if ((this.#puts[from] as number) > 0 || this.#deletes.at(from) > 0) return true;
      this.#meet({ put: true, from, to: from + 1 });
    }
    return false;
  }

  #findsInTxn({ success, failure }: TxnRequest): boolean {
    const successIsLess = (this.#sizes.get(success) ?? 0) < (this.#sizes.get(failure) ?? 0);
    const [less, more] = successIsLess ? [success, failure] : [failure, success];
    const start = this.#met.length;
    if (this.finds(less)) return true;
    const hidden = this.#met.slice(start);
    for (const write of hidden) this.#count(write, -1);
    if (this.finds(more)) return true;
    for (const write of hidden) this.#count(write, 1);
    return false;
  }

  #meet(write: Write): void {
    this.#met.push(write);
    this.#count(write, 1);
  }

  #count({ put, from, to }: Write, by: 1 | -1): void {
    if (put) this.#puts[from] = (this.#puts[from] as number) + by;
    else if (from < to) this.#deletes.add(from, to, by);
  }

  /** An end of no bound sorts before every key, and so such a delete is of nothing here. */
  #deleteOf({ key, rangeEnd }: DeleteRangeRequest): Write {
    const first = toLatin1(key);
    const from = this.#numberFrom(first);
    if (rangeEnd.length > 0) return { put: false, from, to: this.#numberFrom(toLatin1(rangeEnd)) };
    return { put: false, from, to: this.#keys[from] === first ? from + 1 : from };
  }

  /** The number of the first key that is not before `key`. */
  #numberFrom(key: KeyString): number {
    let low = 0;
    for (let high = this.#keys.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((this.#keys[middle] as KeyString) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #measure(ops: Ops, keys: Set<KeyString>): number {
    let size = 0;
    for (const { requestPut, requestDeleteRange, requestTxn } of ops) {
      if (requestPut) keys.add(toLatin1(requestPut.key));
      if (requestPut || requestDeleteRange) size += 1;
      if (requestTxn) size += this.#measure(requestTxn.success, keys) + this.#measure(requestTxn.failure, keys);
    }
    this.#sizes.set(ops, size);
    return size;
  }
}

/** Numbers to which a range at a time is added: a Fenwick tree over their differences. */
class Counts {
  readonly #tree: Int32Array;

  constructor(length: number) {
    this.#tree = new Int32Array(length + 2);
  }

  /** Adds to all from `from` up to and without `to`. */
  add(from: number, to: number, by: number): void {
    this.#addDifference(from, by);
    this.#addDifference(to, -by);
  }

  at(index: number): number {
    let sum = 0;
    for (let i = index + 1; i > 0; i -= i & -i) sum += this.#tree[i] as number;
    return sum;
  }

  #addDifference(index: number, by: number): void {
    for (let i = index + 1; i < this.#tree.length; i += i & -i) this.#tree[i] = (this.#tree[i] as number) + by;
  }
}
