/**
 * The reader's side of a watch.
 *
 * @module
 */

import type { Event as WireEvent } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { type Deferred, deferred } from '../../support/signals.ts';
import { InvalidArgumentError } from '../errors.ts';
import {
  type ChangeEvent,
  toChange,
  toSyntheticChange,
  type WatchBatch,
  type WatchEvent,
  type WatchView,
} from './events.ts';
import type { ProgressOptions } from './progress.ts';
import type { EventQueue, Mark, QueuedBatch, QueueListener } from './queue.ts';
import type { Subscription } from './subscription.ts';

/** What a watcher asks of the hub. */
export interface WatcherHost {
  closeWatcher(subscription: Subscription): void;
  progress(subscription: Subscription, options: ProgressOptions): Promise<Revision>;
  /** Does the work for an event in a span that is linked to what caused it. */
  handle<T>(subscription: Subscription, revision: bigint, work: () => T): T;
}

/**
 * A watch that goes on until it is closed.
 *
 * It yields every change of its keys once and in order, whatever happens to connections and
 * members meanwhile, and it never just stops: a loop over it ends when the watcher is
 * closed, and throws when it cannot go on. Leaving the loop closes it.
 *
 * There is one reader: loop over the watcher, or over {@link Watcher.batches}, once.
 *
 * What a loop may throw: CompactedError when the history that is needed next is gone
 * (unless `resync` is on); PermissionDeniedError and UnauthenticatedError when a server
 * will not let this user watch these keys; SlowReaderError when `whenSlow` is `fail`;
 * AbortError when the signal fired; ClosedError when the client was closed.
 *
 * @example
 * ```ts
 * for await (const event of etcd.watch({ prefix: 'users/' }, { signal })) {
 *   if (event.type === 'put') console.log(event.kv.key, event.kv.value);
 * }
 * ```
 */
export class Watcher<V = string> implements AsyncIterable<WatchEvent<V>>, AsyncDisposable {
  readonly #subscription: Subscription;
  readonly #host: WatcherHost;
  readonly #view: WatchView<V>;
  #read = false;

  /** @internal */
  constructor(subscription: Subscription, host: WatcherHost, view: WatchView<V>) {
    this.#subscription = subscription;
    this.#host = host;
    this.#view = view;
  }

  /**
   * Resolves when a server has made the watch: with the store's revision at that moment. A
   * watch without `from` reports what comes after it. Rejects when the watch ends before
   * that; nobody has to listen.
   */
  get ready(): Promise<Revision> {
    return this.#subscription.ready;
  }

  /**
   * Where a new watch has to start (`from`) to go on where the reader is: every event below
   * has been handed out, including the one the loop is working on. Within the events of
   * one revision it is that revision. During a resync it stays where the lost history
   * began. Undefined until the watch was made, if no `from` was given.
   */
  get nextRevision(): Revision | undefined {
    const { unread } = this.#subscription;
    return unread === 0n ? undefined : (unread as Revision);
  }

  /**
   * Since when the watch is interrupted, in milliseconds by the client's clock: no member can be reached, or none has
   * confirmed it anew. What happens meanwhile comes when it goes on. Undefined while it runs. A connection that has
   * fallen silent is noticed by the client's keepalive.
   */
  get detachedSince(): number | undefined {
    return this.#subscription.detachedSince;
  }

  /**
   * Resolves when everything that was in the store at the time of the call has been put
   * before the reader: with a revision at or above the store's, up to which all events have
   * been handed out or are in the buffer, ahead of everything newer.
   *
   * It needs a server that reports progress in order: etcd 3.4.31, 3.5.13, 3.6, or later.
   * While the buffer is full it waits for the reader. `timeoutMs` (default: the client's)
   * bounds the whole wait.
   *
   * @throws UnsupportedError on an older server.
   * @throws DeadlineError, AbortError, or whatever ended the watch.
   */
  progress(options: ProgressOptions = {}): Promise<Revision> {
    return this.#host.progress(this.#subscription, options);
  }

  /**
   * Does what an event calls for in a span of OpenTelemetry's, so that the calls made by it
   * belong together: one trace for each event (or batch, or whatever is given), linked to
   * the span that made this watch and, if this process made the change, to that write. Just
   * calls `work` where there is no OpenTelemetry. Returns what `work` returns.
   *
   * @example
   * ```ts
   * for await (const event of watcher) await watcher.handle(event, () => refresh(event));
   * ```
   */
  handle<T>(event: WatchEvent<V> | WatchBatch<V>, work: () => T): T {
    return this.#host.handle(this.#subscription, event.revision, work);
  }

  /** Ends the watch, here and at the server, and a loop over it. Can be called twice. */
  close(): void {
    this.#host.closeWatcher(this.#subscription);
  }

  /** Ends the watch; see {@link Watcher.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** The events, one by one. @throws InvalidArgumentError when the watcher has a reader already. */
  [Symbol.asyncIterator](): AsyncIterableIterator<WatchEvent<V>> {
    return this.#reader(() => this.#nextEvent());
  }

  /**
   * The events in the groups they came in: at least all of one revision at once, and many
   * revisions while catching up. Cheaper than one by one, and right for keeping a copy of
   * the keys, which should only be looked at between batches.
   *
   * @throws InvalidArgumentError when the watcher has a reader already.
   */
  batches(): AsyncIterableIterator<WatchBatch<V>> {
    return this.#reader(() => this.#nextBatch());
  }

  #reader<T>(take: () => T | undefined): Reader<T> {
    if (this.#read) throw new InvalidArgumentError('a watcher has one reader, and this one has it already');
    this.#read = true;
    return new Reader(this.#subscription.queue, take, () => this.close());
  }

  #nextEvent(): WatchEvent<V> | undefined {
    const { queue } = this.#subscription;
    for (;;) {
      const entry = queue.shift();
      if (entry === undefined) return undefined;
      const event = isMark(entry) ? this.#mark(entry) : this.#change(entry);
      queue.checkRoom();
      if (event !== undefined) return event;
    }
  }

  #nextBatch(): WatchBatch<V> | undefined {
    const { queue } = this.#subscription;
    const batch = queue.shiftBatch();
    if (batch === undefined) return undefined;
    const shown = this.#batch(batch);
    queue.checkRoom();
    return shown;
  }

  #batch({ revision: at, mark, events: wires }: QueuedBatch): WatchBatch<V> {
    const revision = at as Revision;
    if (mark !== undefined) this.#mark(mark);
    if (mark?.type === 'resync') return { revision, events: [], resync: mark };
    const events: ChangeEvent<V>[] = [];
    for (const wire of wires) {
      const event = this.#change(wire);
      if (event !== undefined) events.push(event);
    }
    return { revision, events };
  }

  #mark(mark: Mark): Mark {
    if (mark.type === 'resync' && mark.phase === 'end') this.#subscription.resync?.finished();
    return mark;
  }

  /** The event, unless the reader does not want this kind. */
  #change(wire: WireEvent): ChangeEvent<V> | undefined {
    const { resync, queue, settings } = this.#subscription;
    if (resync === undefined) return toChange(wire, this.#view);
    const event =
      queue.synthetic && wire.kv !== undefined
        ? toSyntheticChange(wire, resync.isNew(wire.kv.key), this.#view)
        : toChange(wire, this.#view);
    resync.told(wire);
    return settings.only === undefined || settings.only === event.type ? event : undefined;
  }
}

function isMark(entry: WireEvent | Mark): entry is Mark {
  return typeof entry.type === 'string';
}

/** The iterator: what is in the queue at once, else as soon as something comes. */
class Reader<T> implements AsyncIterableIterator<T>, QueueListener {
  readonly #queue: EventQueue;
  readonly #take: () => T | undefined;
  readonly #close: () => void;
  /** Calls of `next` that wait; more than one only when the caller does not wait for each. */
  readonly #waiting: Deferred<IteratorResult<T, undefined>>[] = [];
  #thrown = false;

  constructor(queue: EventQueue, take: () => T | undefined, close: () => void) {
    this.#queue = queue;
    this.#take = take;
    this.#close = close;
    queue.listener = this;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#waiting.length === 0) {
      const value = this.#take();
      if (value !== undefined) return Promise.resolve({ done: false, value });
    }
    const waiting = deferred<IteratorResult<T, undefined>>();
    this.#waiting.push(waiting);
    if (this.#queue.ended !== undefined) this.readable();
    return waiting.promise;
  }

  readable(): void {
    while (this.#waiting.length > 0) {
      const value = this.#take();
      const { ended } = this.#queue;
      if (value !== undefined) {
        this.#waiting.shift()?.resolve({ done: false, value });
      } else if (ended === undefined) {
        return;
      } else if (ended.error !== undefined && !this.#thrown) {
        this.#thrown = true;
        this.#waiting.shift()?.reject(ended.error);
      } else {
        this.#waiting.shift()?.resolve({ done: true, value: undefined });
      }
    }
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#close();
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorResult<T, undefined>> {
    this.#close();
    throw error;
  }
}
