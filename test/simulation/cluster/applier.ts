/**
 * The state machine of one run of a member, and the queue of what it is to apply.
 *
 * Its state is the hash of all entries that it has applied. Jobs are done in their order, each at once or some time
 * later; a member that keeps its state machine on disk writes it after each job.
 */
import {
  asV2,
  type ConfChange,
  ConfChangeError,
  type ConfState,
  EMPTY_CONF_STATE,
  type Entry,
  readConfChange,
  type Snapshot,
} from '../../../src/server/raft/index.ts';
import { chain, EMPTY_HASH } from './hashed-log.ts';
import type { Member } from './member.ts';
import { hashOf } from './snapshot.ts';

/** What is to be applied, and what follows. */
export interface ApplyJob {
  readonly snapshot?: Snapshot | undefined;
  readonly entries: readonly Entry[];
  readonly done?: (() => void) | undefined;
}

export class Applier {
  /** Last entry that is applied. */
  applied = 0;
  hash = EMPTY_HASH;
  /** Configuration as of `applied`, if {@link configured}. */
  confState: ConfState = EMPTY_CONF_STATE;
  /** Whether all changes up to `applied` are part of {@link confState}. */
  configured = true;
  /** The change of configuration that was applied last in this run. */
  configuredAt = 0;
  readonly #member: Member;
  readonly #queue: ApplyJob[] = [];

  constructor(member: Member) {
    this.#member = member;
  }

  /** Starts from a state that was kept. */
  load(state: { readonly index: number; readonly hash: number; readonly confState: ConfState }): void {
    this.applied = state.index;
    this.hash = state.hash;
    this.confState = state.confState;
    this.configured = true;
  }

  /** Entries that wait, or are being applied. */
  get waiting(): readonly Entry[] {
    return this.#queue.flatMap(({ entries }) => entries);
  }

  add(job: ApplyJob): void {
    this.#queue.push(job);
    if (this.#queue.length > 1) return;
    const delayUs = this.#member.applyDelayUs();
    if (delayUs === 0) this.#next();
    else this.#later(delayUs);
  }

  /** Takes the place of all that was applied. */
  restore(snapshot: Snapshot): void {
    if (snapshot.index <= this.applied) return;
    this.load({ index: snapshot.index, hash: hashOf(snapshot), confState: snapshot.confState });
    this.#member.world.oracle.restored(this.#member, snapshot);
  }

  #later(delayUs: number): void {
    const { world, process } = this.#member;
    world.scheduler.after(delayUs, () =>
      process.run(() => {
        world.journal.note('applied', this.#member.ordinal, this.#queue[0]?.entries.length ?? 0);
        this.#next();
        this.#member.pump();
      }),
    );
  }

  #next(): void {
    const job = this.#queue[0];
    if (job === undefined) return;
    if (job.snapshot) this.restore(job.snapshot);
    for (const entry of job.entries) if (entry.index > this.applied) this.#apply(entry);
    this.#member.afterApply();
    // Out of the queue only now: what `done` sets in motion may add jobs, and they have to wait for their turn.
    job.done?.();
    this.#queue.shift();
    if (this.#queue.length > 0) this.#later(this.#member.applyDelayUs());
  }

  #apply(entry: Entry): void {
    const member = this.#member;
    const { oracle } = member.world;
    this.hash = chain(this.hash, entry);
    oracle.applying(member, this.applied, entry, this.hash);
    this.applied = entry.index;
    if (entry.type === 'EntryNormal') member.world.applied(member, entry);
    else this.#configure(entry);
  }

  #configure(entry: Entry): void {
    const { node, world } = this.#member;
    // With a later snapshot underway the core has that one's configuration already; this change is part of it.
    if (node.raft.log.unstable.snapshot !== undefined) {
      this.configured = false;
      return;
    }
    const change = readConfChange(entry);
    this.configuredAt = entry.index;
    try {
      if (!this.#bringsBack(change, entry.index)) this.confState = node.applyConfChange(change);
    } catch (error) {
      // Proposed for another configuration than it is applied to: everybody finds so, and nobody does it.
      if (!(error instanceof ConfChangeError)) throw error;
    }
    world.oracle.configured(this.#member, entry.index, this.confState);
    world.oracle.core(this.#member);
  }

  /** An id that was removed is never taken again: its disk may be gone, and with it its votes. */
  #bringsBack(change: ConfChange, index: number): boolean {
    const { removed } = this.#member.world.oracle.configurations;
    return asV2(change).changes.some(({ nodeId }) => (removed.get(nodeId) ?? Number.POSITIVE_INFINITY) < index);
  }
}
