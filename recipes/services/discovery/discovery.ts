/**
 * One program's view of a service: which of its instances it wants, and how it chooses among them.
 *
 * The instances themselves are in a copy that all discoveries of a registry share (service-copy.ts); filters, balancer and
 * ejection are each discovery's own, since what one program's requests learn of an instance says little for another
 * with other requests.
 *
 * @module
 */

import { ClosedError, type Etcd, type EtcdError, type Revision } from '../../../src/index.ts';
import type { PickOptions } from '../balance/balancer.ts';
import { subset } from '../balance/subset.ts';
import type { DiscoveredService, DiscoveryChange, Picked } from '../discovered.ts';
import { NoInstanceError, type NoInstanceReason } from '../errors.ts';
import type { Metadata, ServiceInstance } from '../instance.ts';
import { DiscoveryFeed } from './change-feed.ts';
import { type InstanceFilter, instanceFilter } from './filter.ts';
import { Picker, type PickerOptions } from './picker.ts';
import type { ServiceCopy } from './service-copy.ts';
import type { BadEntry } from './service-table.ts';

/** How a service is discovered. */
export interface DiscoverOptions<M = Metadata> extends PickerOptions {
  /** Which instances are wanted. Default: all that are up. */
  readonly where?: InstanceFilter<M> | undefined;
  /**
   * Use no more than `size` instances, always the same ones for the same `client` as far as the instances stay, so that
   * not everybody connects to everybody. Clients with names of their own spread evenly. Default: use all.
   */
  readonly subset?: { readonly client: string; readonly size: number } | undefined;
  /** Closes the discovery when it fires. */
  readonly signal?: AbortSignal | undefined;
}

/** The instances of one service, followed until it is closed. Made by `ServiceRegistry.discover` and `follow`. */
export class Discovery<M = Metadata> implements DiscoveredService<M> {
  /**
   * Resolves when there is a first list, from the store or from the snapshot on disk; rejects when there never will be, and
   * when it is closed before.
   */
  readonly ready: Promise<void>;
  readonly #copy: ServiceCopy<M>;
  readonly #release: () => Promise<void>;
  readonly #passes: (instance: ServiceInstance<M>) => boolean;
  readonly #subset: DiscoverOptions<M>['subset'];
  readonly #picker: Picker<M>;
  readonly #feeds = new Set<DiscoveryFeed<M>>();
  readonly #cleanups: (() => void)[] = [];
  #registered: readonly ServiceInstance<M>[] | undefined;
  #instances: readonly ServiceInstance<M>[] = [];
  #strategyError: { readonly error: unknown } | undefined;
  #closing: Promise<void> | undefined;
  #over = false;
  #error: unknown;
  #giveUp!: (error: unknown) => void;

  /** @internal */
  constructor(etcd: Etcd, copy: ServiceCopy<M>, options: DiscoverOptions<M>, release: () => Promise<void>) {
    this.#copy = copy;
    this.#release = release;
    // Its own: others may go on to wait for the same copy.
    const over = new Promise<never>((_resolve, reject) => {
      this.#giveUp = reject;
    });
    this.ready = Promise.race([copy.ready, over]);
    this.ready.catch(() => {}); // whoever awaits it sees it
    this.#passes = instanceFilter(options.where ?? {});
    this.#subset = options.subset;
    this.#picker = new Picker(options, { now: () => etcd.clock.now(), random: etcd.random });
    this.#update();
    this.#cleanups.push(
      copy.listen({
        changed: (changes) => {
          this.#update();
          for (const feed of this.#feeds) for (const change of changes) feed.tell(change);
        },
        ended: (error) => this.#end(error),
      }),
    );
    this.#closeOn(options.signal);
  }

  #closeOn(signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    const close = (): void => void this.close();
    signal.addEventListener('abort', close, { once: true });
    this.#cleanups.push(() => signal.removeEventListener('abort', close));
    if (signal.aborted) close();
  }

  #update(): void {
    const { registered, suspects } = this.#copy;
    if (registered !== this.#registered) {
      this.#registered = registered;
      const wanted = registered.filter((instance) => instance.status === 'up' && this.#passes(instance));
      this.#instances = this.#subset === undefined ? wanted : subset(wanted, this.#subset);
    }
    this.#strategyError = undefined;
    try {
      this.#picker.update(this.#instances, suspects);
    } catch (error) {
      // Of a program's own strategy. It is told where that is asked, and does not stop what others follow.
      this.#strategyError = { error };
    }
  }

  get name(): string {
    return this.#copy.service;
  }

  get instances(): readonly ServiceInstance<M>[] {
    return this.#instances;
  }

  get registered(): readonly ServiceInstance<M>[] {
    return this.#copy.registered;
  }

  /**
   * The ids of those that vanished together with too many others to be believed gone; see `protect` of the registry's
   * options. They are among the instances, and picked when nobody else is left.
   */
  get suspects(): ReadonlySet<string> {
    return this.#copy.suspects;
  }

  /** Keys of the service under which there is nothing that can be used, and why. No others are touched by them. */
  get badEntries(): readonly BadEntry[] {
    return this.#copy.badEntries;
  }

  get synced(): boolean {
    return this.#copy.synced;
  }

  get staleSince(): number | undefined {
    return this.#copy.staleSince;
  }

  get revision(): Revision {
    return this.#copy.revision;
  }

  /** Why the store does not let us follow at the moment (it is tried again), or why the discovery is over. */
  get error(): EtcdError | undefined {
    return this.#copy.error;
  }

  /** What was wrong with the snapshot on disk when it was read or written last. */
  get snapshotProblem(): Error | undefined {
    return this.#copy.snapshotProblem;
  }

  /** The ids of instances that have as many requests under way as `maxInFlight` allows. */
  get full(): ReadonlySet<string> {
    return this.#picker.full;
  }

  changes(): AsyncIterableIterator<DiscoveryChange<M>> {
    const feed: DiscoveryFeed<M> = new DiscoveryFeed(() => this.#feeds.delete(feed));
    if (this.#over) feed.end(this.#error);
    else this.#feeds.add(feed);
    return feed;
  }

  /**
   * Chooses an instance for one request. Report what came of it: `using picked = orders.pick()` and `picked.done('success')`.
   *
   * @throws NoInstanceError when none takes requests, and why; what a strategy of the program's own throws.
   */
  pick(options: PickOptions = {}): Picked<M> {
    if (this.#strategyError !== undefined) throw this.#strategyError.error;
    const picked = this.#picker.pick(options);
    if (picked === undefined) throw new NoInstanceError(this.name, this.#whyNone());
    return picked;
  }

  #whyNone(): NoInstanceReason {
    const { registered, listed } = this.#copy;
    if (!listed) return 'not-ready';
    if (registered.length === 0) return 'none-registered';
    if (this.#instances.length > 0) return 'all-busy';
    return registered.some(({ status }) => status === 'up') ? 'all-filtered' : 'none-up';
  }

  #end(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#giveUp(error ?? new ClosedError('the discovery'));
    for (const cleanup of this.#cleanups) cleanup();
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
  }

  /** Stops following, unless others follow the service too. What is known can still be read, and picked from. */
  close(): Promise<void> {
    this.#end(undefined);
    this.#closing ??= this.#release();
    return this.#closing;
  }

  /** Stops following; see {@link Discovery.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
