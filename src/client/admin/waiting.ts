/**
 * Calls that the server answers when it likes: `Lock` and `Campaign`.
 *
 * They wait in the server for as long as it takes, so no default deadline ends them; the
 * wait ends by an answer, by the caller's own `timeoutMs`, by the signal, or with the
 * connection. Whenever the call ends early the server takes the waiter's key away, yet an
 * answer may have been on its way; then the key stays until its lease ends. The errors of
 * this file say so.
 *
 * They are never repeated. A second call under the same lease shares the first one's key,
 * and the server's clean-up after the first would take it from under the second.
 *
 * Source: etcd `server/etcdserver/api/v3lock/lock.go`, `v3election/election.go`.
 *
 * @module
 */

import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { AbortError, DeadlineError, type EtcdErrorDetails, InvalidArgumentError } from '../errors.ts';
import { WRITE } from './traits.ts';

/** Makes a call that may wait for ever. `what` completes "gave up waiting for …". */
export async function callAndWait<I, O>(
  caller: Caller,
  method: MethodDescriptor<I, O>,
  request: Init<I>,
  what: string,
  options: CallOptions = {},
): Promise<O> {
  const timeoutMs = options.timeoutMs ?? Number.POSITIVE_INFINITY;
  try {
    return await caller.unary(method, request, WRITE, { ...options, timeoutMs });
  } catch (error) {
    if (error instanceof AbortError) throw new AbortError(`aborted by the caller: ${consequence(what, error)}`, error);
    // The server may notice first that the time is up.
    if (options.timeoutMs !== undefined && error instanceof DeadlineError) {
      throw new DeadlineError(`no answer within ${Math.round(timeoutMs)} ms: ${consequence(what, error)}`, error);
    }
    throw error;
  }
}

function consequence(what: string, { applied }: EtcdErrorDetails): string {
  if (applied === 'no') return `gave up waiting for ${what} before the request was sent`;
  return (
    `gave up waiting for ${what}; the server removes the waiter when it sees that the call has ended, ` +
    `unless ${what} was granted at that moment: then its key stays until the lease ends or is revoked`
  );
}

/** @throws InvalidArgumentError for no lease: the server would make one of 60 s and not renew it. */
export function checkLease(lease: bigint): void {
  if (typeof lease !== 'bigint' || lease === 0n) {
    throw new InvalidArgumentError(
      'a lease of your own is needed: one that the server makes runs out after 60 s, unrenewed',
    );
  }
}
