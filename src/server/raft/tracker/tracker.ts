/**
 * The active configuration with what is known of each member: progress, activity, votes.
 *
 * Members are visited in the order of their ids, so that a run can be repeated.
 *
 * @module
 */
import type { MemberId } from '../../../protocol/int64.ts';
import { allVoters, committedByJoint, sortedIds, voteOfJoint } from '../quorum/joint.ts';
import type { VoteResult } from '../quorum/majority.ts';
import { type Configuration, EMPTY_CONFIGURATION } from './configuration.ts';
import { Inflights } from './inflights.ts';
import type { Progress } from './progress.ts';

/** Progress of every member. */
export type ProgressMap = ReadonlyMap<MemberId, Progress>;

/** Limits of appends in flight to one follower. */
export interface InflightLimits {
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
}

export class Tracker {
  readonly limits: InflightLimits;
  #configuration: Configuration = EMPTY_CONFIGURATION;
  #progress: ProgressMap = new Map();
  #ids: readonly MemberId[] = [];
  #voters: readonly MemberId[] = [];
  readonly #votes = new Map<MemberId, boolean>();

  constructor(limits: InflightLimits) {
    this.limits = limits;
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  get progress(): ProgressMap {
    return this.#progress;
  }

  /** All members, ids ascending. */
  get ids(): readonly MemberId[] {
    return this.#ids;
  }

  /** All voters, of both halves, ids ascending. */
  get voters(): readonly MemberId[] {
    return this.#voters;
  }

  /** Whether one member alone decides. */
  get isSingleton(): boolean {
    const { incoming, outgoing } = this.#configuration.voters;
    return incoming.length === 1 && outgoing.length === 0;
  }

  /** Makes another configuration the active one. */
  use(configuration: Configuration, progress: ProgressMap): void {
    this.#configuration = configuration;
    this.#progress = progress;
    this.#ids = sortedIds(progress.keys());
    this.#voters = allVoters(configuration.voters);
  }

  newInflights(): Inflights {
    return new Inflights(this.limits.maxInflightMessages, this.limits.maxInflightBytes);
  }

  /** The highest index that a quorum has. */
  committed(): number {
    return committedByJoint(this.#configuration.voters, (id) => this.#progress.get(id)?.match);
  }

  /** Whether a quorum was heard of since its flags were cleared. Learners don't count. */
  quorumActive(): boolean {
    return voteOfJoint(this.#configuration.voters, (id) => this.#progress.get(id)?.recentActive ?? false) === 'won';
  }

  /** Forgets all votes. */
  resetVotes(): void {
    this.#votes.clear();
  }

  /** Notes a vote; of each member the first one counts. */
  recordVote(id: MemberId, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  /** How the election stands. */
  tally(): VoteResult {
    return voteOfJoint(this.#configuration.voters, (id) => this.#votes.get(id));
  }
}
