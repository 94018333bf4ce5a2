/**
 * Changes of configuration as they are proposed, and their bytes in the log.
 *
 * Two forms exist, as in etcd. The first names one member and is what etcd's servers write; the second names any
 * number and may ask for a joint configuration. Both are applied by the same code; `asV2` is the bridge.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), §4.3 for joint configurations; etcd differs from
 * it in that a configuration counts from when it is applied, not from when it is appended.
 *
 * @module
 */
import { ConfChange as ConfChangeCodec, ConfChangeV2 as ConfChangeV2Codec } from '../../protocol/generated/raftpb.ts';
import type { MemberId } from '../../protocol/int64.ts';
import { EMPTY, Writer } from '../../protocol/wire.ts';
import { RaftInvariantError } from './errors.ts';
import { type Entry, proposal } from './types.ts';

/** What is done with a member. `update` means nothing to raft: the application's context changes. */
export type ConfChangeType = 'add-voter' | 'add-learner' | 'remove' | 'update';

/** One member's change. A change of {@link NONE} does nothing: so a caller voids a change when it applies it. */
export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: MemberId;
}

/** A change of one member, in the form that etcd's servers write. */
export interface ConfChangeV1 extends ConfChangeSingle {
  /** The application's number of this change. */
  readonly id: bigint;
  readonly context: Uint8Array;
}

/**
 * How several members are changed.
 *
 * - `auto`: directly where one voter at most changes; else through a joint configuration that the leader leaves.
 * - `implicit`: through a joint configuration that the leader leaves.
 * - `explicit`: through a joint configuration that the application leaves, by proposing a change without members.
 */
export type Transition = 'auto' | 'implicit' | 'explicit';

/** A change of any number of members; without any, and `auto`, the way out of a joint configuration. */
export interface ConfChangeV2 {
  readonly transition: Transition;
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

export type ConfChange = ConfChangeV1 | ConfChangeV2;

/** The way out of a joint configuration. */
export const LEAVE_JOINT: ConfChangeV2 = { transition: 'auto', changes: [], context: EMPTY };

const TYPES: readonly ConfChangeType[] = ['add-voter', 'remove', 'update', 'add-learner'];
const TRANSITIONS: readonly Transition[] = ['auto', 'implicit', 'explicit'];

/** The change in its second form. */
export function asV2(change: ConfChange): ConfChangeV2 {
  if ('changes' in change) return change;
  return { transition: 'auto', changes: [{ type: change.type, nodeId: change.nodeId }], context: change.context };
}

/** How a change enters a joint configuration; undefined if it needs none. */
export function entersJoint({ transition, changes }: ConfChangeV2): { readonly autoLeave: boolean } | undefined {
  if (transition === 'auto' && changes.length <= 1) return undefined;
  return { autoLeave: transition !== 'explicit' };
}

/** Whether the change is the way out of a joint configuration. Its context does not count. */
export function leavesJoint({ transition, changes }: ConfChangeV2): boolean {
  return transition === 'auto' && changes.length === 0;
}

/**
 * The change as an entry to propose. {@link LEAVE_JOINT} has no bytes, like the one that etcd's leader proposes on its
 * own, so that no quota refuses it.
 */
export function confChangeEntry(change: ConfChange): Entry {
  if (!('changes' in change)) return proposal(encodeV1(change), 'EntryConfChange');
  const bare = leavesJoint(change) && change.context.length === 0;
  return proposal(bare ? EMPTY : encodeV2(change), 'EntryConfChangeV2');
}

/**
 * Reads the change that an entry carries.
 *
 * @throws WireError when its bytes are no change.
 * @throws RaftInvariantError when the entry is a normal one, or the change is of a kind that nobody knows.
 */
export function readConfChange(entry: Entry): ConfChange {
  if (entry.type === 'EntryConfChange') {
    const { id, type, nodeId, context } = ConfChangeCodec.decode(entry.data);
    return { id, type: known(TYPES, type), nodeId: nodeId as MemberId, context };
  }
  if (entry.type === 'EntryConfChangeV2') {
    const { transition, changes, context } = ConfChangeV2Codec.decode(entry.data);
    return {
      transition: known(TRANSITIONS, transition),
      changes: changes.map(({ type, nodeId }) => ({ type: known(TYPES, type), nodeId: nodeId as MemberId })),
      context,
    };
  }
  throw new RaftInvariantError(`entry ${entry.index} is no change of configuration`);
}

// etcd writes each number, also one that is 0 (proto2); the codec leaves such ones out, and is for reading only.
// A writer begins at the end.
const writer = new Writer();

function encodeV1({ id, type, nodeId, context }: ConfChangeV1): Uint8Array {
  writer.begin();
  if (context.length > 0) writer.bytes(34, context);
  writer.uint64(24, nodeId);
  writer.int32(16, TYPES.indexOf(type));
  writer.uint64(8, id);
  return new Uint8Array(writer.finish());
}

function encodeV2({ transition, changes, context }: ConfChangeV2): Uint8Array {
  writer.begin();
  if (context.length > 0) writer.bytes(26, context);
  for (const { type, nodeId } of changes.toReversed()) {
    const before = writer.size();
    writer.uint64(16, nodeId);
    writer.int32(8, TYPES.indexOf(type));
    writer.close(18, before);
  }
  writer.int32(8, TRANSITIONS.indexOf(transition));
  return new Uint8Array(writer.finish());
}

function known<T>(names: readonly T[], number: number): T {
  const name = names[number];
  if (name === undefined) throw new RaftInvariantError(`unknown kind ${number} in a change of configuration`);
  return name;
}
