/**
 * etcd's hash of the key-value space: equal on all members that hold the same, whatever they have freed already.
 *
 * It runs over the records as etcd's backend has them: `key`, then for each record its revision and its bytes.
 *
 * Source: `etcdctl endpoint hashkv` and the values that etcd 3.5 gives; Castagnoli CRC of RFC 3720.
 *
 * @module
 */
import { crc32c } from '@node-rs/crc32';
import { backendKey } from './backend-key.ts';
import type { KvRecord } from './record.ts';
import type { KvStore } from './store.ts';

/**
 * The hash at a revision that is not compacted and not in the future.
 *
 * What is compacted counts as far as it is visible at the revision of the hash, not at that of the compaction. If no key
 * is left there, etcd skips nothing but marks of deletes, and so all else that the compaction has kept counts.
 */
export function hashKv(store: KvStore, revision: number): number {
  const { compactRevision } = store;
  const records = store.surviving();
  const skips = someVisible(records, revision);
  let hash = crc32c('key');
  for (const record of records) {
    if (record.main > revision) break;
    if (record.main <= compactRevision && (record.isTombstone || (skips && !isVisible(record, revision)))) continue;
    hash = crc32c(Buffer.from(backendKey(record).buffer), hash);
    const { buffer, byteOffset, length } = record.bytes;
    hash = crc32c(Buffer.from(buffer, byteOffset, length), hash);
  }
  return hash;
}

function someVisible(records: Iterable<KvRecord>, revision: number): boolean {
  for (const record of records) {
    if (record.main > revision) return false;
    if (isVisible(record, revision)) return true;
  }
  return false;
}

function isVisible(record: KvRecord, revision: number): boolean {
  return record.until > revision && !record.isTombstone;
}
