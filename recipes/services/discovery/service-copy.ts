/**
 * The instances of one service as the store has them, followed for as long as somebody looks.
 *
 * What lies below is the client's informer: it lists, watches, resumes where a stream broke, and lists again when history
 * was compacted. Around it this class makes sure of three things:
 *
 * 1. It never gives up. What ends an informer (a permission taken away, a login refused) ends only a copy that never had a
 *    list; later the copy keeps what it knows, says since when and why, and begins again after a while, since somebody
 *    will mend it. The one end is a client that is closed.
 * 2. Every list is told, an empty one too: nobody waits for instances that are not there.
 * 3. Without the store it serves what it knew last, and at a cold start what the snapshot on disk says.
 *
 * Discoveries of one service share a copy; each adds its own filters and balancer.
 *
 * @module
 */

import {
  type Clock,
  ClosedError,
  type Etcd,
  type EtcdError,
  type Informer,
  type InformerChange,
  type Revision,
  type Timer,
} from '../../../src/index.ts';
import { detached, observeStaleness } from '../../../src/telemetry/recipes.ts';
import { elapsed } from '../../patience.ts';
import type { DiscoveryChange } from '../discovered.ts';
import type { ServiceInstance } from '../instance.ts';
import type { ServiceLayout } from '../record.ts';
import type { ProtectSettings } from './protection.ts';
import { type BadEntry, ServiceTable } from './service-table.ts';
import { SnapshotKeeper } from './snapshot-keeper.ts';

/** How services are followed. */
export interface CopySettings {
  readonly protect: ProtectSettings;
  /** Where snapshots are; undefined for none. */
  readonly snapshotFolder: string | undefined;
  /** How long to wait for the store's first list before the snapshot is used, in milliseconds. */
  readonly snapshotAfterMs: number;
}

/** Who looks at a copy. */
export interface CopyListener<M> {
  /** Something has changed: instances, who is a suspect, or whether there is a list at all. */
  changed(changes: readonly DiscoveryChange<M>[]): void;
  /** It is over; nothing changes any more. */
  ended(error: unknown): void;
}

/** Between two informers: the first pause, doubled up to the most, in milliseconds. */
const AGAIN_MS = { first: 100, max: 30_000 };

/** How often suspects are looked at: in so many parts of their grace, and at least so many milliseconds apart. */
const REVIEW = { parts: 10, minMs: 10 };

/** See the head of this file. */
export class ServiceCopy<M> {
  readonly service: string;
  readonly clock: Clock;
  /** Resolves with the first list, from the store or from disk; rejects when there never will be one. */
  readonly ready: Promise<void>;
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #settings: CopySettings;
  readonly #table: ServiceTable<M>;
  readonly #snapshot: SnapshotKeeper | undefined;
  readonly #listeners = new Set<CopyListener<M>>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #resolveReady!: () => void;
  #rejectReady!: (error: unknown) => void;
  #informer: Informer<string> | undefined;
  /** Whether the present informer has listed. */
  #listed = false;
  #source: 'none' | 'disk' | 'store' = 'none';
  #revision = 0n as Revision;
  /** Since when no informer has followed; undefined while one does, which knows of interruptions. */
  #brokenSince: number | undefined;
  #error: EtcdError | undefined;
  #ended = false;
  #review: Timer | undefined;
  readonly #unobserve: () => void;

  constructor(etcd: Etcd, layout: ServiceLayout<M>, service: string, settings: CopySettings) {
    this.service = service;
    this.clock = etcd.clock;
    this.#etcd = etcd;
    this.#prefix = layout.prefixOf(service);
    this.#settings = settings;
    this.#table = new ServiceTable(service, layout, settings.protect, () => etcd.clock.now());
    this.#brokenSince = etcd.clock.now();
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.ready.catch(() => {}); // whoever awaits it sees it
    const { snapshotFolder } = settings;
    if (snapshotFolder !== undefined) {
      this.#snapshot = new SnapshotKeeper(snapshotFolder, this.#prefix, etcd.clock, () => this.#table.raw);
      void this.#fallBack(this.#snapshot);
    }
    this.#unobserve = observeStaleness(etcd, service, () => this.#staleSeconds);
    // It outlives the request that happened to ask first.
    this.#running = detached(() => this.#run());
  }

  /** All that are registered, sorted by id; suspects are among them. */
  get registered(): readonly ServiceInstance<M>[] {
    return this.#table.registered;
  }

  /** The ids of those that vanished with too many others to be believed gone. */
  get suspects(): ReadonlySet<string> {
    return this.#table.suspects;
  }

  get badEntries(): readonly BadEntry[] {
    return this.#table.bad;
  }

  /** Whether there is a list, wherever it is from. */
  get listed(): boolean {
    return this.#source !== 'none';
  }

  /** Whether the list came from the store, and is followed. */
  get synced(): boolean {
    return this.#source === 'store' && this.#listed && !this.#ended;
  }

  /** Since when the list may be behind, by the client's clock in ms; undefined while changes arrive as they happen. */
  get staleSince(): number | undefined {
    return this.#brokenSince ?? this.#informer?.staleSince;
  }

  get #staleSeconds(): number {
    const since = this.staleSince;
    return since === undefined ? 0 : (this.clock.now() - since) / 1_000;
  }

  get revision(): Revision {
    return this.#listed && this.#informer !== undefined ? this.#informer.revision : this.#revision;
  }

  /** Why the store does not let us follow at the moment, or why it is over. */
  get error(): EtcdError | undefined {
    return this.#error;
  }

  /** What was wrong with the snapshot on disk, when it was read or written last. */
  get snapshotProblem(): Error | undefined {
    return this.#snapshot?.problem;
  }

  /** Tells a listener of all changes from now on. @returns ends that. */
  listen(listener: CopyListener<M>): () => void {
    if (this.#ended) listener.ended(this.#error);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; failures++) {
      const error = await this.#follow();
      if (signal.aborted) return;
      if (this.#listed) failures = 0;
      this.#left(error);
      const lost = error.code === 'closed' || (this.#source === 'none' && !(await this.#readSnapshot()));
      if (lost) return this.#end(error, error);
      const bound = Math.min(AGAIN_MS.max, AGAIN_MS.first * 2 ** Math.min(failures, 16));
      await elapsed(this.clock, bound * (0.5 + this.#etcd.random() / 2), signal);
    }
  }

  /** Follows by one informer until that ends. @returns why it did. */
  async #follow(): Promise<EtcdError> {
    const informer: Informer<string> = this.#etcd.cache(
      { prefix: this.#prefix },
      { signal: this.#stop.signal, onChanges: (changes, source) => this.#take(informer, changes, source) },
    );
    this.#informer = informer;
    try {
      await informer.ready;
      for await (const _revision of informer.revisions()) if (this.#stop.signal.aborted) break;
    } catch (error) {
      return error as EtcdError;
    } finally {
      await informer.close();
    }
    return new ClosedError('the client');
  }

  /** Takes note that the informer has ended. */
  #left(error: EtcdError): void {
    this.#error = error;
    this.#brokenSince ??= this.#informer?.staleSince ?? this.clock.now();
    this.#revision = this.revision;
    this.#informer = undefined;
    this.#listed = false;
  }

  #take(informer: Informer<string>, changes: readonly InformerChange<string>[], source: 'list' | 'watch'): void {
    if (this.#stop.signal.aborted) return;
    let told: DiscoveryChange<M>[];
    if (source === 'list') {
      this.#error = undefined;
      this.#brokenSince = undefined;
      this.#listed = true;
      this.#source = 'store';
      told = this.#table.replace(Array.from(informer, ({ key, valueBytes: value }) => ({ key, value })));
    } else {
      told = this.#table.apply(changes.map(({ key, current }) => ({ key, value: current?.valueBytes })));
    }
    this.#told(told);
    this.#resolveReady();
  }

  #told(changes: readonly DiscoveryChange<M>[]): void {
    if (changes.length > 0 && this.#source === 'store') this.#snapshot?.touch();
    this.#reviewLater();
    for (const listener of [...this.#listeners]) listener.changed(changes);
  }

  /** Looks at the suspects until there are none. */
  #reviewLater(): void {
    if (this.#review !== undefined || this.#table.suspects.size === 0 || this.#stop.signal.aborted) return;
    const everyMs = Math.max(REVIEW.minMs, this.#settings.protect.graceMs / REVIEW.parts);
    const review = (): void => {
      this.#review = undefined;
      const changes = this.#table.review(this.staleSince !== undefined);
      if (changes.length > 0) this.#told(changes);
      else this.#reviewLater();
    };
    this.#review = this.clock.after(everyMs, review, { background: true });
  }

  /** Takes the snapshot if the store has not answered by then. */
  async #fallBack(snapshot: SnapshotKeeper): Promise<void> {
    const answered = new AbortController();
    this.ready.then(
      () => answered.abort(),
      () => answered.abort(),
    );
    await elapsed(this.clock, this.#settings.snapshotAfterMs, answered.signal, this.#stop.signal);
    if (!answered.signal.aborted) await this.#readSnapshot(snapshot);
  }

  /** @returns whether there was one that could be used. */
  async #readSnapshot(snapshot: SnapshotKeeper | undefined = this.#snapshot): Promise<boolean> {
    const entries = await snapshot?.read();
    if (this.#source !== 'none' || entries === undefined || this.#stop.signal.aborted) return this.listed;
    const changes = this.#table.replace(entries);
    // Written by a version that is not understood here, say: no better than none.
    if (changes.length === 0) return false;
    this.#source = 'disk';
    this.#told(changes);
    this.#resolveReady();
    return true;
  }

  /** `told` is what listeners hear of it; undefined for an end that was asked for. */
  #end(error: EtcdError, told: EtcdError | undefined): void {
    if (this.#ended) return;
    this.#brokenSince ??= this.staleSince ?? this.clock.now();
    this.#revision = this.revision;
    this.#ended = true;
    this.#error = told;
    this.#stop.abort(error);
    this.#review?.cancel();
    this.#unobserve();
    this.#rejectReady(error);
    for (const listener of this.#listeners) listener.ended(told);
    this.#listeners.clear();
  }

  /** Stops following. What it knows can still be read. */
  async close(): Promise<void> {
    this.#end(new ClosedError('the discovery'), undefined);
    await this.#running;
    await this.#snapshot?.flush();
  }
}
