/**
 * The guard before every method.
 *
 * In etcd's order: can this member serve it at all (a learner serves little), is there a leader if the caller wants one,
 * who asks, and may they. Of a stream that the client writes to, each message is checked as it comes.
 *
 * A stream that asked for a leader is cut when there has been none for long: its handler's `signal` fires and its
 * `requests` end, so that it cleans up as for a client that went away, and the call ends with `no leader`.
 *
 * @module
 */
import { KV, Maintenance, type RangeRequest } from '../../protocol/generated/etcdserverpb.ts';
import type { MethodDescriptor } from '../../protocol/wire.ts';
import { deferred, onAbort } from '../../support/signals.ts';
import { authorize, isOpen } from '../auth/rules.ts';
import { type Actor, NOBODY } from '../auth/store.ts';
import type { ServingMember } from '../member/serving.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import { bidi, type Method, type Reply, type ServerCall, serverStream, unary } from '../rpc/call.ts';
import type { Guard, GuardedBidi, GuardedServerStream, GuardedUnary } from './guard.ts';
import type { Identities } from './identity.ts';
import { LeaderWatch } from './leadership.ts';

export interface MemberGuardOptions {
  readonly identities: Identities;
  /** The least time between two elections, in ms. */
  readonly electionTimeoutMs: number;
}

export class MemberGuard implements Guard {
  readonly #member: ServingMember;
  readonly #identities: Identities;
  readonly #leaders: LeaderWatch;

  constructor(member: ServingMember, { identities, electionTimeoutMs }: MemberGuardOptions) {
    this.#member = member;
    this.#identities = identities;
    this.#leaders = new LeaderWatch(member, electionTimeoutMs);
  }

  unary<I, O>(descriptor: MethodDescriptor<I, O>, handle: GuardedUnary<I, O>): Method {
    const checked = async (request: I, call: ServerCall): Promise<Reply<O>> =>
      handle(request, call, await this.#admit(request, call));
    return unary(descriptor, (request, call) => {
      const refusal = this.#refusal(call, request);
      if (refusal) return Promise.reject(new RpcError(refusal));
      // Without authentication everything passes, and calls should not pay for what they don't need.
      return this.#member.state.auth.enabled ? checked(request, call) : handle(request, call, NOBODY);
    });
  }

  serverStream<I, O>(descriptor: MethodDescriptor<I, O>, handle: GuardedServerStream<I, O>): Method {
    return serverStream(descriptor, async (request, call, out) => {
      this.#checkMember(call, request);
      const actor = await this.#admit(request, call);
      await this.#led(call, (led) => handle(request, led, out, actor));
    });
  }

  bidi<I, O>(descriptor: MethodDescriptor<I, O>, handle: GuardedBidi<I, O>): Method {
    return bidi(descriptor, async (requests, call, out) => {
      this.#checkMember(call);
      const check = (request: I): Promise<Actor> => this.#admit(request, call);
      await this.#led(call, (led) => handle(led === call ? requests : until(requests, led.signal), led, out, check));
    });
  }

  #checkMember(call: ServerCall, request?: unknown): void {
    const refusal = this.#refusal(call, request);
    if (refusal) throw new RpcError(refusal);
  }

  /** Why this member can't serve a call, if it can't. */
  #refusal(call: ServerCall, request: unknown): Refusal | undefined {
    const { isLearner, leader } = this.#member.position;
    if (isLearner && !servedByLearners(call.path, request)) return Refusals.NotSupportedForLearner;
    return leader === 0n && wantsLeader(call) ? Refusals.NoLeader : undefined;
  }

  async #admit(request: unknown, call: ServerCall): Promise<Actor> {
    // Whoever logs in again may well bring a token that is not good any more.
    if (isOpen(call.path)) return NOBODY;
    const actor = await this.#identities.of(call);
    const error = authorize(this.#member.state.access, call.path, request, actor);
    if (error) throw new RpcError(error);
    return actor;
  }

  /** Runs a stream, and cuts it if it wants a leader and there is none for long. */
  async #led(call: ServerCall, run: (call: ServerCall) => Promise<void>): Promise<void> {
    if (!wantsLeader(call)) return run(call);
    const cut = new AbortController();
    const lost = deferred<never>();
    const offAbort = onAbort(call.signal, () => cut.abort());
    const offWatch = this.#leaders.guard(() => {
      lost.reject(new RpcError(Refusals.NoLeader));
      cut.abort();
    });
    const { path, metadata, commonName, via, span } = call;
    try {
      await Promise.race([run({ path, metadata, commonName, via, span, signal: cut.signal }), lost.promise]);
    } finally {
      offWatch();
      offAbort();
    }
  }
}

function wantsLeader({ metadata }: ServerCall): boolean {
  return metadata.get('hasleader') === 'true';
}

/** What a member without a vote serves: how it is, what it has, and an image of it. */
function servedByLearners(path: string, request: unknown): boolean {
  if (path === Maintenance.status.path || path === Maintenance.snapshot.path) return true;
  return path === KV.range.path && (request as RangeRequest).serializable;
}

/** Requests, until a signal fires. */
async function* until<T>(requests: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const iterator = requests[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await nextUnless(iterator, signal);
      if (!next || next.done) return;
      yield next.value;
    }
  } finally {
    // Not awaited: a generator that waits for a message would not answer before there is one.
    void iterator.return?.().catch(() => {});
  }
}

async function nextUnless<T>(iterator: AsyncIterator<T>, signal: AbortSignal): Promise<IteratorResult<T> | undefined> {
  const aborted = deferred<undefined>();
  const off = onAbort(signal, () => aborted.resolve(undefined));
  try {
    return await Promise.race([iterator.next(), aborted.promise]);
  } finally {
    off();
  }
}
