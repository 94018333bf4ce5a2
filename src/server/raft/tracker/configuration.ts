/**
 * The active configuration of a cluster: who votes in which half, who learns.
 *
 * Values only: a change makes a new configuration. A member is voter or learner, never both, with one exception: a
 * voter of the outgoing half that is to become a learner stays a voter until the joint configuration is left, and is
 * kept in `learnersNext` meanwhile.
 *
 * @module
 */
import type { MemberId } from '../../../protocol/int64.ts';
import type { JointVoters } from '../quorum/joint.ts';
import type { ConfState } from '../types.ts';

export interface Configuration {
  readonly voters: JointVoters;
  readonly learners: readonly MemberId[];
  readonly learnersNext: readonly MemberId[];
  /** Whether the leader leaves the joint configuration on its own once it is applied. */
  readonly autoLeave: boolean;
}

/** Nobody. */
export const EMPTY_CONFIGURATION: Configuration = {
  voters: { incoming: [], outgoing: [] },
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

export function isJoint({ voters }: Configuration): boolean {
  return voters.outgoing.length > 0;
}

/** The configuration as snapshots and the application keep it. */
export function confStateOf({ voters, learners, learnersNext, autoLeave }: Configuration): ConfState {
  return { voters: voters.incoming, votersOutgoing: voters.outgoing, learners, learnersNext, autoLeave };
}
