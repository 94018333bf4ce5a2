/**
 * The services that requests have gone to, each discovered with the first and followed until all is closed.
 *
 * @module
 */

import type { DiscoveredService } from '../../recipes/services/discovered.ts';
import {
  type Discover,
  listedWithin,
  SharedDiscoveries,
  type SharedDiscovery,
} from '../../recipes/services/shared-discoveries.ts';
import { type Clock, ClosedError } from '../index.ts';

export class Services {
  readonly #discoveries: SharedDiscoveries;
  readonly #clock: Clock;
  readonly #readyTimeoutMs: number;
  readonly #shared = new Map<string, SharedDiscovery>();
  readonly #listed = new Map<string, DiscoveredService<unknown>>();
  #closed = false;

  constructor(discover: Discover, clock: Clock, readyTimeoutMs: number) {
    this.#discoveries = new SharedDiscoveries(discover);
    this.#clock = clock;
    this.#readyTimeoutMs = readyTimeoutMs;
  }

  /** The service, if it has a list. */
  known(name: string): DiscoveredService<unknown> | undefined {
    return this.#listed.get(name);
  }

  /**
   * The service as soon as it has a list.
   *
   * @throws UnavailableError when there is none in time; ClosedError; what the discovery fails with.
   */
  async listed(name: string): Promise<DiscoveredService<unknown>> {
    if (this.#closed) throw new ClosedError('the dispatcher or agent');
    const service = await listedWithin(this.#acquire(name), name, this.#clock, this.#readyTimeoutMs);
    if (!this.#closed) this.#listed.set(name, service);
    return service;
  }

  #acquire(name: string): SharedDiscovery {
    const known = this.#shared.get(name);
    if (known !== undefined) return known;
    const shared = this.#discoveries.acquire(name);
    this.#shared.set(name, shared);
    // Whoever asks next begins anew.
    shared.listed.catch(() => {
      shared.release();
      if (this.#shared.get(name) === shared) this.#shared.delete(name);
    });
    return shared;
  }

  /** Closes all discoveries. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const shared of this.#shared.values()) shared.release();
    this.#shared.clear();
    this.#listed.clear();
    await this.#discoveries.closed();
  }
}
