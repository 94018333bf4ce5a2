/**
 * A member whose others are lost goes on alone: what `--force-new-cluster` asks for.
 *
 * Nothing that is there is changed; the log gets entries that remove the others, one for each, and all of it counts as
 * committed. So the next start needs no flag, id and cluster stay, and the state machine hears of the removals as of any
 * other. A member that did not vote is made a voter first. Once they are durable there is no way back: an other that
 * comes up again is not to be let in, and does not fit what is there.
 *
 * All of the log is kept, also what this member does not know to be committed: it may have been acknowledged by a leader
 * that told the others so, or not even them. (etcd drops that part.)
 *
 * Whoever dies in between starts from a log in which some of the others are removed and the rest are not, and can be
 * forced again.
 *
 * Source: etcd's disaster recovery guide, and what its servers 3.4 and 3.5 write.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { EMPTY } from '../../protocol/wire.ts';
import { encodeMemberContext } from '../apply/member-context.ts';
import {
  asV2,
  type ConfChangeType,
  confChangeEntry,
  type Entry,
  type MemoryStorage,
  NO_LIMIT,
  readConfChange,
} from '../raft/index.ts';
import type { Journal } from './journal.ts';

/** What {@link standAlone} works on. */
export interface Lonely {
  readonly id: bigint;
  readonly log: MemoryStorage;
  /** Index of the image; the configuration of the log's snapshot is as of then. */
  readonly applied: number;
  readonly journal: Journal;
}

/**
 * Does what the head of this file says.
 *
 * @returns The members that are removed.
 * @throws RangeError: the member is not in its own cluster, or the cluster is between two configurations. Nothing was
 *   changed then.
 */
export async function standAlone({ id, log, applied, journal }: Lonely): Promise<readonly bigint[]> {
  const { hardState } = log.initialState();
  const votes = membersAt(log, applied);
  const own = votes.get(id);
  if (own === undefined) throw new RangeError('its member was removed from the cluster');
  votes.delete(id);
  const removed = [...votes.keys()].sort((a, b) => (a < b ? -1 : 1));
  if (removed.length === 0 && own) return removed;
  const changes: (readonly [ConfChangeType, bigint])[] = removed.map((other) => ['remove', other]);
  // Never a cluster of which nobody votes.
  if (!own) changes.unshift(['add-voter', id]);
  const last = log.lastIndex();
  const entries = changes.map(([type, nodeId], at): Entry => {
    const change = { id: 0n, type, nodeId: nodeId as MemberId, context: type === 'remove' ? EMPTY : promotion(nodeId) };
    return { ...confChangeEntry(change), term: hardState.term, index: last + 1 + at };
  });
  const state = { ...hardState, commit: last + entries.length };
  await journal.append({ entries, hardState: state });
  log.append(entries);
  log.setHardState(state);
  return removed;
}

/** Who is in the cluster at the end of the log, and whether they vote. Changes that will be refused count as made. */
function membersAt(log: MemoryStorage, applied: number): Map<bigint, boolean> {
  const { confState } = log.initialState();
  if (confState.votersOutgoing.length > 0) throw new RangeError('its cluster is between two configurations');
  const votes = new Map<bigint, boolean>();
  for (const id of confState.voters) votes.set(id, true);
  for (const id of confState.learners) votes.set(id, false);
  const first = Math.max(applied + 1, log.firstIndex());
  const end = log.lastIndex() + 1;
  const entries = first < end ? log.entries(first, end, NO_LIMIT) : [];
  if (typeof entries === 'string') throw new RangeError(`its log is ${entries}`);
  for (const entry of entries) {
    if (entry.type === 'EntryNormal') continue;
    for (const { type, nodeId } of asV2(readConfChange(entry)).changes) {
      if (type === 'remove') votes.delete(nodeId);
      else if (type !== 'update') votes.set(nodeId, type === 'add-voter');
    }
  }
  return votes;
}

/** Of the member only its id counts: see `Membership`. */
function promotion(id: bigint): Uint8Array {
  const member = { id, name: '', peerUrls: [], clientUrls: [], isLearner: false };
  return encodeMemberContext({ member, isPromote: true });
}
