/**
 * The header of a revision, encoded once for all watchers of a member: thousands hear of one revision in one turn.
 *
 * @module
 */
import { ResponseHeader } from '../../protocol/generated/etcdserverpb.ts';
import type { ServingMember } from '../member/serving.ts';
import { headerOf } from './header.ts';

/** See the head of this file. */
export class WatchHeaders {
  readonly #member: ServingMember;
  #last: { readonly revision: number; readonly term: number; readonly bytes: Uint8Array } | undefined;

  constructor(member: ServingMember) {
    this.#member = member;
  }

  /** The encoded `ResponseHeader` of a revision, as of now. */
  at(revision: number): Uint8Array {
    const { term } = this.#member.state;
    if (this.#last?.revision !== revision || this.#last.term !== term) {
      // A copy: what the codec gives would keep other messages alive.
      const bytes = new Uint8Array(ResponseHeader.encode(headerOf(this.#member, revision)));
      this.#last = { revision, term, bytes };
    }
    return this.#last.bytes;
  }
}
