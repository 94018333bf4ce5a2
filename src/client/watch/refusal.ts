/**
 * What a server means when it ends a watcher, or will not make it.
 *
 * The reason comes as text. etcd gives it for a refused create, as Go prints a status; a
 * watcher that was made is ended by etcd only for compaction, which has no text at all.
 * Gateways and other servers may end one for reasons of their own.
 *
 * @module
 */

import { lookUpEtcdError } from '../../protocol/error-table.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { toEtcdError } from '../connection/failures.ts';
import { type EtcdError, InvalidArgumentError, UnauthenticatedError } from '../errors.ts';

/**
 * `login`: the stream's token is no good; a stream keeps the token it was opened with, so a
 * new one is needed. `again`: making the watcher once more may work. `final`: it will not.
 */
export type RefusalKind = 'login' | 'again' | 'final';

/** Sorts a reason. `created` says whether the watcher had been made. */
export function refusalKind(reason: string, created: boolean): RefusalKind {
  switch (lookUpEtcdError(reason)?.code) {
    case 'InvalidAuthToken':
    case 'AuthOldRevision':
    case 'UserEmpty':
      return 'login';
    case 'NoLeader':
    case 'NotLeader':
    case 'LeaderChanged':
    case 'Stopped':
    case 'Timeout':
    case 'TooManyRequests':
    case 'WatchCanceled':
    case 'Canceled':
      return 'again';
    case undefined:
      // What no etcd says: a gateway dropped a running watcher. A create that is refused so is refused for good.
      return created ? 'again' : 'final';
    default:
      return 'final';
  }
}

/** The error for the reader of a watcher that a server refused or ended. */
export function refusalError(reason: string, endpoint: string | undefined): EtcdError {
  const code = lookUpEtcdError(reason)?.code;
  const details = { endpoint, attempts: 1, etcdCode: code };
  if (code === 'EmptyWatchRange') {
    return new InvalidArgumentError('the range to watch is empty: its end is not above its start', details);
  }
  if (refusalKind(reason, false) === 'login') {
    return new UnauthenticatedError(`${reason}; it was refused after a new login too`, details);
  }
  const text = reason === '' ? 'the server ended the watch without a reason' : `the server ended the watch: ${reason}`;
  if (code === undefined) return toEtcdError({ grpcCode: GrpcCode.UNKNOWN, details: text, sent: 'maybe' }, details);
  return toEtcdError({ grpcCode: GrpcCode.UNKNOWN, details: reason, sent: 'maybe' }, details);
}
