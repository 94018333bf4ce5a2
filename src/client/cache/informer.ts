/**
 * A copy of some keys in memory that follows the store.
 *
 * It lists the keys at one revision and watches from the next on; when the history it
 * needs is compacted away, it lists again and works out what changed. Reads are
 * synchronous and cost nothing. How old they may be is known: `revision` says up to which
 * point of the store's history the copy is complete, and `waitFor` waits for a later one.
 *
 * Source: the list-and-watch of Kubernetes' informers (client-go `tools/cache`).
 *
 * @module
 */

import { KV } from '../../protocol/generated/etcdserverpb.ts';
import type { KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { type ByteRange, type Key, NO_BYTES, toLatin1 } from '../../protocol/keys.ts';
import { backoffMs } from '../../support/backoff.ts';
import { type Deferred, deferred, onAbort, sleep } from '../../support/signals.ts';
import { detached } from '../../telemetry/api.ts';
import type { CallOptions } from '../call-options.ts';
import { abortError, deadlineError } from '../connection/failures.ts';
import type { ClientContext } from '../context.ts';
import { ClosedError, EtcdError } from '../errors.ts';
import type { KeyValue } from '../kv/key-value.ts';
import { checkRevision } from '../kv/options.ts';
import type { View } from '../kv/results.ts';
import { scanPages } from '../kv/scan.ts';
import { bytesOf } from '../kv/target.ts';
import type { Watcher } from '../watch/watcher.ts';
import { ChangeFeed, type InformerChange } from './changes.ts';
import type { Feed } from './feed.ts';
import { RevisionFeed } from './revisions.ts';

/** How to keep the copy. */
export interface InformerOptions<V = unknown> {
  /** Closes the informer when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** Leaves the values out. Default false. */
  readonly keysOnly?: boolean | undefined;
  /**
   * Is told of all changes in their order, when the copy has them, before anything else can happen: of each list in one
   * piece, also of one in which nothing is new, and of what a watch brings, batch by batch. {@link Informer.changes} merges
   * what happened to a key while its reader was away; this does not. It must not throw, and should be quick.
   */
  onChanges?(changes: readonly InformerChange<V>[], source: 'list' | 'watch'): void;
}

/** Errors that trying again will not mend. */
const FINAL = new Set([
  'permission-denied',
  'unauthenticated',
  'invalid-argument',
  'closed',
  'aborted',
  'cluster-mismatch',
]);

const RELIST_BACKOFF = { initialMs: 100, maxMs: 5_000 };
const HURRY_BACKOFF = { initialMs: 5, maxMs: 500 };

interface RevisionWaiter extends Deferred<void> {
  readonly revision: bigint;
}

/**
 * A copy of some keys that follows the store. It starts at once; `ready` resolves when the
 * first list is complete. Dispose of it when it is no longer needed.
 *
 * @example
 * ```ts
 * await using users = etcd.cache({ prefix: 'users/' });
 * await users.ready;
 * users.get('users/42')?.value;
 * for await (const { key, current } of users.changes()) console.log(key, current?.value);
 * ```
 */
export class Informer<V> implements AsyncDisposable {
  /** Resolves when the first list is complete; rejects when it never will be. */
  readonly ready: Promise<void>;
  readonly #context: ClientContext;
  readonly #range: ByteRange;
  readonly #view: View<V>;
  readonly #keysOnly: boolean;
  readonly #onChanges: InformerOptions<V>['onChanges'];
  readonly #stop = new AbortController();
  #offAbort: (() => void) | undefined;
  readonly #ready = deferred<void>();
  readonly #changes = new Set<ChangeFeed<V>>();
  readonly #revisions = new Set<RevisionFeed>();
  readonly #waiters = new Set<RevisionWaiter>();
  /** By the key's bytes in latin1, which keeps their order and is quick to compare. */
  #entries = new Map<string, KeyValue<V>>();
  #revision = 0n;
  #synced = false;
  #watcher: Watcher<V> | undefined;
  /** Since when there is no watch that follows the last list; see `staleSince` for the interruptions of one. */
  #staleSince: number | undefined;
  /** Ends the effort for those who wait; present while it is made. */
  #hurrying: AbortController | undefined;
  #error: EtcdError | undefined;
  readonly #running: Promise<void>;

  /** @internal */
  constructor(context: ClientContext, range: ByteRange, options: InformerOptions<V>, view: View<V>) {
    this.#context = context;
    this.#range = range;
    this.#view = view;
    this.#keysOnly = options.keysOnly ?? false;
    this.#onChanges = options.onChanges;
    this.ready = this.#ready.promise;
    this.#staleSince = context.caller.clock.now();
    this.#offAbort = onAbort(options.signal, () => this.#end(undefined));
    // The copy is kept for as long as the program wants, and is no part of the request that made it.
    this.#running = detached(() => this.#run());
  }

  /** Whether the first list is complete and nothing has ended the informer. */
  get synced(): boolean {
    return this.#synced && this.#error === undefined;
  }

  /** Up to which revision the copy is complete; 0 before the first list. */
  get revision(): Revision {
    return this.#revision as Revision;
  }

  /**
   * Since when the copy may be behind the store, in milliseconds by the client's clock: since the link to it broke, since
   * a list has been needed and not come about, since the informer ended; before the first list, since it was made.
   * Undefined while changes arrive as they happen. A link that has fallen silent is noticed by the client's keepalive.
   */
  get staleSince(): number | undefined {
    return this.#watcher?.detachedSince ?? this.#staleSince;
  }

  /** Why the informer ended, if it did other than by being closed. It still answers with what it knew last. */
  get error(): EtcdError | undefined {
    return this.#error;
  }

  /** The number of keys. */
  get size(): number {
    return this.#entries.size;
  }

  /** A key as the copy has it. */
  get(key: Key): KeyValue<V> | undefined {
    return this.#entries.get(toLatin1(bytesOf(key, 'the key')));
  }

  /** All keys as the copy has them, in the order of their bytes. */
  *[Symbol.iterator](): IterableIterator<KeyValue<V>> {
    for (const id of [...this.#entries.keys()].sort()) {
      const kv = this.#entries.get(id);
      if (kv !== undefined) yield kv;
    }
  }

  /** What changes from now on; a slow reader is told the latest of each key. Ends when the informer is closed. */
  changes(): AsyncIterableIterator<InformerChange<V>> {
    const feed: ChangeFeed<V> = new ChangeFeed(() => this.#changes.delete(feed));
    return this.#follows(this.#changes, feed);
  }

  /**
   * The revision of the copy, whenever it has taken in changes or a new list from now on; a
   * slow reader is told the latest only. Unlike {@link Informer.changes}, which has nothing to
   * say of a key that came and went again in one piece, this tells that something happened:
   * for who has to look at the whole copy again then. Ends when the informer is closed.
   */
  revisions(): AsyncIterableIterator<Revision> {
    const feed: RevisionFeed = new RevisionFeed(() => this.#revisions.delete(feed));
    return this.#follows(this.#revisions, feed);
  }

  #follows<F extends Feed<unknown>>(feeds: Set<F>, feed: F): F {
    if (this.#stop.signal.aborted) feed.end(this.#error);
    else feeds.add(feed);
    return feed;
  }

  /**
   * Waits until the copy is complete up to a revision, such as that of a write just made.
   *
   * @throws DeadlineError after `timeoutMs` (default: the client's), or what ended the informer.
   */
  async waitFor(revision: Revision, options: CallOptions = {}): Promise<void> {
    checkRevision('revision', revision);
    if (this.#revision >= revision) return;
    this.#assertOpen();
    const { signal, timeoutMs = this.#context.caller.timeoutMs } = options;
    if (signal?.aborted) throw abortError(signal);
    const waiter: RevisionWaiter = { ...deferred<void>(), revision };
    this.#waiters.add(waiter);
    const offAbort = onAbort(signal, () => waiter.reject(abortError(signal as AbortSignal)));
    const timer = this.#context.caller.clock.after(timeoutMs, () => waiter.reject(deadlineError(timeoutMs, {})));
    try {
      void this.#hurry();
      await waiter.promise;
    } finally {
      this.#waiters.delete(waiter);
      if (this.#waiters.size === 0) this.#hurrying?.abort();
      offAbort();
      timer.cancel();
    }
  }

  /**
   * Reads a key as a linearizable read would: asks the store for its revision, a round trip
   * without data, and waits until the copy has got there. `timeoutMs` bounds the whole.
   */
  async read(key: Key, options: CallOptions = {}): Promise<KeyValue<V> | undefined> {
    this.#assertOpen();
    const { clock } = this.#context.caller;
    const { signal, timeoutMs = this.#context.caller.timeoutMs } = options;
    const deadlineAt = clock.now() + timeoutMs;
    // One key, not the range: only the revision in the header matters, and counting a range costs the server.
    const { header } = await this.#context.reader.range({ key: this.#range.key, countOnly: true }, options);
    const revision = (header?.revision ?? 0n) as Revision;
    await this.waitFor(revision, { signal, timeoutMs: deadlineAt - clock.now() });
    return this.get(key);
  }

  /**
   * Gets the copy to the revisions that are waited for although nothing in it may change, for
   * as long as somebody waits; one effort serves all. Without a watcher a list is under way:
   * then it is made when the list is done, which may not be recent enough itself.
   */
  async #hurry(): Promise<void> {
    if (this.#hurrying !== undefined) return;
    const { clock, random } = this.#context.caller;
    this.#hurrying = new AbortController();
    const { signal } = this.#hurrying;
    let ordered = true;
    for (let round = 0; this.#waiters.size > 0 && !signal.aborted; round++) {
      const watcher = this.#watcher;
      if (watcher === undefined) break;
      try {
        if (ordered) await watcher.progress({ signal });
        else await this.#compare(signal);
      } catch (error) {
        // Servers without ordered progress can't tell. What else is wrong shows in the watch, or those who wait give up.
        if (error instanceof EtcdError && error.code === 'unsupported') ordered = false;
      }
      if (ordered || round > 0) await sleep(clock, backoffMs(HURRY_BACKOFF, round, random), signal);
    }
    this.#hurrying = undefined;
    // Whoever came after the last one had left and the effort was called off.
    if (this.#waiters.size > 0 && this.#watcher !== undefined) void this.#hurry();
  }

  /**
   * Finds out whether the copy is the store's present state: it is if no key has been written
   * since the copy's revision and there are as many as in the copy, since what was deleted
   * and not written again is missing from the count. Costs the server a look at all keys, but
   * sends none of them.
   */
  async #compare(signal: AbortSignal): Promise<void> {
    const { caller } = this.#context;
    const revision = this.#revision;
    const request = {
      key: this.#range.key,
      rangeEnd: this.#range.end,
      minModRevision: revision + 1n,
      limit: 1n,
      keysOnly: true,
    };
    const { kvs, count, header } = await caller.unary(KV.range, request, { kind: 'read' }, { signal });
    const unchanged = kvs.length === 0 && Number(count) === this.#entries.size;
    if (unchanged && revision === this.#revision) this.#reached(header?.revision ?? 0n);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { caller } = this.#context;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#list();
        failures = 0;
        await this.#follow();
      } catch (error) {
        this.#staleSince ??= caller.clock.now();
        if (signal.aborted) return;
        const known =
          error instanceof EtcdError ? error : new EtcdError('server', (error as Error).message, { cause: error });
        if (FINAL.has(known.code)) return this.#end(known);
        if (known.code === 'compacted') continue;
        await sleep(caller.clock, backoffMs(RELIST_BACKOFF, failures++, caller.random), signal);
      }
    }
  }

  /** Reads everything at one revision and tells what differs from before. */
  async #list(): Promise<void> {
    const { signal } = this.#stop;
    const fresh = new Map<string, KeyValue<V>>();
    let revision = 0n;
    const options = { signal, keysOnly: this.#keysOnly };
    for await (const page of scanPages(this.#context.caller, this.#range, options)) {
      revision = page.revision;
      for (const wire of page.kvs) {
        const id = this.#id(wire);
        const known = page.revision < this.#revision ? undefined : this.#entries.get(id);
        fresh.set(id, known?.modRevision === wire.modRevision ? known : this.#keep(wire));
      }
    }
    const before = this.#entries;
    const changes: InformerChange<V>[] = [];
    this.#entries = fresh;
    for (const [id, kv] of fresh) {
      const previous = before.get(id);
      if (previous !== kv) changes.push(this.#tell(id, { key: kv.key, current: kv, previous }));
    }
    for (const [id, kv] of before) {
      if (!fresh.has(id)) changes.push(this.#tell(id, { key: kv.key, current: undefined, previous: kv }));
    }
    // Also where it is lower than before, as in a store that was restored from a backup: the watch goes on from here.
    this.#revision = revision;
    this.#reached(revision);
    this.#moved();
    this.#synced = true;
    this.#staleSince = undefined;
    this.#onChanges?.(changes, 'list');
    this.#ready.resolve();
  }

  /** Applies changes until the watch ends. */
  async #follow(): Promise<void> {
    const from = (this.#revision + 1n) as Revision;
    const watcher = this.#context.watches.watch(
      this.#range,
      { from, progress: true, signal: this.#stop.signal },
      this.#view,
    );
    this.#watcher = watcher;
    void this.#hurry();
    try {
      for await (const batch of watcher.batches()) {
        const changes: InformerChange<V>[] = [];
        for (const event of batch.events) {
          const id = this.#id(event.kv.wire);
          const previous = this.#entries.get(id);
          const { key } = event.kv;
          if (event.type === 'put') {
            const current = this.#keep(event.kv.wire);
            this.#entries.set(id, current);
            changes.push(this.#tell(id, { key, current, previous }));
          } else if (this.#entries.delete(id)) {
            changes.push(this.#tell(id, { key, current: undefined, previous }));
          }
        }
        this.#reached(batch.revision);
        if (changes.length > 0) this.#onChanges?.(changes, 'watch');
        if (batch.events.length > 0) this.#moved();
      }
    } finally {
      this.#staleSince ??= watcher.detachedSince;
      this.#watcher = undefined;
      watcher.close();
    }
  }

  #id(wire: WireKeyValue): string {
    return toLatin1(wire.key.subarray(this.#view.prefixLength));
  }

  /** A copy of its own: what came in a message would keep the whole message in memory. */
  #keep(wire: WireKeyValue): KeyValue<V> {
    const value = this.#keysOnly ? NO_BYTES : new Uint8Array(wire.value);
    return this.#view.keyValue({ ...wire, key: new Uint8Array(wire.key), value });
  }

  #tell(id: string, change: InformerChange<V>): InformerChange<V> {
    for (const feed of this.#changes) feed.push(id, change);
    return change;
  }

  #moved(): void {
    for (const feed of this.#revisions) feed.push(this.revision);
  }

  #reached(revision: bigint): void {
    if (revision > this.#revision) this.#revision = revision;
    for (const waiter of this.#waiters) if (waiter.revision <= this.#revision) waiter.resolve();
  }

  #assertOpen(): void {
    if (this.#error !== undefined) throw this.#error;
    if (this.#stop.signal.aborted) throw new ClosedError('the informer');
  }

  #end(error: EtcdError | undefined): void {
    this.#error ??= error;
    this.#staleSince ??= this.staleSince ?? this.#context.caller.clock.now();
    this.#offAbort?.();
    const reason = error ?? new ClosedError('the informer');
    this.#stop.abort(reason);
    this.#ready.reject(reason);
    for (const waiter of this.#waiters) waiter.reject(reason);
    for (const feed of [...this.#changes, ...this.#revisions]) feed.end(error);
    this.#changes.clear();
    this.#revisions.clear();
  }

  /** Stops following. What the copy holds can still be read. */
  async close(): Promise<void> {
    this.#end(undefined);
    await this.#running;
  }

  /** Stops following; see {@link Informer.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
