/**
 * Who there is, what they may do, and whether anybody asks: the state of authentication.
 *
 * Changes come from the log and are the same on all members; each takes the next auth revision, and one that is refused
 * changes nothing. Whether the caller may make them is not asked here but in `access.ts`. Passwords come as bcrypt
 * hashes only: what is in the log is on disks and on other members.
 *
 * The order in which a request is refused is etcd's, since a client sees only the first reason.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/authentication/rbac/, and servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import type { Permission, Role as RoleRow, User as UserRow } from '../../protocol/generated/authpb.ts';
import type {
  AuthRoleGrantPermissionRequest,
  AuthRoleRevokePermissionRequest,
  AuthUserAddRequest,
  AuthUserChangePasswordRequest,
} from '../../protocol/generated/etcdserverpb.ts';
import { bytesEqual, isUnbounded } from '../../protocol/keys.ts';
import type { KeyRange } from '../mvcc/store.ts';
import {
  byBytes,
  copyPermission,
  Directory,
  fromRoleRow,
  fromUserRow,
  type Purpose,
  ROOT,
  toRoleRow,
  toUserRow,
  type User,
} from './directory.ts';
import { type AuthError, AuthErrors as E } from './errors.ts';

/** Where auth revisions start. */
const FIRST_REVISION = 1n;

/** Who asks, as the header of a log entry has it. */
export interface Actor {
  readonly username: string;
  /** The auth revision that the caller's token is of; 0 if they have not said who they are. */
  readonly revision: bigint;
}

/** Who has not said who they are. */
export const NOBODY: Actor = { username: '', revision: 0n };

/** Is told whose tokens are void. */
export interface TokenBook {
  /** Of one user, who is gone or has another password. */
  invalidateUser(name: string): void;
  /** All of them: authentication is off. */
  reset(): void;
}

/** The state as etcd's buckets `auth`, `authUsers` and `authRoles` have it. */
export interface AuthRows {
  readonly enabled: boolean;
  readonly revision: bigint;
  readonly users: readonly UserRow[];
  readonly roles: readonly RoleRow[];
}

/** What a login is checked against. */
export interface LoginTarget {
  /** The bcrypt hash, as text; empty for who can't log in. A secret. */
  readonly hash: string;
  readonly noPassword: boolean;
}

export class AuthStore {
  #directory = new Directory();
  #enabled = false;
  #revision = FIRST_REVISION;
  readonly #tokens: TokenBook;

  constructor(tokens: TokenBook = { invalidateUser: () => {}, reset: () => {} }) {
    this.#tokens = tokens;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** Counts the changes, from 1. */
  get revision(): bigint {
    return this.#revision;
  }

  /** Makes everybody say who they are. No change of the revision; does nothing the second time. */
  enable(): AuthError | undefined {
    if (this.#enabled) return undefined;
    const root = this.#directory.user(ROOT);
    if (!root) return E.RootUserNotFound;
    if (!isRoot(root)) return E.RootRoleNotGranted;
    this.#enabled = true;
    return undefined;
  }

  /** Lets everybody do everything. Users and roles stay, their tokens do not. */
  disable(): void {
    if (!this.#enabled) return;
    this.#enabled = false;
    this.#tokens.reset();
    this.#changed();
  }

  /** @param request With the hash of the password, in base64. The password itself is not looked at. */
  userAdd(request: Pick<AuthUserAddRequest, 'name' | 'hashedPassword' | 'options'>): AuthError | undefined {
    const { name, hashedPassword } = request;
    if (name === '') return E.UserEmpty;
    if (this.#directory.user(name)) return E.UserExists;
    const noPassword = request.options?.noPassword ?? false;
    const password = noPassword ? new Uint8Array() : new Uint8Array(Buffer.from(hashedPassword, 'base64'));
    this.#directory.setUser({ name, password, roles: [], noPassword });
    return this.#changed();
  }

  userDelete({ name }: { readonly name: string }): AuthError | undefined {
    if (this.#enabled && name === ROOT) return E.InvalidAuthManagement;
    if (!this.#directory.user(name)) return E.UserNotFound;
    this.#directory.deleteUser(name);
    this.#tokens.invalidateUser(name);
    return this.#changed();
  }

  /** @param request As of {@link userAdd}. A user without a password stays without. */
  userChangePassword(request: Pick<AuthUserChangePasswordRequest, 'name' | 'hashedPassword'>): AuthError | undefined {
    const user = this.#directory.user(request.name);
    if (!user) return E.UserNotFound;
    const password = new Uint8Array(Buffer.from(user.noPassword ? '' : request.hashedPassword, 'base64'));
    this.#directory.setUser({ ...user, password });
    this.#tokens.invalidateUser(user.name);
    return this.#changed();
  }

  /** The role has to be there, but for root. What is granted already is left alone. */
  userGrantRole({ user: name, role }: { readonly user: string; readonly role: string }): AuthError | undefined {
    const user = this.#directory.user(name);
    if (!user) return E.UserNotFound;
    if (role !== ROOT && !this.#directory.role(role)) return E.RoleNotFound;
    if (user.roles.includes(role)) return undefined;
    this.#directory.setUser({ ...user, roles: [...user.roles, role].sort(byBytes) });
    return this.#changed();
  }

  userRevokeRole({ name, role }: { readonly name: string; readonly role: string }): AuthError | undefined {
    if (this.#enabled && name === ROOT && role === ROOT) return E.InvalidAuthManagement;
    const user = this.#directory.user(name);
    if (!user) return E.UserNotFound;
    if (!user.roles.includes(role)) return E.RoleNotGranted;
    this.#directory.setUser({ ...user, roles: user.roles.filter((other) => other !== role) });
    return this.#changed();
  }

  /** The names of a user's roles, in order. */
  userGet(name: string): readonly string[] | AuthError {
    return this.#directory.user(name)?.roles ?? E.UserNotFound;
  }

  /** The names of all users, in order. */
  userList(): readonly string[] {
    return this.#directory.users().map(({ name }) => name);
  }

  roleAdd({ name }: { readonly name: string }): AuthError | undefined {
    if (name === '') return E.RoleEmpty;
    if (this.#directory.role(name)) return E.RoleExists;
    this.#directory.setRole({ name, permissions: [] });
    return this.#changed();
  }

  /** Deletes a role, and takes it from everybody who has it. */
  roleDelete({ role }: { readonly role: string }): AuthError | undefined {
    if (this.#enabled && role === ROOT) return E.InvalidAuthManagement;
    if (!this.#directory.role(role)) return E.RoleNotFound;
    this.#directory.deleteRole(role);
    for (const user of this.#directory.users()) {
      if (!user.roles.includes(role)) continue;
      this.#directory.setUser({ ...user, roles: user.roles.filter((other) => other !== role) });
    }
    return this.#changed();
  }

  /** The permission takes the place of one of exactly the same range. */
  roleGrantPermission({ name, perm }: AuthRoleGrantPermissionRequest): AuthError | undefined {
    if (!perm) return E.PermissionNotGiven;
    if (!isValidRange(perm)) return E.InvalidAuthManagement;
    const role = this.#directory.role(name);
    if (!role) return E.RoleNotFound;
    // Of several with the same key only the first is looked at. All members have to do alike, so ours does as etcd.
    const { permissions: had } = role;
    const first = had.findIndex(({ key }) => Buffer.compare(key, perm.key) >= 0);
    const granted = copyPermission(perm);
    const isThere = first >= 0 && isSameRange(had[first] as Permission, perm);
    const permissions = isThere ? had.with(first, granted) : [...had, granted];
    this.#directory.setRole({ name, permissions: permissions.sort((a, b) => Buffer.compare(a.key, b.key)) });
    return this.#changed();
  }

  /** Takes back what was granted for exactly this range. */
  roleRevokePermission(request: AuthRoleRevokePermissionRequest): AuthError | undefined {
    const role = this.#directory.role(request.role);
    if (!role) return E.RoleNotFound;
    const permissions = role.permissions.filter((other) => !isSameRange(other, request));
    if (permissions.length === role.permissions.length) return E.PermissionNotGranted;
    this.#directory.setRole({ ...role, permissions });
    return this.#changed();
  }

  /** A role's permissions, by key. */
  roleGet(role: string): readonly Permission[] | AuthError {
    return this.#directory.role(role)?.permissions ?? E.RoleNotFound;
  }

  /** The names of all roles, in order. */
  roleList(): readonly string[] {
    return this.#directory.roles().map(({ name }) => name);
  }

  /** Whether a user has a role, itself there or not. */
  hasRole(name: string, role: string): boolean {
    return this.#directory.user(name)?.roles.includes(role) ?? false;
  }

  /** What a user's password is checked against. */
  loginTarget(name: string): LoginTarget | undefined {
    const user = this.#directory.user(name);
    return user && { hash: Buffer.from(user.password).toString('latin1'), noPassword: user.noPassword };
  }

  /** Whether a login that comes out of the log still counts. Its password was checked before, against {@link revision}. */
  checkLogin(name: string): AuthError | undefined {
    if (!this.#enabled) return E.AuthNotEnabled;
    const user = this.#directory.user(name);
    if (!user) return E.AuthFailed;
    return user.noPassword ? E.NoPasswordUser : undefined;
  }

  /** Somebody who has proved just now who they are, such as by a certificate or a simple token. */
  actor(username: string): Actor {
    return { username, revision: this.#revision };
  }

  /** The server itself, for what it proposes on its own, such as the end of a lease. */
  self(): Actor {
    return this.actor(ROOT);
  }

  /** Whether the actor is somebody, whatever they may do. */
  checkUser(actor: Actor): AuthError | undefined {
    if (!this.#enabled) return undefined;
    if (actor.revision === 0n) return E.UserEmpty;
    return this.#directory.user(actor.username) ? undefined : E.PermissionDenied;
  }

  /** Whether the actor may administer. As with etcd an old token will do: what counts are the user's roles of now. */
  checkAdmin(actor: Actor): AuthError | undefined {
    if (!this.#enabled) return undefined;
    if (actor.revision === 0n || actor.username === '') return E.UserEmpty;
    const user = this.#directory.user(actor.username);
    return user && isRoot(user) ? undefined : E.PermissionDenied;
  }

  /** Whether the actor may read, or write, all of some ranges; with none, whether they are somebody with a fresh token. */
  checkRanges(actor: Actor, ranges: Iterable<KeyRange>, purpose: Purpose): AuthError | undefined {
    if (!this.#enabled) return undefined;
    if (actor.revision === 0n) return E.UserEmpty;
    if (actor.revision < this.#revision) return E.AuthOldRevision;
    const user = this.#directory.user(actor.username);
    if (!user) return E.PermissionDenied;
    if (isRoot(user)) return undefined;
    for (const range of ranges) if (!this.#directory.allows(user, range, purpose)) return E.PermissionDenied;
    return undefined;
  }

  /** For reads that were checked before they waited: whether what was checked still holds. */
  checkUnchanged(actor: Actor): AuthError | undefined {
    if (!this.#enabled || actor.revision === this.#revision) return undefined;
    return actor.revision === 0n ? E.UserEmpty : E.AuthOldRevision;
  }

  rows(): AuthRows {
    const users = this.#directory.users().map(toUserRow);
    const roles = this.#directory.roles().map(toRoleRow);
    return { enabled: this.#enabled, revision: this.#revision, users, roles };
  }

  /** Becomes what a snapshot says. All tokens that were given out are void. */
  restore({ enabled, revision, users, roles }: AuthRows): void {
    this.#directory = new Directory();
    for (const row of roles) this.#directory.setRole(fromRoleRow(row));
    for (const row of users) this.#directory.setUser(fromUserRow(row));
    this.#enabled = enabled;
    this.#revision = revision < FIRST_REVISION ? FIRST_REVISION : revision;
    this.#tokens.reset();
  }

  #changed(): undefined {
    this.#revision += 1n;
  }
}

function isRoot({ roles }: User): boolean {
  return roles.includes(ROOT);
}

type WireRange = Pick<Permission, 'key' | 'rangeEnd'>;

function isValidRange({ key, rangeEnd }: WireRange): boolean {
  if (key.length === 0) return false;
  return rangeEnd.length === 0 || isUnbounded(rangeEnd) || Buffer.compare(key, rangeEnd) < 0;
}

function isSameRange(a: WireRange, b: WireRange): boolean {
  return bytesEqual(a.key, b.key) && bytesEqual(a.rangeEnd, b.rangeEnd);
}
