/**
 * One discovery of a service for many users in one process.
 *
 * Every gRPC channel and every HTTP dispatcher asks for services by name. They share what is known of a service, so that
 * what one of them learns (which instance is slow, which fails) counts for all, and the store is asked once.
 *
 * Whoever acquires a service releases it; with the last release its discovery is closed. A discovery that fails is
 * forgotten at once: who asks next begins a new one.
 *
 * @module
 */

import { type Clock, UnavailableError } from '../../src/index.ts';
import type { DiscoveredService } from './discovered.ts';

/** Where services are found by name; a `ServiceRegistry` is one. */
export interface ServiceSource {
  /** The discovery of a service, which need not have a list yet. */
  follow(name: string): DiscoveredService<unknown>;
}

/** A source, or what stands for its `follow`: `(name) => registry.follow(name, { balance: 'least-connections' })`. */
export type Discover =
  | ServiceSource
  | ((name: string) => DiscoveredService<unknown> | Promise<DiscoveredService<unknown>>);

/** What was acquired. */
export interface SharedDiscovery {
  /** The service as soon as it has a first list; rejects when it never will. Never an unhandled rejection. */
  readonly listed: Promise<DiscoveredService<unknown>>;
  /** Gives it back. The first call counts. `broken`: whoever asks next is to get a new one. */
  release(broken?: boolean): void;
}

interface Entry {
  users: number;
  readonly found: Promise<DiscoveredService<unknown>>;
  readonly listed: Promise<DiscoveredService<unknown>>;
}

/** The discoveries of one source that are in use. */
export class SharedDiscoveries {
  readonly #discover: (name: string) => DiscoveredService<unknown> | Promise<DiscoveredService<unknown>>;
  readonly #entries = new Map<string, Entry>();
  /** Discoveries that are being closed. */
  readonly #closing = new Set<Promise<void>>();

  constructor(source: Discover) {
    this.#discover = typeof source === 'function' ? source : (name) => source.follow(name);
  }

  /** Takes part in the discovery of a service, and begins it if nobody else has. */
  acquire(name: string): SharedDiscovery {
    const entry = this.#entries.get(name) ?? this.#begin(name);
    entry.users += 1;
    let released = false;
    const release = (broken = false): void => {
      if (released) return;
      released = true;
      if (broken) this.#forget(name, entry);
      entry.users -= 1;
      if (entry.users === 0) this.#end(name, entry);
    };
    return { listed: entry.listed, release };
  }

  /** Resolves when every discovery that was released is closed. */
  async closed(): Promise<void> {
    await Promise.all(this.#closing);
  }

  #begin(name: string): Entry {
    const found = (async () => this.#discover(name))();
    const listed = found.then(async (service) => {
      await service.ready;
      return service;
    });
    const entry: Entry = { users: 0, found, listed };
    this.#entries.set(name, entry);
    listed.catch(() => this.#forget(name, entry));
    return entry;
  }

  #forget(name: string, entry: Entry): void {
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
  }

  #end(name: string, entry: Entry): void {
    this.#forget(name, entry);
    const closing = entry.found
      .then((service) => service[Symbol.asyncDispose]())
      // What could not be found needs no closing, and nobody is left to be told.
      .catch(() => {})
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

/**
 * The service, when it has a list within the time; the discovery goes on all the same.
 *
 * @throws UnavailableError when the time is over: the store cannot be reached, or does not answer.
 */
export function listedWithin(
  shared: SharedDiscovery,
  name: string,
  clock: Clock,
  limitMs: number,
): Promise<DiscoveredService<unknown>> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(limitMs, () =>
      reject(new UnavailableError(`no list of the instances of ${name} within ${limitMs} ms`)),
    );
    shared.listed.then(resolve, reject).finally(() => timer.cancel());
  });
}
