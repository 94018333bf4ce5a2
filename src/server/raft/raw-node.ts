/**
 * One member of a cluster, as who runs it sees it.
 *
 * The loop: give it messages that come in (`step`) and the passing of time (`tick`); while `hasReady`, take a `Ready`,
 * do what it says, and say that it is done (`advance`, or the responses of storage messages). A whole server is this
 * loop around disk, network and state machine.
 *
 * ```ts
 * const node = new RawNode({ id, electionTicks: 10, heartbeatTicks: 1, storage, random });
 * node.campaign();
 * while (node.hasReady()) {
 *   const { entries, hardState, committedEntries, messages } = node.ready();
 *   if (hardState) storage.setHardState(hardState);
 *   storage.append(entries);
 *   messages.forEach(send);
 *   committedEntries.forEach(apply);
 *   node.advance();
 * }
 * ```
 *
 * Nothing here waits, reads a clock or throws for reasons of the network: see `errors.ts`.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { asV2, type ConfChange, confChangeEntry } from './conf-change.ts';
import type { RaftConfig } from './config.ts';
import { invariant, type Refusal } from './errors.ts';
import { applyConfChange } from './membership.ts';
import { Raft } from './raft.ts';
import { appendDone, applyDone, type Ready, storageAppend, storageApply } from './ready.ts';
import { entriesSize } from './size.ts';
import { type BasicStatus, basicStatus, type Status, statusOf } from './status.ts';
import { step, tick } from './step.ts';
import {
  type ConfState,
  type Entry,
  type HardState,
  isLocal,
  isResponse,
  isThread,
  type Message,
  message,
  NONE,
  proposal,
  type SoftState,
  sameHardState,
} from './types.ts';

/** A member of a cluster that is being founded. */
export interface Peer {
  readonly id: MemberId;
  /** The application's bytes, in the entry that adds the member. */
  readonly context: Uint8Array;
}

export class RawNode {
  readonly #raft: Raft;
  #softState: SoftState;
  #hardState: HardState;
  /** Without `asyncStorageWrites`: what `advance` steps. Undefined: no `Ready` is out. */
  #onAdvance: readonly Message[] | undefined;

  /**
   * Starts a member from what its storage has.
   *
   * @throws RaftInvariantError when the configuration or what is in storage can't be.
   */
  constructor(config: RaftConfig) {
    this.#raft = new Raft(config);
    this.#softState = this.#raft.softState;
    this.#hardState = this.#raft.hardState;
  }

  get id(): MemberId {
    return this.#raft.id;
  }

  /** The state behind it, to read. Who writes to it is on his own. */
  get raft(): Raft {
    return this.#raft;
  }

  /**
   * Founds a cluster: puts its first members into an empty log, as committed changes of term 1. All founders have to
   * give the same members in the same order.
   */
  bootstrap(peers: readonly Peer[]): void {
    const raft = this.#raft;
    invariant(peers.length > 0, () => 'a cluster needs a member');
    invariant(raft.log.lastIndex() === 0, () => 'a log that is not empty can not be bootstrapped');
    // From here on `Ready` tells of the state that this makes.
    raft.becomeFollower(1, NONE);
    const changes = peers.map(({ id, context }): ConfChange => ({ type: 'add-voter', nodeId: id, id: 0n, context }));
    raft.log.append(changes.map((change, at) => ({ ...confChangeEntry(change), term: 1, index: at + 1 })));
    raft.log.committed = peers.length;
    // They are applied here already, or nobody could be elected; applying them again changes nothing.
    for (const change of changes) applyConfChange(raft, asV2(change));
  }

  /** One tick of the clock. */
  tick(): void {
    tick(this.#raft);
  }

  /** Starts an election now. */
  campaign(): void {
    step(this.#raft, message('MsgHup', {}));
  }

  /** Proposes an entry. A refusal means that it is in no log; without one it may still be lost. */
  propose(data: Uint8Array): Refusal | undefined {
    return this.#propose(proposal(data));
  }

  /** Proposes a change of configuration. One that must not be made now becomes an empty entry. */
  proposeConfChange(change: ConfChange): Refusal | undefined {
    return this.#propose(confChangeEntry(change));
  }

  /**
   * Brings a change into force; to be called for each one among the committed entries, in their order. To void one,
   * call it with a change of {@link NONE}.
   *
   * @returns The configuration now, for snapshots.
   */
  applyConfChange(change: ConfChange): ConfState {
    return applyConfChange(this.#raft, asV2(change));
  }

  /** Takes a message from another member, or a response of the storage threads. */
  step(m: Message): Refusal | undefined {
    const ownThread = isThread(m.from);
    if (isLocal(m.type) && !ownThread) return 'local-message';
    if (isResponse(m.type) && !ownThread && !this.#raft.tracker.progress.has(m.from)) return 'unknown-peer';
    return step(this.#raft, m);
  }

  /** Whether there is anything to do. */
  hasReady(): boolean {
    const raft = this.#raft;
    const { log } = raft;
    return (
      raft.messages.length > 0 ||
      raft.messagesAfterAppend.length > 0 ||
      log.unstable.hasNextEntries() ||
      log.unstable.nextSnapshot() !== undefined ||
      log.hasNextCommitted(this.#applyUnstable) ||
      raft.readStates.length > 0 ||
      this.#changedSoftState() !== undefined ||
      this.#changedHardState() !== undefined
    );
  }

  /** What is to be done now. It counts as begun: the next one tells only what is new. */
  ready(): Ready {
    const ready = this.peek();
    this.#accept(ready);
    return ready;
  }

  /** What is to be done now, without taking it. */
  peek(): Ready {
    const raft = this.#raft;
    const hardState = this.#changedHardState();
    const entries = raft.log.unstable.nextEntries();
    const before = this.#hardState;
    const fields = {
      softState: this.#changedSoftState(),
      hardState,
      readStates: raft.readStates,
      entries,
      snapshot: raft.log.unstable.nextSnapshot(),
      committedEntries: raft.log.nextCommitted(this.#applyUnstable),
      mustSync: entries.length > 0 || raft.term !== before.term || raft.vote !== before.vote,
    };
    return { ...fields, messages: this.#outgoing(fields) };
  }

  /** All that the last {@link ready} asked for is done. Not with `asyncStorageWrites`. */
  advance(): void {
    invariant(!this.#async, () => 'advance is not for asyncStorageWrites');
    const done = this.#onAdvance ?? [];
    this.#onAdvance = undefined;
    for (const m of done) step(this.#raft, m);
  }

  /** Asks the leader to hand over to `to`. */
  transferLeader(to: MemberId): void {
    step(this.#raft, message('MsgTransferLeader', { from: to }));
  }

  /** Stops following the leader, so that an election that somebody else holds need not wait for a timeout. */
  forgetLeader(): void {
    step(this.#raft, message('MsgForgetLeader', {}));
  }

  /** A message to that member could not be delivered. */
  reportUnreachable(id: MemberId): void {
    step(this.#raft, message('MsgUnreachable', { from: id }));
  }

  /** How the sending of a snapshot to that member ended. To be called for each one, or it gets nothing more. */
  reportSnapshot(id: MemberId, outcome: 'sent' | 'failed'): void {
    step(this.#raft, message('MsgSnapStatus', { from: id, reject: outcome === 'failed' }));
  }

  /**
   * Asks for an index at which a read is linearizable; it comes as a `ReadState` with the same context. May be lost, at
   * changes of leaders for one: ask again, with another context, after a while.
   */
  readIndex(context: Uint8Array): void {
    step(this.#raft, message('MsgReadIndex', { entries: [proposal(context)] }));
  }

  /** What is known, with the configuration and the progress of each member if this one leads. */
  status(): Status {
    return statusOf(this.#raft);
  }

  /** {@link status} without progress: costs nothing. */
  basicStatus(): BasicStatus {
    return basicStatus(this.#raft);
  }

  get #async(): boolean {
    return this.#raft.config.asyncStorageWrites;
  }

  /** Without async writes entries are durable before they are applied, as all of one `Ready` is done in order. */
  get #applyUnstable(): boolean {
    return !this.#async;
  }

  #propose(entry: Entry): Refusal | undefined {
    return step(this.#raft, message('MsgProp', { from: this.#raft.id, entries: [entry] }));
  }

  #changedSoftState(): SoftState | undefined {
    const { lead, role } = this.#raft;
    return lead === this.#softState.lead && role === this.#softState.role ? undefined : { lead, role };
  }

  #changedHardState(): HardState | undefined {
    const { hardState } = this.#raft;
    return sameHardState(hardState, this.#hardState) ? undefined : hardState;
  }

  #outgoing(ready: Omit<Ready, 'messages'>): readonly Message[] {
    const raft = this.#raft;
    const { entries, hardState, snapshot, committedEntries } = ready;
    if (!this.#async) return [...raft.messages, ...raft.messagesAfterAppend.filter(({ to }) => to !== raft.id)];
    const messages = [...raft.messages];
    if (entries.length > 0 || hardState || snapshot || raft.messagesAfterAppend.length > 0) {
      messages.push(storageAppend(raft, ready));
    }
    if (committedEntries.length > 0) messages.push(storageApply(raft, committedEntries));
    return messages;
  }

  #accept(ready: Ready): void {
    const raft = this.#raft;
    if (ready.softState) this.#softState = ready.softState;
    if (ready.hardState) this.#hardState = ready.hardState;
    if (!this.#async) {
      invariant(this.#onAdvance === undefined, () => 'ready was called twice without advance');
      this.#onAdvance = this.#stepsOnAdvance(ready);
    }
    raft.readStates = [];
    raft.messages = [];
    raft.messagesAfterAppend = [];
    raft.log.unstable.acceptInProgress();
    const last = ready.committedEntries.at(-1);
    if (last) raft.log.acceptApplying(last.index, entriesSize(ready.committedEntries), this.#applyUnstable);
  }

  /** First what the member promised itself, then that the disk has it, then that it is applied. */
  #stepsOnAdvance({ snapshot, committedEntries }: Ready): readonly Message[] {
    const raft = this.#raft;
    const steps = raft.messagesAfterAppend.filter(({ to }) => to === raft.id);
    const stored = appendDone(raft, snapshot);
    if (stored) steps.push(stored);
    if (committedEntries.length > 0) steps.push(applyDone(raft, committedEntries));
    return steps;
  }
}
