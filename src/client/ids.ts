/**
 * Checks of ids, before anything is sent: a program without types may pass what etcd's tools print.
 *
 * @module
 */
import type { LeaseId, MemberId } from '../protocol/int64.ts';
import { InvalidArgumentError } from './errors.ts';

/** The id, if it can name a lease. @throws InvalidArgumentError */
export function checkLeaseId(id: LeaseId): LeaseId {
  if (typeof id === 'bigint' && BigInt.asIntN(64, id) === id) return id;
  throw new InvalidArgumentError(`${String(id)} is no lease id: a bigint of 64 bits, as leaseId('…') makes of text`);
}

/** The id, if it can name a member. @throws InvalidArgumentError */
export function checkMemberId(id: MemberId): MemberId {
  if (typeof id === 'bigint' && BigInt.asUintN(64, id) === id) return id;
  throw new InvalidArgumentError(`${String(id)} is no member id: a bigint of 64 bits, as memberId('…') makes of text`);
}
