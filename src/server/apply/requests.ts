/**
 * Finds what applies a request.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import { AUTH_APPLIERS } from './auth-requests.ts';
import { CLUSTER_APPLIERS } from './cluster-requests.ts';
import { KV_APPLIERS } from './kv-requests.ts';
import { LEASE_APPLIERS } from './lease-requests.ts';
import type { Outcome } from './outcome.ts';
import type { Applier, Appliers, Occasion, Parts, RequestKind } from './parts.ts';

const APPLIERS: Appliers<RequestKind> = { ...KV_APPLIERS, ...LEASE_APPLIERS, ...AUTH_APPLIERS, ...CLUSTER_APPLIERS };

const KINDS = Object.keys(APPLIERS) as readonly RequestKind[];

/** The kinds of request that an entry holds: one, unless something is wrong. */
export function kindsOf(request: InternalRaftRequest): readonly RequestKind[] {
  return KINDS.filter((kind) => request[kind] !== undefined);
}

/** Applies a request that may be. */
export function applyRequest(
  parts: Parts,
  kind: RequestKind,
  request: InternalRaftRequest,
  occasion: Occasion,
): Outcome {
  // The table was typed when it was made.
  return (APPLIERS[kind] as Applier<RequestKind>)(parts, request[kind] as never, occasion);
}
