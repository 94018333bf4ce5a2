/**
 * What every answer says of the cluster that gave it.
 *
 * @module
 */

import type { ResponseHeader as WireHeader } from '../protocol/generated/etcdserverpb.ts';
import type { ClusterId, MemberId, Revision } from '../protocol/int64.ts';

/** Who answered, and when in the store's history. */
export interface ResponseHeader {
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
  /** The store's revision when the answer was made. 0 in answers of the cluster service, which have none. */
  readonly revision: Revision;
  readonly raftTerm: bigint;
}

/** Gives a decoded header its types. */
export function toHeader(wire: WireHeader | undefined): ResponseHeader {
  return (wire ?? { clusterId: 0n, memberId: 0n, revision: 0n, raftTerm: 0n }) as unknown as ResponseHeader;
}
