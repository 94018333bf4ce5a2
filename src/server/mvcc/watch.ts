/**
 * Tells watchers what changes, in the order of revisions, each of them once and whole.
 *
 * A watcher is up to date, or behind. One that is up to date gets each transaction as it ends. One that is behind
 * (since it starts in the past, or since its reader was too slow once) reads the store's history in steps until it is
 * up to date: nothing is kept for it meanwhile, so slow readers cost no memory and delay nobody. What it would need
 * may be compacted before it gets there; then it is told so and is gone.
 *
 * All events of one revision are in one batch: whoever has seen part of a revision has seen all of it.
 *
 * Source: etcd's watch guarantees (learning/api_guarantees): ordered, unique, reliable, atomic, resumable.
 *
 * @module
 */
import { Matcher } from './matcher.ts';
import type { KvRecord } from './record.ts';
import type { KeyRange, KvStore } from './store.ts';

/** What a watcher is told. */
export interface WatchSink {
  /**
   * Takes events, of whole revisions, in order.
   *
   * @param revision Revision up to which the watcher knows everything now.
   * @returns False if there is no room: they were not taken, and come again with {@link WatchHub.catchUp}.
   */
  offer(events: readonly KvRecord[], revision: number): boolean;
  /**
   * Whether it would take events. While it would not, it has no turn in {@link WatchHub.catchUp}: what it would have
   * to read must not keep others from going on. Default: it would.
   */
  hasRoom?(): boolean;
  /** What it needs is compacted. It gets nothing more. */
  compacted(compactRevision: number): void;
}

export interface WatchSpec {
  readonly range: KeyRange;
  /** First revision to tell of; 0: after the current one. */
  readonly startRevision: number;
  readonly sink: WatchSink;
  /** Says what the watcher does not want to hear of. */
  readonly wanted?: ((record: KvRecord) => boolean) | undefined;
}

/** One watcher. */
export interface Watcher {
  readonly range: KeyRange;
  /** Whether it knows everything up to the store's revision, or waits for one in the future. */
  readonly upToDate: boolean;
  /** First revision that it has not been told of. */
  readonly nextRevision: number;
}

/** How much one step of catching up does. */
export interface CatchUpLimits {
  readonly watchers: number;
  readonly revisions: number;
  /** Size of the records that are read, roughly: a revision is read whole. Default: any. */
  readonly bytes?: number | undefined;
}

/** etcd's, and a limit to what a reader has to take in one go: 1000 revisions may be more than a gigabyte. */
export const CATCH_UP_LIMITS: CatchUpLimits = { watchers: 512, revisions: 1000, bytes: 16 * 1024 * 1024 };

class Entry implements Watcher {
  readonly range: KeyRange;
  readonly sink: WatchSink;
  readonly wanted: (record: KvRecord) => boolean;
  nextRevision: number;
  upToDate = false;
  /** Events of the batch that is being put together. */
  batch: KvRecord[] = [];

  constructor({ range, sink, wanted }: WatchSpec, nextRevision: number) {
    this.range = range;
    this.sink = sink;
    this.wanted = wanted ?? (() => true);
    this.nextRevision = nextRevision;
  }
}

export class WatchHub {
  #store: KvStore;
  readonly #upToDate = new Matcher<Entry>();
  /** In the order in which they get their turn. */
  readonly #behind = new Set<Entry>();
  #delivered = 0;

  constructor(store: KvStore) {
    this.#store = store;
  }

  /** Watchers that are up to date, and those that are not. */
  get counts(): { readonly upToDate: number; readonly behind: number } {
    return { upToDate: this.#upToDate.size, behind: this.#behind.size };
  }

  /** Events that were taken so far. */
  get delivered(): number {
    return this.#delivered;
  }

  watch(spec: WatchSpec): Watcher {
    const { startRevision } = spec;
    const entry = new Entry(spec, startRevision === 0 ? this.#store.revision + 1 : startRevision);
    this.#place(entry);
    return entry;
  }

  /** Ends a watcher. It gets nothing more. */
  cancel(watcher: Watcher): void {
    const entry = watcher as Entry;
    this.#upToDate.delete(entry);
    this.#behind.delete(entry);
  }

  /** Tells of a transaction that has just ended. */
  publish(records: readonly KvRecord[]): void {
    const [first] = records;
    if (!first) return;
    const touched = collect(this.#upToDate, records);
    for (const entry of touched) {
      const { batch } = entry;
      entry.batch = [];
      if (entry.sink.offer(batch, first.main)) {
        entry.nextRevision = first.main + 1;
        this.#delivered += batch.length;
      } else this.#fallBehind(entry, first.main);
    }
  }

  /**
   * Lets watchers that are behind read on.
   *
   * @returns Whether another step may help. Who has no room for events stays behind until there is.
   */
  catchUp(limits: CatchUpLimits = CATCH_UP_LIMITS): boolean {
    const chosen = this.#choose(limits.watchers);
    if (chosen.length === 0) return false;
    const from = Math.min(...chosen.map(({ nextRevision }) => nextRevision));
    const { records, upTo } = this.#read(from, limits);
    const readers = new Matcher<Entry>();
    for (const entry of chosen) readers.add(entry);
    collect(readers, records);
    for (const entry of chosen) this.#advance(entry, upTo);
    return this.#behind.size > 0;
  }

  /** Another store takes the place of the one so far, as a snapshot came: everybody reads on from it. */
  reset(store: KvStore): void {
    const known = this.#store.revision;
    this.#store = store;
    for (const entry of [...this.#upToDate]) this.#fallBehind(entry, Math.max(entry.nextRevision, known + 1));
  }

  /** Those whose turn it is; the ones that can't be helped any more are told. */
  #choose(limit: number): readonly Entry[] {
    const chosen: Entry[] = [];
    for (const entry of this.#behind) {
      if (chosen.length === limit) break;
      if (entry.nextRevision < this.#store.compactRevision) {
        this.#behind.delete(entry);
        entry.sink.compacted(this.#store.compactRevision);
      } else if (entry.sink.hasRoom?.() !== false) chosen.push(entry);
    }
    return chosen;
  }

  /** Records from a revision on, and the revision up to which they are all. */
  #read(from: number, limits: CatchUpLimits): { readonly records: readonly KvRecord[]; readonly upTo: number } {
    const { revisions, bytes: maxBytes = Number.POSITIVE_INFINITY } = limits;
    const upTo = Math.min(this.#store.revision, from + revisions - 1);
    const records: KvRecord[] = [];
    let bytes = 0;
    for (const record of this.#store.history(from, upTo)) {
      const last = records.at(-1)?.main;
      if (bytes >= maxBytes && last !== undefined && last !== record.main) return { records, upTo: last };
      records.push(record);
      bytes += record.bytes.length;
    }
    return { records, upTo };
  }

  #advance(entry: Entry, upTo: number): void {
    const { batch } = entry;
    entry.batch = [];
    // Its turn comes again after the others'.
    this.#behind.delete(entry);
    const taken = batch.length === 0 || entry.sink.offer(batch, upTo);
    if (taken) {
      entry.nextRevision = Math.max(entry.nextRevision, upTo + 1);
      this.#delivered += batch.length;
    }
    this.#place(entry);
  }

  #fallBehind(entry: Entry, revision: number): void {
    this.#upToDate.delete(entry);
    entry.nextRevision = revision;
    this.#place(entry);
  }

  #place(entry: Entry): void {
    entry.upToDate = entry.nextRevision > this.#store.revision;
    if (entry.upToDate) this.#upToDate.add(entry);
    else this.#behind.add(entry);
  }
}

/** Puts records into the batches of those who want them. */
function collect(watchers: Matcher<Entry>, records: readonly KvRecord[]): ReadonlySet<Entry> {
  const touched = new Set<Entry>();
  for (const record of records) {
    watchers.match(record.key, (entry) => {
      if (record.main < entry.nextRevision || !entry.wanted(record)) return;
      entry.batch.push(record);
      touched.add(entry);
    });
  }
  return touched;
}
