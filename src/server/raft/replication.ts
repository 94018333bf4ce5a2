/**
 * What a leader sends to its followers: appends, snapshots, heartbeats.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5.3 and §7.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { invariant } from './errors.ts';
import type { Raft } from './raft.ts';
import { payloadsSize } from './size.ts';
import type { Progress } from './tracker/progress.ts';
import { BLANK, type Entry } from './types.ts';

const NOTHING: readonly Entry[] = [];

/** Sends a follower what comes next, if its flow control allows; an append without entries, if there is nothing new. */
export function sendAppend(raft: Raft, to: MemberId): void {
  maybeSendAppend(raft, to, true);
}

/**
 * Sends a follower what comes next, if its flow control allows: entries, or a snapshot if they are compacted.
 *
 * @param evenIfEmpty Send an append without entries too: it probes the log, and brings the commit index.
 * @returns Whether something was sent.
 */
export function maybeSendAppend(raft: Raft, to: MemberId, evenIfEmpty: boolean): boolean {
  const progress = progressOf(raft, to);
  if (progress.paused) return false;
  const { log, config } = raft;
  const index = progress.next - 1;
  const logTerm = log.term(index);
  // "Compacted" is not "term 0": an append after a missing entry must not match one that the follower lacks.
  if (typeof logTerm === 'string') return maybeSendSnapshot(raft, to, progress);
  // With its window full, a follower gets an append without entries on each answered heartbeat, and answers it with
  // what it has: so the window opens again even if all appends in it were lost.
  const wanted = progress.state !== 'StateReplicate' || !progress.inflights.full;
  const entries = wanted ? log.entriesFrom(progress.next, config.maxSizePerMessage) : NOTHING;
  if (typeof entries === 'string') return maybeSendSnapshot(raft, to, progress);
  if (entries.length === 0 && !evenIfEmpty) return false;
  raft.send({ ...BLANK, type: 'MsgApp', to, index, logTerm, entries, commit: log.committed });
  progress.sentEntries(entries.length, payloadsSize(entries));
  progress.sentCommit = log.committed;
  return true;
}

/** Sends every other member what comes next. */
export function broadcastAppend(raft: Raft): void {
  for (const id of raft.tracker.ids) if (id !== raft.id) sendAppend(raft, id);
}

/** Tells every other member that the leader is alive, and which reads wait for an answer. */
export function broadcastHeartbeat(raft: Raft): void {
  const { context } = raft.reads;
  for (const id of raft.tracker.ids) {
    if (id === raft.id) continue;
    const progress = progressOf(raft, id);
    // A follower may lack what is committed: of its log only what matches is known.
    const commit = Math.min(progress.match, raft.log.committed);
    raft.send({ ...BLANK, type: 'MsgHeartbeat', to: id, commit, context });
    progress.sentCommit = commit;
  }
}

function maybeSendSnapshot(raft: Raft, to: MemberId, progress: Progress): boolean {
  // It is large: nobody gets it who may be gone.
  if (!progress.recentActive) return false;
  const snapshot = raft.log.snapshot();
  if (snapshot === undefined) return false;
  invariant(snapshot.index > 0, () => 'entries are compacted, and there is no snapshot in their place');
  progress.becomeSnapshot(snapshot.index);
  raft.send({ ...BLANK, type: 'MsgSnap', to, snapshot });
  return true;
}

function progressOf(raft: Raft, id: MemberId): Progress {
  const progress = raft.tracker.progress.get(id);
  invariant(progress !== undefined, () => `${id.toString(16)} is no member`);
  return progress;
}
