/**
 * Ids of members and clusters, as etcd makes them: every member of a new cluster reckons the same ones by itself.
 *
 * Source: etcd's clustering guide (`--initial-cluster-token`); the formulas were checked against ids that servers 3.5
 * printed.
 *
 * @module
 */
import { createHash } from 'node:crypto';
import type { ClusterId, MemberId } from '../../protocol/int64.ts';

/**
 * Id of a member.
 *
 * @param peerUrls In any order.
 * @param token For members that a cluster starts with what `--initial-cluster-token` says: clusters with the same
 *   addresses and another token share no id. For one that joins later something that is new each time, since it may come
 *   back with the same addresses; etcd takes the time of day, in seconds as decimal digits.
 */
export function memberIdOf(peerUrls: readonly string[], token: string): MemberId {
  return firstBytes(Buffer.from([...peerUrls].sort().join('') + token)) as MemberId;
}

/** Id of a cluster, from those of the members that it starts with, in any order. */
export function clusterIdOf(memberIds: Iterable<bigint>): ClusterId {
  const sorted = [...memberIds].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const bytes = Buffer.alloc(8 * sorted.length);
  for (const [i, id] of sorted.entries()) bytes.writeBigUInt64BE(id, 8 * i);
  return firstBytes(bytes) as ClusterId;
}

function firstBytes(bytes: Uint8Array): bigint {
  return createHash('sha1').update(bytes).digest().readBigUInt64BE();
}
