/**
 * What a change of configuration says of its member: the context of the entry, JSON as Go writes it.
 *
 * `{"id":1,"peerURLs":["…"],"isLearner":true,"name":"…","isPromote":false}`. The id is a number of 64 bits, more than
 * JSON's readers here keep: the one that counts is the change's own.
 *
 * @module
 */
import { z } from 'zod';
import type { BackendMember } from '../snapshot/backend-state.ts';

const texts = z.array(z.string()).nullish();
const contextJson = z.object({
  peerURLs: texts,
  isLearner: z.boolean().nullish(),
  name: z.string().nullish(),
  clientURLs: texts,
  isPromote: z.boolean().nullish(),
});

/** What the context of a change says. */
export interface MemberContext {
  readonly member: BackendMember;
  /** Whether a learner is to become a voter; then nothing else of the member counts. */
  readonly isPromote: boolean;
}

/** The context of a change, as etcd's servers write and read it. */
export function encodeMemberContext({ member, isPromote }: MemberContext): Uint8Array {
  const { id, peerUrls, isLearner, name, clientUrls } = member;
  const fields = {
    peerURLs: peerUrls,
    ...(isLearner && { isLearner }),
    ...(name !== '' && { name }),
    ...(clientUrls.length > 0 && { clientURLs: clientUrls }),
    isPromote,
  };
  return Buffer.from(`{"id":${id},${JSON.stringify(fields).slice(1)}`);
}

/** @returns Undefined if it is no such context. */
export function decodeMemberContext(id: bigint, context: Uint8Array): MemberContext | undefined {
  const parsed = contextJson.safeParse(parseJson(Buffer.from(context).toString()));
  if (!parsed.success) return undefined;
  const { peerURLs, isLearner, name, clientURLs, isPromote } = parsed.data;
  return {
    member: {
      id,
      name: name ?? '',
      peerUrls: peerURLs ?? [],
      clientUrls: clientURLs ?? [],
      isLearner: isLearner ?? false,
    },
    isPromote: isPromote ?? false,
  };
}

/** @returns Undefined if it is no JSON: the parser's own error would show what it has read. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
