/**
 * The vocabulary of the consensus core: entries, messages, snapshots, configurations.
 *
 * Kinds have the names that etcd's raft library gives them, as strings: they are what traces, tests and people read.
 * Terms and indexes are `number`s: a log that takes a million entries a second reaches 2^53 after 285 years. Member
 * ids are random 64-bit numbers and never `number`.
 *
 * Everything here is a value: nobody changes an entry, a message or a snapshot once it is made, so that they can be
 * shared by logs, queues and readers. Kinds of message are described in `proto/raft.proto`.
 *
 * @module
 */

import type { MemberId } from '../../protocol/int64.ts';
import { EMPTY } from '../../protocol/wire.ts';

/** No member. */
export const NONE = 0n as MemberId;

/** Address of the thread that writes the log, for `MsgStorageAppend`. No member may have this id. */
export const APPEND_THREAD = (2n ** 64n - 1n) as MemberId;

/** Address of the thread that applies entries, for `MsgStorageApply`. No member may have this id. */
export const APPLY_THREAD = (2n ** 64n - 2n) as MemberId;

/** What an entry carries. */
export type EntryType = 'EntryNormal' | 'EntryConfChange' | 'EntryConfChangeV2';

/** One entry of the log. A proposal on its way to the leader has term and index 0. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly type: EntryType;
  /** The application's bytes, or an encoded change of configuration. Empty in the entry that a new leader begins with. */
  readonly data: Uint8Array;
}

/** Names one entry of one leader's log. */
export interface EntryId {
  readonly term: number;
  readonly index: number;
}

/** What must be durable before anybody hears of it. */
export interface HardState {
  readonly term: number;
  /** Member that got this one's vote in `term`, or {@link NONE}. */
  readonly vote: MemberId;
  /** Index known to be committed. Never ahead of the durable log. */
  readonly commit: number;
}

export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NONE, commit: 0 };

export function isEmptyHardState({ term, vote, commit }: HardState): boolean {
  return term === 0 && vote === NONE && commit === 0;
}

export function sameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}

/** What a member does at the moment. */
export type Role = 'StateFollower' | 'StatePreCandidate' | 'StateCandidate' | 'StateLeader';

/** What need not be durable, and is good to know. */
export interface SoftState {
  /** The leader as this member knows it, or {@link NONE}. */
  readonly lead: MemberId;
  readonly role: Role;
}

/** Who is in the cluster, and as what. Ids ascend. */
export interface ConfState {
  /** Voters; those of the incoming half, while joint. */
  readonly voters: readonly MemberId[];
  /** Members that get the log and don't vote. */
  readonly learners: readonly MemberId[];
  /** Voters of the outgoing half; empty unless joint. */
  readonly votersOutgoing: readonly MemberId[];
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly MemberId[];
  /** Whether the leader leaves the joint configuration on its own. */
  readonly autoLeave: boolean;
}

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

/** The state machine up to `index`, in place of the log before it. */
export interface Snapshot {
  /** The application's image, or what leads to it. */
  readonly data: Uint8Array;
  /** Last entry that it contains. */
  readonly index: number;
  /** Term of that entry. */
  readonly term: number;
  /** Configuration as of that entry. */
  readonly confState: ConfState;
}

/** An index at which the read that `context` names is linearizable, once it is applied. */
export interface ReadState {
  readonly index: number;
  /** What was given to `readIndex`. */
  readonly context: Uint8Array;
}

export type MessageType =
  | 'MsgHup'
  | 'MsgBeat'
  | 'MsgProp'
  | 'MsgApp'
  | 'MsgAppResp'
  | 'MsgVote'
  | 'MsgVoteResp'
  | 'MsgSnap'
  | 'MsgHeartbeat'
  | 'MsgHeartbeatResp'
  | 'MsgUnreachable'
  | 'MsgSnapStatus'
  | 'MsgCheckQuorum'
  | 'MsgTransferLeader'
  | 'MsgTimeoutNow'
  | 'MsgReadIndex'
  | 'MsgReadIndexResp'
  | 'MsgPreVote'
  | 'MsgPreVoteResp'
  | 'MsgStorageAppend'
  | 'MsgStorageAppendResp'
  | 'MsgStorageApply'
  | 'MsgStorageApplyResp'
  | 'MsgForgetLeader';

/** One message. Which fields count depends on its kind; the others are 0, empty or undefined. */
export interface Message {
  readonly type: MessageType;
  readonly to: MemberId;
  readonly from: MemberId;
  /** Sender's term; 0 in local messages and in what is forwarded to the leader. */
  readonly term: number;
  /** Term of the entry at `index`: the one before `entries` in MsgApp, the last of the log in MsgVote. */
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  /** Vote to be made durable, in MsgStorageAppend alone. */
  readonly vote: MemberId;
  readonly snapshot: Snapshot | undefined;
  readonly reject: boolean;
  /** Index at which the log of the one who refused an append may match. */
  readonly rejectHint: number;
  /** {@link CAMPAIGN_TRANSFER} in votes that a leader asked for; a position of reads in heartbeats. */
  readonly context: Uint8Array;
  /** Messages to release once the storage work is done. Those to the member itself are stepped, others are sent. */
  readonly responses: readonly Message[];
}

/** Context of votes in an election that the leader asked for: they are answered although a leader is known. */
export const CAMPAIGN_TRANSFER: Uint8Array = new TextEncoder().encode('CampaignTransfer');

/** A message with nothing in it, to be spread into others: so all messages have one shape, which keeps them fast. */
export const BLANK: Message = {
  type: 'MsgHup',
  to: NONE,
  from: NONE,
  term: 0,
  logTerm: 0,
  index: 0,
  entries: [],
  commit: 0,
  vote: NONE,
  snapshot: undefined,
  reject: false,
  rejectHint: 0,
  context: EMPTY,
  responses: [],
};

/** Makes a message; all that is left out is 0, empty or undefined. */
export function message(type: MessageType, fields: Partial<Omit<Message, 'type'>>): Message {
  return { ...BLANK, ...fields, type };
}

/** An entry as it is proposed: the leader gives it term and index. */
export function proposal(data: Uint8Array = EMPTY, type: EntryType = 'EntryNormal'): Entry {
  return { term: 0, index: 0, type, data };
}

const RESPONSES: ReadonlySet<MessageType> = new Set([
  'MsgAppResp',
  'MsgVoteResp',
  'MsgHeartbeatResp',
  'MsgUnreachable',
  'MsgReadIndexResp',
  'MsgPreVoteResp',
  'MsgStorageAppendResp',
  'MsgStorageApplyResp',
]);

const LOCAL: ReadonlySet<MessageType> = new Set([
  'MsgHup',
  'MsgBeat',
  'MsgUnreachable',
  'MsgSnapStatus',
  'MsgCheckQuorum',
  'MsgStorageAppend',
  'MsgStorageAppendResp',
  'MsgStorageApply',
  'MsgStorageApplyResp',
]);

/** Whether the kind answers another one, and so means nothing from a stranger. */
export function isResponse(type: MessageType): boolean {
  return RESPONSES.has(type);
}

/** Whether the kind never comes from another member. */
export function isLocal(type: MessageType): boolean {
  return LOCAL.has(type);
}

/** Whether the id stands for a storage thread of the member itself. */
export function isThread(id: MemberId): boolean {
  return id === APPEND_THREAD || id === APPLY_THREAD;
}
