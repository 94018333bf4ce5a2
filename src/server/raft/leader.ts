/**
 * What a leader does: take proposals, follow how far its followers are, commit, confirm reads, hand over.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5.3 and §5.4.2; Ongaro's
 * thesis §3.10 (handing over), §6.2 (stepping down) and §6.4 (reads).
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { invariant, type Refusal } from './errors.ts';
import { admitProposals } from './membership.ts';
import type { Raft } from './raft.ts';
import { decodePosition } from './reads.ts';
import { broadcastAppend, broadcastHeartbeat, maybeSendAppend, sendAppend } from './replication.ts';
import type { Progress } from './tracker/progress.ts';
import { BLANK, type Message, NONE } from './types.ts';

/** Takes a message of the own term, or a local one, as the leader. */
export function stepLeader(raft: Raft, m: Message): Refusal | undefined {
  switch (m.type) {
    case 'MsgBeat':
      broadcastHeartbeat(raft);
      return undefined;
    case 'MsgCheckQuorum':
      checkQuorum(raft);
      return undefined;
    case 'MsgProp':
      return propose(raft, m);
    case 'MsgReadIndex':
      read(raft, m);
      return undefined;
    default:
  }
  const progress = raft.tracker.progress.get(m.from);
  if (progress) stepFrom(raft, m, progress);
  return undefined;
}

/** Serves the reads that had to wait until an entry of the own term was committed. */
export function releasePostponedReads(raft: Raft): void {
  if (raft.postponedReads.length === 0 || !raft.committedInTerm) return;
  const released = raft.postponedReads;
  raft.postponedReads = [];
  for (const request of released) confirmRead(raft, request);
}

function checkQuorum(raft: Raft): void {
  const { tracker } = raft;
  if (!tracker.quorumActive()) raft.becomeFollower(raft.term, NONE);
  // From here on they have to be heard again.
  for (const [id, progress] of tracker.progress) if (id !== raft.id) progress.recentActive = false;
}

function propose(raft: Raft, m: Message): Refusal | undefined {
  invariant(m.entries.length > 0, () => 'a proposal of nothing');
  // A leader that was removed only waits for the others to elect a new one; one that hands over must not fall behind
  // its own log again.
  if (!raft.tracker.progress.has(raft.id) || raft.transferee !== NONE) return 'proposal-dropped';
  const { entries, pendingConfIndex } = admitProposals(raft, m.entries);
  if (!raft.appendEntries(entries)) return 'proposal-dropped';
  raft.pendingConfIndex = pendingConfIndex;
  broadcastAppend(raft);
  return undefined;
}

function read(raft: Raft, m: Message): void {
  // A single voter too has to wait: after a crash the commit index that it finds may be behind what it answered for.
  if (raft.committedInTerm) confirmRead(raft, m);
  else raft.postponedReads.push(m);
}

function confirmRead(raft: Raft, request: Message): void {
  const { reads, log, config, tracker } = raft;
  // A leader that was removed, or made a learner, is not the one voter that is left: that one may have been elected.
  const alone = tracker.isSingleton && tracker.voters[0] === raft.id;
  if (alone || config.reads === 'lease') {
    answerRead(raft, request, log.committed);
    return;
  }
  reads.add(request, log.committed);
  reads.acknowledge(raft.id, reads.position);
  broadcastHeartbeat(raft);
}

function answerRead(raft: Raft, { from, entries }: Message, index: number): void {
  if (from !== NONE && from !== raft.id) {
    raft.send({ ...BLANK, type: 'MsgReadIndexResp', to: from, index, entries });
    return;
  }
  const [request] = entries;
  if (request) raft.readStates.push({ index, context: request.data });
}

function stepFrom(raft: Raft, m: Message, progress: Progress): void {
  switch (m.type) {
    case 'MsgAppResp':
      progress.recentActive = true;
      if (m.reject) appendRejected(raft, m, progress);
      else appendAccepted(raft, m, progress);
      return;
    case 'MsgHeartbeatResp':
      heartbeatAnswered(raft, m, progress);
      return;
    case 'MsgSnapStatus':
      snapshotEnded(m, progress);
      return;
    case 'MsgUnreachable':
      // What was sent ahead is probably lost.
      if (progress.state === 'StateReplicate') progress.becomeProbe();
      return;
    case 'MsgTransferLeader':
      transfer(raft, m.from, progress);
      return;
    default:
  }
}

function appendRejected(raft: Raft, m: Message, progress: Progress): void {
  // Of the own log, skip what has a later term than the follower has at its hint: it can't be there.
  const hint = m.logTerm > 0 ? raft.log.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
  if (!progress.maybeDecreaseTo(m.index, hint)) return;
  if (progress.state === 'StateReplicate') progress.becomeProbe();
  sendAppend(raft, m.from);
}

function appendAccepted(raft: Raft, m: Message, progress: Progress): void {
  const { log } = raft;
  // An answer to a probe that brings nothing new still says where the logs meet.
  const probed = progress.match === m.index && progress.state === 'StateProbe';
  if (!progress.maybeUpdate(m.index) && !probed) return;
  if (progress.state === 'StateProbe') progress.becomeReplicate();
  else if (progress.state === 'StateReplicate') progress.inflights.freeUpTo(m.index);
  // From there on the log suffices, whatever became of the snapshot that was sent.
  else if (progress.match + 1 >= log.firstIndex()) progress.becomeReplicate();
  if (raft.maybeCommit()) {
    releasePostponedReads(raft);
    broadcastAppend(raft);
  } else if (m.from !== raft.id && progress.canBumpCommit(log.committed)) sendAppend(raft, m.from);
  if (m.from === raft.id) return;
  // The window may have opened for several appends.
  while (maybeSendAppend(raft, m.from, false));
  if (m.from === raft.transferee && progress.match === log.lastIndex()) tellSuccessor(raft, m.from);
}

function heartbeatAnswered(raft: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true;
  progress.flowPaused = false;
  if (progress.match < raft.log.lastIndex() || progress.state === 'StateProbe') sendAppend(raft, m.from);
  const position = decodePosition(m.context);
  if (raft.config.reads !== 'safe' || position === undefined) return;
  raft.reads.acknowledge(m.from, position);
  const confirmed = raft.reads.takeConfirmed(raft.tracker.configuration.voters);
  for (const { request, index } of confirmed) answerRead(raft, request, index);
}

function snapshotEnded(m: Message, progress: Progress): void {
  if (progress.state !== 'StateSnapshot') return;
  // After a failure it starts again from what it has.
  if (m.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  // In both cases wait: for the answer of the follower, or for a heartbeat's before trying again.
  progress.flowPaused = true;
}

function transfer(raft: Raft, to: MemberId, progress: Progress): void {
  if (progress.isLearner) return;
  // The time for it runs from the first time that it is asked for.
  if (raft.transferee === to) return;
  raft.transferee = NONE;
  if (to === raft.id) return;
  raft.electionElapsed = 0;
  raft.transferee = to;
  if (progress.match === raft.log.lastIndex()) tellSuccessor(raft, to);
  else sendAppend(raft, to);
}

/** It has the whole log: it can win an election, and starts it without waiting. */
function tellSuccessor(raft: Raft, to: MemberId): void {
  raft.send({ ...BLANK, type: 'MsgTimeoutNow', to });
}
