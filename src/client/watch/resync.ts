/**
 * Going on after history was lost: read the current state, and tell the reader how it
 * differs from what the reader was told before.
 *
 * `known` is what the reader knows: each key with its modification revision. It follows
 * what is handed out, not what is received, so that events which are dropped with the
 * buffer count as not told. Before the first event it is filled by listing the keys, as
 * they were just before the watch begins.
 *
 * The state is read page by page, all at one revision, as fast as the reader reads. If that
 * revision is compacted meanwhile, the reading starts over; what was handed out by then is
 * known and is not told twice. Invariant at the `end` mark: applying all events to a copy
 * that was right at the beginning gives the store's state at the mark's revision.
 *
 * @module
 */

import type { Event as WireEvent, KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import { EventType } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import { EMPTY } from '../../protocol/wire.ts';
import { backoffMs } from '../../support/backoff.ts';
import { type Deferred, deferred, sleep } from '../../support/signals.ts';
import { publish } from '../../telemetry/channels.ts';
import type { Caller } from '../connection/caller.ts';
import { EtcdError } from '../errors.ts';
import { scanPages } from '../kv/scan.ts';
import type { ResyncReason } from './events.ts';
import { NO_EVENTS } from './queue.ts';
import type { Subscription, SubscriptionResync } from './subscription.ts';

const RETRY = { initialMs: 100, maxMs: 5_000 };

/** How many synthetic deletes go into the queue at once. */
const DELETES_AT_ONCE = 500;

export class Resync implements SubscriptionResync {
  readonly #caller: Caller;
  readonly #subscription: Subscription;
  readonly #known = new Map<string, bigint>();
  readonly #stop = new AbortController();
  #room: Deferred<void> | undefined;
  /** Whether the state is being read. */
  running = false;
  /** Where the lost history begins, from its loss until the reader has the `end` mark. */
  lostAt: bigint | undefined;

  constructor(caller: Caller, subscription: Subscription) {
    this.#caller = caller;
    this.#subscription = subscription;
  }

  /**
   * Learns which keys there are before the watch begins, and where it is to begin. Returns
   * false when that history is gone: then the watch has to begin with a resync.
   *
   * @throws EtcdError when the keys may not be read.
   */
  async begin(): Promise<boolean> {
    const { from } = this.#subscription;
    // Revision 1 is the empty store; asking for revision 0 would mean the current one.
    if (from === 1n || from === 2n) return true;
    let revision = from === 0n ? undefined : ((from - 1n) as Revision);
    for (let failures = 0; ; ) {
      try {
        this.#known.clear();
        let read = 0n;
        for await (const page of this.#pages(revision, true)) {
          for (const { key, modRevision } of page.kvs) this.#known.set(id(key), modRevision);
          read = page.revision;
        }
        if (from === 0n) this.#subscription.nextRevision = read + 1n;
        return true;
      } catch (error) {
        const known = this.#checked(error);
        if (known.code === 'compacted' && revision !== undefined) return false;
        // The watch begins in the future: nothing that matters is known of it yet.
        if (known.code === 'future-revision') revision = undefined;
        else await this.#pause(failures++);
      }
    }
  }

  /** Whether the reader has not been told of this key. */
  isNew(key: Uint8Array): boolean {
    return !this.#known.has(id(key));
  }

  /** The reader was handed an event. */
  told(event: WireEvent): void {
    const { kv } = event;
    if (kv === undefined) return;
    if (event.type === EventType.PUT) this.#known.set(id(kv.key), kv.modRevision);
    else this.#known.delete(id(kv.key));
  }

  /** The reader was handed the `end` mark. */
  finished(): void {
    this.lostAt = undefined;
  }

  /** The reader has made room. */
  wake(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  /**
   * Reads the state and queues the difference; then the watch can go on behind it. Waits
   * first until the reader has what is in the queue.
   *
   * @throws EtcdError when the state may not be read.
   */
  async run(reason: ResyncReason): Promise<void> {
    this.lostAt ??= this.#subscription.nextRevision;
    this.running = true;
    await this.#left(0);
    for (let failures = 0; ; ) {
      try {
        const { revision, events } = await this.#tellDifference(reason);
        this.#mark('end', reason, revision);
        this.#subscription.resyncedTo(revision);
        this.running = false;
        publish('etcdkit:watch:resync', () => ({ revision: revision as Revision, events }));
        return;
      } catch (error) {
        const known = this.#checked(error);
        // What is known must be what the reader was told, so the queue has to be empty before the next try.
        await this.#left(0);
        if (known.code !== 'compacted') await this.#pause(failures++);
      }
    }
  }

  async #tellDifference(reason: ResyncReason): Promise<{ revision: bigint; events: number }> {
    const { queue } = this.#subscription;
    const unseen = new Set(this.#known.keys());
    let events = 0;
    let revision: bigint | undefined;
    for await (const page of this.#pages(undefined, false)) {
      if (revision === undefined) this.#mark('start', reason, page.revision);
      revision = page.revision;
      const changed: WireEvent[] = [];
      for (const kv of page.kvs) {
        const key = id(kv.key);
        unseen.delete(key);
        if (this.#known.get(key) !== kv.modRevision) changed.push({ type: EventType.PUT, kv, prevKv: undefined });
      }
      this.#tell(changed);
      events += changed.length;
      await this.#left(queue.lowWater);
    }
    const at = revision ?? 0n;
    let gone: WireEvent[] = [];
    for (const key of unseen) {
      gone.push({ type: EventType.DELETE, kv: tombstone(key, at), prevKv: undefined });
      if (gone.length < DELETES_AT_ONCE) continue;
      this.#tell(gone);
      events += gone.length;
      gone = [];
      await this.#left(queue.lowWater);
    }
    this.#tell(gone);
    return { revision: at, events: events + gone.length };
  }

  #pages(revision: Revision | undefined, keysOnly: boolean): ReturnType<typeof scanPages> {
    return scanPages(this.#caller, this.#subscription.range, { revision, keysOnly, signal: this.#stop.signal });
  }

  #tell(events: readonly WireEvent[]): void {
    if (events.length === 0) return;
    let bytes = 0;
    for (const { kv } of events) bytes += (kv?.key.length ?? 0) + (kv?.value.length ?? 0);
    this.#subscription.queue.push({ revision: this.#before, events, bytes, synthetic: true });
  }

  #mark(phase: 'start' | 'end', reason: ResyncReason, at: bigint): void {
    const revision = at as Revision;
    this.#subscription.queue.push({
      revision: phase === 'end' ? at : this.#before,
      events: NO_EVENTS,
      bytes: 0,
      synthetic: true,
      mark: { type: 'resync', phase, reason, revision },
    });
  }

  /** The last revision that the reader has completely. */
  get #before(): bigint {
    return (this.lostAt ?? 1n) - 1n;
  }

  /** Waits until no more than this many entries are left in the queue. */
  async #left(count: number): Promise<void> {
    const { queue } = this.#subscription;
    while (queue.count > count && queue.ended === undefined) {
      this.#room = deferred();
      queue.roomAt = count;
      await this.#room.promise;
    }
    if (this.#stop.signal.aborted) throw STOPPED;
  }

  /** The error, if it is one that trying again may mend. @throws the error otherwise. */
  #checked(error: unknown): EtcdError {
    if (this.#stop.signal.aborted || error === STOPPED) throw STOPPED;
    if (!(error instanceof EtcdError) || FINAL.has(error.code)) throw error;
    return error;
  }

  async #pause(failures: number): Promise<void> {
    await sleep(this.#caller.clock, backoffMs(RETRY, failures, this.#caller.random), this.#stop.signal);
    if (this.#stop.signal.aborted) throw STOPPED;
  }

  /** The watch is over. */
  close(): void {
    this.#stop.abort();
    this.wake();
    this.#known.clear();
  }
}

/** Thrown inside when the watch has ended; whoever started the work knows that. */
export const STOPPED: unique symbol = Symbol('stopped');

/** Refusals that no waiting mends. */
const FINAL: ReadonlySet<EtcdError['code']> = new Set([
  'closed',
  'permission-denied',
  'unauthenticated',
  'invalid-argument',
  'unsupported',
  'response-too-large',
]);

/** A key's bytes as a compact string; every byte is one character. */
function id(key: Uint8Array): string {
  return toLatin1(key);
}

function tombstone(key: string, modRevision: bigint): WireKeyValue {
  return { key: Buffer.from(key, 'latin1'), createRevision: 0n, modRevision, version: 0n, value: EMPTY, lease: 0n };
}
