/**
 * Which requests go to a service, and what of them is rewritten.
 *
 * The origin becomes the instance's; scheme and path stay. The `Host` header keeps the name that the program asked for, as
 * RFC 9110 §7.2 has it (the authority of the target URI, not of the next hop), so that virtual hosts, logs, and with https
 * the name in the certificate, are the service's and not those of one of its instances.
 *
 * @module
 */

import { isIP } from 'node:net';
import type { Dispatcher } from 'undici';
import type { ServiceInstance } from '../../recipes/services/instance.ts';

/** Which hosts are services: their names, or a function from the host (as in a URL, in lower case) to the name. */
export type ServiceHosts = readonly string[] | ((hostname: string) => string | undefined);

/** Where requests of an origin go. */
export interface Route {
  /** The service's name. */
  readonly service: string;
  /** `http:` or `https:`. */
  readonly protocol: string;
  /** Host and port as the program wrote them. */
  readonly host: string;
}

/** Origins that are remembered, so that they are taken apart once. A program that talks to more of them starts anew. */
const MAX_ORIGINS = 1_000;

export class Routes {
  readonly #hosts: ServiceHosts | undefined;
  readonly #byOrigin = new Map<string, Route | undefined>();

  constructor(hosts: ServiceHosts | undefined) {
    this.#hosts = hosts;
  }

  /** The route of requests to this origin; undefined when it is no service's. */
  of(origin: string | URL | undefined): Route | undefined {
    const text = String(origin);
    if (this.#byOrigin.has(text)) return this.#byOrigin.get(text);
    const route = this.#make(text);
    if (this.#byOrigin.size >= MAX_ORIGINS) this.#byOrigin.clear();
    this.#byOrigin.set(text, route);
    return route;
  }

  #make(origin: string): Route | undefined {
    if (!URL.canParse(origin)) return undefined;
    const { protocol, hostname, host, port } = new URL(origin);
    if (protocol !== 'http:' && protocol !== 'https:') return undefined;
    const service = this.#serviceOf(hostname, port);
    return service === undefined ? undefined : { service, protocol, host };
  }

  #serviceOf(hostname: string, port: string): string | undefined {
    const hosts = this.#hosts;
    if (typeof hosts === 'function') return hosts(hostname);
    if (hosts !== undefined) return hosts.find((name) => name.toLowerCase() === hostname);
    const isName = !hostname.includes('.') && hostname !== 'localhost' && isIP(hostname.replace(/^\[|\]$/g, '')) === 0;
    return isName && port === '' ? hostname : undefined;
  }
}

/** The port that speaks HTTP: the one with the name, or the main one. */
export function portOf(instance: ServiceInstance<unknown>, portName: string | undefined): number {
  return (portName === undefined ? undefined : instance.ports[portName]) ?? instance.port;
}

type Headers = Dispatcher.DispatchOptions['headers'];
type HeaderPair = readonly [string, string | readonly string[] | undefined];

/** The headers as pairs; undici takes an object, a flat list, or an iterable of pairs. */
function pairsOf(headers: Headers): HeaderPair[] {
  if (headers === undefined || headers === null) return [];
  if (Array.isArray(headers)) {
    const flat = headers as readonly string[];
    return flat.flatMap((name, index): HeaderPair[] => (index % 2 === 0 ? [[name, flat[index + 1]]] : []));
  }
  if (Symbol.iterator in headers) return [...(headers as Iterable<HeaderPair>)];
  return Object.entries(headers as Record<string, string | string[] | undefined>);
}

/** The first value of a header. @param name in lower case. */
export function headerOf(headers: Headers, name: string): string | undefined {
  const found = pairsOf(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return typeof found === 'string' || found === undefined ? found : found[0];
}

/** The headers with a `Host`, unless they have one. */
export function withHost(headers: Headers, host: string): Headers {
  const pairs = pairsOf(headers);
  if (pairs.some(([name]) => name.toLowerCase() === 'host')) return headers;
  // A flat list: the one form in which undici takes several values of a name, in their order.
  return [...pairs, ['host', host]].flat(1) as string[];
}
