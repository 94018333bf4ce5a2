/**
 * Where a chosen member is reached.
 *
 * A member's own idea of its client URLs may mean nothing on this side of a NAT or a proxy,
 * so an endpoint of this client that has turned out to be that member comes first.
 *
 * @module
 */

import type { MemberId } from '../../protocol/int64.ts';
import type { Caller } from '../connection/caller.ts';
import type { EndpointAddress } from '../transport/transport.ts';

/** An endpoint in the form that `CallOptions.endpoint` reads without losing whether it is secure. */
export function endpointText({ kind, secure, target }: EndpointAddress): string {
  if (kind === 'unix') return `${secure ? 'unixs' : 'unix'}:${target}`;
  return `${secure ? 'https' : 'http'}://${target}`;
}

/** What must be known of a member to reach it. */
export interface Reachable {
  readonly id: MemberId;
  readonly clientUrls: readonly string[];
}

/** The endpoints to reach a member at, best first; none for a member that has not started yet. */
export function endpointsOf(caller: Caller, { id, clientUrls }: Reachable): string[] {
  const own = ownEndpoints(caller, id);
  return [...new Set([...own, ...clientUrls])];
}

function ownEndpoints(caller: Caller, id: MemberId): string[] {
  return caller.pool.members.filter(({ facts }) => facts.memberId === id).map(({ address }) => endpointText(address));
}

/** All endpoints of the client. */
export function clientEndpoints(caller: Caller): string[] {
  return caller.pool.members.map(({ address }) => endpointText(address));
}
