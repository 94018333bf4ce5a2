/**
 * Changes of configuration: checked when proposed, in force when applied.
 *
 * Only one may be in the log unapplied. As a configuration counts from when it is applied (the thesis counts from when
 * it is appended), a member with unapplied changes must not start an election either; `election.ts` sees to it.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), §4.
 *
 * @module
 */
import {
  asV2,
  type ConfChangeV2,
  confChangeEntry,
  entersJoint,
  LEAVE_JOINT,
  leavesJoint,
  readConfChange,
} from './conf-change.ts';
import { enterJoint, leaveJoint, simpleChange } from './confchange/changer.ts';
import type { Raft } from './raft.ts';
import { broadcastAppend, maybeSendAppend } from './replication.ts';
import { confStateOf, isJoint } from './tracker/configuration.ts';
import { type ConfState, type Entry, NONE, proposal } from './types.ts';

/** Brings a change into force and tells the configuration that comes of it. */
export function applyConfChange(raft: Raft, change: ConfChangeV2): ConfState {
  const base = raft.changeBase;
  const joint = entersJoint(change);
  if (leavesJoint(change)) raft.useConfiguration(leaveJoint(base));
  else if (joint) raft.useConfiguration(enterJoint(base, joint.autoLeave, change.changes));
  else raft.useConfiguration(simpleChange(base, change.changes));
  followUp(raft);
  return confStateOf(raft.tracker.configuration);
}

/** What a member does about a configuration that has just come into force. */
export function followUp(raft: Raft): void {
  const { tracker } = raft;
  const votes = tracker.progress.has(raft.id) && !raft.isLearner;
  if (raft.role === 'StateLeader' && !votes) {
    // It was removed, or made a learner. If it stays it takes no proposals; who it led may elect another.
    if (raft.config.stepDownOnRemoval) raft.becomeFollower(raft.term, NONE);
    return;
  }
  if (raft.role !== 'StateLeader' || tracker.voters.length === 0) return;
  // A smaller quorum may have what the larger one lacked; and newcomers are to hear of us without a heartbeat's delay.
  if (raft.maybeCommit()) broadcastAppend(raft);
  else for (const id of tracker.ids) if (id !== raft.id) maybeSendAppend(raft, id, false);
  if (raft.transferee !== NONE && !tracker.voters.includes(raft.transferee)) raft.transferee = NONE;
}

/** Proposals as they go into the log, and the `pendingConfIndex` that holds once they are there. */
export interface Admitted {
  readonly entries: readonly Entry[];
  readonly pendingConfIndex: number;
}

/**
 * Checks proposed changes. One that must not be made now becomes an empty entry: proposals before and after it in the
 * same message keep their places.
 */
export function admitProposals(raft: Raft, proposals: readonly Entry[]): Admitted {
  let { pendingConfIndex } = raft;
  let index = raft.log.lastIndex();
  const entries = proposals.map((entry) => {
    index += 1;
    if (entry.type === 'EntryNormal') return entry;
    const reason = refusal(raft, asV2(readConfChange(entry)), pendingConfIndex);
    if (reason !== undefined && !raft.config.disableConfChangeValidation) {
      raft.config.observe?.({ type: 'conf-change-ignored', reason });
      return proposal();
    }
    pendingConfIndex = index;
    return entry;
  });
  return { entries, pendingConfIndex };
}

function refusal(raft: Raft, change: ConfChangeV2, pendingConfIndex: number): string | undefined {
  const joint = isJoint(raft.tracker.configuration);
  const leaves = change.changes.length === 0;
  const { applied } = raft.log;
  if (pendingConfIndex > applied)
    return `a change at index ${pendingConfIndex} may be unapplied, applied is ${applied}`;
  if (joint && !leaves) return 'a joint configuration has to be left first';
  if (!joint && leaves) return 'there is no joint configuration to leave';
  return undefined;
}

/** The change that a leader proposes on its own once a joint configuration that it is to leave is applied. */
export function leaveEntry(raft: Raft): Entry | undefined {
  const { autoLeave } = raft.tracker.configuration;
  const due = autoLeave && raft.role === 'StateLeader' && raft.log.applied >= raft.pendingConfIndex;
  return due ? confChangeEntry(LEAVE_JOINT) : undefined;
}
