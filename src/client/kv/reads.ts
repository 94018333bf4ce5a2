/**
 * Single reads, and the promise that they do not go back in time.
 *
 * @module
 */

import { KV, type RangeRequest, type RangeResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller, CallTraits } from '../connection/caller.ts';

const LINEARIZABLE: CallTraits = { kind: 'read' };
const SERIALIZABLE: CallTraits = { kind: 'read', learnerOk: true, leaderless: true };

/** What a range needs of a member: a serializable one neither a leader nor a voter. */
export function rangeTraits(options: { readonly serializable?: boolean | undefined }): CallTraits {
  return options.serializable ? SERIALIZABLE : LINEARIZABLE;
}

/**
 * Reads ranges and, where asked, keeps serializable reads from going back in time: an answer
 * older than any that this client has had (to a read or to a write, from whatever member)
 * is thrown away and asked for again in a linearizable way, which cannot be older.
 *
 * Source: "monotonic reads" and "read your writes" of Terry et al., Session Guarantees for
 * Weakly Consistent Replicated Data, 1994.
 */
export class Reader {
  readonly #caller: Caller;
  readonly #monotonic: boolean;
  #seen = 0n;

  constructor(caller: Caller, monotonic: boolean) {
    this.#caller = caller;
    this.#monotonic = monotonic;
  }

  /** Takes note of how recent an answer is, and passes it on. */
  saw<A extends { readonly header?: { readonly revision: bigint } | undefined }>(answer: A): A {
    const revision = answer.header?.revision ?? 0n;
    if (revision > this.#seen) this.#seen = revision;
    return answer;
  }

  async range(request: Init<RangeRequest>, options: CallOptions): Promise<RangeResponse> {
    const before = this.#seen;
    const answer = await this.#caller.unary(KV.range, request, rangeTraits(request), options);
    const stale = this.#monotonic && request.serializable && (answer.header?.revision ?? 0n) < before;
    if (!stale) return this.saw(answer);
    return this.saw(await this.#caller.unary(KV.range, { ...request, serializable: false }, LINEARIZABLE, options));
  }
}
