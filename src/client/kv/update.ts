/**
 * Read, change, write if nothing happened in between.
 *
 * @module
 */

import { CompareResult, CompareTarget, KV, type TxnRequest } from '../../protocol/generated/etcdserverpb.ts';
import type { KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import { backoffMs } from '../../support/backoff.ts';
import { sleep } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import { deadlineError } from '../connection/failures.ts';
import type { ClientContext } from '../context.ts';
import { DecodeError, EtcdError, InvalidArgumentError } from '../errors.ts';
import type { KeyValue } from './key-value.ts';

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

const CONFLICT_BACKOFF = { initialMs: 2, maxMs: 250 };

/**
 * Adds to an integer in decimal text. The first write guesses that the key is not there;
 * a guess that fails brings the current value along, so each round costs one round trip.
 */
export async function increment(
  { caller, reader }: Pick<ClientContext, 'caller' | 'reader'>,
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
  let current: WireKeyValue | undefined;
  // The first failure is the guess's; only from the second on is somebody else at work.
  for (let conflicts = -1; conflicts <= maxConflicts; conflicts++) {
    const sum = parseInteger(current) + by;
    const request = addRequest(key, current, sum);
    const answer = reader.saw(
      await caller.unary(KV.txn, request, { kind: 'write' }, { ...options, timeoutMs: leftMs }),
    );
    if (answer.succeeded) return sum;
    current = answer.responses[0]?.responseRange?.kvs[0];
    if (conflicts >= 0)
      await sleep(caller.clock, backoffMs(CONFLICT_BACKOFF, conflicts, caller.random), options.signal);
    leftMs = deadlineAt - caller.clock.now();
    if (leftMs <= 0) throw deadlineError(timeoutMs, {});
  }
  throw new EtcdError('server', `the counter was changed by others ${maxConflicts + 1} times in a row`, {
    applied: 'no',
  });
}

/** Writes the sum if the key is still as it was read; else brings it along as it is. */
function addRequest(key: Uint8Array, current: WireKeyValue | undefined, sum: bigint): Init<TxnRequest> {
  const modRevision = current?.modRevision ?? 0n;
  return {
    compare: [{ key, target: CompareTarget.MOD, result: CompareResult.EQUAL, modRevision }],
    success: [{ requestPut: { key, value: Buffer.from(String(sum), 'latin1'), ignoreLease: current !== undefined } }],
    failure: [{ requestRange: { key } }],
  };
}

function parseInteger(kv: WireKeyValue | undefined): bigint {
  if (kv === undefined) return 0n;
  const text = toLatin1(kv.value);
  if (!/^[+-]?\d{1,1000}$/.test(text)) throw new DecodeError('the counter is not an integer in decimal text');
  return BigInt(text);
}
