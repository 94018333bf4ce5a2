/** Writes to a store as people think of it: text for keys and values. */
import { toBytes, toLatin1 } from '../../../src/protocol/keys.ts';
import { type KvRecord, recordValue } from '../../../src/server/mvcc/record.ts';
import type { KeyRange, KvStore, WriteTxn } from '../../../src/server/mvcc/store.ts';

export function put(txn: WriteTxn, key: string, value = '', lease = 0n): KvRecord {
  const bytes = toBytes(key);
  return txn.put(bytes, toLatin1(bytes), toBytes(value), lease);
}

/** One transaction. */
export function commit(store: KvStore, changes: (txn: WriteTxn) => void): readonly KvRecord[] {
  const txn = store.write();
  changes(txn);
  return txn.end();
}

/** One key. */
export function one(key: string): KeyRange {
  return { key, end: '' };
}

/** Everything. */
export const ALL: KeyRange = { key: '\0', end: '\0' };

/** `key=value@mod` of each record. */
export function lines(records: Iterable<KvRecord>): string[] {
  return [...records].map((record) =>
    record.isTombstone
      ? `${record.key}!@${record.main}`
      : `${record.key}=${Buffer.from(recordValue(record)).toString()}@${record.main}`,
  );
}

/** What a store has at a revision, or why it can't tell. */
export function at(store: KvStore, revision: number, range: KeyRange = ALL): string[] | string {
  const result = store.range(range, revision, 0);
  return typeof result === 'string' ? result : lines(result.records);
}
