/**
 * The Lock service: locks that the server takes on the caller's behalf.
 *
 * @module
 */
import { Lock } from '../../protocol/generated/v3lockpb.ts';
import type { ServingMember } from '../member/serving.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { Method } from '../rpc/call.ts';
import type { Contest } from './contest.ts';
import type { Guard } from './guard.ts';
import { headerOf } from './header.ts';
import type { Identities } from './identity.ts';
import { LocalKv } from './local-kv.ts';
import { uncoded, withoutCodes } from './uncoded.ts';

const SESSION_EXPIRED = uncoded('mutex: session is expired');

/** See the head of this file. Its errors have no code but UNKNOWN. */
export function lockMethods(
  member: ServingMember,
  guard: Guard,
  { identities, contest }: { readonly identities: Identities; readonly contest: Contest },
): readonly Method[] {
  return [
    guard.unary(
      Lock.lock,
      withoutCodes(async ({ name, lease }, call) => {
        const kv = new LocalKv(member, identities, call);
        const { key, firstAt } = await contest.win(kv, { name, lease, lost: SESSION_EXPIRED });
        return { header: headerOf(member, firstAt), key };
      }),
    ),
    guard.unary(
      Lock.unlock,
      withoutCodes(async ({ key }, call) => {
        if (key.length === 0) throw new RpcError(Refusals.EmptyKey);
        return { header: headerOf(member, await new LocalKv(member, identities, call).delete(key)) };
      }),
    ),
  ];
}
