/**
 * What clients did and what they were told: the form in which all checkers of this folder take it.
 *
 * An operation has the time of its call and, unless its outcome is unknown, the time of its answer. Times are of one
 * clock that never goes back, in any unit: virtual milliseconds, or better the number of the event, since two
 * operations of which one ends at the very time at which the other begins count as concurrent.
 *
 * Keys and values are compared by code unit: give bytes as latin1. Revisions are numbers. A transaction holds no other
 * transaction. What the store has really been through is the log: one entry for each revision, taken from a watch over
 * everything or from a member itself.
 */

/** A version of a key. In the event of a delete all but key and `modRevision` are empty. */
export interface KeyVersion {
  readonly key: string;
  readonly value: string;
  /** Its lease; 0: none. */
  readonly lease: bigint;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

/** One key; with `end` all keys from `key` up to, not including it, where '\0' means no end, as in etcd. */
export interface KeyRange {
  readonly key: string;
  readonly end?: string | undefined;
}

export interface RangeOp extends KeyRange {
  readonly kind: 'range';
  /** Reads the state at that revision. Default: as it is. */
  readonly revision?: number | undefined;
  /** Of the keys in their order, the first so many. Default: all. */
  readonly limit?: number | undefined;
  readonly countOnly?: boolean | undefined;
  /** May be stale. In a transaction it counts if all its ranges have it. Default: false. */
  readonly serializable?: boolean | undefined;
}

export interface PutOp {
  readonly kind: 'put';
  readonly key: string;
  readonly value: string;
  /** Default: 0, none. */
  readonly lease?: bigint | undefined;
  readonly prevKv?: boolean | undefined;
}

export interface DeleteOp extends KeyRange {
  readonly kind: 'delete';
  readonly prevKv?: boolean | undefined;
}

export type Op = RangeOp | PutOp | DeleteOp;

/** A condition. On a range it holds if it does for every key. */
export type Compare = KeyRange & { readonly result: '=' | '!=' | '<' | '>' } & (
    | { readonly target: 'value'; readonly operand: string }
    | { readonly target: 'version' | 'createRevision' | 'modRevision'; readonly operand: number }
    | { readonly target: 'lease'; readonly operand: bigint }
  );

export interface TxnRequest {
  readonly kind: 'txn';
  readonly compares: readonly Compare[];
  readonly success: readonly Op[];
  readonly failure: readonly Op[];
}

/** Ends a lease: its keys go, in one revision, in their order. */
export interface RevokeRequest {
  readonly kind: 'revoke';
  readonly lease: bigint;
}

export type Request = Op | TxnRequest | RevokeRequest;

export interface RangeResult {
  readonly kind: 'range';
  readonly kvs: readonly KeyVersion[];
  /** Keys in the range, whatever the limit. */
  readonly count: number;
  readonly more: boolean;
}

export interface PutResult {
  readonly kind: 'put';
  readonly prevKv?: KeyVersion | undefined;
}

export interface DeleteResult {
  readonly kind: 'delete';
  readonly deleted: number;
  readonly prevKvs: readonly KeyVersion[];
}

export type OpResult = RangeResult | PutResult | DeleteResult;

export interface TxnResult {
  readonly kind: 'txn';
  readonly succeeded: boolean;
  /** Of the operations of the branch that was taken. */
  readonly results: readonly OpResult[];
}

export interface RevokeResult {
  readonly kind: 'revoke';
}

export type Result = OpResult | TxnResult | RevokeResult;

export interface Response {
  /** That of the header. */
  readonly revision: number;
  readonly result: Result;
}

interface Called {
  /** Names it in what the checkers say. */
  readonly id: number;
  readonly client: string;
  /** The run of the member that answers: what one of them tells never goes back. Default: nothing is known. */
  readonly session?: string | undefined;
  readonly calledAt: number;
  readonly request: Request;
}

export interface Answered extends Called {
  readonly status: 'ok';
  readonly returnedAt: number;
  readonly response: Response;
}

/** It has taken effect, or will at any time after its call, or never: once at most. */
export interface Unknown extends Called {
  readonly status: 'unknown';
}

/** It has not taken effect and never will. */
export interface Failed extends Called {
  readonly status: 'failed';
}

export type Operation = Answered | Unknown | Failed;

export interface LogEvent {
  readonly type: 'put' | 'delete';
  readonly kv: KeyVersion;
}

/** All that one revision has changed, in the order of its sub-revisions. */
export interface LogEntry {
  readonly revision: number;
  readonly events: readonly LogEvent[];
}

/** Something that must not be. */
export interface Finding {
  /** The rule that is broken. */
  readonly rule: string;
  /** What is wrong, with the names of all that have part in it. */
  readonly message: string;
}

/** A finding about operations. */
export interface HistoryFinding extends Finding {
  /** Those at fault, as few as can be told. */
  readonly operations: readonly Operation[];
}

/** Whether a request may be answered with a stale state. */
export function isSerializable(request: Request): boolean {
  if (request.kind === 'range') return request.serializable === true;
  if (request.kind !== 'txn') return false;
  const ops = [...request.success, ...request.failure];
  return ops.length > 0 && ops.every((op) => op.kind === 'range' && op.serializable === true);
}

/** Whether the request can change anything. */
export function canWrite(request: Request): boolean {
  if (request.kind === 'range') return false;
  return request.kind !== 'txn' || [...request.success, ...request.failure].some(canWrite);
}

/** Whether the range has the key. */
export function covers({ key, end }: KeyRange, wanted: string): boolean {
  if (end === undefined) return wanted === key;
  return wanted >= key && (end === '\0' || wanted < end);
}

/** Takes down what clients do, each call and answer with a number of its own as its time. */
export class Recorder {
  #time = 0;
  readonly #operations: Operation[] = [];

  /** All operations so far; those without an answer yet are unknown. */
  get operations(): readonly Operation[] {
    return this.#operations;
  }

  /** A client calls. Returns how to say what became of it: nothing if nobody knows. */
  call(client: string, request: Request): OpenOperation {
    const id = this.#operations.length;
    const called: Unknown = { id, client, calledAt: this.#tick(), request, status: 'unknown' };
    this.#operations.push(called);
    return {
      answered: (response, session) => {
        const returnedAt = this.#tick();
        this.#operations[id] = { ...called, session, status: 'ok', returnedAt, response };
      },
      failed: () => {
        this.#operations[id] = { ...called, status: 'failed' };
      },
    };
  }

  #tick(): number {
    this.#time += 1;
    return this.#time;
  }
}

/** What can become of an operation. */
export interface OpenOperation {
  answered(response: Response, session?: string): void;
  /** It had no effect and never will have. */
  failed(): void;
}
