/**
 * Watching keys from inside the server.
 *
 * Nothing is lost between a read and the watch after it: either both happen without an `await` between, or the watch
 * starts at the revision after the read's. Who reads too slowly makes the hub keep its place, not this its memory.
 *
 * @module
 */
import { onAbort } from '../../support/signals.ts';
import type { ServingMember } from '../member/serving.ts';
import type { KeyString, KvRecord } from '../mvcc/record.ts';
import type { KeyRange } from '../mvcc/store.ts';
import type { WatchHub, WatchSink } from '../mvcc/watch.ts';

/** How many records wait for a reader before the hub is told to wait. */
const MAX_WAITING = 1_000;

/**
 * Waits until one of some keys is deleted from now on, the hub has lost track of them, or the signal fires. The caller
 * looks for himself what it was.
 */
export function untilDeleted(hub: WatchHub, keys: readonly KeyString[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const watcher of watchers) hub.cancel(watcher);
      off();
      resolve();
    };
    const sink: WatchSink = {
      offer: () => {
        done();
        return true;
      },
      compacted: done,
    };
    const wanted = (record: KvRecord): boolean => record.isTombstone;
    const watchers = keys.map((key) => hub.watch({ range: { key, end: '' }, startRevision: 0, sink, wanted }));
    let off = (): void => {};
    off = onAbort(signal, done);
  });
}

/** The changes of a range, to be read one after the other. Close it. */
export class LocalWatch implements Disposable {
  readonly #waiting: KvRecord[] = [];
  readonly #wakeHub: () => void;
  readonly #close: () => void;
  #ended = false;
  #wake: (() => void) | undefined;

  /** @param startRevision First revision to tell of. */
  constructor(member: ServingMember, range: KeyRange, startRevision: number, signal: AbortSignal) {
    const { watches } = member.state;
    const sink: WatchSink = {
      offer: (records) => this.#take(records),
      hasRoom: () => this.#hasRoom(),
      compacted: () => this.#end(),
    };
    const watcher = watches.watch({ range, startRevision, sink });
    const off = onAbort(signal, () => this.#end());
    this.#wakeHub = () => {
      if (!watcher.upToDate) member.wakeWatches?.();
    };
    this.#close = () => {
      off();
      watches.cancel(watcher);
    };
    this.#wakeHub();
  }

  /** The next record; undefined when no more will come: the signal has fired, or what it needs is compacted. */
  async next(): Promise<KvRecord | undefined> {
    for (;;) {
      if (this.#ended) return undefined;
      const record = this.#waiting.shift();
      if (record) {
        if (this.#waiting.length === MAX_WAITING - 1) this.#wakeHub();
        return record;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  [Symbol.dispose](): void {
    this.#end();
    this.#close();
  }

  #hasRoom(): boolean {
    return this.#waiting.length < MAX_WAITING;
  }

  #take(records: readonly KvRecord[]): boolean {
    if (!this.#hasRoom()) return false;
    for (const record of records) this.#waiting.push(record);
    this.#wake?.();
    return true;
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }
}
