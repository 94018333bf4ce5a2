/**
 * Endpoints as people write them.
 *
 * @module
 */

import { isIPv6 } from 'node:net';
import { InvalidArgumentError } from '../errors.ts';
import type { EndpointAddress } from './transport.ts';

const DEFAULT_PORT = 2379;

/**
 * Reads `host`, `host:port`, `http://host:port`, `https://host:port`, `[::1]:2379`,
 * `unix:path` or `unixs:path` (`unix://path` too). The port defaults to 2379. Without a
 * scheme, `tls` says whether the connection is secure.
 *
 * @throws InvalidArgumentError when it is none of these.
 */
export function parseEndpoint(text: string, tls: boolean): EndpointAddress {
  const socket = /^(unixs?):(?:\/\/)?(.+)$/.exec(text);
  if (socket) {
    const [, scheme, path] = socket as unknown as [string, string, string];
    return {
      name: `${scheme}:${path}`,
      secure: scheme === 'unixs',
      target: path,
      kind: 'unix',
      serverName: 'localhost',
    };
  }
  const match = /^(?:(https?):\/\/)?(\[[^\]]+\]|[^:/?#@\s]+)(?::(\d{1,5}))?\/?$/.exec(text);
  if (match === null) {
    const several = text.includes(',') ? '; several are a list of such texts' : '';
    throw bad(text, `write host:port, http://host:port, https://host:port or unix:path${several}`);
  }
  const [, scheme, host = '', portText] = match;
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  if (port < 1 || port > 65535) throw bad(text, `port ${port} is not between 1 and 65535`);
  const bare = host.startsWith('[') ? host.slice(1, -1) : host;
  if (host.startsWith('[') && !isIPv6(bare)) throw bad(text, `${bare} is not an IPv6 address`);
  const target = `${host}:${port}`;
  return {
    name: target,
    secure: scheme === undefined ? tls : scheme === 'https',
    target,
    kind: 'tcp',
    serverName: bare,
  };
}

/** Two addresses are one member when they dial the same thing in the same way; so are their keys. */
export function addressKey({ secure, kind, target }: EndpointAddress): string {
  return `${secure ? 'tls' : 'plain'} ${kind} ${target}`;
}

/** Addresses without repetitions, in their order. */
export function uniqueAddresses(addresses: readonly EndpointAddress[]): EndpointAddress[] {
  const unique = new Map<string, EndpointAddress>();
  for (const address of addresses) {
    const key = addressKey(address);
    if (!unique.has(key)) unique.set(key, address);
  }
  return [...unique.values()];
}

function bad(text: string, why: string): InvalidArgumentError {
  // Userinfo in a URL is the one place where an endpoint could carry a secret.
  const shown = text.replace(/\/\/[^/@]*@/g, '//…@');
  return new InvalidArgumentError(`endpoint ${JSON.stringify(shown)}: ${why}`);
}
