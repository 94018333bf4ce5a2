/**
 * Ranges as clients ask for them: sorted, filtered, cut.
 *
 * Copies what clients of etcd can see: `count` ignores limit and filters; `more` says that a limit cut something off;
 * and a sort by something else than the key *without* an order is an ascending one, of the first `limit + 1` keys
 * only. Records that compare equal keep the order of their keys (etcd leaves theirs open).
 *
 * Source: etcd's API reference (`RangeRequest`), and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import {
  type RangeRequest,
  RangeRequestSortOrder as SortOrder,
  RangeRequestSortTarget as SortTarget,
} from '../../protocol/generated/etcdserverpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import { type KvRecord, recordValue } from './record.ts';
import type { KeyRange, RangeResult, RevisionError } from './store.ts';

/** What a range is read from: the store, or a transaction that sees its own writes. */
export interface RangeSource {
  range(range: KeyRange, revision: number, limit: number): RangeResult | RevisionError;
}

export interface QueryResult extends RangeResult {
  /** Whether the limit cut something off. */
  readonly more: boolean;
}

/** The range that a request names. */
export function rangeOf({ key, rangeEnd }: Pick<RangeRequest, 'key' | 'rangeEnd'>): KeyRange {
  return { key: toLatin1(key), end: toLatin1(rangeEnd) };
}

/** Reads what a request asks for. Its sort target has to be one that exists. */
export function query(source: RangeSource, request: RangeRequest): QueryResult | RevisionError {
  const { sortOrder, sortTarget, countOnly } = request;
  const limit = Number(request.limit);
  const filter = filterOf(request);
  // What comes first is known only when all is there.
  const wholeRange = isOrdered(sortOrder) || filter !== undefined;
  const found = source.range(rangeOf(request), Number(request.revision), wholeRange || limit <= 0 ? 0 : limit + 1);
  if (typeof found === 'string') return found;
  if (countOnly) return { records: [], count: found.count, more: false };
  const filtered = filter ? found.records.filter(filter) : found.records;
  const compare = comparison(sortOrder, sortTarget);
  const sorted = compare ? [...filtered].sort(compare) : filtered;
  const more = limit > 0 && sorted.length > limit;
  return { records: more ? sorted.slice(0, limit) : sorted, count: found.count, more };
}

function isOrdered(order: SortOrder): boolean {
  return order !== SortOrder.NONE;
}

type Filter = (record: KvRecord) => boolean;

function filterOf(request: RangeRequest): Filter | undefined {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  const filters: Filter[] = [];
  if (maxModRevision !== 0n) filters.push(({ main }) => BigInt(main) <= maxModRevision);
  if (minModRevision !== 0n) filters.push(({ main }) => BigInt(main) >= minModRevision);
  if (maxCreateRevision !== 0n) filters.push(({ createRevision }) => BigInt(createRevision) <= maxCreateRevision);
  if (minCreateRevision !== 0n) filters.push(({ createRevision }) => BigInt(createRevision) >= minCreateRevision);
  return filters.length === 0 ? undefined : (record) => filters.every((filter) => filter(record));
}

type Comparison = (a: KvRecord, b: KvRecord) => number;

function comparison(order: SortOrder, target: SortTarget): Comparison | undefined {
  // An order that nobody knows is none.
  if (order < SortOrder.NONE || order > SortOrder.DESCEND) return undefined;
  const descending = order === SortOrder.DESCEND;
  // Records come in the order of their keys.
  if (target === SortTarget.KEY && !descending) return undefined;
  const ascending = byTarget(target);
  return descending ? (a, b) => ascending(b, a) : ascending;
}

function byTarget(target: SortTarget): Comparison {
  switch (target) {
    case SortTarget.KEY:
      return (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
    case SortTarget.VERSION:
      return (a, b) => a.version - b.version;
    case SortTarget.CREATE:
      return (a, b) => a.createRevision - b.createRevision;
    case SortTarget.MOD:
      return (a, b) => a.main - b.main;
    case SortTarget.VALUE:
      return (a, b) => Buffer.compare(recordValue(a), recordValue(b));
  }
}
