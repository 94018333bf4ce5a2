/**
 * One member of a trace: the core, its storage, its state machine and the work of its storage threads.
 *
 * The state machine appends the bytes of each entry to its state, and keeps a snapshot after each entry. A snapshot
 * that arrives from another member is stored, and does not become part of that history: so it is in etcd's environment.
 *
 * @module
 */
import type { MemberId } from '../../../../../src/protocol/int64.ts';
import {
  type ConfState,
  type Entry,
  type HardState,
  isEmptyHardState,
  type Message,
  type RaftConfig,
  RawNode,
  readConfChange,
  type Snapshot,
} from '../../../../../src/server/raft/index.ts';
import { CommandError } from '../command-set.ts';
import { TraceStorage } from './storage.ts';

/** What `add-nodes` sets, but for who it is. */
export type MemberConfig = Omit<RaftConfig, 'id' | 'storage'>;

/** What a disk is asked to write at once. */
export interface Write {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
}

export class TraceMember {
  readonly node: RawNode;
  readonly config: RaftConfig;
  readonly storage: TraceStorage;
  /** Storage work that is not done, oldest first. */
  readonly appendWork: Message[] = [];
  readonly applyWork: Message[] = [];

  /** @param founded Whether the member starts from the snapshot; else from nothing. */
  constructor(id: MemberId, config: MemberConfig, start: Snapshot, founded: boolean) {
    this.storage = new TraceStorage(start);
    if (founded) this.storage.applySnapshot(start);
    this.config = { ...config, id, storage: this.storage };
    this.node = new RawNode(this.config);
  }

  get id(): MemberId {
    return this.node.id;
  }

  get asynchronous(): boolean {
    return this.config.asyncStorageWrites ?? false;
  }

  write({ hardState, entries, snapshot }: Write): void {
    if (hardState && !isEmptyHardState(hardState)) this.storage.setHardState(hardState);
    if (snapshot && entries.length > 0) throw new CommandError("can't apply snapshot and entries at the same time");
    if (snapshot) this.storage.applySnapshot(snapshot);
    else this.storage.append(entries);
  }

  apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const { update, confState } = this.#execute(entry);
      const { newest } = this.storage;
      const data = new Uint8Array([...newest.data, ...update]);
      const { index, term } = entry;
      this.storage.history.push({ data, index, term, confState: confState ?? newest.confState });
    }
  }

  #execute(entry: Entry): { readonly update: Uint8Array; readonly confState: ConfState | undefined } {
    if (entry.type === 'EntryNormal') return { update: entry.data, confState: undefined };
    const change = readConfChange(entry);
    return { update: change.context, confState: this.node.applyConfChange(change) };
  }
}
