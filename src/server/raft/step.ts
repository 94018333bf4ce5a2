/**
 * Takes one message, or one tick.
 *
 * Terms come first: a later one makes a follower of anybody, an earlier one is ignored but for the cases where silence
 * would leave its sender stuck. Then the role decides.
 *
 * @module
 */
import { stepCandidate } from './candidate.ts';
import { answerVote, hup } from './election.ts';
import type { Refusal } from './errors.ts';
import { stepFollower } from './follower.ts';
import { stepLeader } from './leader.ts';
import { leaveEntry } from './membership.ts';
import type { Raft } from './raft.ts';
import { entriesSize, payloadsSize } from './size.ts';
import { BLANK, CAMPAIGN_TRANSFER, type Message, message, NONE, type Snapshot } from './types.ts';

/** One tick of the clock: an election, a heartbeat, or a look at the quorum may be due. */
export function tick(raft: Raft): void {
  if (raft.role === 'StateLeader') tickLeader(raft);
  else {
    raft.electionElapsed += 1;
    if (!raft.promotable || raft.electionElapsed < raft.electionTimeout) return;
    raft.electionElapsed = 0;
    step(raft, message('MsgHup', { from: raft.id }));
  }
}

function tickLeader(raft: Raft): void {
  const { electionTicks, heartbeatTicks, checkQuorum } = raft.config;
  raft.heartbeatElapsed += 1;
  raft.electionElapsed += 1;
  if (raft.electionElapsed >= electionTicks) {
    raft.electionElapsed = 0;
    if (checkQuorum) step(raft, message('MsgCheckQuorum', { from: raft.id }));
    // Who was to take over did not: take proposals again.
    raft.transferee = NONE;
  }
  if (!isLeader(raft) || raft.heartbeatElapsed < heartbeatTicks) return;
  raft.heartbeatElapsed = 0;
  step(raft, message('MsgBeat', { from: raft.id }));
}

/** Takes a message. A refusal says that it was not taken, and why. */
export function step(raft: Raft, m: Message): Refusal | undefined {
  // Local messages have no term.
  if (m.term > raft.term) {
    if (!takeLaterTerm(raft, m)) return undefined;
  } else if (m.term !== 0 && m.term < raft.term) {
    answerEarlierTerm(raft, m);
    return undefined;
  }
  switch (m.type) {
    case 'MsgHup':
      hup(raft, raft.config.preVote ? 'pre-vote' : 'vote');
      return undefined;
    case 'MsgStorageAppendResp':
      appendStored(raft, m);
      return undefined;
    case 'MsgStorageApplyResp':
      entriesApplied(raft, m);
      return undefined;
    case 'MsgVote':
    case 'MsgPreVote':
      answerVote(raft, m);
      return undefined;
    default:
      return stepRole(raft, m);
  }
}

function stepRole(raft: Raft, m: Message): Refusal | undefined {
  switch (raft.role) {
    case 'StateLeader':
      return stepLeader(raft, m);
    case 'StateFollower':
      return stepFollower(raft, m);
    case 'StateCandidate':
    case 'StatePreCandidate':
      return stepCandidate(raft, m);
  }
}

/** Follows a later term. False: the message is ignored. */
function takeLaterTerm(raft: Raft, m: Message): boolean {
  const request = m.type === 'MsgVote' || m.type === 'MsgPreVote';
  if (request && inLease(raft) && !isTransfer(m)) {
    const { type, from, term } = m;
    raft.config.observe?.({ type: 'lease-not-expired', request: type, from, term });
    return false;
  }
  // A pre-vote is for a term that may never come, and so is a good answer to one. A bad answer is of the term that
  // somebody is in.
  if (m.type === 'MsgPreVote' || (m.type === 'MsgPreVoteResp' && !m.reject)) return true;
  const leads = m.type === 'MsgApp' || m.type === 'MsgHeartbeat' || m.type === 'MsgSnap';
  raft.becomeFollower(m.term, leads ? m.from : NONE);
  return true;
}

/** Whether a leader was heard of just now: who can't hear it must not depose it. Thesis §4.2.3. */
function inLease({ config, lead, electionElapsed }: Raft): boolean {
  return config.checkQuorum && lead !== NONE && electionElapsed < config.electionTicks;
}

function isTransfer({ context }: Message): boolean {
  return context.length === CAMPAIGN_TRANSFER.length && context.every((byte, at) => byte === CAMPAIGN_TRANSFER[at]);
}

function answerEarlierTerm(raft: Raft, m: Message): void {
  const { checkQuorum, preVote } = raft.config;
  if ((checkQuorum || preVote) && (m.type === 'MsgHeartbeat' || m.type === 'MsgApp')) {
    // The leader of an earlier term does not know of ours, and our votes may be ignored for its sake, so that nobody
    // could ever elect us or replace it. Any answer of a later term makes it step down.
    raft.send({ ...BLANK, type: 'MsgAppResp', to: m.from });
  } else if (m.type === 'MsgPreVote') {
    // Without an answer, members that have just turned pre-votes on could wait for each other for ever.
    raft.send({ ...BLANK, type: 'MsgPreVoteResp', to: m.from, term: raft.term, reject: true });
  } else if (m.type === 'MsgStorageAppendResp') staleAppendStored(raft, m);
}

/** The disk has entries, and perhaps a snapshot. */
function appendStored(raft: Raft, m: Message): void {
  if (m.index !== 0) {
    const entry = { term: m.logTerm, index: m.index };
    const reason = raft.log.unstable.stableTo(entry);
    if (reason !== 'stable') raft.config.observe?.({ type: 'stable-ignored', reason, entry });
  }
  if (m.snapshot) snapshotStored(raft, m.snapshot);
}

/**
 * The disk has what it was given in an earlier term. Entries may have been replaced since, and then the same ones may
 * have come back, of which the disk has other bytes underway: nothing follows from the report. A snapshot is committed
 * and stays what it is.
 */
function staleAppendStored(raft: Raft, m: Message): void {
  if (m.index !== 0) {
    const entry = { term: m.logTerm, index: m.index };
    raft.config.observe?.({ type: 'stale-append-response', term: m.term, entry });
  }
  if (m.snapshot) snapshotStored(raft, m.snapshot);
}

function snapshotStored(raft: Raft, { index }: Snapshot): void {
  raft.log.unstable.stableSnapshotTo(index);
  appliedTo(raft, index, 0);
}

function entriesApplied(raft: Raft, { entries }: Message): void {
  const last = entries.at(-1);
  if (last === undefined) return;
  appliedTo(raft, last.index, entriesSize(entries));
  raft.releaseUncommitted(payloadsSize(entries));
}

function appliedTo(raft: Raft, index: number, bytes: number): void {
  raft.log.appliedTo(Math.max(index, raft.log.applied), bytes);
  // It may be refused if there is too much else; then a later application tries again.
  const leave = leaveEntry(raft);
  if (leave) step(raft, message('MsgProp', { from: raft.id, entries: [leave] }));
}

/** As a function, so that the compiler does not think that the role can't have changed. */
function isLeader({ role }: Raft): boolean {
  return role === 'StateLeader';
}
