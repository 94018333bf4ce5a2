/**
 * What faults are made with: the room of each class imports it, and `faults.ts` imports the classes.
 */
import type { Member } from '../../../src/server/member/member.ts';
import type { Random } from '../world/random.ts';
import type { MembersCluster } from './cluster.ts';

/** Everything that one class of faults may use. Its chance is its own. */
export interface FaultContext {
  readonly cluster: MembersCluster;
  readonly random: Random;
  /** How long a follower waits for a leader, at least. */
  readonly electionUs: number;
  /** Does something later, if there are still faults then. It says what it did, or undefined for nothing. */
  readonly later: (delayUs: number, action: () => string | undefined) => void;
}

/** Makes one fault. Says what it did, or undefined if there was nothing to do. */
export type FaultAction = (context: FaultContext) => string | undefined;

/** What nobody waits for. */
export function ignore(promise: Promise<unknown>): void {
  promise.catch(() => {});
}

/** The member that leads, or somebody who may pass it on. */
export function whom({ cluster, random }: FaultContext): Member | undefined {
  const { awake, leader } = cluster;
  if (awake.length === 0) return undefined;
  return (leader && random.chance(0.7) ? leader : random.pick(awake)).member;
}
