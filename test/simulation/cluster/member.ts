/**
 * One member: a machine with a disk, and on it, one after the other, the runs of a program around a `RawNode`.
 *
 * A crash ends a run and decides what is left of the unsynced writes; `start` begins the next one from what the disk
 * has. All that happens to a member is told to the oracle: after each call into the core, before each message leaves,
 * on each entry that is applied.
 *
 * What a program owes the core beyond what `Ready` says, each of which a run without it has shown:
 *
 * - It starts with a commit index not below its snapshot and its applied state, which may be durable before (`image`).
 * - A snapshot that it received replaces the log, also when it starts again: old entries behind it are void (`image`).
 * - While a received snapshot is not applied, changes of configuration from before it are not given to the core, which
 *   has the snapshot's configuration already (`applier`).
 * - A snapshot that it sends has the receiver in its configuration (`snapshots`).
 * - With asynchronous writes, requests for votes wait until their term is durable (`async-loop`).
 * - A change that does not fit, or brings back an id that was removed, is left out by everybody (`applier`).
 * - A member that was removed is wiped only when all that remain have applied that (`faults/membership`).
 */
import type { MemberId } from '../../../src/protocol/int64.ts';
import {
  type ConfChange,
  type Entry,
  type Message,
  type Peer,
  RawNode,
  type ReadState,
  type Refusal,
} from '../../../src/server/raft/index.ts';
import type { Journal } from '../journal.ts';
import { type Options, raftOptions } from '../options.ts';
import type { Oracle } from '../oracle/oracle.ts';
import { SimClock } from '../world/clock.ts';
import { SimDisk } from '../world/disk.ts';
import { SimProcess } from '../world/process.ts';
import type { Random } from '../world/random.ts';
import type { Scheduler } from '../world/scheduler.ts';
import { Applier } from './applier.ts';
import { AsyncLoop } from './async-loop.ts';
import { emptyImage, type Image, type ImageWrite, imageMedium, isBlank, recover } from './image.ts';
import type { CrashPoint, ReadyLoop } from './ready-loop.ts';
import { MemberStorage, Snapshots } from './snapshots.ts';
import { SyncLoop } from './sync-loop.ts';

/** What members live in. */
export interface MemberWorld {
  readonly scheduler: Scheduler;
  readonly journal: Journal;
  readonly oracle: Oracle;
  /** The options in force; healing changes them. */
  readonly options: Options;
  /** Hands a message to the network. */
  send(from: Member, message: Message): void;
  /** A member has applied a client's entry. */
  applied(member: Member, entry: Entry): void;
  /** A member has applied all that a read has to see. */
  served(member: Member, read: ReadState): void;
  /** The program was killed, by a fault or at a crash point. */
  crashed(member: Member): void;
  /** A program is about to run: here a test breaks it. */
  started(member: Member): void;
}

export class Member {
  readonly world: MemberWorld;
  /** Its number, and its address in the network. */
  readonly ordinal: number;
  readonly id: MemberId;
  readonly disk: SimDisk<Image, ImageWrite>;
  /** Those that found the cluster with it; nobody if it joins later. */
  readonly #founders: readonly Peer[];
  readonly #async: boolean;
  readonly #random: Random;
  /** Elections draw from a stream of their own. */
  readonly #jitter: Random;

  process = new SimProcess();
  clock: SimClock;
  storage!: MemberStorage;
  node!: RawNode;
  applier!: Applier;
  #loop!: ReadyLoop;
  #waitingReads: ReadState[] = [];
  #snapshots!: Snapshots;
  #rate = 1;

  /** Where the next run through the Ready loop ends in a crash. */
  crashPoint: CrashPoint | undefined;
  /** Jobs of the state machine take until then at least. */
  applyStalledUntilUs = 0;
  /** It does not start again before. */
  downUntilUs = 0;
  /** It was taken out of the cluster and its disk wiped. */
  destroyed = false;

  constructor(
    world: MemberWorld,
    init: {
      readonly ordinal: number;
      readonly id: MemberId;
      readonly founders: readonly Peer[];
      readonly async: boolean;
      readonly random: Random;
    },
  ) {
    this.world = world;
    this.ordinal = init.ordinal;
    this.id = init.id;
    this.#founders = init.founders;
    this.#async = init.async;
    this.#random = init.random.fork('member');
    this.#jitter = init.random.fork('elections');
    this.disk = new SimDisk({
      image: emptyImage(),
      medium: imageMedium,
      scheduler: world.scheduler,
      random: init.random.fork('disk'),
      options: world.options.disk,
    });
    this.clock = new SimClock(world.scheduler, this.process);
    this.process.kill();
  }

  get running(): boolean {
    return this.process.alive;
  }

  /** Begins a run from what the disk has. */
  start(): void {
    const { world } = this;
    this.process = new SimProcess();
    this.clock = new SimClock(world.scheduler, this.process, this.#rate);
    this.crashPoint = undefined;
    this.#waitingReads = [];
    const blank = isBlank(this.disk.image);
    this.storage = new MemberStorage(() => this.#snapshotAvailable());
    this.applier = new Applier(this);
    this.#snapshots = new Snapshots(this);
    this.#load();
    if (blank && this.#founders.length > 0) this.node.bootstrap(this.#founders);
    this.#loop = this.#async ? new AsyncLoop(this) : new SyncLoop(this);
    world.journal.note('start', this.ordinal, this.node.raft.term);
    world.started(this);
    world.oracle.started(this);
    this.#tickLater(this.#random.below(world.options.tickMs * 1000) / 1000);
    this.pump();
  }

  /** Ends the run. What was not synced is lost, or not. */
  crash(): void {
    if (!this.running) return;
    this.process.kill();
    this.disk.crash();
    this.world.crashed(this);
  }

  /** Ends the run if this is where it is to end, and says so. */
  crashesAt(point: CrashPoint): boolean {
    if (this.crashPoint !== point) return false;
    this.crash();
    return true;
  }

  /** Its clock runs at this rate from now on, in later runs too. */
  setRate(rate: number): void {
    this.#rate = rate;
    this.clock.setRate(rate);
  }

  tick(): void {
    this.node.tick();
    this.#afterCore();
  }

  /** Takes a message from the network. */
  receive(m: Message): void {
    this.world.oracle.receiving(this, m);
    this.node.step(m);
    this.#afterCore();
  }

  propose(data: Uint8Array): Refusal | undefined {
    const refusal = this.node.propose(data);
    this.#afterCore();
    return refusal;
  }

  proposeConfChange(change: ConfChange): Refusal | undefined {
    const refusal = this.node.proposeConfChange(change);
    this.#afterCore();
    return refusal;
  }

  /** Any other call into the core. */
  act(call: (node: RawNode) => void): void {
    call(this.node);
    this.#afterCore();
  }

  /** Does all that the core wants done. */
  pump(): void {
    this.#loop.pump();
  }

  /** Hands messages to the network, those that promise something durable after they were checked. */
  send(messages: readonly Message[]): void {
    for (const m of messages) {
      this.world.oracle.sending(this, m);
      this.world.send(this, m.type === 'MsgSnap' ? this.#snapshots.refresh(m) : m);
    }
  }

  /** Syncs the disk; `done` is an event of its own. */
  sync(done: () => void): void {
    this.disk.sync(() =>
      this.process.run(() => {
        this.world.journal.note('synced', this.ordinal, this.disk.image.log.lastIndex);
        done();
        if (this.running) this.pump();
      }),
    );
  }

  /** Reads that the core has an index for wait until it is applied. */
  readsReady(reads: readonly ReadState[]): void {
    for (const read of reads) {
      this.world.oracle.readReady(this, read);
      if (read.index <= this.applier.applied) this.world.served(this, read);
      else this.#waitingReads.push(read);
    }
  }

  applyDelayUs(): number {
    const { options, scheduler } = this.world;
    const stalledUs = Math.max(0, this.applyStalledUntilUs - scheduler.nowUs);
    if (options.applyDelayUs === 0) return stalledUs;
    // Mostly at once, so that a slow one meets others that are not.
    return stalledUs + (this.#random.chance(0.3) ? this.#random.below(options.applyDelayUs) : 0);
  }

  /** Some entries, or a snapshot, were applied. */
  afterApply(): void {
    if (this.#waitingReads.length > 0) this.#serveReads();
    const { applied: index, hash, confState, configured } = this.applier;
    if (this.world.options.keepsState && configured) this.disk.write({ kind: 'state', index, hash, confState });
    this.#snapshots.maybeMake();
  }

  #load(): void {
    const { storage, applier, disk, id } = this;
    const kept = recover(disk.image, storage);
    const { snapshot } = disk.image;
    if (kept) applier.load(kept);
    else if (snapshot) applier.restore(snapshot);
    this.node = new RawNode({
      ...raftOptions(this.world.options),
      id,
      storage,
      random: (bound) => this.#jitter.below(bound),
      asyncStorageWrites: this.#async,
      applied: kept?.index,
      observe: (event) => {
        if (event.type === 'became') {
          this.world.journal.note('detail', this.ordinal, `${event.role} in term ${event.term}`);
        }
      },
    });
  }

  #tickLater(delayMs: number): void {
    this.clock.after(delayMs, () => {
      this.world.journal.note('tick', this.ordinal, this.node.raft.term);
      this.#tickLater(this.world.options.tickMs);
      this.tick();
    });
  }

  #afterCore(): void {
    this.world.oracle.core(this);
    this.pump();
  }

  #serveReads(): void {
    const waiting = this.#waitingReads;
    this.#waitingReads = [];
    for (const read of waiting) {
      if (read.index <= this.applier.applied) this.world.served(this, read);
      else this.#waitingReads.push(read);
    }
  }

  #snapshotAvailable(): boolean {
    return !(this.world.options.faults.includes('snapshot-trouble') && this.#random.chance(0.2));
  }
}
