/**
 * What a fault is, and what it may use.
 */
import type { Cluster } from '../cluster/cluster.ts';
import type { Workload } from '../workload.ts';
import type { Random } from '../world/random.ts';

/** Everything that one class of faults may use. Its chance is its own. */
export interface FaultContext {
  readonly cluster: Cluster;
  readonly workload: Workload;
  readonly random: Random;
  /** How long a follower waits for a leader, at least. */
  readonly electionUs: number;
  /** Does something later, if there are still faults then. It says what it did, or undefined for nothing. */
  readonly later: (delayUs: number, action: () => string | undefined) => void;
}

/** Makes one fault. Says what it did, or undefined if there was nothing to do. */
export type FaultAction = (context: FaultContext) => string | undefined;
