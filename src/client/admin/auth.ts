/**
 * Authentication: switching it on and off, users, roles.
 *
 * Invariant: a password or token given to these methods, or got from them, appears in no
 * error and in no inspected object. Requests hold them for as long as the call lasts.
 *
 * Every change counts up the cluster's auth revision. Simple tokens survive that; JWTs do
 * not, and the client logs in again for the next call by itself.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/authentication/rbac/
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { Auth as AuthService } from '../../protocol/generated/etcdserverpb.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller, CallTraits } from '../connection/caller.ts';
import { InvalidArgumentError } from '../errors.ts';
import { type ResponseHeader, toHeader } from '../header.ts';
import type { Target } from '../kv/target.ts';
import { type Permission, toPermission, toPermissionRange, toWirePermission } from './permissions.ts';
import { endpointWith, needing } from './server-capabilities.ts';
import { READ, WRITE } from './traits.ts';

/** The answer of a change that answers nothing but who made it, and when. */
export interface ChangeResult {
  readonly header: ResponseHeader;
}

/** Whether authentication is on. */
export interface AuthStatus {
  readonly header: ResponseHeader;
  readonly enabled: boolean;
  /** Counts the changes to users, roles and permissions, from 1. */
  readonly authRevision: bigint;
}

/**
 * A password itself, or its bcrypt hash (`$2a$…`, `$2b$…` or `$2y$…`, 60 characters). A hash
 * needs etcd 3.5: then the password is known to nobody on the way.
 */
export type PasswordOptions =
  | { readonly password: string; readonly hashedPassword?: undefined }
  | { readonly hashedPassword: string; readonly password?: undefined };

/** How a new user logs in: with a password, or without one, by the common name of a client certificate. */
export type NewUserOptions =
  | (PasswordOptions & { readonly noPassword?: false | undefined })
  | { readonly noPassword: true; readonly password?: undefined; readonly hashedPassword?: undefined };

/** The names of some users or roles. */
export interface NamesResult {
  readonly header: ResponseHeader;
  /** In the order of the server: by name. */
  readonly names: readonly string[];
}

/** What is known of a user. Its password is not. */
export interface UserResult {
  readonly header: ResponseHeader;
  readonly name: string;
  /** The names of its roles. */
  readonly roles: readonly string[];
}

/** What is known of a role. */
export interface RoleResult {
  readonly header: ResponseHeader;
  readonly name: string;
  readonly permissions: readonly Permission[];
}

/** The answer to a login. Shows its token only to who asks for it by name: not in a log, not in JSON. */
export class Login {
  readonly header: ResponseHeader;
  readonly #token: string;

  /** @internal */
  constructor(header: ResponseHeader, token: string) {
    this.header = header;
    this.#token = token;
  }

  /** The token, for `credentials: { token }` of a client or the metadata `token` of a call. A secret. */
  get token(): string {
    return this.#token;
  }

  /** Shows everything but the token. */
  [inspect.custom](): string {
    return 'Login { token: hidden }';
  }
}

/** `etcd.auth`: who may do what in the cluster. Only the user `root` may change it once authentication is on. */
export class AuthApi {
  readonly users: UserApi;
  readonly roles: RoleApi;
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
    this.users = new UserApi(caller);
    this.roles = new RoleApi(caller);
  }

  /**
   * Switches authentication on. From then on every call needs a user, those of this client
   * too: give it credentials before. Not repeated after an ambiguous failure; enabling twice does no harm.
   *
   * @throws EtcdError with `etcdCode` `RootUserNotFound` or `RootRoleNotGranted`: create the
   *   user `root` and grant it the role `root` first.
   */
  async enable(options?: CallOptions): Promise<ChangeResult> {
    return change(await this.#caller.unary(AuthService.authEnable, {}, WRITE, options));
  }

  /** Switches authentication off: everybody may do everything. Users and roles stay. Not repeated. */
  async disable(options?: CallOptions): Promise<ChangeResult> {
    return change(await this.#caller.unary(AuthService.authDisable, {}, WRITE, options));
  }

  /**
   * Whether authentication is on. Needs etcd 3.5; before 3.7 only root may ask while it is.
   *
   * @throws UnsupportedError from etcd 3.4.
   */
  async status(options?: CallOptions): Promise<AuthStatus> {
    const call = this.#caller.unary(AuthService.authStatus, {}, READ, options);
    const { header, enabled, authRevision } = await needing(this.#caller, 'authStatus', call);
    return { header: toHeader(header), enabled, authRevision };
  }

  /**
   * Logs in once and hands out the token. A client with `credentials` does this by itself;
   * this method is for programs that pass tokens on. A simple token lives 300 s after its
   * last use unless the server's `--auth-token-ttl` says otherwise.
   *
   * @throws EtcdError with `etcdCode` `AuthFailed` for a wrong user or password,
   *   `AuthNotEnabled` while authentication is off.
   */
  async authenticate(name: string, password: string, options?: CallOptions): Promise<Login> {
    const request = { name: named('user', name), password: secret(password) };
    // Changes nothing in the store, so it may be repeated; a token too many runs out by itself.
    const traits = { kind: 'read', anonymous: true } as const;
    const { header, token } = await this.#caller.unary(AuthService.authenticate, request, traits, options);
    return new Login(toHeader(header), token);
  }
}

/** `etcd.auth.users`. None of its changes is repeated after an ambiguous failure. */
export class UserApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * Creates a user. One without a password can only be the common name of a client
   * certificate.
   *
   * From a hash it takes two calls, since every etcd so far replaces a hash given at
   * creation by that of the empty password: the user is created with a random password that
   * nobody knows, and then gets the hash. If only the first succeeds, nobody can log in, and
   * the error says `applied: 'maybe'`.
   *
   * @throws InvalidArgumentError for an empty password, which etcd would accept.
   * @throws UnsupportedError for a hash, unless a member is known to run etcd 3.5 or later.
   * @throws EtcdError with `etcdCode` `UserExists`.
   */
  async add(name: string, login: NewUserOptions, options?: CallOptions): Promise<ChangeResult> {
    const user = named('user', name);
    const hashedPassword = hashOf(login);
    if (hashedPassword !== undefined) {
      const aimed = await hashCapable(this.#caller, options);
      await this.add(name, { password: randomBytes(32).toString('base64url') }, aimed);
      return this.#setHash(user, hashedPassword, { ...WRITE, applied: 'maybe' }, aimed);
    }
    const request = login.noPassword
      ? { name: user, options: { noPassword: true } }
      : { name: user, password: secret(login.password), options: { noPassword: false } };
    return change(await this.#caller.unary(AuthService.userAdd, request, WRITE, options));
  }

  /** A user's roles. @throws EtcdError with `etcdCode` `UserNotFound`. */
  async get(name: string, options?: CallOptions): Promise<UserResult> {
    const { header, roles } = await this.#caller.unary(
      AuthService.userGet,
      { name: named('user', name) },
      READ,
      options,
    );
    return { header: toHeader(header), name, roles };
  }

  /** The names of all users. */
  async list(options?: CallOptions): Promise<NamesResult> {
    const { header, users } = await this.#caller.unary(AuthService.userList, {}, READ, options);
    return { header: toHeader(header), names: users };
  }

  /** Deletes a user and makes its tokens void. @throws EtcdError with `etcdCode` `UserNotFound`. */
  async delete(name: string, options?: CallOptions): Promise<ChangeResult> {
    return change(await this.#caller.unary(AuthService.userDelete, { name: named('user', name) }, WRITE, options));
  }

  /**
   * Gives a user another password and makes its tokens void.
   *
   * @throws InvalidArgumentError for an empty password.
   * @throws UnsupportedError for a hash, unless a member is known to run etcd 3.5 or later: an
   *   older one would set the empty password.
   * @throws EtcdError with `etcdCode` `UserNotFound`.
   */
  async changePassword(name: string, login: PasswordOptions, options?: CallOptions): Promise<ChangeResult> {
    const user = named('user', name);
    const hashedPassword = hashOf(login);
    if (hashedPassword !== undefined) {
      return this.#setHash(user, hashedPassword, WRITE, await hashCapable(this.#caller, options));
    }
    const request = { name: user, password: secret(login.password) };
    return change(await this.#caller.unary(AuthService.userChangePassword, request, WRITE, options));
  }

  async #setHash(name: string, hashedPassword: string, traits: CallTraits, aimed: CallOptions): Promise<ChangeResult> {
    const request = { name, hashedPassword };
    return change(await this.#caller.unary(AuthService.userChangePassword, request, traits, aimed));
  }

  /** Gives a user a role. @throws EtcdError with `etcdCode` `UserNotFound` or `RoleNotFound`. */
  async grantRole(user: string, role: string, options?: CallOptions): Promise<ChangeResult> {
    const request = { user: named('user', user), role: named('role', role) };
    return change(await this.#caller.unary(AuthService.userGrantRole, request, WRITE, options));
  }

  /** Takes a role from a user. @throws EtcdError with `etcdCode` `UserNotFound` or `RoleNotGranted`. */
  async revokeRole(user: string, role: string, options?: CallOptions): Promise<ChangeResult> {
    const request = { name: named('user', user), role: named('role', role) };
    return change(await this.#caller.unary(AuthService.userRevokeRole, request, WRITE, options));
  }
}

/** `etcd.auth.roles`. None of its changes is repeated after an ambiguous failure. */
export class RoleApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** Creates a role that allows nothing yet. @throws EtcdError with `etcdCode` `RoleExists`. */
  async add(name: string, options?: CallOptions): Promise<ChangeResult> {
    return change(await this.#caller.unary(AuthService.roleAdd, { name: named('role', name) }, WRITE, options));
  }

  /**
   * What a role allows. The role `root` allows everything; before 3.6 it cannot be read
   * unless it was created.
   *
   * @throws EtcdError with `etcdCode` `RoleNotFound`.
   */
  async get(name: string, options?: CallOptions): Promise<RoleResult> {
    const { header, perm } = await this.#caller.unary(
      AuthService.roleGet,
      { role: named('role', name) },
      READ,
      options,
    );
    return { header: toHeader(header), name, permissions: perm.map(toPermission) };
  }

  /** The names of all roles. */
  async list(options?: CallOptions): Promise<NamesResult> {
    const { header, roles } = await this.#caller.unary(AuthService.roleList, {}, READ, options);
    return { header: toHeader(header), names: roles };
  }

  /** Deletes a role and takes it from every user. @throws EtcdError with `etcdCode` `RoleNotFound`. */
  async delete(name: string, options?: CallOptions): Promise<ChangeResult> {
    return change(await this.#caller.unary(AuthService.roleDelete, { role: named('role', name) }, WRITE, options));
  }

  /**
   * Lets a role read or write some keys. A grant for exactly the same range replaces the one
   * before; ranges that overlap add up.
   *
   * @throws EtcdError with `etcdCode` `RoleNotFound`.
   */
  async grantPermission(role: string, permission: Permission, options?: CallOptions): Promise<ChangeResult> {
    const request = { name: named('role', role), perm: toWirePermission(permission) };
    return change(await this.#caller.unary(AuthService.roleGrantPermission, request, WRITE, options));
  }

  /**
   * Takes back the permission for exactly this range.
   *
   * @throws EtcdError with `etcdCode` `PermissionNotGranted` when no grant has this very range.
   */
  async revokePermission(role: string, target: Target, options?: CallOptions): Promise<ChangeResult> {
    const request = { role: named('role', role), ...toPermissionRange(target) };
    return change(await this.#caller.unary(AuthService.roleRevokePermission, request, WRITE, options));
  }
}

function change({ header }: { readonly header: Parameters<typeof toHeader>[0] }): ChangeResult {
  return { header: toHeader(header) };
}

function named(what: 'user' | 'role', name: string): string {
  if (typeof name !== 'string' || name === '') throw new InvalidArgumentError(`the ${what} name is empty or no string`);
  return name;
}

/** The hash that a login gives, if it gives one. @throws InvalidArgumentError for one that is no hash, and for no login. */
function hashOf(login: NewUserOptions): string | undefined {
  if (typeof login !== 'object' || login === null) {
    throw new InvalidArgumentError('a login is an object: with a password, or a hashedPassword');
  }
  return login.hashedPassword === undefined ? undefined : bcryptHash(login.hashedPassword);
}

/** As the field wants it: base64 of the hash's text. */
function bcryptHash(hash: string): string {
  if (typeof hash !== 'string' || !/^\$2[aby]\$\d\d\$[./0-9A-Za-z]{53}$/.test(hash)) {
    throw new InvalidArgumentError('hashedPassword is no bcrypt hash');
  }
  return Buffer.from(hash, 'latin1').toString('base64');
}

/** Aims a call at a member that is known to understand hashes: to guess wrong would be to set an empty password. */
async function hashCapable(caller: Caller, options: CallOptions = {}): Promise<CallOptions> {
  const endpoint = await endpointWith(caller, 'hashedPassword', options);
  return { ...options, endpoint };
}

function secret(password: string | undefined): string {
  if (typeof password !== 'string') throw new InvalidArgumentError('the password is no string');
  if (password === '') throw new InvalidArgumentError('the password is empty, and etcd would let anybody in with it');
  return password;
}
