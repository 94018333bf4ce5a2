/**
 * Following the cluster's member list.
 *
 * An advertised address is adopted only after a connection to it was made and its member
 * proved to belong to the cluster, and the endpoints that the user gave are never dropped:
 * behind NAT or in containers, what members advertise is often of no use here. An address
 * in clear text is never adopted next to endpoints that use TLS.
 *
 * @module
 */

import { Cluster } from '../../protocol/generated/etcdserverpb.ts';
import type { Timer } from '../../support/clock.ts';
import { detached } from '../../telemetry/api.ts';
import type { CallOptions } from '../call-options.ts';
import { EtcdError } from '../errors.ts';
import type { ResolvedOptions } from '../options.ts';
import { parseEndpoint, uniqueAddresses } from '../transport/address.ts';
import type { EndpointAddress } from '../transport/transport.ts';
import type { Caller } from './caller.ts';

export class AutoSync {
  readonly #caller: Caller;
  readonly #options: ResolvedOptions;
  #seeds: readonly EndpointAddress[];
  #timer: Timer | undefined;
  #closed = false;

  constructor(caller: Caller, options: ResolvedOptions) {
    this.#caller = caller;
    this.#options = options;
    this.#seeds = options.endpoints;
    const { autoSync } = options;
    // Not in the trace of whoever makes the client.
    if (autoSync !== undefined) detached(() => this.#schedule(autoSync.intervalMs));
  }

  /** The user named other endpoints. */
  setSeeds(seeds: readonly EndpointAddress[]): void {
    this.#seeds = seeds;
  }

  #schedule(intervalMs: number): void {
    if (this.#closed) return;
    // A tenth of jitter keeps clients that started together from asking together.
    const delayMs = intervalMs * (0.9 + 0.2 * this.#caller.random());
    const next = (): void => this.#schedule(intervalMs);
    this.#timer = this.#caller.clock.after(delayMs, () => void this.run({}).then(next, next), { background: true });
  }

  /** Asks for the members and adopts those that can be reached. */
  async run(options: CallOptions): Promise<void> {
    // From 3.5 on the list is linearizable when asked; before, every list is the member's own.
    const { members } = await this.#caller.unary(Cluster.memberList, { linearizable: true }, { kind: 'read' }, options);
    const advertised = members
      .filter(({ name, isLearner }) => name !== '' && !isLearner)
      .flatMap(({ clientURLs }) => clientURLs);
    const candidates = advertised.flatMap((url) => this.#address(url));
    const reachable = await Promise.all(candidates.map((address) => this.#tryOut(address, options)));
    if (this.#closed) return;
    this.#caller.pool.setEndpoints(uniqueAddresses([...this.#seeds, ...reachable.flatMap((address) => address ?? [])]));
  }

  #address(url: string): EndpointAddress[] {
    const { autoSync } = this.#options;
    const mapped = autoSync === undefined ? url : autoSync.mapAddress(url);
    if (mapped === undefined) return [];
    try {
      const address = parseEndpoint(mapped, this.#options.secureByDefault);
      const downgrade = !address.secure && this.#seeds.some((seed) => seed.secure);
      return downgrade ? [] : [address];
    } catch {
      return []; // an address that cannot be dialled, such as one for a listener of another kind
    }
  }

  async #tryOut(address: EndpointAddress, options: CallOptions): Promise<EndpointAddress | undefined> {
    const { clock, pool } = this.#caller;
    const timeoutMs = this.#options.connectTimeoutMs;
    try {
      await pool.at(address, { deadlineAt: clock.now() + timeoutMs, timeoutMs, signal: options.signal });
      return address;
    } catch (error) {
      pool.forget(address);
      if (error instanceof EtcdError && error.code === 'aborted') throw error;
      return undefined;
    }
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }
}
