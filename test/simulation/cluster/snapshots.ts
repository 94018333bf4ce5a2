/**
 * The snapshots of one run of a member: when they are made, and which one goes to others.
 *
 * A snapshot is first a file, then, when that is durable, a mark in the log; only then the log is cut. One that goes to
 * another member has to have that member in its configuration, or it is of no use there: it is made at the moment of
 * sending, as etcd does it, or a new one is made after each change of configuration.
 */
import { MemoryStorage, type Message, type Snapshot } from '../../../src/server/raft/index.ts';
import type { Member } from './member.ts';
import { stateBytes } from './snapshot.ts';

/** Storage whose snapshot is hard to get at times. */
export class MemberStorage extends MemoryStorage {
  readonly #available: () => boolean;

  constructor(available: () => boolean) {
    super();
    this.#available = available;
  }

  override snapshot(): Snapshot | undefined {
    return this.#available() ? super.snapshot() : undefined;
  }

  /** Index of the latest snapshot, available or not. */
  snapshotIndex(): number {
    return super.snapshot()?.index ?? 0;
  }
}

export class Snapshots {
  readonly #member: Member;
  #underway = false;

  constructor(member: Member) {
    this.#member = member;
  }

  /** Makes a snapshot if one is due, and cuts the log. */
  maybeMake(): void {
    const { storage, world, disk, process } = this.#member;
    const snapshot = this.#underway || !this.#due() ? undefined : this.#now();
    if (snapshot === undefined) return;
    this.#underway = true;
    const { index, confState, data } = snapshot;
    disk.write({ kind: 'snapshot', snapshot });
    disk.sync(() => {
      disk.write({ kind: 'log', mark: { index, received: false }, entries: [] });
      process.run(() => {
        this.#underway = false;
        storage.createSnapshot(index, confState, data);
        storage.compact(Math.max(0, index - world.options.snapshotKeeps));
        // Meanwhile another one may have become due.
        this.maybeMake();
      });
    });
  }

  /** The message as it leaves: with a snapshot of what is applied now, if they are made on demand. */
  refresh(m: Message): Message {
    const snapshot = this.#member.world.options.snapshotsOnDemand ? this.#now() : undefined;
    return snapshot && snapshot.index > (m.snapshot?.index ?? 0) ? { ...m, snapshot } : m;
  }

  #due(): boolean {
    const { storage, applier, world } = this.#member;
    const { snapshotEvery, snapshotsOnDemand } = world.options;
    const latest = storage.snapshotIndex();
    const outdated = !snapshotsOnDemand && latest > 0 && applier.configuredAt > latest;
    return outdated || applier.applied - latest >= snapshotEvery;
  }

  /** The state machine as it is; undefined while a snapshot of somebody else is to take its place. */
  #now(): Snapshot | undefined {
    const { applier, storage, node } = this.#member;
    const { applied: index, confState, hash } = applier;
    const term = storage.term(index);
    const replaced = node.raft.log.unstable.snapshot !== undefined;
    return replaced || typeof term !== 'number' ? undefined : { index, term, confState, data: stateBytes(hash) };
  }
}
