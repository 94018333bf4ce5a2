/**
 * Options of reads and writes, and how they look on the wire.
 *
 * @module
 */

import {
  type DeleteRangeRequest,
  type PutRequest,
  type RangeRequest,
  RangeRequestSortOrder,
  RangeRequestSortTarget,
} from '../../protocol/generated/etcdserverpb.ts';
import type { LeaseId, Revision } from '../../protocol/int64.ts';
import { type ByteRange, NO_BYTES } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import type { CallOptions } from '../call-options.ts';
import { InvalidArgumentError } from '../errors.ts';

/** How to read one key. */
export interface GetOptions {
  /** Reads the store as it was at this revision. Default: as it is now. */
  readonly revision?: Revision | undefined;
  /**
   * Answers from the member's own copy, without asking the others: faster, works without
   * a quorum, and may be stale. Default false: linearizable.
   */
  readonly serializable?: boolean | undefined;
}

/** How to read many keys. */
export interface RangeOptions extends GetOptions {
  /** At most so many keys. Default: all. */
  readonly limit?: number | undefined;
  /**
   * The order of the answer. Default: by key, ascending. Any other makes the server read
   * the whole range before it cuts at `limit`.
   */
  readonly sort?: { readonly by: SortBy; readonly order?: 'ascending' | 'descending' | undefined } | undefined;
  /** Leaves the values out, which read as empty then. Default false. */
  readonly keysOnly?: boolean | undefined;
  /** Leaves the keys out too: the answer is just a count. Default false. */
  readonly countOnly?: boolean | undefined;
  /** Only keys last changed at this revision or later. */
  readonly minModRevision?: Revision | undefined;
  /** Only keys last changed at this revision or earlier. */
  readonly maxModRevision?: Revision | undefined;
  /** Only keys created at this revision or later. */
  readonly minCreateRevision?: Revision | undefined;
  /** Only keys created at this revision or earlier. */
  readonly maxCreateRevision?: Revision | undefined;
}

/** What a range can be sorted by. */
export type SortBy = 'key' | 'version' | 'createRevision' | 'modRevision' | 'value';

/** How to write a key. */
export interface PutOptions {
  /** Hangs the key on a lease: it goes when the lease does. Default: none; a lease it hung on before is let go. */
  readonly lease?: LeaseRef | undefined;
  /** Keeps the lease that the key hangs on; the key must exist. Default false: `lease` says, or none. */
  readonly ignoreLease?: boolean | undefined;
  /** Also answers with what the key was before. Default false. */
  readonly prevKv?: boolean | undefined;
}

/** How to write a key's lease and leave its value alone. */
export interface TouchOptions {
  /** The lease to hang the key on. Default: none. */
  readonly lease?: LeaseRef | undefined;
  /** Also answers with what the key was before. Default false. */
  readonly prevKv?: boolean | undefined;
}

/** How to delete keys. */
export interface DeleteOptions {
  /** Also answers with what was deleted. Default false. */
  readonly prevKv?: boolean | undefined;
}

/** A lease, or just its id. */
export type LeaseRef = LeaseId | { readonly id: LeaseId };

/** The options of a call together with those of the operation. */
export type WithCall<Options> = Options & CallOptions;

const SORT_TARGETS: ReadonlyMap<SortBy, RangeRequestSortTarget> = new Map([
  ['key', RangeRequestSortTarget.KEY],
  ['version', RangeRequestSortTarget.VERSION],
  ['createRevision', RangeRequestSortTarget.CREATE],
  ['modRevision', RangeRequestSortTarget.MOD],
  ['value', RangeRequestSortTarget.VALUE],
]);

/** A range request. @throws InvalidArgumentError for an option that makes no sense. */
export function rangeRequest({ key, end }: ByteRange, options: RangeOptions): Init<RangeRequest> {
  const { limit, sort } = options;
  return {
    key,
    rangeEnd: end,
    limit: limit === undefined ? 0n : BigInt(positiveInteger('limit', limit)),
    revision: checkRevision('revision', options.revision),
    ...(sort !== undefined && sortFields(sort)),
    serializable: options.serializable,
    keysOnly: options.keysOnly,
    countOnly: options.countOnly,
    minModRevision: checkRevision('minModRevision', options.minModRevision),
    maxModRevision: checkRevision('maxModRevision', options.maxModRevision),
    minCreateRevision: checkRevision('minCreateRevision', options.minCreateRevision),
    maxCreateRevision: checkRevision('maxCreateRevision', options.maxCreateRevision),
  };
}

/** A number of things, of which there must be some. @throws InvalidArgumentError */
export function positiveInteger(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError(`${name} ${String(value)} is not a positive whole number`);
}

/**
 * A revision that a user gave. Negative ones mean "now" to a read, and "too old" to the same
 * read inside a transaction, so nobody can mean them.
 *
 * @throws InvalidArgumentError
 */
export function checkRevision(name: string, value: bigint | undefined): bigint | undefined {
  if (value === undefined || (typeof value === 'bigint' && value >= 0n && value < 2n ** 63n)) return value;
  throw new InvalidArgumentError(`${name} ${String(value)} is not a revision: a bigint of at least 0`);
}

function sortFields({ by, order = 'ascending' }: NonNullable<RangeOptions['sort']>): Init<RangeRequest> {
  const sortTarget = SORT_TARGETS.get(by);
  if (sortTarget === undefined) throw new InvalidArgumentError(`sort.by ${String(by)} is unknown`);
  if (order !== 'ascending' && order !== 'descending') {
    throw new InvalidArgumentError(`sort.order ${String(order)} is neither ascending nor descending`);
  }
  // Always with an order: with none, a limit would cut before the server sorts by anything but the key.
  return {
    sortTarget,
    sortOrder: order === 'ascending' ? RangeRequestSortOrder.ASCEND : RangeRequestSortOrder.DESCEND,
  };
}

/** A request for one key. */
export function getRequest(key: Uint8Array, options: GetOptions): Init<RangeRequest> {
  const revision = checkRevision('revision', options.revision);
  return { key, rangeEnd: NO_BYTES, revision, serializable: options.serializable };
}

/** A put request. @throws InvalidArgumentError for options that exclude each other. */
export function putRequest(key: Uint8Array, value: Uint8Array, options: PutOptions): Init<PutRequest> {
  if (options.ignoreLease && options.lease !== undefined) {
    throw new InvalidArgumentError('lease and ignoreLease exclude each other');
  }
  const { prevKv, ignoreLease } = options;
  return { key, value, lease: leaseIdOf(options.lease), prevKv, ignoreLease };
}

/** A put request that keeps the value. */
export function touchRequest(key: Uint8Array, options: TouchOptions): Init<PutRequest> {
  return { key, lease: leaseIdOf(options.lease), prevKv: options.prevKv, ignoreValue: true };
}

/** A delete request. */
export function deleteRequest({ key, end }: ByteRange, options: DeleteOptions): Init<DeleteRangeRequest> {
  return { key, rangeEnd: end, prevKv: options.prevKv };
}

/**
 * The id of a lease on the wire; 0 for none. What is no lease is an error and never "none":
 * a key that hangs on nothing stays for ever.
 *
 * @throws InvalidArgumentError
 */
export function leaseIdOf(lease: LeaseRef | 0n | undefined): bigint {
  if (lease === undefined) return 0n;
  const id: unknown = typeof lease === 'bigint' ? lease : (lease as { readonly id?: unknown } | null)?.id;
  if (typeof id === 'bigint') return id;
  throw new InvalidArgumentError('lease is neither a lease nor the id of one: a bigint');
}
