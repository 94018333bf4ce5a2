/**
 * The watches of one client: which of them runs on which stream.
 *
 * All share one stream, as long as they keep up. Those that are far behind the store, or
 * wait for a future revision, share a second one, because a server reports the progress of
 * a stream only when all watchers on it have caught up. One whose reader is slow leaves
 * the shared stream for a stream of its own, which is read as fast as its reader reads, so
 * that memory stays bounded and the others are not held up; it comes back when it has
 * caught up. Moving is always the same: cancel here, create there from `nextRevision`; what
 * is still on its way on the old stream is dropped there and sent again on the new one.
 *
 * Whether the server demands a leader is set per stream, so there is a set of streams for
 * each value of `requireLeader` in use.
 *
 * @module
 */

import type { Revision } from '../../protocol/int64.ts';
import type { ByteRange } from '../../protocol/keys.ts';
import type { Timer } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import { detached } from '../../telemetry/api.ts';
import { type Observed, observe } from '../../telemetry/metrics.ts';
import { beginWatch, handleEvent } from '../../telemetry/watches.ts';
import type { Caller } from '../connection/caller.ts';
import { abortError } from '../connection/failures.ts';
import { ClosedError, CompactedError, EtcdError, SlowReaderError } from '../errors.ts';
import type { ResyncReason, WatchView } from './events.ts';
import { Lane, type LaneHost } from './lane.ts';
import { type WatchOptions, watchSettings } from './options.ts';
import { awaitProgress, type ProgressOptions, ProgressRounds } from './progress.ts';
import { Resync, STOPPED } from './resync.ts';
import { type LaneKind, Subscription, type SubscriptionHost, type SubscriptionResync } from './subscription.ts';
import { Watcher, type WatcherHost } from './watcher.ts';

/** Settings for all watches of a client. */
export interface WatchHubOptions {
  /**
   * How often servers are asked how far quiet watchers are, so that these do not fall behind
   * compaction. Default 60,000; 0 for never.
   */
  readonly progressIntervalMs?: number | undefined;
  /** How many revisions behind the store a watcher counts as far behind. Default 1000, which is etcd's batch. */
  readonly farBehind?: bigint | undefined;
}

export class WatchHub implements LaneHost, SubscriptionHost, WatcherHost, Observed {
  readonly caller: Caller;
  readonly #progressIntervalMs: number;
  readonly #farBehind: bigint;
  readonly #subscriptions = new Set<Subscription>();
  /** Those with a signal: what takes the listener off it. */
  readonly #offAbort = new Map<Subscription, () => void>();
  readonly #lanes = new Map<string, Lane>();
  readonly #rounds: ProgressRounds;
  #timer: Timer | undefined;
  /** Ends the reports of lag and buffers; there are some while there are watches. */
  #unobserve: (() => void) | undefined;
  /** The highest revision of the store that any answer told. */
  #latest = 0n;
  #closed = false;

  constructor(caller: Caller, options: WatchHubOptions = {}) {
    this.caller = caller;
    this.#progressIntervalMs = options.progressIntervalMs ?? 60_000;
    this.#farBehind = options.farBehind ?? 1000n;
    this.#rounds = new ProgressRounds(caller.clock);
  }

  /**
   * Starts a watch.
   *
   * @throws InvalidArgumentError for options that make no sense; everything else surfaces in the watcher.
   */
  watch<V>(range: ByteRange, options: WatchOptions, view: WatchView<V>): Watcher<V> {
    const subscription = new Subscription(this, range, watchSettings(options), options.from ?? 0n);
    const watcher = new Watcher(subscription, this, view);
    const { signal } = options;
    subscription.trace = beginWatch(this.caller.telemetry.settings, range.key, range.end, subscription.from);
    if (this.#closed || this.caller.pool.closed) {
      this.fail(subscription, new ClosedError('the client'));
    } else if (signal?.aborted) {
      this.fail(subscription, abortError(signal));
    } else {
      this.#start(subscription, signal);
    }
    return watcher;
  }

  #start(subscription: Subscription, signal: AbortSignal | undefined): void {
    this.#subscriptions.add(subscription);
    const { telemetry } = this.caller;
    telemetry.instruments?.watchActive.add(1);
    if (telemetry.settings.enabled) this.#unobserve ??= observe(this);
    // Neither timers nor streams belong to the trace of the first who watches.
    detached(() => this.#tick());
    if (signal !== undefined) {
      const abort = (): void => this.#drop(subscription, abortError(signal), abortError(signal));
      this.#offAbort.set(subscription, onAbort(signal, abort));
    }
    if (subscription.settings.resync) {
      const resync = new Resync(this.caller, subscription);
      subscription.resync = resync;
      void this.#begin(subscription, resync);
    } else {
      this.#place(subscription, 'catch-up');
    }
  }

  /** Ends all watches with a ClosedError. */
  close(): void {
    this.#closed = true;
    for (const subscription of [...this.#subscriptions]) this.fail(subscription, new ClosedError('the client'));
  }

  closeWatcher(subscription: Subscription): void {
    this.#drop(subscription, undefined, new ClosedError('the watcher'));
  }

  /** Ends a watcher at once: its reader gets nothing more but the end. */
  #drop(subscription: Subscription, readerError: EtcdError | undefined, error: EtcdError): void {
    subscription.queue.clear();
    this.#end(subscription, readerError, error);
  }

  fail(subscription: Subscription, error: EtcdError): void {
    this.#end(subscription, error, error);
  }

  #end(subscription: Subscription, readerError: EtcdError | undefined, error: EtcdError): void {
    if (subscription.ended) return;
    subscription.end(error);
    subscription.trace?.ended(error);
    if (this.#subscriptions.has(subscription)) this.caller.telemetry.instruments?.watchActive.add(-1);
    subscription.queue.end(readerError);
    subscription.lane?.remove(subscription);
    subscription.resync?.close();
    this.#offAbort.get(subscription)?.();
    this.#offAbort.delete(subscription);
    this.#subscriptions.delete(subscription);
    if (this.#subscriptions.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#unobserve?.();
    this.#unobserve = undefined;
  }

  handle<T>(subscription: Subscription, revision: bigint, work: () => T): T {
    return handleEvent(this.caller.telemetry, subscription.trace, revision, work);
  }

  /** By how many revisions the reader that is furthest behind trails the store, as far as it is known. */
  watchLag(): number {
    let lag = 0n;
    for (const subscription of this.#subscriptions) {
      const { unread } = subscription;
      if (unread === 0n || subscription.isAhead(this.#latest)) continue;
      const behind = this.#latest + 1n - unread;
      if (behind > lag) lag = behind;
    }
    return Number(lag);
  }

  /** How many events wait to be read. */
  watchBuffered(): number {
    let count = 0;
    for (const subscription of this.#subscriptions) count += subscription.buffered;
    return count;
  }

  progress(subscription: Subscription, options: ProgressOptions): Promise<Revision> {
    return awaitProgress(this.caller, this.#rounds, subscription, options);
  }

  /** Asks the shared streams for progress from time to time; never keeps the process alive. */
  #tick(): void {
    if (this.#timer !== undefined || this.#progressIntervalMs === 0) return;
    const ask = (): void => {
      this.#timer = undefined;
      for (const lane of this.#lanes.values()) lane.stream?.requestProgress();
      this.#tick();
    };
    this.#timer = this.caller.clock.after(this.#progressIntervalMs, ask, { background: true });
  }

  // Where watchers run.

  #lane(kind: LaneKind, { settings }: Subscription): Lane {
    const { requireLeader } = settings;
    if (kind === 'own') return new Lane(kind, requireLeader, this);
    const name = `${kind} ${requireLeader}`;
    let lane = this.#lanes.get(name);
    if (lane === undefined) {
      lane = new Lane(kind, requireLeader, this);
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  /** Puts a watcher that is on no stream where it belongs; `otherwise` is for one that is far behind. */
  #place(subscription: Subscription, otherwise: 'catch-up' | 'own'): void {
    const live = this.#lane('live', subscription);
    // One that is behind is in nobody's way while nobody else is there.
    const near = !this.#isFarBehind(subscription) || (otherwise === 'catch-up' && !live.settled);
    (near ? live : this.#lane(otherwise, subscription)).add(subscription);
  }

  #move(subscription: Subscription, kind: LaneKind): void {
    subscription.lane?.remove(subscription);
    this.#lane(kind, subscription).add(subscription);
  }

  #isFarBehind({ nextRevision }: Subscription): boolean {
    return nextRevision !== 0n && this.#latest - nextRevision > this.#farBehind;
  }

  #saw(storeRevision: bigint): void {
    if (storeRevision > this.#latest) this.#latest = storeRevision;
  }

  created(subscription: Subscription, storeRevision: bigint): void {
    this.#saw(storeRevision);
    subscription.trace?.created(subscription.lane?.stream?.member.name, storeRevision);
    subscription.created(storeRevision);
    subscription.lagging = this.#isFarBehind(subscription) || subscription.isAhead(this.#latest);
    this.#sort(subscription);
  }

  received(subscription: Subscription, storeRevision: bigint): void {
    this.#saw(storeRevision);
    if (subscription.ended) return;
    if (subscription.full) {
      this.#overflow(subscription);
      return;
    }
    if (subscription.lane?.kind === 'own') {
      // Back to the others as soon as its reader has read everything.
      if (!this.#isFarBehind(subscription)) this.#whenRead(subscription, 0);
      return;
    }
    if (!subscription.lagging || this.#isFarBehind(subscription) || subscription.isAhead(this.#latest)) return;
    subscription.lagging = false;
    this.#sort(subscription);
  }

  /** Keeps those that lag and those that keep up apart. */
  #sort(subscription: Subscription): void {
    const { lane } = subscription;
    if (lane?.kind === 'catch-up' && !subscription.lagging) this.#move(subscription, 'live');
    if (lane?.kind !== 'live') return;
    if (subscription.lagging) {
      if (lane.settled) this.#move(subscription, 'catch-up');
    } else if (!lane.settled) {
      lane.settled = true;
      for (const other of [...lane.subscriptions]) if (other.lagging) this.#move(other, 'catch-up');
    }
  }

  // Slow readers.

  #overflow(subscription: Subscription): void {
    const { settings, lane, queue, nextRevision } = subscription;
    if (lane?.kind !== 'own') lane?.remove(subscription);
    if (settings.whenSlow === 'fail') {
      this.fail(subscription, new SlowReaderError(nextRevision as Revision));
    } else if (settings.whenSlow === 'resync' && subscription.resync !== undefined) {
      const { resync } = subscription;
      resync.lostAt ??= subscription.unread;
      queue.clear();
      void this.#resync(subscription, resync, 'slow-reader');
    } else {
      this.#whenRead(subscription, queue.lowWater);
    }
  }

  /** Calls `room` when no more than this much is left in the queue. */
  #whenRead(subscription: Subscription, count: number): void {
    const { queue } = subscription;
    if (queue.count <= count) this.room(subscription);
    else queue.roomAt = count;
  }

  room(subscription: Subscription): void {
    const { lane, resync, queue } = subscription;
    if (subscription.ended) return;
    if (resync?.running) resync.wake();
    else if (lane === undefined) this.#place(subscription, 'own');
    else if (lane.kind !== 'own') return;
    else if (queue.count === 0 && !this.#isFarBehind(subscription)) this.#move(subscription, 'live');
    else lane.wake();
  }

  // Lost history.

  compacted(subscription: Subscription, compactRevision: bigint): void {
    subscription.lane?.remove(subscription);
    const { resync } = subscription;
    if (resync === undefined) this.fail(subscription, new CompactedError(compactRevision as Revision));
    else void this.#resync(subscription, resync, 'compacted');
  }

  async #begin(subscription: Subscription, resync: Resync): Promise<void> {
    try {
      if (await resync.begin()) {
        if (!subscription.ended) this.#place(subscription, 'catch-up');
        return;
      }
    } catch (error) {
      this.#resyncFailed(subscription, error);
      return;
    }
    await this.#resync(subscription, resync, 'compacted');
  }

  async #resync(subscription: Subscription, resync: SubscriptionResync, reason: ResyncReason): Promise<void> {
    try {
      await resync.run(reason);
      if (!subscription.ended) this.#place(subscription, 'catch-up');
    } catch (error) {
      this.#resyncFailed(subscription, error);
    }
  }

  #resyncFailed(subscription: Subscription, error: unknown): void {
    if (error === STOPPED) return;
    const known =
      error instanceof EtcdError ? error : new EtcdError('server', (error as Error).message, { cause: error });
    this.fail(subscription, known);
  }
}
