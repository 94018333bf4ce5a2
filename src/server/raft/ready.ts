/**
 * What the core wants done, as values: see {@link Ready}.
 *
 * @module
 */
import type { Raft } from './raft.ts';
import {
  APPEND_THREAD,
  APPLY_THREAD,
  type Entry,
  type HardState,
  type Message,
  message,
  type ReadState,
  type Snapshot,
  type SoftState,
} from './types.ts';

/**
 * What is to be written, sent, applied and answered, as of one moment.
 *
 * Without `asyncStorageWrites`: write `entries`, `hardState` and `snapshot`, and sync if `mustSync`; then send
 * `messages`, apply `snapshot` and `committedEntries`, and call `advance`. Messages may leave at once only if the kind
 * promises nothing, so keep the order.
 *
 * With `asyncStorageWrites`: only handle `messages`. Those to `APPEND_THREAD` and `APPLY_THREAD` are the storage work,
 * each thread's in its order; once one is done, its `responses` are stepped in or sent. The other fields say the same
 * and are for the eye. A `MsgVote` has to wait for the storage work of the same `Ready` (etcd lets it go at once): a
 * candidate that crashes before its term is durable could come back with less of its log, and be elected in the same
 * term by votes for the longer one.
 */
export interface Ready {
  /** Leader and role, if one of them changed. */
  readonly softState: SoftState | undefined;
  /** What to make durable before `messages` leave, if it changed. */
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  /** What to make durable before `messages` leave. */
  readonly entries: readonly Entry[];
  /** Replaces log and state; to be durable before entries after it. */
  readonly snapshot: Snapshot | undefined;
  /** To apply, in this order. All are in stable storage unless they are in `entries`. */
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  /** Whether the write has to be synced before `messages` leave: entries, term or vote are new, not just the commit. */
  readonly mustSync: boolean;
}

/** Asks the append thread to write what is new, and to release what depends on it. */
export function storageAppend(raft: Raft, ready: Omit<Ready, 'messages'>): Message {
  const { hardState, snapshot, entries } = ready;
  const done = appendDone(raft, snapshot);
  return message('MsgStorageAppend', {
    to: APPEND_THREAD,
    from: raft.id,
    entries,
    ...(snapshot && { snapshot }),
    ...(hardState && { term: hardState.term, vote: hardState.vote, commit: hardState.commit }),
    // Votes and acknowledgements first: nothing waits for the core to hear of its own disk.
    responses: done ? [...raft.messagesAfterAppend, done] : [...raft.messagesAfterAppend],
  });
}

/**
 * What the append thread answers once all that is unstable now is durable; undefined if nothing is.
 *
 * It names the last entry with its term, and the term in which it was asked for: were it only the entry, then one that
 * is replaced and comes back in a later term, while an older write of it is reported, would count as durable though
 * the disk has its replacement underway (an "ABA" race).
 */
export function appendDone(raft: Raft, snapshot: Snapshot | undefined): Message | undefined {
  const unstable = raft.log.unstable.entries.length > 0;
  if (!unstable && snapshot === undefined) return undefined;
  const last = unstable ? raft.log.lastEntryId() : { term: 0, index: 0 };
  return message('MsgStorageAppendResp', {
    to: raft.id,
    from: APPEND_THREAD,
    term: raft.term,
    logTerm: last.term,
    index: last.index,
    ...(snapshot && { snapshot }),
  });
}

/** Asks the apply thread to apply entries. */
export function storageApply(raft: Raft, entries: readonly Entry[]): Message {
  return message('MsgStorageApply', {
    to: APPLY_THREAD,
    from: raft.id,
    entries,
    responses: [applyDone(raft, entries)],
  });
}

/** What the apply thread answers. */
export function applyDone(raft: Raft, entries: readonly Entry[]): Message {
  return message('MsgStorageApplyResp', { to: raft.id, from: APPLY_THREAD, entries });
}
