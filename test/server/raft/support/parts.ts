/**
 * Values for tests, and a bare `Raft` worked by hand.
 *
 * Nothing here writes to a disk: what a raw member appends stays unstable unless a test calls {@link persist}. What it
 * promises itself counts once {@link settle} or {@link take} has stepped it.
 */
import { type MemberId, memberId } from '../../../../src/protocol/int64.ts';
import { EMPTY } from '../../../../src/protocol/wire.ts';
import type { RaftConfig } from '../../../../src/server/raft/config.ts';
import { MemoryStorage } from '../../../../src/server/raft/log/storage.ts';
import { Raft } from '../../../../src/server/raft/raft.ts';
import { step } from '../../../../src/server/raft/step.ts';
import {
  type ConfState,
  EMPTY_CONF_STATE,
  type Entry,
  type HardState,
  type Message,
  type MessageType,
  message,
  proposal,
  type Role,
  type Snapshot,
} from '../../../../src/server/raft/types.ts';

export const id: (n: number) => MemberId = memberId;

export function ids(...numbers: number[]): MemberId[] {
  return numbers.map(id);
}

/** The bytes of a text, for entries and contexts. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Chance that repeats: whole numbers below a bound (mulberry32). */
export function seeded(seed: number): (bound: number) => number {
  let state = seed | 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

/** A message, its members by number. All that is left out is 0, empty or undefined. */
export function msg(
  from: number,
  to: number,
  type: MessageType,
  fields: Partial<Omit<Message, 'type' | 'from' | 'to'>> = {},
): Message {
  return message(type, { ...fields, from: id(from), to: id(to) });
}

/** What makes member `n` start an election. */
export function hup(n: number): Message {
  return msg(n, n, 'MsgHup');
}

/** What makes leader `n` send heartbeats. */
export function beat(n: number): Message {
  return msg(n, n, 'MsgBeat');
}

/** Proposals to member `n`, one entry for each text, in one message. */
export function propose(n: number, ...texts: string[]): Message {
  return msg(n, n, 'MsgProp', { entries: (texts.length === 0 ? [''] : texts).map((text) => proposal(bytes(text))) });
}

export function entry(term: number, index: number, text = ''): Entry {
  return { term, index, type: 'EntryNormal', data: text === '' ? EMPTY : bytes(text) };
}

/** Entries without data, of those terms, from index 1 on. */
export function log(...terms: number[]): Entry[] {
  return terms.map((term, at) => entry(term, at + 1));
}

export function confState(fields: Partial<ConfState>): ConfState {
  return { ...EMPTY_CONF_STATE, ...fields };
}

export function snapshot(index: number, term: number, voters: number[], learners: number[] = []): Snapshot {
  return { index, term, confState: confState({ voters: ids(...voters), learners: ids(...learners) }), data: EMPTY };
}

/** A `MemoryStorage` of a cluster whose members are known from the start, with a log that begins at 1 all the same. */
class FoundedStorage extends MemoryStorage {
  readonly #founded: ConfState;

  constructor(founded: ConfState) {
    super();
    this.#founded = founded;
  }

  override initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    const { hardState, confState: kept } = super.initialState();
    return { hardState, confState: (this.snapshot()?.index ?? 0) > 0 ? kept : this.#founded };
  }
}

/** What a member starts from, with all that {@link RaftConfig} has. */
export interface MemberOptions extends Partial<Omit<RaftConfig, 'id' | 'storage'>> {
  /** Default: none. */
  readonly voters?: readonly number[] | undefined;
  readonly learners?: readonly number[] | undefined;
  /** Durable entries. */
  readonly entries?: readonly Entry[] | undefined;
  readonly hardState?: HardState | undefined;
  /** In place of all above. */
  readonly storage?: MemoryStorage | undefined;
}

/** The storage that the options describe. */
export function newStorage(options: MemberOptions): MemoryStorage {
  if (options.storage) return options.storage;
  const { voters = [], learners = [], entries = [], hardState } = options;
  const storage = new FoundedStorage(confState({ voters: ids(...voters), learners: ids(...learners) }));
  storage.append(entries);
  if (hardState) storage.setHardState(hardState);
  return storage;
}

/** The configuration that the options describe: 10 ticks to an election, 1 to a heartbeat, chance by the member's id. */
export function newConfig(n: number, options: MemberOptions, storage: MemoryStorage): RaftConfig {
  return { electionTicks: 10, heartbeatTicks: 1, random: seeded(n), ...options, id: id(n), storage };
}

export function newRaft(n: number, options: MemberOptions = {}): Raft {
  return new Raft(newConfig(n, options, newStorage(options)));
}

/** A member that has just come to lead: its first entry is in its log, not sent yet and not acknowledged. */
export function newLeader(n: number, options: MemberOptions = {}): Raft {
  const raft = newRaft(n, options);
  become(raft, 'StateLeader');
  return raft;
}

/** Brings a member into a role by the shortest legal way. A follower and a pre-candidate stay in their term. */
export function become(raft: Raft, role: Role, lead: MemberId = id(0)): void {
  if (role === 'StateFollower') raft.becomeFollower(raft.term, lead);
  else if (role === 'StatePreCandidate') raft.becomePreCandidate();
  else raft.becomeCandidate();
  if (role === 'StateLeader') raft.becomeLeader();
}

/** Changes the configuration of a running member, as if it had been restarted and were again what it was. */
export function reconfigure(raft: Raft, change: Partial<Omit<RaftConfig, 'id'>>): void {
  Object.assign(raft.config, change);
}

/** What is to leave after the disk has been written, taken out and not stepped. */
export function takeAfterAppend(raft: Raft): Message[] {
  const taken = raft.messagesAfterAppend;
  raft.messagesAfterAppend = [];
  return taken;
}

/** Steps what a member has promised itself; the rest of what waits for its disk is ready to be sent. */
export function release(raft: Raft, promised: readonly Message[]): void {
  for (const m of promised) {
    if (m.to === raft.id) step(raft, m);
    else raft.messages.push(m);
  }
}

/** Does what the disk would: all that waits for it is stepped or ready to be sent. */
export function settle(raft: Raft): void {
  while (raft.messagesAfterAppend.length > 0) release(raft, takeAfterAppend(raft));
}

/** Everything that a raw member has to say. */
export function take(raft: Raft): Message[] {
  settle(raft);
  const taken = raft.messages;
  raft.messages = [];
  return taken;
}

/** Writes the unstable entries to the member's storage, tells it so and {@link settle}s. */
export function persist(raft: Raft): void {
  const { log: raftLog } = raft;
  const entries = raftLog.unstable.nextEntries();
  (raftLog.storage as MemoryStorage).append(entries);
  const last = entries.at(-1);
  if (last) raftLog.unstable.stableTo(last);
  settle(raft);
}

/** {@link persist}s, then applies what is committed and returns it. */
export function applyCommitted(raft: Raft): readonly Entry[] {
  persist(raft);
  const entries = raft.log.nextCommitted(true);
  raft.log.appliedTo(raft.log.committed, 0);
  return entries;
}

/** Every entry of a member's log. */
export function logOf(raft: Raft): readonly Entry[] {
  const entries = raft.log.entriesFrom(raft.log.firstIndex(), Number.POSITIVE_INFINITY);
  if (typeof entries === 'string') throw new Error(`the log is ${entries}`);
  return entries;
}

/** The terms of a member's log, first to last. */
export function termsOf(raft: Raft): number[] {
  return logOf(raft).map(({ term }) => term);
}

/** What a follower answers that takes an append whole. */
export function accept(m: Message): Message {
  if (m.type !== 'MsgApp') throw new Error(`${m.type} can not be accepted`);
  return message('MsgAppResp', { from: m.to, to: m.from, term: m.term, index: m.index + m.entries.length });
}
