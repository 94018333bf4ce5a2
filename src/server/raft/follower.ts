/**
 * What a follower does, and what anybody does who hears of a leader of the own term.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5.3 and §7.
 *
 * @module
 */
import { hup } from './election.ts';
import { invariant, type Refusal } from './errors.ts';
import { followUp } from './membership.ts';
import type { Raft } from './raft.ts';
import { confStateOf } from './tracker/configuration.ts';
import { BLANK, type ConfState, type Message, NONE, type Snapshot } from './types.ts';

/** Takes a message of the own term, or a local one, as a follower. */
export function stepFollower(raft: Raft, m: Message): Refusal | undefined {
  switch (m.type) {
    case 'MsgProp':
      if (raft.lead === NONE || raft.config.disableProposalForwarding) return 'proposal-dropped';
      raft.send({ ...BLANK, type: 'MsgProp', from: m.from, to: raft.lead, entries: m.entries });
      return undefined;
    case 'MsgApp':
    case 'MsgHeartbeat':
    case 'MsgSnap':
      hearLeader(raft, m);
      return undefined;
    case 'MsgTransferLeader':
      if (raft.lead !== NONE) raft.send({ ...BLANK, type: 'MsgTransferLeader', from: m.from, to: raft.lead });
      return undefined;
    case 'MsgForgetLeader':
      // With lease reads the leader relies on not being forgotten.
      if (raft.config.reads !== 'lease') raft.lead = NONE;
      return undefined;
    case 'MsgTimeoutNow':
      // The leader asks for it, so nobody is disturbed: no pre-vote.
      hup(raft, 'transfer');
      return undefined;
    case 'MsgReadIndex':
      if (raft.lead !== NONE)
        raft.send({ ...BLANK, type: 'MsgReadIndex', from: m.from, to: raft.lead, entries: m.entries });
      return undefined;
    case 'MsgReadIndexResp': {
      const [read, ...more] = m.entries;
      if (read && more.length === 0) raft.readStates.push({ index: m.index, context: read.data });
      return undefined;
    }
    default:
      return undefined;
  }
}

/** Takes what only the leader of the own term sends. The caller follows it already, or does so now. */
export function hearLeader(raft: Raft, m: Message): void {
  raft.electionElapsed = 0;
  raft.lead = m.from;
  if (m.type === 'MsgApp') takeAppend(raft, m);
  else if (m.type === 'MsgSnap') takeSnapshot(raft, m);
  else {
    raft.log.commitTo(m.commit);
    raft.send({ ...BLANK, type: 'MsgHeartbeatResp', to: m.from, context: m.context });
  }
}

function takeAppend(raft: Raft, m: Message): void {
  const { log } = raft;
  const { from: to, index, logTerm } = m;
  if (index < log.committed) {
    // Old: what is committed is known to be equal.
    raft.send({ ...BLANK, type: 'MsgAppResp', to, index: log.committed });
    return;
  }
  const last = log.maybeAppend({ term: logTerm, index }, m.entries, m.commit);
  if (last !== undefined) {
    raft.send({ ...BLANK, type: 'MsgAppResp', to, index: last });
    return;
  }
  // Above the hint the logs can't meet; with its term the leader can skip as much of its own. A long divergent end
  // costs one round per term and not one per entry. §5.3.
  const hint = log.findConflictByTerm(Math.min(index, log.lastIndex()), logTerm);
  raft.send({ ...BLANK, type: 'MsgAppResp', to, index, reject: true, rejectHint: hint.index, logTerm: hint.term });
}

function takeSnapshot(raft: Raft, m: Message): void {
  invariant(m.snapshot !== undefined, () => 'MsgSnap without a snapshot');
  const restored = restoreFrom(raft, m.snapshot);
  raft.send({ ...BLANK, type: 'MsgAppResp', to: m.from, index: restored ? raft.log.lastIndex() : raft.log.committed });
}

/**
 * Puts a snapshot in the place of the log.
 *
 * @returns False if it brings nothing, or is not for this member.
 */
export function restoreFrom(raft: Raft, snapshot: Snapshot): boolean {
  const { log } = raft;
  if (snapshot.index <= log.committed) return false;
  if (raft.role !== 'StateFollower') {
    // Does not happen: whoever sends one was followed before. A higher term keeps a stray one from doing harm.
    raft.becomeFollower(raft.term + 1, NONE);
    return false;
  }
  // In a configuration that does not know it, a member would never be heard.
  if (!knows(snapshot.confState, raft)) return false;
  if (log.matches(snapshot)) {
    // The log has it already: what the snapshot says is that it is committed.
    log.commitTo(snapshot.index);
    return false;
  }
  log.restore(snapshot);
  raft.restore(snapshot.confState);
  followUp(raft);
  const restored = confStateOf(raft.tracker.configuration);
  invariant(sameConfState(restored, snapshot.confState), () => 'a snapshot has a configuration that can not be');
  return true;
}

function knows({ voters, learners, votersOutgoing }: ConfState, { id }: Raft): boolean {
  return voters.includes(id) || learners.includes(id) || votersOutgoing.includes(id);
}

function sameConfState(a: ConfState, b: ConfState): boolean {
  const text = ({ voters, learners, votersOutgoing, learnersNext, autoLeave }: ConfState): string => {
    const sets = [voters, learners, votersOutgoing, learnersNext].map((ids) => [...ids].map(String).sort().join());
    return [...sets, autoLeave].join(';');
  };
  return text(a) === text(b);
}
