/**
 * Keys and leases from inside the server, in the name of a caller: what the services Lock and Election are made of.
 *
 * Each call checks what its caller may do, as if it had come in by itself, and asks anew who that is: a call may wait
 * for hours. What the server does to clean up behind a caller, it does in its own name.
 *
 * @module
 */
import { RangeRequest, TxnRequest } from '../../protocol/generated/etcdserverpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { ServingMember } from '../member/serving.ts';
import { query } from '../mvcc/query.ts';
import type { KvRecord } from '../mvcc/record.ts';
import type { OpResult } from '../mvcc/txn.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { ServerCall } from '../rpc/call.ts';
import type { Identities } from './identity.ts';
import { refuse } from './kv-check.ts';

/** What a transaction came to. */
export interface LocalTxn {
  readonly succeeded: boolean;
  readonly results: readonly OpResult[];
  /** Of the store right after it. */
  readonly revision: number;
}

/** One caller's view. All reject with `RpcError`. */
export class LocalKv {
  /** Fires when the caller is gone. */
  readonly signal: AbortSignal;
  readonly #member: ServingMember;
  readonly #identities: Identities;
  readonly #call: ServerCall;

  constructor(member: ServingMember, identities: Identities, call: ServerCall) {
    this.#member = member;
    this.#identities = identities;
    this.#call = call;
    this.signal = call.signal;
  }

  /**
   * Runs a transaction.
   *
   * @param signal Ends the waiting. Without it, whether it was done is known in the end also if the caller is gone.
   */
  async txn(init: Init<TxnRequest>, signal?: AbortSignal): Promise<LocalTxn> {
    const txn = TxnRequest.decode(TxnRequest.encode(init));
    const actor = await this.#identities.of(this.#call);
    refuse(this.#member.state.access.txn(txn, actor));
    const { result, revision } = await this.#member.propose({ txn }, { actor, signal, span: this.#call.span });
    if (result.type !== 'txn') throw new TypeError(`a transaction came to ${result.type}`);
    return { succeeded: result.succeeded, results: result.results, revision };
  }

  /** Reads the newest there is. */
  async range(init: Init<RangeRequest>): Promise<{ readonly records: readonly KvRecord[]; readonly revision: number }> {
    const request = RangeRequest.decode(RangeRequest.encode(init));
    await this.#member.linearize(this.signal);
    const actor = await this.#identities.of(this.#call);
    const { access, store } = this.#member.state;
    refuse(access.range(request, actor));
    const found = query(store, request);
    if (typeof found === 'string') throw new TypeError('the present is never compacted');
    return { records: found.records, revision: store.revision };
  }

  /** Deletes one key, there or not. @returns The revision after it. */
  async delete(key: Uint8Array): Promise<number> {
    const request = { key, rangeEnd: new Uint8Array(), prevKv: false };
    const actor = await this.#identities.of(this.#call);
    refuse(this.#member.state.access.deleteRange(request, actor));
    const { signal } = this;
    const options = { actor, signal, span: this.#call.span };
    const { revision } = await this.#member.propose({ deleteRange: request }, options);
    return revision;
  }

  /** Makes a lease. */
  async grant(id: bigint, ttlSeconds: number): Promise<void> {
    const actor = await this.#identities.of(this.#call);
    refuse(this.#member.state.access.user(undefined, actor));
    const leaseGrant = { ID: id, TTL: BigInt(ttlSeconds) };
    await this.#member.propose({ leaseGrant }, { actor, span: this.#call.span });
  }

  /** @throws RpcError `Canceled`, if the caller is gone. */
  throwIfAborted(): void {
    if (this.signal.aborted) throw new RpcError(Refusals.Canceled);
  }
}
