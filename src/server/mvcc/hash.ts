/**
 * etcd's hash of the key-value space: equal on all members that hold the same, whatever they have freed already.
 *
 * It runs over the records as etcd's backend has them: `key`, then for each record its revision and its bytes. Of what
 * is compacted only versions that still are visible count, and no mark of a delete.
 *
 * Source: `etcdctl endpoint hashkv` and the values that etcd 3.5 gives; Castagnoli CRC of RFC 3720.
 *
 * @module
 */
import { crc32c } from '@node-rs/crc32';
import type { KvRecord } from './record.ts';
import type { KvStore } from './store.ts';

/** Bytes of a key in etcd's backend; one more, `t`, after the mark of a delete. */
const REVISION_BYTES = 17;

/** The key of a record in etcd's backend: main revision, `_`, place within it; `t` for the mark of a delete. */
export function backendKey(record: KvRecord): Uint8Array {
  const bytes = new Uint8Array(record.isTombstone ? REVISION_BYTES + 1 : REVISION_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(record.main));
  bytes[8] = 0x5f;
  view.setBigUint64(9, BigInt(record.sub));
  if (record.isTombstone) bytes[REVISION_BYTES] = 0x74;
  return bytes;
}

/** The hash at a revision that is not compacted and not in the future. */
export function hashKv(store: KvStore, revision: number): number {
  const { compactRevision } = store;
  let hash = crc32c('key');
  for (const record of store.surviving()) {
    if (record.main > revision) break;
    if (record.isTombstone && record.main <= compactRevision) continue;
    hash = crc32c(Buffer.from(backendKey(record).buffer), hash);
    const { buffer, byteOffset, length } = record.bytes;
    hash = crc32c(Buffer.from(buffer, byteOffset, length), hash);
  }
  return hash;
}
