/**
 * What the two ways to do what a `Ready` asks for have in common.
 */
import type { Entry, HardState, Snapshot } from '../../../src/server/raft/index.ts';
import type { Member } from './member.ts';

/** Does what the core wants done. */
export interface ReadyLoop {
  /** Goes on as far as it can without waiting. */
  pump(): void;
}

/**
 * Where a crash can be put, inside one run through the loop.
 *
 * `before-write`: nothing of it is on disk. `after-write`: it is written and not synced. `after-sync`: it is durable
 * and nobody has heard of it. `after-send`: everybody has heard of it, and nothing is applied.
 */
export type CrashPoint = 'before-write' | 'after-write' | 'after-sync' | 'after-send';

export const CRASH_POINTS: readonly CrashPoint[] = ['before-write', 'after-write', 'after-sync', 'after-send'];

/** What one `Ready` wants on the disk. */
export interface DiskWork {
  readonly entries: readonly Entry[];
  readonly hardState: HardState | undefined;
  readonly snapshot: Snapshot | undefined;
  readonly mustSync: boolean;
}

/**
 * Writes, syncs if that is asked for, and brings the storage that the core reads up to date. `done` is called unless
 * the member crashes at a point on the way.
 */
export function store(member: Member, work: DiskWork, done: () => void): void {
  if (member.crashesAt('before-write')) return;
  const { snapshot } = work;
  if (snapshot === undefined) {
    storeRecord(member, work, done);
    return;
  }
  // The file has to be durable before the log names it.
  member.disk.write({ kind: 'snapshot', snapshot });
  member.sync(() => storeRecord(member, work, done));
}

function storeRecord(member: Member, work: DiskWork, done: () => void): void {
  const { entries, hardState, snapshot, mustSync } = work;
  const stored = (): void => {
    if (snapshot) member.storage.applySnapshot(snapshot);
    member.storage.append(entries);
    if (hardState) member.storage.setHardState(hardState);
    if (!member.crashesAt('after-sync')) done();
  };
  if (entries.length === 0 && hardState === undefined && snapshot === undefined) {
    stored();
    return;
  }
  const mark = snapshot && { index: snapshot.index, received: true };
  member.disk.write({ kind: 'log', mark, entries, hardState });
  if (member.crashesAt('after-write')) return;
  if (mustSync || snapshot) member.sync(stored);
  else stored();
}
