/**
 * Services by name for HTTP: a dispatcher for undici and `fetch`, and an agent for `node:http`.
 *
 * ```ts
 * import { fetch } from 'undici';
 * const dispatcher = serviceDispatcher(new ServiceRegistry(etcd));
 * const answer = await fetch('http://orders/17', { dispatcher });
 * ```
 *
 * Each request goes to an instance that is up, chosen by the discovery's own balancer, which is told how it ended; one that
 * fails goes to another instance where that is safe. It works as well with `undici.request`, with
 * `undici.setGlobalDispatcher`, and with the `fetch` of Node.js itself.
 *
 * undici is a peer: the program's own, version 7.
 *
 * @module
 */

import type { Agent } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Discover } from '../../recipes/services/shared-discoveries.ts';
import { type Clock, InvalidArgumentError, systemClock } from '../index.ts';
import { ServiceDispatcher } from './dispatcher.ts';
import { ServiceAgent } from './http-agent.ts';
import { type RetryOptions, retrySettings } from './retry.ts';
import { Routes, type ServiceHosts } from './routing.ts';
import { Services } from './services.ts';

export type { Discover, ServiceSource } from '../../recipes/services/shared-discoveries.ts';
export type { ServiceDispatcher } from './dispatcher.ts';
export type { RetryOptions } from './retry.ts';
export type { ServiceHosts } from './routing.ts';

/** How requests find their service. */
export interface ServiceDispatcherOptions {
  /**
   * Which hosts are services: a list of names, or a function from the host name (in lower case) to the service's name.
   * Default: each host name of a single label, as in `http://orders/`, but `localhost`, and only without a port.
   */
  readonly services?: ServiceHosts | undefined;
  /** When a request that has failed is sent to another instance. */
  readonly retry?: RetryOptions | undefined;
  /** Which of an instance's `ports` speaks HTTP. Default, and for instances without it: the main port. */
  readonly portName?: string | undefined;
  /** The request header whose value is the hash key, for a discovery that balances by `consistent-hash`. Default none. */
  readonly hashHeader?: string | undefined;
  /**
   * What the `Host` header says, and which name a certificate has to have with https: the service's, as in the URL, or
   * the instance's address. A `Host` that the request has already stays. Default `service`.
   */
  readonly hostHeader?: 'service' | 'instance' | undefined;
  /** Which status codes say that the instance has failed. Default: 500 and above. */
  readonly isFailure?: ((statusCode: number) => boolean) | undefined;
  /** How long requests wait for a service's first list, in milliseconds, before they fail. Default 5,000. */
  readonly readyTimeoutMs?: number | undefined;
  /** Does the sending: undici's Agent with settings of its own. It stays open when this one is closed. Default an own Agent. */
  readonly dispatcher?: Dispatcher | undefined;
  /** Where time comes from. Default: the machine's. */
  readonly clock?: Clock | undefined;
}

/**
 * Makes a dispatcher that sends requests for services to their instances, and all others where they say.
 *
 * Requests fail with `NoInstanceError` when nobody takes requests, and with UnavailableError when there is no list in
 * time; from `fetch` they are the `cause` of its TypeError.
 *
 * @param discover a `ServiceRegistry`, or a function that gives the discovery of a service, with options of its own. What
 * it gives is closed with the dispatcher.
 * @throws InvalidArgumentError when an option is wrong.
 */
export function serviceDispatcher(discover: Discover, options: ServiceDispatcherOptions = {}): ServiceDispatcher {
  const { hostHeader = 'service', isFailure = (statusCode) => statusCode >= 500 } = options;
  return new ServiceDispatcher({
    services: servicesOf(discover, options),
    routes: new Routes(options.services),
    request: {
      retry: retrySettings(options.retry),
      portName: options.portName,
      hashHeader: options.hashHeader?.toLowerCase(),
      hostHeader,
      isFailure,
    },
    inner: options.dispatcher,
  });
}

/** How an `http.Agent` finds services. */
export interface ServiceAgentOptions
  extends Pick<ServiceDispatcherOptions, 'services' | 'portName' | 'readyTimeoutMs' | 'clock'> {
  /** How long a connection may take to be established before another instance is tried, in ms. Default 10,000. */
  readonly connectTimeoutMs?: number | undefined;
}

/**
 * Makes an agent for `node:http` and what is built on it: `http.get('http://orders/17', { agent })`.
 *
 * Each request has a connection of its own to an instance that is picked for it; when it cannot be established, another
 * instance is tried. What the discovery is told is how the connection ended: an agent sees no status codes. Where that
 * matters, and for https, retries and connections that are kept, take {@link serviceDispatcher}.
 *
 * @param discover as for {@link serviceDispatcher}; what it gives is closed with `agent.destroy()`.
 * @throws InvalidArgumentError when an option is wrong.
 */
export function serviceAgent(discover: Discover, options: ServiceAgentOptions = {}): Agent {
  const { connectTimeoutMs = 10_000, portName, clock = systemClock } = options;
  if (!(connectTimeoutMs > 0)) throw new InvalidArgumentError(`connectTimeoutMs ${connectTimeoutMs} is not positive`);
  const services = servicesOf(discover, options);
  return new ServiceAgent({ services, routes: new Routes(options.services), portName, connectTimeoutMs, clock });
}

function servicesOf(discover: Discover, options: Pick<ServiceDispatcherOptions, 'readyTimeoutMs' | 'clock'>): Services {
  const { readyTimeoutMs = 5_000, clock = systemClock } = options;
  if (!(readyTimeoutMs > 0)) throw new InvalidArgumentError(`readyTimeoutMs ${readyTimeoutMs} is not positive`);
  return new Services(discover, clock, readyTimeoutMs);
}
