/**
 * etcd's hash of the key-value space: equal on all members that hold the same, whatever they have freed already.
 *
 * It runs over the records as etcd's backend has them: `key`, then for each record its revision and its bytes. A
 * {@link HashRun} does so in steps, and gives the hash of the moment that it was made in: what is written, compacted or
 * freed meanwhile makes no difference to it.
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
  return new HashRun(store, revision).finish();
}

/** {@link hashKv} in steps. It keeps what is freed meanwhile from being collected: bring it to its end. */
export class HashRun {
  readonly revision: number;
  /** Compaction that the records were left by; -1 if there was none. */
  readonly compactRevision: number;
  readonly #skips: boolean;
  #rest: Iterator<KvRecord> | undefined;
  #hash = crc32c('key');

  constructor(store: KvStore, revision: number) {
    this.revision = revision;
    this.compactRevision = store.compactRevision;
    const records = store.surviving();
    this.#skips = someVisible(records, revision);
    this.#rest = records[Symbol.iterator]();
  }

  /** Looks at so many records at most. @returns Whether more are left. */
  step(limit: number): boolean {
    for (let left = limit; left > 0 && this.#rest; left -= 1) {
      const next = this.#rest.next();
      if (next.done || next.value.main > this.revision) this.#rest = undefined;
      else this.#add(next.value);
    }
    return this.#rest !== undefined;
  }

  /** Looks at all that is left. @returns The hash. */
  finish(): number {
    this.step(Number.POSITIVE_INFINITY);
    return this.#hash;
  }

  #add(record: KvRecord): void {
    const isCompacted = record.main <= this.compactRevision;
    if (isCompacted && (record.isTombstone || (this.#skips && !isVisible(record, this.revision)))) return;
    this.#hash = crc32c(Buffer.from(backendKey(record).buffer), this.#hash);
    const { buffer, byteOffset, length } = record.bytes;
    this.#hash = crc32c(Buffer.from(buffer, byteOffset, length), this.#hash);
  }
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
