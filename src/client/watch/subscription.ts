/**
 * One watcher as the server side of the client sees it: what it watches, how far it has
 * got, and the stream it is on at the moment.
 *
 * The one number that matters is `nextRevision`: everything below it has been taken in, and
 * a new stream resumes from it. It moves past a revision only when all events of that
 * revision are in the queue. It never follows the header of a response with events: while
 * a watcher catches up, the header tells the store's revision, far ahead of the events.
 *
 * @module
 */

import type { WatchCreateRequest, WatchResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { Event as WireEvent } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import type { ByteRange } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import { type Deferred, deferred } from '../../support/signals.ts';
import type { WatchTrace } from '../../telemetry/watches.ts';
import type { Member } from '../connection/member.ts';
import { type ResyncReason, revisionOf } from './events.ts';
import { serverFilters, type WatchSettings } from './options.ts';
import { EventQueue } from './queue.ts';

/** A create request that has not been answered. */
export interface PendingCreate {
  /** Undefined when it was cancelled before its answer came. */
  subscription: Subscription | undefined;
}

/**
 * What a lane is for. `live`: watchers that keep up. `catch-up`: those that are far behind,
 * or wait for a future revision; they would hold up the progress reports of the others.
 * `own`: a single one whose reader is slow; it is read only as fast as the reader reads.
 */
export type LaneKind = 'live' | 'catch-up' | 'own';

/** What can be asked of the stream that a subscription is on. */
export interface ProgressSource {
  readonly member: Member;
  /** Whether the server answers a progress request only after the events before it. */
  readonly ordersProgress: boolean;
  requestProgress(): void;
}

/** A subscription's lane; `lane.ts` has it all. */
export interface SubscriptionLane {
  readonly kind: LaneKind;
  /** Whether a watcher of the present stream has caught up, so that one that has not is in its way. */
  settled: boolean;
  /** The stream, while one is open. */
  readonly stream: ProgressSource | undefined;
  readonly subscriptions: Iterable<Subscription>;
  remove(subscription: Subscription): void;
  wake(): void;
}

/** What a watcher with `resync` remembers; `resync.ts` has it all. */
export interface SubscriptionResync {
  /** Where the lost history begins, from its loss until the reader has the `end` mark. */
  lostAt: bigint | undefined;
  /** Whether the state is being read. */
  readonly running: boolean;
  run(reason: ResyncReason): Promise<void>;
  isNew(key: Uint8Array): boolean;
  told(event: WireEvent): void;
  finished(): void;
  wake(): void;
  close(): void;
}

/** Is told what a subscription needs. */
export interface SubscriptionHost {
  /** The reader has made room after the queue was full. */
  room(subscription: Subscription): void;
}

/** Somebody who waits until everything up to a revision is in the queue. */
export interface RevisionWaiter extends Deferred<Revision> {
  readonly target: bigint;
}

export class Subscription {
  readonly range: ByteRange;
  readonly settings: WatchSettings;
  /** The revision the user asked to start at; 0 when from now on. */
  readonly from: bigint;
  /** The first revision that is not in the queue; 0 until it is known. */
  nextRevision: bigint;
  resync: SubscriptionResync | undefined;
  /** Where it runs, or is about to; undefined while it waits for its reader. */
  lane: SubscriptionLane | undefined;
  /** Its id on the lane's stream; -1 while it has none. */
  watchId = -1;
  /** Its create request that was not answered yet. */
  pending: PendingCreate | undefined;
  /** On its present stream: the store's revision when it was created there. */
  streamRevision = 0n;
  /** On its present stream: how many progress requests had been sent when it was created. */
  asksBefore = 0;
  /** Whether it is far behind the store, or waits for a revision far ahead of it. */
  lagging = false;
  /** The store's revision when a server first confirmed it. */
  createdAt: bigint | undefined;
  /** How many times in a row a server refused it, or dropped it soon, for a reason that may pass. */
  refusals = 0;
  /** When it was created on its present stream: whole milliseconds on the client's clock. */
  aliveSince = 0;
  /** Since when no stream carries it although one should, in ms on the client's clock; undefined while one does. */
  detachedSince: number | undefined;
  ended = false;
  /** Its span, until it was made. */
  trace: WatchTrace | undefined;
  readonly #host: SubscriptionHost;
  #queue: EventQueue | undefined;
  /** What came of the newest revision in a response that is not complete. */
  #partial: WireEvent[] | undefined;
  #ready: Deferred<Revision> | undefined;
  #waiters: Set<RevisionWaiter> | undefined;

  constructor(host: SubscriptionHost, range: ByteRange, settings: WatchSettings, from: bigint) {
    this.range = range;
    this.settings = settings;
    this.from = from;
    this.nextRevision = from;
    this.#host = host;
  }

  /** What the reader has not read yet. Made when it is needed: of ten thousand watchers most are quiet. */
  get queue(): EventQueue {
    this.#queue ??= new EventQueue(this.settings.bufferSize, () => this.#host.room(this));
    return this.#queue;
  }

  /** How many entries wait in its queue. */
  get buffered(): number {
    return this.#queue?.count ?? 0;
  }

  /** Whether its queue is full. */
  get full(): boolean {
    return this.#queue?.full ?? false;
  }

  /** The request that makes, or resumes, it. */
  createRequest(): Init<WatchCreateRequest> {
    return {
      key: this.range.key,
      rangeEnd: this.range.end,
      startRevision: this.nextRevision,
      // Always: a quiet watcher that never hears how far it is falls behind compaction.
      progressNotify: true,
      filters: serverFilters(this.settings),
      prevKv: this.settings.prevKv,
      fragment: true,
    };
  }

  /** Whether it was made to wait for a revision that is still to come. */
  isAhead(storeRevision: bigint): boolean {
    return this.nextRevision === this.from && this.nextRevision > storeRevision + 1n;
  }

  /** A server confirmed it. */
  created(storeRevision: bigint): void {
    if (this.nextRevision === 0n) this.nextRevision = storeRevision + 1n;
    if (this.createdAt === undefined) {
      this.createdAt = storeRevision;
      this.#ready?.resolve(storeRevision as Revision);
    }
  }

  /** Takes in a response with events, or a part of one. */
  take(response: WatchResponse): void {
    let { events } = response;
    if (this.#partial !== undefined) {
      for (const event of events) this.#partial.push(event);
      events = this.#partial;
      this.#partial = undefined;
    }
    if (response.fragment) {
      // Of the newest revision there may be more to come. What is older is complete.
      const start = lastRevisionStart(events);
      this.#partial = events.slice(start);
      events = events.slice(0, start);
    }
    this.#deliver(events);
  }

  /** Whether a part of a response waits for the rest. */
  get incomplete(): boolean {
    return this.#partial !== undefined;
  }

  #deliver(arrived: readonly WireEvent[]): void {
    const next = this.nextRevision;
    let events = arrived;
    let bytes = 0;
    let old = 0;
    for (const { kv, prevKv } of events) {
      if (kv === undefined || kv.modRevision < next) old += 1;
      else bytes += kv.key.length + kv.value.length;
      if (prevKv !== undefined) bytes += prevKv.value.length;
    }
    // A resumed watcher may be sent what it has already (etcd #20221).
    if (old > 0) events = events.filter((event) => event.kv !== undefined && event.kv.modRevision >= next);
    const last = events.at(-1);
    if (last === undefined) return;
    const revision = revisionOf(last);
    this.nextRevision = revision + 1n;
    this.queue.push({ revision, events, bytes, synthetic: false });
    this.#tellWaiters();
  }

  /** Takes note that everything up to a revision has been sent. */
  reached(revision: bigint): void {
    if (this.#partial !== undefined || this.watchId < 0 || revision < this.nextRevision) return;
    this.nextRevision = revision + 1n;
    if (this.settings.progress) this.queue.pushProgress({ type: 'progress', revision: revision as Revision });
    this.#tellWaiters();
  }

  /** Goes on behind a state that was read: its events are in the queue. */
  resyncedTo(revision: bigint): void {
    if (revision < this.nextRevision) return;
    this.nextRevision = revision + 1n;
    this.#tellWaiters();
  }

  /** Its stream is gone, or it has left it: what was not complete will be sent again. */
  leftStream(): void {
    this.watchId = -1;
    this.pending = undefined;
    this.#partial = undefined;
  }

  /** Resolves when a server has confirmed it for the first time. */
  get ready(): Promise<Revision> {
    if (this.#ready === undefined) {
      this.#ready = deferred();
      if (this.createdAt !== undefined) this.#ready.resolve(this.createdAt as Revision);
      else if (this.ended) this.#ready.reject(this.#endError);
    }
    return this.#ready.promise;
  }

  /** The first revision that the reader has not been handed completely; 0 while it is not known. */
  get unread(): bigint {
    const { first, firstEvent } = this.#queue ?? NOTHING;
    const { lostAt } = this.resync ?? {};
    if (lostAt !== undefined && (first === undefined || first.synthetic)) return lostAt;
    if (firstEvent !== undefined) return revisionOf(firstEvent);
    return first === undefined ? this.nextRevision : first.revision + 1n;
  }

  /** Waits until everything up to the target is in the queue. */
  waitFor(target: bigint): RevisionWaiter {
    const waiter = { ...deferred<Revision>(), target };
    if (this.ended) waiter.reject(this.#endError);
    else if (this.nextRevision > target) waiter.resolve((this.nextRevision - 1n) as Revision);
    else {
      this.#waiters ??= new Set();
      this.#waiters.add(waiter);
    }
    return waiter;
  }

  stopWaiting(waiter: RevisionWaiter): void {
    this.#waiters?.delete(waiter);
  }

  #tellWaiters(): void {
    if (this.#waiters === undefined) return;
    for (const waiter of this.#waiters) {
      if (this.nextRevision <= waiter.target) continue;
      this.#waiters.delete(waiter);
      waiter.resolve((this.nextRevision - 1n) as Revision);
    }
  }

  #endError: unknown;

  /** It is over; `error` is what those hear who still wait for something. */
  end(error: unknown): void {
    this.ended = true;
    this.#endError = error;
    this.#ready?.reject(error);
    for (const waiter of this.#waiters ?? []) waiter.reject(error);
    this.#waiters = undefined;
    this.#partial = undefined;
  }
}

const NOTHING: Partial<Pick<EventQueue, 'first' | 'firstEvent'>> = {};

/** Where the events of the last revision begin. */
function lastRevisionStart(events: readonly WireEvent[]): number {
  let start = events.length;
  const last = events.at(-1);
  if (last === undefined) return 0;
  const revision = revisionOf(last);
  while (start > 0 && revisionOf(events[start - 1] as WireEvent) === revision) start -= 1;
  return start;
}
