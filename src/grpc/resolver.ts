/**
 * Resolves a service's name to its instances, and again with each change.
 *
 * A resolver belongs to one channel. It begins when the channel needs a name for the first time, ends when the channel is
 * closed or has been idle for long, and may begin again.
 *
 * - It never falls silent. When there is no list within the limit, or the discovery fails, the channel is told an error
 *   with which calls fail (or wait, if they are `waitForReady`), and it goes on trying; when the news end while the
 *   channel lives, it begins anew. Errors are told only while there has been no list: afterwards the last one holds.
 * - An empty list is a list. grpc-js' own policies would keep the connections of the last one, or let calls wait without
 *   end; so an empty list goes to the policy `etcdkit`, whatever the policy is otherwise.
 *
 * @module
 */

import type { DiscoveredService } from '../../recipes/services/discovered.ts';
import type { ServiceInstance } from '../../recipes/services/instance.ts';
import type { SharedDiscoveries, SharedDiscovery } from '../../recipes/services/shared-discoveries.ts';
import { type Clock, GrpcCode, UnavailableError } from '../index.ts';
import {
  type ChannelOptions,
  type Endpoint,
  type Grpc,
  type Resolver,
  type ResolverListener,
  SERVICE_KEY,
} from './grpc-js.ts';
import type { PolicyInput } from './picker.ts';
import { type InstanceEndpoint, POLICY_NAME } from './policy.ts';
import { ChannelConfig } from './service-config.ts';

/** One registration's services and settings. */
export interface Resolution {
  readonly discoveries: SharedDiscoveries;
  readonly clock: Clock;
  readonly resolveTimeoutMs: number;
  /** An entry of `loadBalancingConfig`. */
  readonly policy: Record<string, object>;
  readonly portName: string | undefined;
  readonly input: Omit<PolicyInput, 'service' | 'told'>;
}

const OURS = { [POLICY_NAME]: {} };

export class EtcdResolver implements Resolver {
  readonly #grpc: Grpc;
  readonly #resolution: Resolution;
  readonly #name: string;
  readonly #listener: ResolverListener;
  readonly #config: ChannelConfig;
  /** Ends what is under way; undefined while the channel needs nothing. */
  #run: AbortController | undefined;
  #backoff: InstanceType<Grpc['experimental']['BackoffTimeout']>;
  #retry: () => void = () => {};

  constructor(grpc: Grpc, resolution: Resolution, name: string, listener: ResolverListener, options: ChannelOptions) {
    this.#grpc = grpc;
    this.#resolution = resolution;
    this.#name = name;
    this.#listener = listener;
    this.#config = new ChannelConfig(options);
    // The channel's own pauses between connections hold between tries to resolve, too.
    this.#backoff = new grpc.experimental.BackoffTimeout(() => this.#retry(), {
      ...number('initialDelay', options['grpc.initial_reconnect_backoff_ms']),
      ...number('maxDelay', options['grpc.max_reconnect_backoff_ms']),
    });
    this.#backoff.unref();
  }

  /** Called for the first time, and whenever the channel would like news: they come by themselves. */
  updateResolution(): void {
    if (this.#run !== undefined) return;
    this.#run = new AbortController();
    void this.#follow(this.#run.signal);
  }

  destroy(): void {
    this.#run?.abort();
    this.#run = undefined;
    this.#backoff.stop();
    this.#backoff.reset();
    this.#retry();
  }

  /** Follows the service until the signal fires. Never rejects. */
  async #follow(signal: AbortSignal): Promise<void> {
    let hasList = false;
    for (;;) {
      const shared = this.#resolution.discoveries.acquire(this.#name);
      try {
        const service = await this.#listed(shared, signal, hasList);
        if (signal.aborted) return;
        hasList = true;
        this.#backoff.reset();
        await this.#tellChanges(service, signal);
      } catch (error) {
        if (!hasList && !signal.aborted) this.#fail(error);
      } finally {
        shared.release(!signal.aborted);
      }
      if (signal.aborted) return;
      await this.#pause();
      if (signal.aborted) return;
    }
  }

  /** The service with its first list. When that takes too long the channel is told, and the wait goes on. */
  async #listed(shared: SharedDiscovery, signal: AbortSignal, hasList: boolean): Promise<DiscoveredService<unknown>> {
    const { clock, resolveTimeoutMs } = this.#resolution;
    const late = (): void => {
      if (!hasList && !signal.aborted) this.#fail(new UnavailableError(`no answer within ${resolveTimeoutMs} ms`));
    };
    const timer = clock.after(resolveTimeoutMs, late, { background: true });
    let end = (): void => {};
    const destroyed = new Promise<never>((_, reject) => {
      end = () => reject(signal.reason);
      signal.addEventListener('abort', end, { once: true });
    });
    try {
      return await Promise.race([shared.listed, destroyed]);
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', end);
    }
  }

  /** Tells the channel the list, and again after each change, until the news end or the signal fires. */
  async #tellChanges(service: DiscoveredService<unknown>, signal: AbortSignal): Promise<void> {
    const changes = service.changes();
    const end = (): void => void changes.return?.();
    signal.addEventListener('abort', end, { once: true });
    try {
      // Asked for before the list is read, so that nothing happens in between unseen.
      let next = changes.next();
      let told: readonly ServiceInstance<unknown>[] | undefined;
      for (;;) {
        if (service.instances !== told) {
          told = service.instances;
          this.#tell(service, told);
        }
        const { done } = await next;
        if (done || signal.aborted) return;
        next = changes.next();
      }
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  #tell(service: DiscoveredService<unknown>, instances: readonly ServiceInstance<unknown>[]): void {
    const { policy, portName, input } = this.#resolution;
    const ours = !this.#config.namesPolicy && POLICY_NAME in policy;
    // Ours knows what weights are; the others have to be spared those that are to get nothing.
    const wanted = ours ? instances : instances.filter(({ weight }) => weight > 0);
    const endpoints = wanted.map((instance) => endpointOf(instance, portName));
    const config =
      endpoints.length === 0
        ? this.#config.withPolicy(OURS, false)
        : this.#config.withPolicy(policy, this.#config.namesPolicy);
    const { statusOrFromValue } = this.#grpc.experimental;
    const given: PolicyInput = { service, told: new Set(instances.map(({ id }) => id)), ...input };
    this.#listener(statusOrFromValue<Endpoint[]>(endpoints), { [SERVICE_KEY]: given }, statusOrFromValue(config), '');
  }

  #fail(error: unknown): void {
    const { statusOrFromError, statusOrFromValue } = this.#grpc.experimental;
    const text = error instanceof Error ? error.message : String(error);
    const status = { code: GrpcCode.UNAVAILABLE as number, details: `${this.#name} cannot be resolved: ${text}` };
    this.#listener(statusOrFromError(status), {}, statusOrFromValue(this.#config.withPolicy(OURS, false)), '');
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#retry = resolve;
      this.#backoff.runOnce();
    });
  }
}

function endpointOf(instance: ServiceInstance<unknown>, portName: string | undefined): InstanceEndpoint {
  const port = (portName === undefined ? undefined : instance.ports[portName]) ?? instance.port;
  return { addresses: [{ host: instance.address, port }], instance };
}

function number(name: 'initialDelay' | 'maxDelay', value: unknown): Partial<Record<typeof name, number>> {
  return typeof value === 'number' ? { [name]: value } : {};
}
