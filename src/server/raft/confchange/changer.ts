/**
 * Makes one configuration out of another.
 *
 * Works on copies: what is refused leaves nothing changed. A change that does not fit (a joint configuration inside
 * another, two voters at once without a joint configuration, nobody left to vote) is a {@link ConfChangeError}, with
 * etcd's text.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), §4.1 (one voter at a time) and §4.3 (joint).
 *
 * @module
 */
import type { MemberId } from '../../../protocol/int64.ts';
import type { ConfChangeSingle } from '../conf-change.ts';
import { ConfChangeError } from '../errors.ts';
import { sortedIds } from '../quorum/joint.ts';
import { type Configuration, isJoint } from '../tracker/configuration.ts';
import type { Inflights } from '../tracker/inflights.ts';
import { Progress } from '../tracker/progress.ts';
import type { ProgressMap } from '../tracker/tracker.ts';
import { NONE } from '../types.ts';
import { checkConfiguration } from './check.ts';

/** A configuration with the progress of its members. */
export interface Change {
  readonly configuration: Configuration;
  readonly progress: ProgressMap;
}

/** What a change starts from. */
export interface ChangeBase extends Change {
  /** Last index of the leader's log: where replication to a new member starts. */
  readonly lastIndex: number;
  /** A window for a new member. */
  readonly newInflights: () => Inflights;
}

/** Changes at most one voter, and any number of learners. */
export function simpleChange(base: ChangeBase, changes: readonly ConfChangeSingle[]): Change {
  const draft = new Draft(base);
  if (isJoint(base.configuration)) throw new ConfChangeError("can't apply simple config change in joint config");
  draft.apply(changes);
  if (difference(base.configuration.voters.incoming, draft.incoming) > 1) {
    throw new ConfChangeError('more than one voter changed without entering joint config');
  }
  return draft.finish(base.configuration.autoLeave);
}

/** Changes any number of members; the old voters go on deciding too, until the joint configuration is left. */
export function enterJoint(base: ChangeBase, autoLeave: boolean, changes: readonly ConfChangeSingle[]): Change {
  const draft = new Draft(base);
  if (isJoint(base.configuration)) throw new ConfChangeError('config is already joint');
  if (draft.incoming.size === 0) throw new ConfChangeError("can't make a zero-voter config joint");
  draft.outgoing = new Set(draft.incoming);
  draft.apply(changes);
  return draft.finish(autoLeave);
}

/** Lets the incoming voters decide alone. */
export function leaveJoint(base: ChangeBase): Change {
  const draft = new Draft(base);
  if (!isJoint(base.configuration)) throw new ConfChangeError("can't leave a non-joint config");
  draft.leave();
  return draft.finish(false);
}

/** How many members are in one set only. */
function difference(before: readonly MemberId[], after: ReadonlySet<MemberId>): number {
  const kept = before.filter((id) => after.has(id)).length;
  return before.length - kept + after.size - kept;
}

class Draft {
  readonly incoming: Set<MemberId>;
  outgoing: Set<MemberId>;
  readonly #learners: Set<MemberId>;
  readonly #learnersNext: Set<MemberId>;
  readonly #progress: Map<MemberId, Progress>;
  readonly #base: ChangeBase;

  constructor(base: ChangeBase) {
    const { voters, learners, learnersNext } = base.configuration;
    checkConfiguration(base);
    this.#base = base;
    this.incoming = new Set(voters.incoming);
    this.outgoing = new Set(voters.outgoing);
    this.#learners = new Set(learners);
    this.#learnersNext = new Set(learnersNext);
    this.#progress = new Map([...base.progress].map(([id, progress]) => [id, progress.clone()]));
  }

  apply(changes: readonly ConfChangeSingle[]): void {
    for (const { type, nodeId } of changes) {
      if (nodeId === NONE) continue;
      if (type === 'add-voter') this.#makeVoter(nodeId);
      else if (type === 'add-learner') this.#makeLearner(nodeId);
      else if (type === 'remove') this.#remove(nodeId);
    }
    if (this.incoming.size === 0) throw new ConfChangeError('removed all voters');
  }

  leave(): void {
    for (const id of this.#learnersNext) {
      this.#learners.add(id);
      this.#known(id).isLearner = true;
    }
    this.#learnersNext.clear();
    for (const id of this.outgoing) {
      if (!this.incoming.has(id) && !this.#learners.has(id)) this.#progress.delete(id);
    }
    this.outgoing.clear();
  }

  finish(autoLeave: boolean): Change {
    const configuration: Configuration = {
      voters: { incoming: sortedIds(this.incoming), outgoing: sortedIds(this.outgoing) },
      learners: sortedIds(this.#learners),
      learnersNext: sortedIds(this.#learnersNext),
      autoLeave,
    };
    const change = { configuration, progress: this.#progress };
    checkConfiguration(change);
    return change;
  }

  #makeVoter(id: MemberId): void {
    const progress = this.#progress.get(id);
    if (progress) progress.isLearner = false;
    else this.#admit(id, false);
    this.#learners.delete(id);
    this.#learnersNext.delete(id);
    this.incoming.add(id);
  }

  #makeLearner(id: MemberId): void {
    const progress = this.#progress.get(id) ?? this.#admit(id, true);
    if (progress.isLearner) {
      this.#learners.add(id);
      return;
    }
    this.#remove(id);
    this.#progress.set(id, progress);
    // Who still votes in the outgoing half can't be a learner at the same time.
    if (this.outgoing.has(id)) this.#learnersNext.add(id);
    else {
      progress.isLearner = true;
      this.#learners.add(id);
    }
  }

  #remove(id: MemberId): void {
    this.incoming.delete(id);
    this.#learners.delete(id);
    this.#learnersNext.delete(id);
    // Who still votes in the outgoing half still needs the log.
    if (!this.outgoing.has(id)) this.#progress.delete(id);
  }

  #admit(id: MemberId, isLearner: boolean): Progress {
    // It counts as active, or the leader could step down before the newcomer had a chance to answer.
    const next = Math.max(this.#base.lastIndex, 1);
    const inflights = this.#base.newInflights();
    const progress = new Progress({ match: 0, next, inflights, isLearner, recentActive: true });
    this.#progress.set(id, progress);
    return progress;
  }

  #known(id: MemberId): Progress {
    const progress = this.#progress.get(id);
    if (!progress) throw new ConfChangeError(`no progress for ${id}`);
    return progress;
  }
}
