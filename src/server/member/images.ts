/**
 * All that a member does with images of the state: makes its own, sends them to others, takes those of others in.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Clock } from '../../support/clock.ts';
import type { StateMachine } from '../apply/machine.ts';
import type { Message, RawNode, Snapshot } from '../raft/index.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import type { WalBatch } from '../wal/index.ts';
import type { Booted } from './boot.ts';
import { ImagesIn } from './images-in.ts';
import { ImagesOut } from './images-out.ts';
import type { Loop } from './loop.ts';
import type { ResolvedOptions } from './options.ts';
import type { Peers } from './peers.ts';
import { Snapshots } from './snapshots.ts';

export interface ImagesOptions {
  readonly clock: Clock;
  readonly options: ResolvedOptions;
  readonly booted: Booted;
  readonly state: StateMachine;
  readonly node: RawNode;
  readonly loop: Loop;
  readonly peers: Peers;
}

/** See the head of this file. */
export class Images {
  readonly #snapshots: Snapshots;
  readonly #out: ImagesOut;
  readonly #in: ImagesIn;

  constructor({ clock, options, booted, state, node, loop, peers }: ImagesOptions) {
    const { pause, observe, storage, snapshotCount, snapshotCatchUpEntries } = options;
    const { log, journal, paths, applied } = booted;
    const files = storage && paths ? { disk: storage.disk, paths } : undefined;
    const own = {
      state,
      log,
      journal,
      record: (snapshot: Parameters<Loop['record']>[0]) => loop.record(snapshot),
      files,
      pause,
      everyEntries: snapshotCount,
      catchUpEntries: snapshotCatchUpEntries,
      now: () => clock.now(),
      saved: (index: number, bytes: number, ms: number) => observe.snapshotSaved?.(index, bytes, ms),
      failed: (error: unknown) => observe.snapshotFailed?.(error),
    };
    const snapshots = new Snapshots(own, applied);
    this.#snapshots = snapshots;
    this.#out = new ImagesOut({
      clock,
      state,
      snapshots,
      peers,
      leads: (term) => node.raft.role === 'StateLeader' && node.raft.term === term,
      report: (to: MemberId, outcome) => loop.with((raw) => raw.reportSnapshot(to, outcome)),
    });
    const take = (message: Message): boolean => {
      loop.with((raw) => raw.step(message));
      return message.snapshot !== undefined && node.raft.log.unstable.snapshot === message.snapshot;
    };
    const installed = (): void => peers.membersChanged();
    this.#in = new ImagesIn({ state, journal, files, snapshots, pause, take, installed });
  }

  /** An image of the state as of now, for whoever wants one. */
  image(): Promise<BoltImage> {
    return this.#snapshots.image();
  }

  /** Entries were applied: begins an own image if it is time. */
  applied(): void {
    this.#snapshots.applied();
  }

  /** Sends an image along with a message. */
  send(message: Message): void {
    this.#out.send(message);
  }

  /** Takes one in. @throws Error it could not be kept, or is not what the message says. */
  receive(message: Message, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.#in.receive(message, chunks);
  }

  /** Puts one that came in its place. @returns Makes it the state. */
  install(snapshot: Snapshot, batch: WalBatch): Promise<() => void> {
    return this.#in.install(snapshot, batch);
  }

  /** Sends none, takes none in. */
  stop(): void {
    this.#in.end();
    this.#out.end();
  }

  /** After {@link stop}: waits for the own one that is underway. */
  async end(): Promise<void> {
    await this.#snapshots.end();
  }
}
