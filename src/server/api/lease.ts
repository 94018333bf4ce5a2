/**
 * The service Lease.
 *
 * That there is no such lease is an error to who ends it, and an answer to who renews it (a TTL of 0) or asks for it
 * (-1): clients go by these.
 *
 * Source: etcd's API reference (`Lease`), and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import {
  Lease,
  type LeaseGrantRequest,
  type LeaseGrantResponse,
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
  type LeaseLeasesRequest,
  type LeaseLeasesResponse,
  type LeaseRevokeRequest,
  type LeaseRevokeResponse,
  type LeaseTimeToLiveRequest,
  type LeaseTimeToLiveResponse,
} from '../../protocol/generated/etcdserverpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Actor } from '../auth/store.ts';
import type { ServingMember } from '../member/serving.ts';
import type { Method, Outlet, ServerCall } from '../rpc/call.ts';
import type { ApiOptions, Guard } from './guard.ts';
import { headerAfter, headerOf } from './header.ts';
import { freeLeaseId } from './lease-id.ts';

/** The methods of `etcdserverpb.Lease`. */
export function leaseMethods(member: ServingMember, guard: Guard, options: ApiOptions): readonly Method[] {
  const service = new LeaseService(member, options);
  return [
    guard.unary(Lease.leaseGrant, service.grant),
    guard.unary(Lease.leaseRevoke, service.revoke),
    guard.bidi(Lease.leaseKeepAlive, service.keepAlive),
    guard.unary(Lease.leaseTimeToLive, service.timeToLive),
    guard.unary(Lease.leaseLeases, service.leases),
  ];
}

class LeaseService {
  readonly #member: ServingMember;
  readonly #random: () => number;

  constructor(member: ServingMember, { random }: ApiOptions) {
    this.#member = member;
    this.#random = random;
  }

  readonly grant = async (
    { ID, TTL }: LeaseGrantRequest,
    { signal, span }: ServerCall,
    actor: Actor,
  ): Promise<Init<LeaseGrantResponse>> => {
    const leaseGrant = { ID: ID === 0n ? freeLeaseId(this.#member, this.#random) : ID, TTL };
    const done = await this.#member.propose({ leaseGrant }, { actor, signal, span });
    const { result } = done;
    if (result.type !== 'lease-grant') throw new TypeError(`a lease was to be granted, and a ${result.type} applied`);
    return { header: headerAfter(this.#member, done), ID: result.id, TTL: BigInt(result.ttlSeconds) };
  };

  readonly revoke = async (
    { ID }: LeaseRevokeRequest,
    { signal, span }: ServerCall,
    actor: Actor,
  ): Promise<Init<LeaseRevokeResponse>> => {
    const done = await this.#member.propose({ leaseRevoke: { ID } }, { actor, signal, span });
    return { header: headerAfter(this.#member, done) };
  };

  /** One renewal after the other, in the order of the requests. Ends with them. */
  readonly keepAlive = async (
    requests: AsyncIterable<LeaseKeepAliveRequest>,
    { signal }: ServerCall,
    out: Outlet<LeaseKeepAliveResponse>,
    check: (request: LeaseKeepAliveRequest) => Promise<Actor>,
  ): Promise<void> => {
    for await (const request of requests) {
      await check(request);
      const { ID } = request;
      // Before the renewal: nothing that happened after it may seem older than it.
      const header = headerOf(this.#member);
      const ttlSeconds = await this.#member.renewLease(ID, signal);
      if (!out.send({ header, ID, TTL: BigInt(ttlSeconds) })) await out.drained();
    }
  };

  readonly timeToLive = async (
    { ID, keys: keysWanted }: LeaseTimeToLiveRequest,
    { signal }: ServerCall,
  ): Promise<Init<LeaseTimeToLiveResponse>> => {
    const { remainingSeconds, grantedSeconds, keys } = await this.#member.timeToLive(ID, signal);
    return {
      header: headerOf(this.#member),
      ID,
      TTL: BigInt(remainingSeconds),
      grantedTTL: BigInt(grantedSeconds),
      keys: keysWanted ? keys : [],
    };
  };

  readonly leases = async (_: LeaseLeasesRequest): Promise<Init<LeaseLeasesResponse>> => {
    const leases = this.#member.state.lessor.list().map((ID) => ({ ID }));
    return { header: headerOf(this.#member), leases };
  };
}
