/**
 * Majorities of one set of voters.
 *
 * An empty set agrees to everything and has committed everything: as the outgoing half of a configuration that is not
 * joint it so never stands in the way.
 *
 * @module
 */
import type { MemberId } from '../../../protocol/int64.ts';

/** How a vote stands. */
export type VoteResult = 'pending' | 'lost' | 'won';

/**
 * The highest index that a majority has reached.
 *
 * @param acked The index that a voter has reached, or undefined (as 0) if nothing is known of it.
 */
export function committedByMajority(
  voters: readonly MemberId[],
  acked: (voter: MemberId) => number | undefined,
): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  // Sorted as it grows: there are hardly ever more than seven.
  const reached: number[] = [];
  for (const voter of voters) {
    const index = acked(voter) ?? 0;
    let place = reached.length;
    for (; place > 0 && (reached[place - 1] as number) < index; place -= 1)
      reached[place] = reached[place - 1] as number;
    reached[place] = index;
  }
  return reached[Math.floor(voters.length / 2)] as number;
}

/**
 * How a vote of a majority stands.
 *
 * @param voted A voter's answer, or undefined while it is missing.
 */
export function voteOfMajority(
  voters: readonly MemberId[],
  voted: (voter: MemberId) => boolean | undefined,
): VoteResult {
  if (voters.length === 0) return 'won';
  let yes = 0;
  let missing = 0;
  for (const voter of voters) {
    const answer = voted(voter);
    if (answer === undefined) missing += 1;
    else if (answer) yes += 1;
  }
  const quorum = Math.floor(voters.length / 2) + 1;
  if (yes >= quorum) return 'won';
  return yes + missing >= quorum ? 'pending' : 'lost';
}
