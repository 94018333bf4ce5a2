/**
 * A stable log whose snapshot is always the newest state of the member's state machine.
 *
 * @module
 */
import type { Entry, Snapshot } from '../../../../../src/server/raft/index.ts';
import { MemoryStorage, NO_LIMIT } from '../../../../../src/server/raft/index.ts';

export class TraceStorage extends MemoryStorage {
  /** Snapshots of the state after each applied entry; the first one is what the member started from. */
  readonly history: Snapshot[];

  constructor(start: Snapshot) {
    super();
    this.history = [start];
  }

  get newest(): Snapshot {
    return this.history.at(-1) as Snapshot;
  }

  override snapshot(): Snapshot | undefined {
    return this.newest;
  }

  /** Every entry that is there. */
  all(): readonly Entry[] {
    const entries =
      this.lastIndex() < this.firstIndex() ? [] : this.entries(this.firstIndex(), this.lastIndex() + 1, NO_LIMIT);
    if (typeof entries === 'string') throw new Error(`the log is ${entries}`);
    return entries;
  }
}
