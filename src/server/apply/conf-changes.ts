/**
 * Changes of the configuration, as entries of the log.
 *
 * Raft needs to hear of each, also of one that is refused: that is given to it void, as a change of nobody. etcd's
 * servers change one member at a time, and so do ours; the empty change that leaves a joint configuration is raft's own.
 *
 * @module
 */
import { asV2, type ConfChange, readConfChange } from '../raft/conf-change.ts';
import { type Entry, NONE } from '../raft/types.ts';
import { ApplyError } from './errors.ts';
import { decodeMemberContext } from './member-context.ts';
import type { Membership } from './membership.ts';
import type { Outcome } from './outcome.ts';
import { refused } from './parts.ts';

/** What a change of the configuration came to. */
export interface AppliedChange {
  readonly requestId: bigint;
  readonly outcome: Outcome;
  /** What raft is to apply. */
  readonly confChange: ConfChange;
  /** The member that is gone; undefined if none is. */
  readonly removed: bigint | undefined;
}

/** @throws {@link ApplyError} for an entry that is no such change, or one of several members. */
export function applyConfChange(members: Membership, entry: Entry): AppliedChange {
  const confChange = read(entry);
  const requestId = 'changes' in confChange ? 0n : confChange.id;
  const { changes, context, transition } = asV2(confChange);
  const [change] = changes;
  if (changes.length > 1 || (change && transition !== 'auto')) {
    throw new ApplyError(entry.index, 'a change of several members at once');
  }
  const isVoid = !change || change.nodeId === NONE;
  const refusal = isVoid ? undefined : members.change(change, decodeMemberContext(change.nodeId, context));
  return {
    requestId,
    outcome: refusal ? refused(refusal) : { type: 'members', members: members.list() },
    confChange: refusal ? voided(confChange) : confChange,
    removed: !isVoid && !refusal && change.type === 'remove' ? change.nodeId : undefined,
  };
}

function read(entry: Entry): ConfChange {
  try {
    return readConfChange(entry);
  } catch (error) {
    throw new ApplyError(entry.index, 'it is no change of configuration', { cause: error });
  }
}

function voided(change: ConfChange): ConfChange {
  if (!('changes' in change)) return { ...change, nodeId: NONE };
  return { ...change, changes: change.changes.map((one) => ({ ...one, nodeId: NONE })) };
}
