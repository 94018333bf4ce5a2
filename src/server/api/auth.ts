/**
 * The Auth service: users, roles, and logging in.
 *
 * Everything goes through the log, what is only read too. Passwords do not: they are hashed, or checked, before. A login
 * whose password was checked at a revision of the store that is not the one it was applied at counts for nothing and is
 * checked again, as the user may have another password by then.
 *
 * @module
 */
import { Auth } from '../../protocol/generated/etcdserverpb.ts';
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import type { Result } from '../apply/outcome.ts';
import { AuthError } from '../auth/errors.ts';
import { checkPassword, hashUserAdd, hashUserChangePassword } from '../auth/passwords.ts';
import type { AppliedLogin } from '../auth/tokens.ts';
import type { Proposed, ServingMember } from '../member/serving.ts';
import { RpcError } from '../refusals.ts';
import type { Method, ServerCall } from '../rpc/call.ts';
import type { Guard } from './guard.ts';
import { headerOf } from './header.ts';

type Entry = Init<InternalRaftRequest>;

/** See the head of this file. */
export function authMethods(member: ServingMember, guard: Guard): readonly Method[] {
  /** A method whose request becomes an entry, and whose response is made of what it came to. */
  const logged = <I, O>(
    descriptor: MethodDescriptor<I, O>,
    toEntry: (request: I, signal: AbortSignal) => Entry | Promise<Entry>,
    fields: (result: Result) => object = () => ({}),
  ): Method =>
    guard.unary<I, O>(descriptor, async (request, { signal, span }, actor) => {
      const entry = await toEntry(request, signal);
      const { result, revision } = await member.propose(entry, { actor, signal, span });
      return { header: headerOf(member, revision), ...fields(result) } as Init<O>;
    });
  const { hasher } = member;
  return [
    logged(Auth.authEnable, (authEnable) => ({ authEnable })),
    logged(Auth.authDisable, (authDisable) => ({ authDisable })),
    logged(
      Auth.authStatus,
      (authStatus) => ({ authStatus }),
      (result) => {
        const { enabled, revision: authRevision } = expect(result, 'auth-status');
        return { enabled, authRevision };
      },
    ),
    guard.unary(Auth.authenticate, async ({ name, password }, call) => {
      const { login, revision } = await logIn(member, { name, password }, call);
      const token = accepted(await member.tokens.issue(login));
      return { header: headerOf(member, revision), token };
    }),
    logged(Auth.userAdd, async (request, signal) => ({
      authUserAdd: accepted(await hashUserAdd(request, hasher, signal)),
    })),
    logged(
      Auth.userGet,
      (authUserGet) => ({ authUserGet }),
      (result) => ({ roles: expect(result, 'auth-names').names }),
    ),
    logged(
      Auth.userList,
      (authUserList) => ({ authUserList }),
      (result) => ({ users: expect(result, 'auth-names').names }),
    ),
    logged(Auth.userDelete, (authUserDelete) => ({ authUserDelete })),
    logged(Auth.userChangePassword, async (request, signal) => ({
      authUserChangePassword: accepted(await hashUserChangePassword(request, hasher, signal)),
    })),
    logged(Auth.userGrantRole, (authUserGrantRole) => ({ authUserGrantRole })),
    logged(Auth.userRevokeRole, (authUserRevokeRole) => ({ authUserRevokeRole })),
    logged(Auth.roleAdd, (authRoleAdd) => ({ authRoleAdd })),
    logged(
      Auth.roleGet,
      (authRoleGet) => ({ authRoleGet }),
      (result) => ({ perm: expect(result, 'auth-permissions').permissions }),
    ),
    logged(
      Auth.roleList,
      (authRoleList) => ({ authRoleList }),
      (result) => ({ roles: expect(result, 'auth-names').names }),
    ),
    logged(Auth.roleDelete, (authRoleDelete) => ({ authRoleDelete })),
    logged(Auth.roleGrantPermission, (authRoleGrantPermission) => ({ authRoleGrantPermission })),
    logged(Auth.roleRevokePermission, (authRoleRevokePermission) => ({ authRoleRevokePermission })),
  ];
}

async function logIn(
  member: ServingMember,
  who: { readonly name: string; readonly password: string },
  { signal, span }: ServerCall,
): Promise<{ readonly login: AppliedLogin; readonly revision: number }> {
  // Somebody who was told just now that a password is changed must not get in with the old one at another member.
  await member.linearize(signal);
  for (;;) {
    const checked = accepted(await checkPassword(member.state.auth, member.hasher, who, signal));
    const authenticate = { name: who.name, simpleToken: member.tokens.prefix() };
    const proposed: Proposed = await member.propose({ authenticate }, { signal, span });
    const { login } = expect(proposed.result, 'auth-login');
    if (login.revision === checked.revision) return { login, revision: proposed.revision };
  }
}

/** What was asked for, unless it was refused. */
function accepted<T>(outcome: T | AuthError): T {
  if (outcome instanceof AuthError) throw new RpcError(outcome);
  return outcome;
}

function expect<Type extends Result['type']>(result: Result, type: Type): Extract<Result, { readonly type: Type }> {
  if (result.type !== type) throw new TypeError(`an entry of one kind came to ${result.type}`);
  return result as Extract<Result, { readonly type: Type }>;
}
