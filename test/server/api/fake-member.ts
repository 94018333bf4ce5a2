/**
 * A member whose log is a function call: what is proposed is applied at once, to the real store, hub, lessor and users.
 * Time is a virtual clock's. Watches that are behind read on when the test lets them, or in the turn after they were
 * woken.
 */
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import { fromLatin1 } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import type { ApiOptions, Guard } from '../../../src/server/api/guard.ts';
import type { Result } from '../../../src/server/apply/outcome.ts';
import type { AppliedState } from '../../../src/server/apply/state.ts';
import { Access } from '../../../src/server/auth/access.ts';
import { authorize } from '../../../src/server/auth/rules.ts';
import { type Actor, AuthStore, NOBODY } from '../../../src/server/auth/store.ts';
import { type LeaseError, Lessor } from '../../../src/server/lease/lessor.ts';
import type { Proposed, ProposeOptions, ServingMember } from '../../../src/server/member/serving.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { type ApplyError, applyDelete, applyPut, applyTxn } from '../../../src/server/mvcc/txn.ts';
import { type CatchUpLimits, WatchHub } from '../../../src/server/mvcc/watch.ts';
import { type Refusal, Refusals, RpcError } from '../../../src/server/refusals.ts';
import { bidi, type ServerCall, serverStream, unary } from '../../../src/server/rpc/call.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

export const OPTIONS: ApiOptions = {
  maxTxnOps: 128,
  maxRequestBytes: 1_572_864,
  watchProgressMs: 600_000,
  random: () => 0.5,
};

const REFUSALS: Readonly<Record<ApplyError | LeaseError, Refusal>> = {
  compacted: Refusals.Compacted,
  future: Refusals.FutureRevision,
  'key-not-found': Refusals.KeyNotFound,
  'lease-not-found': Refusals.LeaseNotFound,
  'lease-exists': Refusals.LeaseExists,
  'ttl-too-large': Refusals.LeaseTtlTooLarge,
  'not-primary': Refusals.NotPrimaryLessor,
  expired: Refusals.LeaseNotFound,
};

function or<T extends object>(value: T | ApplyError | LeaseError): T {
  if (typeof value === 'string') throw new RpcError(REFUSALS[value]);
  return value;
}

/** See the head of this file. */
export class FakeMember {
  readonly clock = new VirtualClock();
  readonly lessor = new Lessor({ minTtlSeconds: 2 });
  readonly store = new KvStore(this.lessor);
  readonly watches = new WatchHub(this.store);
  readonly auth = new AuthStore();
  readonly access = new Access(this.auth, this.lessor);
  readonly id = 0xf000_0000_0000_0001n;
  readonly clusterId = 0xc000_0000_0000_0002n;
  term = 3;
  /** What was asked of it, in order. */
  readonly asked: string[] = [];
  /** Runs while `linearize` waits. */
  whileWaiting: () => void = () => {};
  /** Runs before the answer to a renewal. */
  whileRenewing: () => void | Promise<void> = () => {};
  /** Whether waking lets watches read on. */
  wakes = true;

  constructor() {
    this.lessor.promote(this.clock.now(), 0);
  }

  get state(): AppliedState {
    const { store, watches, lessor, auth, access, term } = this;
    return { store, watches, lessor, auth, access, term } as unknown as AppliedState;
  }

  /** As services see it. */
  get serving(): ServingMember {
    return this as unknown as ServingMember;
  }

  now(): number {
    return this.clock.now();
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = this.clock.after(delayMs, callback);
    return () => timer.cancel();
  }

  async propose(init: Init<InternalRaftRequest>, _options?: ProposeOptions): Promise<Proposed> {
    const request = InternalRaftRequest.decode(new Uint8Array(InternalRaftRequest.encode(init)));
    this.asked.push(`propose ${Object.keys(init)[0]}`);
    await Promise.resolve();
    const result = this.#apply(request);
    return { result, index: 1, term: this.term, revision: this.store.revision };
  }

  async linearize(): Promise<void> {
    this.asked.push('linearize');
    await Promise.resolve();
    this.whileWaiting();
  }

  async renewLease(id: bigint): Promise<number> {
    await this.whileRenewing();
    const renewed = this.lessor.renew(id, this.now());
    return typeof renewed === 'string' ? 0 : renewed.ttlSeconds;
  }

  async timeToLive(id: bigint) {
    const left = this.lessor.timeToLive(id, this.now());
    if (typeof left === 'string') return { remainingSeconds: -1, grantedSeconds: 0, keys: [] };
    return { ...left, keys: Array.from(this.lessor.keysOf(id), fromLatin1) };
  }

  async swept(): Promise<void> {
    this.asked.push('swept');
    while (this.store.sweep(1));
  }

  wakeWatches(): void {
    this.asked.push('wake');
    if (this.wakes) void Promise.resolve().then(() => this.catchUp());
  }

  catchUp(limits?: CatchUpLimits): void {
    while (this.watches.catchUp(limits));
  }

  #apply(request: InternalRaftRequest): Result {
    const { put, deleteRange, txn, compaction, leaseGrant, leaseRevoke } = request;
    const leases = (lease: bigint): boolean => this.lessor.has(lease);
    if (put) return this.#publish(or(applyPut(this.store, leases, put)));
    if (deleteRange) return this.#publish(applyDelete(this.store, deleteRange));
    if (txn) return this.#publish(or(applyTxn(this.store, leases, txn)));
    if (compaction) {
      const error = this.store.compact(Number(compaction.revision));
      if (error) throw new RpcError(REFUSALS[error]);
      return { type: 'compact' };
    }
    if (leaseGrant) return { type: 'lease-grant', ...or(this.lessor.grant(leaseGrant.ID, leaseGrant.TTL, this.now())) };
    if (!leaseRevoke) throw new TypeError('nothing to apply');
    const keys = or(this.lessor.revoke(leaseRevoke.ID));
    const write = this.store.write();
    for (const key of keys) write.deleteRange({ key, end: '' });
    this.watches.publish(write.end());
    return { type: 'lease-revoke' };
  }

  #publish<R>({ result, records }: { readonly result: R; readonly records: readonly KvRecord[] }): R {
    this.watches.publish(records);
    return result;
  }
}

/** Takes the user from the metadata, and checks as the real one does. */
export class FakeGuard implements Guard {
  readonly #member: FakeMember;

  constructor(member: FakeMember) {
    this.#member = member;
  }

  unary: Guard['unary'] = (descriptor, handle) =>
    unary(descriptor, async (request, call) => handle(request, call, this.#admit(request, call)));

  serverStream: Guard['serverStream'] = (descriptor, handle) =>
    serverStream(descriptor, async (request, call, out) => handle(request, call, out, this.#admit(request, call)));

  bidi: Guard['bidi'] = (descriptor, handle) =>
    bidi(descriptor, (requests, call, out) =>
      handle(requests, call, out, async (request) => this.#admit(request, call)),
    );

  #admit(request: unknown, call: ServerCall): Actor {
    const name = call.metadata.get('user');
    const actor = name === undefined ? NOBODY : this.#member.auth.actor(name);
    const error = authorize(this.#member.access, call.path, request, actor);
    if (error) throw new RpcError(error);
    return actor;
  }
}
