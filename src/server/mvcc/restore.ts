/**
 * Takes the rows of etcd's bucket `key`, in order, and makes of them what a store is built on: the index with its
 * chains, and the log.
 *
 * Rows come from a file, so each is checked: its key has the form of a revision, revisions ascend, and a put tells the
 * revision that its key tells. Of a compacted history only the last put of a key may be left, and a mark of a delete
 * without what it deleted: both are as good as any other row. Whose compaction was not finished may have more rows than
 * that; the store sweeps them.
 *
 * @module
 */
import { KeyValue } from '../../protocol/generated/mvccpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import { BackendRowError, readBackendKey } from './backend-key.ts';
import { type OrderedMap, orderedMap } from './ordered-map.ts';
import { KvRecord } from './record.ts';

/** Rows on their way into a store: add all, then give it to `KvStore.restore`, and don't use it again. */
export class KvRows {
  readonly index: OrderedMap<KvRecord> = orderedMap();
  readonly log: KvRecord[] = [];

  /**
   * Adds a row; what it keeps of it is a copy.
   *
   * @param key Its key in the bucket: the revision.
   * @param bytes Its value: an encoded `mvccpb.KeyValue`.
   * @throws {@link BackendRowError}
   */
  add(key: Uint8Array, bytes: Uint8Array): void {
    const { main, sub, isTombstone } = readBackendKey(key);
    const last = this.log.at(-1);
    if (last && (main < last.main || (main === last.main && sub <= last.sub))) {
      throw new BackendRowError(`revision ${main} is out of order`);
    }
    const kv = decode(main, bytes);
    if (kv.key.length === 0) throw new BackendRowError(`revision ${main} has no key`);
    if (!isTombstone && (kv.version <= 0n || kv.modRevision !== BigInt(main))) {
      throw new BackendRowError(`revision ${main} contradicts itself`);
    }
    const name = toLatin1(kv.key);
    const previous = this.index.get(name);
    const record = new KvRecord({
      // One string for all versions of a key.
      key: previous?.key ?? name,
      main,
      sub,
      createRevision: isTombstone ? 0 : Number(kv.createRevision),
      version: isTombstone ? 0 : Number(kv.version),
      lease: isTombstone ? 0n : kv.lease,
      bytes: new Uint8Array(bytes),
      previous,
    });
    if (previous) previous.until = main;
    this.index.set(record.key, record);
    this.log.push(record);
  }
}

function decode(main: number, bytes: Uint8Array): KeyValue {
  try {
    return KeyValue.decode(bytes);
  } catch {
    // The codec's error is not told: it may show what it has read.
    throw new BackendRowError(`revision ${main} can't be decoded`);
  }
}
