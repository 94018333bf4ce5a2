/**
 * The locks that the server itself offers (`v3lockpb`).
 *
 * They are here so that every call of etcd can be made, and to take part in locks that
 * other programs take this way. They do not renew the lease, do not say when it is lost, and
 * their guard against a lost lock is a compare on the key that the caller must write. The
 * recipe `Mutex` does all that, and excludes and is excluded by these locks.
 *
 * Source: https://etcd.io/docs/v3.5/dev-guide/api_concurrency_reference_v3/
 *
 * @module
 */

import { Lock as LockService } from '../../protocol/generated/v3lockpb.ts';
import type { LeaseId } from '../../protocol/int64.ts';
import { type Key, NO_BYTES, toBytes } from '../../protocol/keys.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { type ResponseHeader, toHeader } from '../header.ts';
import { toKeyBytes } from '../kv/target.ts';
import { WRITE } from './traits.ts';
import { callAndWait, checkLease } from './waiting.ts';

/** A lock that is held. */
export interface LockResult {
  /** Its `revision`: the store's when the lock was granted. */
  readonly header: ResponseHeader;
  /** The key that stands for the ownership, `<name>/<lease in hex>`, as text; the lock is held while it exists. */
  readonly key: string;
  /** The same in bytes: pass it to {@link LockApi.unlock}. */
  readonly keyBytes: Uint8Array;
}

/** `etcd.locks`. */
export class LockApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * Waits for the lock of this name and takes it, for as long as the lease lives. The same
   * lease gets a lock it holds again at once.
   *
   * There is no default deadline: the wait ends by an answer, by `timeoutMs`, by `signal`, or
   * when the connection breaks. After a failure that may have been too late, `applied` is
   * `maybe`: revoke the lease, or unlock `<name>/<lease in hex>`. Never repeated.
   *
   * @throws EtcdError with code `lease-not-found` for a lease that is unknown, or ran out during the wait.
   */
  async lock(name: Key, lease: LeaseId, options?: CallOptions): Promise<LockResult> {
    checkLease(lease);
    const request = { name: toBytes(name), lease };
    const { header, key } = await callAndWait(this.#caller, LockService.lock, request, 'the lock', options);
    return { header: toHeader(header), key: Buffer.from(key).toString('utf8'), keyBytes: Uint8Array.from(key) };
  }

  /**
   * Gives a lock back by deleting its key. A key that does not exist is no error. Not
   * repeated after an ambiguous failure: a late repetition could delete the key of the next
   * lock under the same lease.
   */
  async unlock(key: Key, options?: CallOptions): Promise<{ readonly header: ResponseHeader }> {
    const request = { key: toKeyBytes(key, NO_BYTES) };
    const { header } = await this.#caller.unary(LockService.unlock, request, WRITE, options);
    return { header: toHeader(header) };
  }
}
