/**
 * Services in the store: registering instances and finding them.
 *
 * A registry is a place in the store (a prefix, a layout, a shape of metadata) and the settings that hold for whoever goes
 * through it. It has no connection and no task of its own: registrations and discoveries live on the client, each until it
 * is closed. All discoveries of one service share one watch and one copy of its instances.
 *
 * @module
 */

import { type Clock, type Etcd, InvalidArgumentError, type StandardSchema } from '../../src/index.ts';
import { WaitTimeoutError } from '../errors.ts';
import type { WaitOptions } from '../waiting.ts';
import { type DiscoverOptions, Discovery } from './discovery/discovery.ts';
import { type ProtectOptions, protectSettings } from './discovery/protection.ts';
import { type CopySettings, ServiceCopy } from './discovery/service-copy.ts';
import type { BadEntry } from './discovery/service-table.ts';
import { goLayout } from './go-layout.ts';
import type { Metadata, ServiceInstance } from './instance.ts';
import { jsonLayout } from './json-layout.ts';
import type { ServiceLayout } from './record.ts';
import type { InstanceSpec, RegisterOptions } from './registration/options.ts';
import { Registration } from './registration/registration.ts';

/** Where services are, and what holds for all who look. */
export interface ServiceRegistryOptions<M = Metadata> {
  /** What the keys begin with. Default: the layout's own, `services/` for ours and nothing for Go's. */
  readonly prefix?: string | undefined;
  /**
   * How instances are stored: `json` is ours, `go` that of Go's `naming/endpoints`, with which services in Go and ours find
   * each other; or a layout of one's own, which has prefix and metadata of its own. Default `json`.
   */
  readonly layout?: 'json' | 'go' | ServiceLayout<M> | undefined;
  /** The shape of the metadata: zod or any Standard Schema. Default: texts under names, unchecked. */
  readonly metadata?: StandardSchema<M, M> | undefined;
  /** Where this program runs: the zone of the instances that it registers, and of the requests that it sends. */
  readonly zone?: string | undefined;
  /** When instances that vanish are not believed gone; false for always. Default: the defaults of each part. */
  readonly protect?: ProtectOptions | false | undefined;
  /**
   * A folder for what was known of the services last, for a start while the store is away. Made when it is missing; a file
   * for each service, which its owner alone may read; of one cluster, since nothing in them says which. Default: none.
   */
  readonly snapshotFolder?: string | undefined;
  /** How long to wait for the store's first list before a snapshot is used, in milliseconds. Default 1000. */
  readonly snapshotAfterMs?: number | undefined;
}

/** All that is registered, at one moment. */
export interface RegisteredServices<M> {
  /** The instances by service, both sorted. */
  readonly services: ReadonlyMap<string, readonly ServiceInstance<M>[]>;
  /** Keys under which there is nothing that can be used. */
  readonly badEntries: readonly BadEntry[];
}

/** A copy, and how many discoveries look at it. */
interface SharedCopy<M> {
  readonly copy: ServiceCopy<M>;
  users: number;
}

/** How long `discover` waits for the first list unless told otherwise, in milliseconds. */
const DISCOVER_MS = 10_000;

/**
 * Services in the store.
 *
 * @example
 * ```ts
 * const registry = new ServiceRegistry(etcd);
 * const me = await registry.register({ name: 'orders', address: '10.0.0.7', port: 8080 });
 * const users = await registry.discover('users');
 * using picked = users.pick();
 * await fetch(`http://${picked.authority}/`);
 * picked.done('success');
 * await me.drain();
 * ```
 */
export class ServiceRegistry<M = Metadata> {
  readonly #etcd: Etcd;
  readonly #layout: ServiceLayout<M>;
  readonly #zone: string | undefined;
  readonly #settings: CopySettings;
  readonly #copies = new Map<string, SharedCopy<M>>();

  /** @throws InvalidArgumentError for options that make no sense. */
  constructor(etcd: Etcd, options: ServiceRegistryOptions<M> = {}) {
    const { protect = {}, snapshotFolder, snapshotAfterMs = 1_000 } = options;
    this.#etcd = etcd;
    this.#layout = layoutOf(options);
    this.#zone = options.zone;
    this.#settings = { protect: protectSettings(protect), snapshotFolder, snapshotAfterMs };
  }

  /**
   * Registers an instance, and keeps it registered until it is drained or deregistered. Resolves when it is in the store.
   *
   * @throws InstanceIdTakenError when another instance has the id; InvalidArgumentError for a spec that makes no sense; and
   * as {@link Registration} says.
   */
  register(spec: InstanceSpec<M>, options: RegisterOptions = {}): Promise<Registration<M>> {
    const zone = spec.zone ?? this.#zone;
    return Registration.start(this.#etcd, this.#layout, { ...spec, zone }, options);
  }

  /**
   * Follows a service, and waits until there is a first list of its instances, which may be empty.
   *
   * @throws WaitTimeoutError when there is none within `timeoutMs` (default 10,000), the signal's reason when it fires (it
   * also closes the discovery later on), EtcdError when the store refuses.
   */
  async discover(name: string, options: DiscoverOptions<M> & WaitOptions = {}): Promise<Discovery<M>> {
    const { signal, timeoutMs = DISCOVER_MS } = options;
    signal?.throwIfAborted();
    const discovery = this.follow(name, options);
    try {
      await within(discovery.ready, this.#etcd.clock, timeoutMs, `a list of the instances of ${name}`);
      signal?.throwIfAborted();
      return discovery;
    } catch (error) {
      await discovery.close();
      signal?.throwIfAborted();
      throw error;
    }
  }

  /**
   * Follows a service, without waiting for a first list: see `ready`, `synced` and `changes()` of what it returns.
   *
   * @throws InvalidArgumentError for options that make no sense, RangeError for a balancer's.
   */
  follow(name: string, options: DiscoverOptions<M> = {}): Discovery<M> {
    const shared = this.#copies.get(name) ?? this.#begin(name);
    shared.users += 1;
    try {
      return new Discovery(this.#etcd, shared.copy, { ...options, zone: options.zone ?? this.#zone }, () =>
        this.#release(name, shared),
      );
    } catch (error) {
      void this.#release(name, shared);
      throw error;
    }
  }

  #begin(name: string): SharedCopy<M> {
    const copy = new ServiceCopy(this.#etcd, this.#layout, name, this.#settings);
    const shared = { copy, users: 0 };
    this.#copies.set(name, shared);
    const forget = (): void => this.#forget(name, shared);
    // One that is over is of no use to who comes next: the permission may be there by then.
    copy.listen({ changed: () => {}, ended: forget });
    return shared;
  }

  #forget(name: string, shared: SharedCopy<M>): void {
    if (this.#copies.get(name) === shared) this.#copies.delete(name);
  }

  async #release(name: string, shared: SharedCopy<M>): Promise<void> {
    shared.users -= 1;
    if (shared.users > 0) return;
    this.#forget(name, shared);
    await shared.copy.close();
  }

  /**
   * The names of all services of which an instance is registered, sorted. Reads the keys only.
   *
   * @throws InvalidArgumentError when the layout has no prefix, so that all keys of the store would count; EtcdError.
   */
  async names(options: WaitOptions = {}): Promise<string[]> {
    const names = new Set<string>();
    for await (const { key } of this.#etcd.scan(this.#all(), { ...options, keysOnly: true })) {
      const found = this.#layout.locate(key);
      if (found !== undefined) names.add(found.name);
    }
    return [...names].sort();
  }

  /**
   * All that is registered, at one revision.
   *
   * @throws as {@link ServiceRegistry.names}.
   */
  async list(options: WaitOptions = {}): Promise<RegisteredServices<M>> {
    const services = new Map<string, ServiceInstance<M>[]>();
    const badEntries: BadEntry[] = [];
    for await (const { key, valueBytes } of this.#etcd.scan(this.#all(), options)) {
      const decoded = this.#layout.decode(key, valueBytes);
      if (decoded.problem !== undefined) {
        badEntries.push({ key, problem: decoded.problem });
        continue;
      }
      const { instance } = decoded;
      const others = services.get(instance.name);
      if (others === undefined) services.set(instance.name, [instance]);
      else others.push(instance);
    }
    for (const instances of services.values()) instances.sort((a, b) => (a.id < b.id ? -1 : 1));
    return { services: new Map([...services].sort(([a], [b]) => (a < b ? -1 : 1))), badEntries };
  }

  #all(): { readonly prefix: string } {
    const { root } = this.#layout;
    if (root === '') throw new InvalidArgumentError('a registry without a prefix cannot tell services from other keys');
    return { prefix: root };
  }
}

/** Waits for a promise, for so long. @throws WaitTimeoutError */
function within(promise: Promise<void>, clock: Clock, timeoutMs: number, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeoutMs, () => reject(new WaitTimeoutError(what, timeoutMs)));
    void promise.then(resolve, reject).finally(() => timer.cancel());
  });
}

function layoutOf<M>(options: ServiceRegistryOptions<M>): ServiceLayout<M> {
  const { layout = 'json', prefix, metadata } = options;
  if (typeof layout === 'object') {
    if (prefix === undefined && metadata === undefined) return layout;
    throw new InvalidArgumentError('a layout of its own has its prefix and metadata already');
  }
  if (layout !== 'json' && layout !== 'go')
    throw new InvalidArgumentError(
      `layout: there is no "${String(layout)}"; it is 'json', 'go' or a layout of one's own`,
    );
  const make = layout === 'go' ? goLayout : jsonLayout;
  // Without a schema the metadata are what they are: M is what the program says it is.
  return metadata === undefined
    ? (make({ prefix }) as ServiceLayout<unknown> as ServiceLayout<M>)
    : make({ prefix, metadata });
}
