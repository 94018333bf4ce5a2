/**
 * The keys of etcd's bucket `key`: revisions, in bytes that sort as the revisions do.
 *
 * @module
 */
import { viewAsBuffer } from '../../protocol/keys.ts';
import type { KvRecord } from './record.ts';

/** A row that is not etcd's. Messages name revisions, never keys or values. */
export class BackendRowError extends Error {
  override name = 'BackendRowError';
}

/** Bytes of a key in etcd's backend; the mark of a delete has {@link TOMBSTONE_BYTE} behind them. */
export const BACKEND_KEY_BYTES = 17;
/** `t` */
const TOMBSTONE_BYTE = 0x74;

const UNDERSCORE = 0x5f;

/** The key of a record in etcd's backend: main revision, `_`, place within it; `t` for the mark of a delete. */
export function backendKey(record: KvRecord): Uint8Array {
  const bytes = new Uint8Array(record.isTombstone ? BACKEND_KEY_BYTES + 1 : BACKEND_KEY_BYTES);
  const view = new DataView(bytes.buffer);
  // In halves: a bigint for each would take most of the time of a snapshot's first pass.
  view.setUint32(0, Math.floor(record.main / 2 ** 32));
  view.setUint32(4, record.main % 2 ** 32);
  bytes[8] = UNDERSCORE;
  view.setUint32(13, record.sub);
  if (record.isTombstone) bytes[BACKEND_KEY_BYTES] = TOMBSTONE_BYTE;
  return bytes;
}

/** The inverse of {@link backendKey}. @throws {@link BackendRowError} */
export function readBackendKey(bytes: Uint8Array): { main: number; sub: number; isTombstone: boolean } {
  const key = viewAsBuffer(bytes);
  const isTombstone = key.length === BACKEND_KEY_BYTES + 1 && key[BACKEND_KEY_BYTES] === TOMBSTONE_BYTE;
  if ((key.length !== BACKEND_KEY_BYTES && !isTombstone) || key[8] !== UNDERSCORE) {
    throw new BackendRowError('a key that is no revision');
  }
  const main = Number(key.readBigInt64BE(0));
  const sub = Number(key.readBigInt64BE(9));
  if (main <= 0 || sub < 0 || !Number.isSafeInteger(main)) throw new BackendRowError('a revision out of range');
  return { main, sub, isTombstone };
}
