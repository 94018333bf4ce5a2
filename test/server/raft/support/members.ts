/**
 * Members that do their own storage work, as the network of the tests sees them.
 *
 * The three drivers are meant to show the same behaviour; scenarios of several members run on each of {@link DRIVERS}.
 */
import type { MemberId } from '../../../../src/protocol/int64.ts';
import { readConfChange } from '../../../../src/server/raft/conf-change.ts';
import type { Refusal } from '../../../../src/server/raft/errors.ts';
import type { MemoryStorage } from '../../../../src/server/raft/log/storage.ts';
import type { Raft } from '../../../../src/server/raft/raft.ts';
import { RawNode } from '../../../../src/server/raft/raw-node.ts';
import { step } from '../../../../src/server/raft/step.ts';
import {
  APPEND_THREAD,
  APPLY_THREAD,
  type ConfState,
  type Entry,
  isEmptyHardState,
  isLocal,
  type Message,
  type ReadState,
} from '../../../../src/server/raft/types.ts';
import { id, type MemberOptions, newConfig, newRaft, newStorage, settle, take } from './parts.ts';

/** How a member's storage work is done. */
export type Driver = 'raw' | 'ready' | 'async';

export const DRIVERS: readonly Driver[] = ['raw', 'ready', 'async'];

/** A member in a network. */
export interface Member {
  readonly id: MemberId;
  /** Takes a message, from another member or a local one. */
  step(m: Message): Refusal | undefined;
  /** Does the storage work that is due; what is to be sent stays. */
  work(): void;
  /** Works, and gives out what is to be sent. */
  take(): Message[];
}

/** A member with a `Raft` in it. */
export interface LiveMember extends Member {
  readonly raft: Raft;
}

export function newMember(driver: Driver, n: number, options: MemberOptions = {}): LiveMember {
  return driver === 'raw' ? new RawMember(newRaft(n, options)) : new NodeMember(n, options, driver);
}

/** Takes everything and says nothing. */
export class BlackHole implements Member {
  readonly id: MemberId;

  constructor(n: number) {
    this.id = id(n);
  }

  step(): undefined {}

  work(): void {}

  take(): Message[] {
    return [];
  }
}

/** A `Raft` whose log stays in memory: nothing is ever written or applied. */
export class RawMember implements LiveMember {
  readonly raft: Raft;

  constructor(raft: Raft) {
    this.raft = raft;
  }

  get id(): MemberId {
    return this.raft.id;
  }

  step(m: Message): Refusal | undefined {
    return step(this.raft, m);
  }

  work(): void {
    settle(this.raft);
  }

  take(): Message[] {
    return take(this.raft);
  }
}

/** A `RawNode` with its loop. Committed entries are applied; changes of configuration among them come into force. */
export class NodeMember implements LiveMember {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  /** What was applied, first to last. */
  readonly applied: Entry[] = [];
  /** Reads that may be served. */
  readonly readStates: ReadState[] = [];
  /** The configuration after each change that was applied. */
  readonly configurations: ConfState[] = [];
  /** Work of the storage threads, with driver `async`. */
  readonly appendQueue: Message[] = [];
  readonly applyQueue: Message[] = [];
  /** Threads that stand still: their work queues up until a test calls {@link appendOne} or {@link applyOne}. */
  readonly stalled: Set<'append' | 'apply'> = new Set();
  readonly #driver: 'ready' | 'async';
  #outgoing: Message[] = [];

  constructor(n: number, options: MemberOptions, driver: 'ready' | 'async') {
    this.storage = newStorage(options);
    this.node = new RawNode({ ...newConfig(n, options, this.storage), asyncStorageWrites: driver === 'async' });
    this.#driver = driver;
  }

  get id(): MemberId {
    return this.node.id;
  }

  get raft(): Raft {
    return this.node.raft;
  }

  step(m: Message): Refusal | undefined {
    // `RawNode` refuses local messages from outside, but a test says "campaign" with one.
    return isLocal(m.type) ? step(this.raft, m) : this.node.step(m);
  }

  work(): void {
    for (let busy = true; busy; ) {
      busy = this.node.hasReady();
      if (busy && this.#driver === 'ready') this.#handleReady();
      else if (busy) this.#queueReady();
      while (!this.stalled.has('append') && this.appendOne()) busy = true;
      while (!this.stalled.has('apply') && this.applyOne()) busy = true;
    }
  }

  take(): Message[] {
    this.work();
    const taken = this.#outgoing;
    this.#outgoing = [];
    return taken;
  }

  /** The append thread does its oldest work; false if there is none. */
  appendOne(): boolean {
    const work = this.appendQueue.shift();
    if (!work) return false;
    const { term, vote, commit, snapshot, entries } = work;
    if (!isEmptyHardState({ term, vote, commit })) this.storage.setHardState({ term, vote, commit });
    if (snapshot) this.storage.applySnapshot(snapshot);
    this.storage.append(entries);
    this.#release(work.responses);
    return true;
  }

  /** The apply thread does its oldest work; false if there is none. */
  applyOne(): boolean {
    const work = this.applyQueue.shift();
    if (!work) return false;
    this.#apply(work.entries);
    this.#release(work.responses);
    return true;
  }

  #handleReady(): void {
    const { hardState, snapshot, entries, messages, readStates, committedEntries } = this.node.ready();
    if (snapshot) this.storage.applySnapshot(snapshot);
    this.storage.append(entries);
    if (hardState) this.storage.setHardState(hardState);
    this.#outgoing.push(...messages);
    this.readStates.push(...readStates);
    this.#apply(committedEntries);
    this.node.advance();
  }

  #queueReady(): void {
    const { messages, readStates } = this.node.ready();
    this.readStates.push(...readStates);
    for (const m of messages) {
      if (m.to === APPEND_THREAD) this.appendQueue.push(m);
      else if (m.to === APPLY_THREAD) this.applyQueue.push(m);
      else this.#outgoing.push(m);
    }
  }

  #apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.applied.push(entry);
      if (entry.type !== 'EntryNormal') this.configurations.push(this.node.applyConfChange(readConfChange(entry)));
    }
  }

  #release(responses: readonly Message[]): void {
    for (const m of responses) {
      if (m.to === this.id) this.node.step(m);
      else this.#outgoing.push(m);
    }
  }
}
