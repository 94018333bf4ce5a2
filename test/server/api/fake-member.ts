/**
 * A {@link MachineMember} for tests of one service: without the guard's own checks, and with a look at what was asked.
 * Watches that are behind read on when the test lets them, or in the turn after they were woken.
 */
import type { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import type { ApiOptions, Guard } from '../../../src/server/api/guard.ts';
import type { Access } from '../../../src/server/auth/access.ts';
import { authorize } from '../../../src/server/auth/rules.ts';
import { type Actor, type AuthStore, NOBODY } from '../../../src/server/auth/store.ts';
import type { Lessor } from '../../../src/server/lease/lessor.ts';
import type { Proposed, ProposeOptions } from '../../../src/server/member/serving.ts';
import type { KvStore } from '../../../src/server/mvcc/store.ts';
import type { CatchUpLimits, WatchHub } from '../../../src/server/mvcc/watch.ts';
import { RpcError } from '../../../src/server/refusals.ts';
import { bidi, type ServerCall, serverStream, unary } from '../../../src/server/rpc/call.ts';
import { MachineMember } from './machine-member.ts';

export const OPTIONS: ApiOptions = {
  maxTxnOps: 128,
  maxRequestBytes: 1_572_864,
  watchProgressMs: 600_000,
  random: () => 0.5,
};

/** See the head of this file. */
export class FakeMember extends MachineMember {
  /** What was asked of it, in order. */
  readonly asked: string[] = [];
  /** Runs while `linearize` waits. */
  whileWaiting: () => void = () => {};
  /** Runs before the answer to a renewal. */
  whileRenewing: () => void | Promise<void> = () => {};
  /** Whether waking lets watches read on. */
  wakes = true;

  get store(): KvStore {
    return this.state.store;
  }

  get watches(): WatchHub {
    return this.state.watches;
  }

  get lessor(): Lessor {
    return this.state.lessor;
  }

  get auth(): AuthStore {
    return this.state.auth;
  }

  get access(): Access {
    return this.state.access;
  }

  override propose(init: Init<InternalRaftRequest>, options?: ProposeOptions): Promise<Proposed> {
    this.asked.push(`propose ${Object.keys(init)[0]}`);
    return super.propose(init, options);
  }

  override async linearize(): Promise<void> {
    this.asked.push('linearize');
    await Promise.resolve();
    this.whileWaiting();
  }

  override async renewLease(id: bigint): Promise<number> {
    await this.whileRenewing();
    return super.renewLease(id);
  }

  async swept(): Promise<void> {
    this.asked.push('swept');
    while (this.state.sweep(1));
  }

  override wakeWatches(): void {
    this.asked.push('wake');
    if (this.wakes) super.wakeWatches();
  }

  catchUp(limits?: CatchUpLimits): void {
    while (this.watches.catchUp(limits));
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
