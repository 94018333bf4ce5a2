/**
 * The conditions of a transaction.
 *
 * All of them, those of transactions inside it too, look at the state before the transaction. A key that does not
 * exist compares as one with zeros everywhere, but for its value: nothing can be said of that, and so no condition on
 * it holds. A condition on a range holds if it does for every key; on an empty one, as for a key that does not exist.
 *
 * Source: etcd's API reference (`Compare`), and its servers as observed.
 *
 * @module
 */
import { type Compare, CompareResult, CompareTarget } from '../../protocol/generated/etcdserverpb.ts';
import { type QueryResult, type RangeSource, rangeOf } from './query.ts';
import { type KvRecord, recordValue } from './record.ts';

/** Whether a condition holds now. */
export function holds(source: RangeSource, compare: Compare): boolean {
  const found = source.range(rangeOf(compare), 0, 0) as QueryResult;
  if (found.records.length > 0) return found.records.every((record) => accepts(compare, difference(compare, record)));
  return compare.target !== CompareTarget.VALUE && accepts(compare, difference(compare, undefined));
}

/** Below, above or equal to 0, as the record's field is to the condition's. */
function difference(compare: Compare, record: KvRecord | undefined): number {
  switch (compare.target) {
    case CompareTarget.VERSION:
      return order(record?.version ?? 0, compare.version);
    case CompareTarget.CREATE:
      return order(record?.createRevision ?? 0, compare.createRevision);
    case CompareTarget.MOD:
      return order(record?.main ?? 0, compare.modRevision);
    case CompareTarget.VALUE:
      return record ? Buffer.compare(recordValue(record), compare.value ?? new Uint8Array()) : 0;
    case CompareTarget.LEASE:
      return order(record?.lease ?? 0n, compare.lease);
  }
  // A field that nobody knows is equal, to etcd.
  return 0;
}

/** A condition that names one field and gives another one's value compares with 0. */
function order(field: number | bigint, wanted: bigint | undefined): number {
  const value = BigInt(field);
  const other = wanted ?? 0n;
  return value < other ? -1 : value > other ? 1 : 0;
}

function accepts({ result }: Compare, difference: number): boolean {
  switch (result) {
    case CompareResult.EQUAL:
      return difference === 0;
    case CompareResult.GREATER:
      return difference > 0;
    case CompareResult.LESS:
      return difference < 0;
    case CompareResult.NOT_EQUAL:
      return difference !== 0;
  }
  // A relation that nobody knows holds, to etcd.
  return true;
}
