/**
 * The header of a response: who answers, and as of when.
 *
 * The term is that of the last entry that was applied, as with etcd: what an answer tells is of then.
 *
 * @module
 */
import type { ResponseHeader } from '../../protocol/generated/etcdserverpb.ts';
import type { Proposed, ServingMember } from '../member/serving.ts';

/**
 * A header as of now.
 *
 * @param revision Of the store, if the answer is of another moment than now.
 */
export function headerOf(member: ServingMember, revision: number = member.state.store.revision): ResponseHeader {
  return { ...memberHeader(member), revision: BigInt(revision) };
}

/** A header as of right after a request was applied. */
export function headerAfter({ clusterId, id }: ServingMember, { revision, term }: Proposed): ResponseHeader {
  return { clusterId, memberId: id, revision: BigInt(revision), raftTerm: BigInt(term) };
}

/** A header without a revision, which answers about the members have. */
export function memberHeader({ clusterId, id, state }: ServingMember): ResponseHeader {
  return { clusterId, memberId: id, revision: 0n, raftTerm: BigInt(state.term) };
}
