/**
 * Passwords: hashed before they reach the log, checked before a login does.
 *
 * Invariants: no password enters a log entry, an error or the store. One check of a login costs one bcrypt, whether the
 * user is there or not, or has a password: the time tells nothing. (A hash from elsewhere with another cost does tell.)
 *
 * @module
 */
import type { AuthUserAddRequest, AuthUserChangePasswordRequest } from '../../protocol/generated/etcdserverpb.ts';
import { AuthError, AuthErrors } from './errors.ts';
import type { AuthStore } from './store.ts';

/** Hashes and checks passwords by bcrypt, off the event loop. */
export interface PasswordHasher {
  /** The logarithm of the work that a new hash takes. */
  readonly cost: number;
  /** The hash of a password (`$2…`, 60 characters), or why there is none. */
  hash(password: string, signal?: AbortSignal): Promise<string | AuthError>;
  /** Whether a password has this hash; never for what is no hash. Takes the time of the hash's cost all the same. */
  verify(password: string, hash: string, signal?: AbortSignal): Promise<boolean | AuthError>;
}

/** The highest cost of a hash that somebody brings: each step above doubles the time that a login takes. */
export const MAX_COST = 14;

/** A bcrypt hash: version, cost, salt and digest. */
const HASH = /^\$2[aby]\$(\d\d)\$[./0-9A-Za-z]{53}$/;

/** Whether a text is a bcrypt hash that logins can afford. */
export function isUsableHash(hash: string): boolean {
  const cost = Number(HASH.exec(hash)?.[1] ?? Number.NaN);
  return cost >= 4 && cost <= MAX_COST;
}

/** Well formed, of a given cost, and the hash of no password that anybody knows. */
export function decoyHash(cost: number): string {
  return `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;
}

/**
 * Makes a request fit for the log: its password becomes a hash. A hash that came instead of a password is taken as it
 * is, unlike by etcd, which would set the empty password.
 */
export async function hashUserAdd(
  request: AuthUserAddRequest,
  hasher: PasswordHasher,
  signal?: AbortSignal,
): Promise<AuthUserAddRequest | AuthError> {
  if (request.options?.noPassword) return { ...request, password: '', hashedPassword: '' };
  if (request.password === '' && request.hashedPassword !== '') return checkHash(request);
  return replacePassword(request, hasher, signal);
}

/** The same for another password. An empty one locks the user out, as with etcd. */
export async function hashUserChangePassword(
  request: AuthUserChangePasswordRequest,
  hasher: PasswordHasher,
  signal?: AbortSignal,
): Promise<AuthUserChangePasswordRequest | AuthError> {
  if (request.password === '') return request.hashedPassword === '' ? request : checkHash(request);
  return replacePassword(request, hasher, signal);
}

interface PasswordRequest {
  readonly password: string;
  readonly hashedPassword: string;
}

function checkHash<Request extends PasswordRequest>(request: Request): Request | AuthError {
  const hash = Buffer.from(request.hashedPassword, 'base64').toString('latin1');
  return isUsableHash(hash) ? request : AuthErrors.InvalidAuthManagement;
}

async function replacePassword<Request extends PasswordRequest>(
  request: Request,
  hasher: PasswordHasher,
  signal?: AbortSignal,
): Promise<Request | AuthError> {
  const hash = await hasher.hash(request.password, signal);
  if (hash instanceof AuthError) return hash;
  return { ...request, password: '', hashedPassword: Buffer.from(hash, 'latin1').toString('base64') };
}

/**
 * Checks a name and a password.
 *
 * @returns The auth revision that they are right at. It may have moved on since: whoever applies the login compares,
 *   and checks again if it has.
 */
export async function checkPassword(
  store: AuthStore,
  hasher: PasswordHasher,
  login: { readonly name: string; readonly password: string },
  signal?: AbortSignal,
): Promise<{ readonly revision: bigint } | AuthError> {
  if (!store.enabled) return AuthErrors.AuthNotEnabled;
  const { revision } = store;
  const target = store.loginTarget(login.name);
  const hash = target && isUsableHash(target.hash) ? target.hash : undefined;
  const right = await hasher.verify(login.password, hash ?? decoyHash(hasher.cost), signal);
  if (right instanceof AuthError) return right;
  if (target?.noPassword) return AuthErrors.NoPasswordUser;
  return hash !== undefined && right ? { revision } : AuthErrors.AuthFailed;
}
