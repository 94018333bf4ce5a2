/**
 * Agreement of a configuration that may be joint: both halves have to agree.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §6.
 *
 * @module
 */
import type { MemberId } from '../../../protocol/int64.ts';
import { committedByMajority, type VoteResult, voteOfMajority } from './majority.ts';

/** The voters of both halves, ids ascending. `outgoing` is empty unless the configuration is joint. */
export interface JointVoters {
  readonly incoming: readonly MemberId[];
  readonly outgoing: readonly MemberId[];
}

/** The highest index that majorities of both halves have reached; infinite if nobody votes. */
export function committedByJoint(
  { incoming, outgoing }: JointVoters,
  acked: (voter: MemberId) => number | undefined,
): number {
  return Math.min(committedByMajority(incoming, acked), committedByMajority(outgoing, acked));
}

/** How a vote of both halves stands. */
export function voteOfJoint(
  { incoming, outgoing }: JointVoters,
  voted: (voter: MemberId) => boolean | undefined,
): VoteResult {
  const one = voteOfMajority(incoming, voted);
  const other = voteOfMajority(outgoing, voted);
  if (one === other) return one;
  return one === 'lost' || other === 'lost' ? 'lost' : 'pending';
}

/** Every voter once, ids ascending. */
export function allVoters({ incoming, outgoing }: JointVoters): readonly MemberId[] {
  return outgoing.length === 0 ? incoming : sortedIds(new Set([...incoming, ...outgoing]));
}

/** Ids in ascending order. */
export function sortedIds(ids: Iterable<MemberId>): MemberId[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}
