/**
 * The loop around the consensus core: what it wants written, sent and applied is done here.
 *
 * Invariants:
 *
 * - Durable before visible: an entry is applied, and a promise to other members leaves, only once the journal has said
 *   that what they rest on is durable; with one member too. Storage work is answered in the order in which it was asked
 *   for, also where the journal has nothing to wait for: an answer speaks for everything before it.
 * - Work is gathered in turns. A turn runs in a microtask after the first wish for one, so that what comes in one go
 *   shares one look at the core, one write and one sync.
 * - Entries are applied in order. After {@link APPLY_SLICE} of them the event loop gets its chance, so that no backlog
 *   keeps timers and sockets waiting.
 * - An image in place of the log has its turn among the other writes: it waits until all entries that were given out
 *   before are applied, and nothing is written or applied until it is in place.
 * - Whatever throws in here, or fails to be written, ends the member for good: nothing is tried again.
 *
 * @module
 */
import type { Entry, MemoryStorage, Message, RawNode, ReadState, Ready, Snapshot, SoftState } from '../raft/index.ts';
import type { WorkSpan } from '../tracing.ts';
import type { WalBatch, WalSnapshot } from '../wal/index.ts';
import type { EntrySpans } from './entry-spans.ts';
import type { Journal } from './journal.ts';
import type { Peers } from './peers.ts';

/** How many entries are applied before others get their turn. */
export const APPLY_SLICE = 512;

/** What is done around the loop's work. */
export interface LoopTasks {
  /** A turn begins: gives the core what has gathered. */
  gather(): void;
  /** A turn is over. */
  settled(): void;
  /** Applies an entry. */
  apply(entry: Entry): void;
  /** Some entries were applied. */
  applied(): void;
  /** Leader or role changed. */
  softState(state: SoftState): void;
  readStates(states: readonly ReadState[]): void;
  /** Sends a snapshot, which goes along with an image; and tells the core how that ended. */
  sendSnapshot(message: Message): void;
  /**
   * Makes the image of a snapshot durable, in place of what there is, and then the batch.
   *
   * @returns What makes it the state that is applied.
   */
  install(snapshot: Snapshot, batch: WalBatch): Promise<() => void>;
  /** A write took so long, in ms. */
  written(ms: number): void;
  /** The loop has ended, and why. */
  failed(error: unknown): void;
}

export interface LoopOptions {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly journal: Journal;
  readonly peers: Pick<Peers, 'send'>;
  /** Lets the event loop do something else. */
  readonly pause: () => Promise<void>;
  /** Monotonic time in ms. */
  readonly now: () => number;
  readonly tasks: LoopTasks;
  /** Times the work on entries. Default: nobody does. */
  readonly spans?: EntrySpans | undefined;
}

/** Storage work that is underway. */
interface Append {
  readonly work: Message;
  readonly hardState: Ready['hardState'];
  /** Requests for votes of the same `Ready`: see there. */
  readonly votes: readonly Message[];
  readonly begunAt: number;
  /** For an image: makes it the state. */
  swap: (() => void) | undefined;
  /** Of the entries that somebody keeps a trace of. */
  spans: readonly WorkSpan[] | undefined;
  done: boolean;
}

/** See the head of this file. */
export class Loop {
  readonly #options: LoopOptions;
  /** Oldest first. */
  readonly #appends: Append[] = [];
  /** What has to be written after an image that is not in place yet. Oldest first. */
  readonly #held: Append[] = [];
  /** An image is being put in place. */
  #installing: Promise<void> | undefined;
  /** Waits until all that was given out is applied. */
  #whenApplied: (() => void) | undefined;
  /** Oldest first; of the first one, entries before `#applyAt` are applied. */
  readonly #applies: Message[] = [];
  #applyAt = 0;
  /** Entries that may be applied before the next pause. */
  #budget = APPLY_SLICE;
  #pausing = false;
  #scheduled = false;
  #inTurn = false;
  #ended = false;
  readonly #run = (): void => {
    this.#scheduled = false;
    this.#guarded(this.#turn);
  };

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  /** Whether something is being written. */
  get appending(): boolean {
    return this.#appends.length > 0;
  }

  /** Asks for a turn. */
  wake(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    queueMicrotask(this.#run);
  }

  /** Does something with the core, then what follows from it. */
  with(action: (node: RawNode) => void): void {
    if (this.#ended) return;
    this.#guarded(() => action(this.#options.node));
    this.wake();
  }

  /**
   * Writes that there is a snapshot, of what is applied. That it was committed is in the journal by then: the commit
   * index was given to it with the wish to apply, and goes along with the next write that is synced.
   */
  async record(snapshot: WalSnapshot): Promise<void> {
    const done = this.#options.journal.append({ snapshot });
    await done?.catch((error: unknown) => {
      this.#fail(error);
      throw error;
    });
  }

  /** Ends it; what is underway is not answered any more. */
  end(): void {
    this.#ended = true;
    this.#options.spans?.stop();
    this.#whenApplied?.();
  }

  /** Once it has ended: waits until no image is being put in place any more. */
  async settled(): Promise<void> {
    await this.#installing;
  }

  #guarded(action: () => void): void {
    if (this.#ended) return;
    try {
      action();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    this.end();
    this.#options.tasks.failed(error);
  }

  readonly #turn = (): void => {
    // Work that is done at once asks for a turn within a turn.
    if (this.#inTurn) return;
    this.#inTurn = true;
    try {
      const { node, tasks } = this.#options;
      tasks.gather();
      while (!this.#ended && node.hasReady()) this.#handle(node.ready());
      if (!this.#ended) tasks.settled();
    } finally {
      this.#inTurn = false;
    }
  };

  #handle(ready: Ready): void {
    const { tasks, peers, spans, node } = this.#options;
    if (ready.softState) {
      tasks.softState(ready.softState);
      if (ready.softState.role !== 'StateLeader') spans?.abandon();
    }
    if (ready.readStates.length > 0) tasks.readStates(ready.readStates);
    let work: Message | undefined;
    let apply: Message | undefined;
    let votes: Message[] = [];
    const out: Message[] = [];
    for (const m of ready.messages) {
      if (m.type === 'MsgStorageAppend') work = m;
      else if (m.type === 'MsgStorageApply') apply = m;
      else if (m.type === 'MsgVote') votes.push(m);
      else if (m.type === 'MsgSnap') tasks.sendSnapshot(m);
      else out.push(m);
    }
    if (votes.length > 0 && work === undefined) {
      out.push(...votes);
      votes = [];
    }
    // Alone there is nobody to wait for.
    if (spans && work && node.raft.role === 'StateLeader' && !node.raft.tracker.isSingleton)
      spans.replicating(work.entries);
    if (out.length > 0) peers.send(out);
    if (work) this.#append(work, ready.hardState, votes);
    if (apply) {
      spans?.committed(apply.entries.at(-1)?.index ?? 0);
      this.#applies.push(apply);
      this.#applySome();
    }
  }

  #append(work: Message, hardState: Ready['hardState'], votes: readonly Message[]): void {
    const append: Append = {
      work,
      hardState,
      votes,
      begunAt: this.#options.now(),
      swap: undefined,
      spans: undefined,
      done: false,
    };
    if (work.snapshot || this.#installing) {
      this.#held.push(append);
      this.#installing ??= this.#writeHeld();
    } else this.#write(append);
  }

  #write(append: Append): void {
    const { work, hardState } = append;
    this.#appends.push(append);
    const done = this.#options.journal.append({ entries: work.entries, hardState });
    if (done === undefined) {
      this.#written(append);
      return;
    }
    append.spans = this.#options.spans?.writing(work.entries);
    done.then(
      () => this.#guarded(() => this.#written(append)),
      (error: unknown) => this.#fail(error),
    );
  }

  async #writeHeld(): Promise<void> {
    // Not within the turn that has asked for it.
    await Promise.resolve();
    try {
      for (let next = this.#held.shift(); next && !this.#ended; next = this.#held.shift()) {
        if (next.work.snapshot) await this.#install(next, next.work.snapshot);
        else this.#write(next);
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#installing = undefined;
    }
  }

  async #install(append: Append, snapshot: Snapshot): Promise<void> {
    this.#appends.push(append);
    if (this.#applies.length > 0) {
      await new Promise<void>((resolve) => {
        this.#whenApplied = resolve;
      });
      this.#whenApplied = undefined;
    }
    if (this.#ended) return;
    const { entries } = append.work;
    append.swap = await this.#options.tasks.install(snapshot, { entries, hardState: append.hardState });
    this.#guarded(() => this.#written(append));
  }

  #written(append: Append): void {
    append.done = true;
    if (append.spans) this.#options.spans?.written(append.spans);
    if (append.work.entries.length > 0) this.#options.tasks.written(this.#options.now() - append.begunAt);
    let first = this.#appends[0];
    while (first?.done) {
      this.#appends.shift();
      this.#answer(first);
      first = this.#appends[0];
    }
    this.#turn();
  }

  #answer({ work, hardState, votes, swap }: Append): void {
    const { storage, tasks } = this.#options;
    if (work.snapshot) storage.applySnapshot(work.snapshot);
    swap?.();
    if (hardState) storage.setHardState(hardState);
    storage.append(work.entries);
    this.#release(work.responses, votes);
    if (swap) tasks.applied();
  }

  /** Steps what is for this member, and sends the others. */
  #release(responses: readonly Message[], more: readonly Message[] = []): void {
    const { node, peers } = this.#options;
    const out = [...more];
    for (const m of responses) {
      if (m.to === node.id) node.step(m);
      else out.push(m);
    }
    if (out.length > 0) peers.send(out);
  }

  #applySome(): void {
    if (this.#pausing) return;
    const { tasks } = this.#options;
    let work = this.#applies[0];
    while (work !== undefined && !this.#ended) {
      for (; this.#applyAt < work.entries.length; this.#applyAt += 1) {
        if (this.#budget === 0) {
          tasks.applied();
          this.#pause();
          return;
        }
        this.#budget -= 1;
        tasks.apply(work.entries[this.#applyAt] as Entry);
        if (this.#ended) return;
      }
      this.#applies.shift();
      this.#applyAt = 0;
      this.#release(work.responses);
      work = this.#applies[0];
    }
    if (this.#ended) return;
    tasks.applied();
    this.#whenApplied?.();
  }

  #pause(): void {
    this.#pausing = true;
    const resume = (): void => {
      this.#pausing = false;
      this.#budget = APPLY_SLICE;
      this.#guarded(() => {
        this.#applySome();
        this.#turn();
      });
    };
    this.#options.pause().then(resume, (error: unknown) => this.#fail(error));
  }
}
