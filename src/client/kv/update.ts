/**
 * Read, change, write if nothing happened in between.
 *
 * @module
 */

import { CompareResult, CompareTarget, KV, type TxnRequest } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import type { Init } from '../../protocol/wire.ts';
import { backoffMs } from '../../support/backoff.ts';
import { sleep } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import { deadlineError } from '../connection/failures.ts';
import type { ClientContext } from '../context.ts';
import { EtcdError, InvalidArgumentError } from '../errors.ts';
import type { KeyValue } from './key-value.ts';
import { type Count, toCount } from './last-counts.ts';

/** How a conditional write went. When it did not, `current` is what stands in its way. */
export type SwapResult<V> =
  | { readonly swapped: true; readonly revision: Revision }
  | { readonly swapped: false; readonly current: KeyValue<V> | undefined; readonly revision: Revision };

/** How to count. */
export interface IncrementOptions extends CallOptions {
  /** What to add; may be negative. Default 1. */
  readonly by?: bigint | undefined;
  /** How often to try again when somebody else changed the key in between. Default 100. */
  readonly maxConflicts?: number | undefined;
}

/** How long to wait after a conflict. */
const CONFLICT_BACKOFF = { initialMs: 2, maxMs: 250 };

/**
 * Adds to an integer in decimal text. The first write guesses that the counter is as this
 * client saw it last, or not there; a write that is refused brings the value along. So it
 * takes one round trip when the guess is right, and two when it is wrong.
 *
 * A write of what was just read that is refused all the same has met others who add, and
 * then this one waits. The next write after a wait is a guess again: what was read before
 * it is old, and to wait between reading and writing would be to lose to all who do not.
 */
export async function increment(
  { caller, reader, lastCounts }: Pick<ClientContext, 'caller' | 'reader' | 'lastCounts'>,
  key: Uint8Array,
  options: IncrementOptions,
): Promise<bigint> {
  const { by = 1n, maxConflicts = 100, timeoutMs = caller.timeoutMs } = options;
  if (typeof by !== 'bigint') throw new InvalidArgumentError('`by` is not a bigint');
  if (!(Number.isSafeInteger(maxConflicts) && maxConflicts >= 0)) {
    throw new InvalidArgumentError(`maxConflicts ${String(maxConflicts)} is not a whole number of at least 0`);
  }
  const deadlineAt = caller.clock.now() + timeoutMs;
  let leftMs = timeoutMs;
  let current = lastCounts.get(key);
  for (let conflicts = 0, guess = true; ; guess = !guess) {
    const sum = plus(current, by);
    const request = addRequest(key, current, sum);
    const answer = reader.saw(
      await caller.unary(KV.txn, request, { kind: 'write' }, { ...options, timeoutMs: leftMs }),
    );
    if (answer.succeeded) {
      lastCounts.set(key, sum);
      return sum.value;
    }
    current = toCount(answer.responses[0]?.responseRange?.kvs[0]);
    lastCounts.set(key, current);
    if (!guess) {
      if (conflicts === maxConflicts) throw contended(conflicts + 1);
      await sleep(caller.clock, backoffMs(CONFLICT_BACKOFF, conflicts, caller.random), options.signal);
      conflicts += 1;
      // Another call of this client may have seen it since.
      current = lastCounts.get(key);
    }
    leftMs = deadlineAt - caller.clock.now();
    if (leftMs <= 0) throw deadlineError(timeoutMs, {});
  }
}

/** Writes the sum if the counter is still what it was; else brings it along as it is. */
function addRequest(key: Uint8Array, current: Count | undefined, sum: Count): Init<TxnRequest> {
  const same = { key, result: CompareResult.EQUAL };
  return {
    // By value, and by nothing that a cluster restored from a backup could count a second time.
    compare: [
      current === undefined
        ? { ...same, target: CompareTarget.VERSION, version: 0n }
        : { ...same, target: CompareTarget.VALUE, value: current.bytes },
    ],
    success: [{ requestPut: { key, value: sum.bytes, ignoreLease: current !== undefined } }],
    failure: [{ requestRange: { key } }],
  };
}

function plus(current: Count | undefined, by: bigint): Count {
  const value = (current?.value ?? 0n) + by;
  return { value, bytes: Buffer.from(String(value), 'latin1') };
}

function contended(times: number): EtcdError {
  return new EtcdError('server', `the counter was changed by others ${times} times in a row`, { applied: 'no' });
}
