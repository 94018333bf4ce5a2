/**
 * Forgetting history.
 *
 * Compaction concerns the whole store, so it is a method of the client and not of a
 * keyspace.
 *
 * @module
 */

import { KV } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { CompactedError, InvalidArgumentError } from '../errors.ts';
import { checkRevision } from './options.ts';

/** How to compact. */
export interface CompactOptions extends CallOptions {
  /**
   * Waits until the server has removed the old versions from its storage, not only from
   * sight. That may take longer than the default `timeoutMs`. Default false.
   */
  readonly physical?: boolean | undefined;
}

/**
 * Drops the history before a revision: reads at that revision still work, reads and watches
 * from before it fail with a CompactedError. Of each key the newest version up to the
 * revision stays. With authentication on it takes root.
 *
 * Sent again when no answer came, since twice is the same as once; a repeat that finds the
 * work done counts as success.
 *
 * @throws CompactedError when that much history was dropped already.
 * @throws EtcdError with code `future-revision` when the store has not got there yet.
 * @throws InvalidArgumentError when `revision` is no revision, or 0.
 */
export async function compact(caller: Caller, revision: Revision, options: CompactOptions = {}): Promise<void> {
  if (checkRevision('revision', revision) === undefined || revision === 0n) {
    throw new InvalidArgumentError('the revision to compact at is missing or 0');
  }
  const request = { revision, physical: options.physical };
  try {
    await caller.unary(KV.compact, request, { kind: 'idempotent' }, options);
  } catch (error) {
    const mayBeOurs = error instanceof CompactedError && error.applied === 'maybe';
    if (!mayBeOurs) throw error;
  }
}
