/**
 * Requests about users, roles and logins.
 *
 * A login's password was checked before the entry was proposed, by the member that was asked; it is in no log. What it
 * was checked against may have changed since: the result says the auth revision of now, and who proposed it compares
 * that with the revision that they checked at, and checks again if they differ, before anybody gets the token.
 *
 * @module
 */
import type { AuthError } from '../auth/errors.ts';
import { ApplyError } from './errors.ts';
import type { Outcome } from './outcome.ts';
import { type Appliers, type RequestKind, refused } from './parts.ts';

type AuthKind = Extract<RequestKind, `auth${string}`>;

export const AUTH_APPLIERS: Appliers<AuthKind> = {
  authEnable: ({ auth }) => changed(auth.enable()),
  authDisable: ({ auth }) => {
    auth.disable();
    return changed(undefined);
  },
  authStatus: ({ auth }) => ({ type: 'auth-status', enabled: auth.enabled, revision: auth.revision }),
  authenticate: ({ auth, tokens }, { name, simpleToken }, { index }) => {
    const error = auth.checkLogin(name);
    if (error) return refused(error);
    const login = { username: name, revision: auth.revision, index: BigInt(index), prefix: simpleToken };
    tokens.assign(login);
    return { type: 'auth-login', login };
  },
  authUserAdd: ({ auth }, request, { index }) => {
    if (!request.options?.noPassword) checkHashed(request, index);
    return changed(auth.userAdd(request));
  },
  authUserDelete: ({ auth }, request) => changed(auth.userDelete(request)),
  authUserGet: ({ auth }, { name }) => names(auth.userGet(name)),
  authUserChangePassword: ({ auth }, request, { index }) => {
    checkHashed(request, index);
    return changed(auth.userChangePassword(request));
  },
  authUserGrantRole: ({ auth }, request) => changed(auth.userGrantRole(request)),
  authUserRevokeRole: ({ auth }, request) => changed(auth.userRevokeRole(request)),
  authUserList: ({ auth }) => names(auth.userList()),
  authRoleList: ({ auth }) => names(auth.roleList()),
  authRoleAdd: ({ auth }, request) => changed(auth.roleAdd(request)),
  authRoleDelete: ({ auth }, request) => changed(auth.roleDelete(request)),
  authRoleGet: ({ auth }, { role }) => {
    const permissions = auth.roleGet(role);
    return isRefusal(permissions) ? refused(permissions) : { type: 'auth-permissions', permissions };
  },
  authRoleGrantPermission: ({ auth }, request) => changed(auth.roleGrantPermission(request)),
  authRoleRevokePermission: ({ auth }, request) => changed(auth.roleRevokePermission(request)),
};

/** Each member of etcd 3.4 hashes passwords when it applies them, and so no two have the same. */
function checkHashed(
  { password, hashedPassword }: { readonly password: string; readonly hashedPassword: string },
  index: number,
): void {
  if (password !== '' && hashedPassword === '') {
    throw new ApplyError(index, 'a password that is not hashed, as etcd 3.4 writes it');
  }
}

function changed(error: AuthError | undefined): Outcome {
  return error ? refused(error) : { type: 'auth-change' };
}

function names(found: readonly string[] | AuthError): Outcome {
  return isRefusal(found) ? refused(found) : { type: 'auth-names', names: found };
}

function isRefusal<T>(found: readonly T[] | AuthError): found is AuthError {
  return 'grpcCode' in found;
}
