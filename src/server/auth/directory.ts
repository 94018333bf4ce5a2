/**
 * Users and roles, and what they come to: which keys a user may read and write.
 *
 * Only holds and looks up; the rules of changing are in `store.ts`. What a user may do is worked out when it is first
 * asked for and forgotten with every change.
 *
 * @module
 */
import {
  type Permission,
  PermissionType,
  type Role as RoleRow,
  type User as UserRow,
} from '../../protocol/generated/authpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import type { KeyRange } from '../mvcc/store.ts';
import { IntervalSet } from './intervals.ts';

/** Name of the user that must be there, and of the role that may do everything. */
export const ROOT = 'root';

export interface User {
  readonly name: string;
  /** Its bcrypt hash; empty if it has no password. A secret. */
  readonly password: Uint8Array;
  /** Names of its roles, in the order of their bytes. */
  readonly roles: readonly string[];
  /** Whether it can only be known by its certificate. */
  readonly noPassword: boolean;
}

export interface Role {
  readonly name: string;
  /** In the order of their keys, those of one key as they came. */
  readonly permissions: readonly Permission[];
}

/** What a permission is needed for. */
export type Purpose = 'read' | 'write';

type Grants = Readonly<Record<Purpose, IntervalSet>>;

export class Directory {
  readonly #users = new Map<string, User>();
  readonly #roles = new Map<string, Role>();
  readonly #grants = new Map<string, Grants>();

  user(name: string): User | undefined {
    return this.#users.get(name);
  }

  role(name: string): Role | undefined {
    return this.#roles.get(name);
  }

  /** In the order of their names' bytes. */
  users(): readonly User[] {
    return [...this.#users.values()].sort(byName);
  }

  /** In the order of their names' bytes. */
  roles(): readonly Role[] {
    return [...this.#roles.values()].sort(byName);
  }

  setUser(user: User): void {
    this.#users.set(user.name, user);
    this.#grants.clear();
  }

  setRole(role: Role): void {
    this.#roles.set(role.name, role);
    this.#grants.clear();
  }

  deleteUser(name: string): void {
    this.#users.delete(name);
    this.#grants.clear();
  }

  deleteRole(name: string): void {
    this.#roles.delete(name);
    this.#grants.clear();
  }

  /** Whether a user's roles allow all keys of a range. Knows nothing of root. */
  allows(user: User, range: KeyRange, purpose: Purpose): boolean {
    return this.#grantsOf(user)[purpose].covers(range);
  }

  #grantsOf(user: User): Grants {
    const known = this.#grants.get(user.name);
    if (known) return known;
    const permissions = user.roles.flatMap((name) => this.#roles.get(name)?.permissions ?? []);
    const grants = {
      read: grantsFor(permissions, PermissionType.READ),
      write: grantsFor(permissions, PermissionType.WRITE),
    };
    this.#grants.set(user.name, grants);
    return grants;
  }
}

function grantsFor(permissions: readonly Permission[], wanted: PermissionType): IntervalSet {
  const counting = permissions.filter(({ permType }) => permType === wanted || permType === PermissionType.READWRITE);
  return new IntervalSet(counting.map(({ key, rangeEnd }) => ({ key: toLatin1(key), end: toLatin1(rangeEnd) })));
}

/** Text in the order of its UTF-8 bytes, as etcd keeps names. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return byBytes(a.name, b.name);
}

/** A user as etcd's bucket `authUsers` has it. */
export function toUserRow({ name, password, roles, noPassword }: User): UserRow {
  return { name: Buffer.from(name), password, roles: [...roles], options: { noPassword } };
}

/** Rows from before 3.4 have no options. */
export function fromUserRow(row: UserRow): User {
  return {
    name: Buffer.from(row.name).toString(),
    password: row.password.slice(),
    roles: [...row.roles].sort(byBytes),
    noPassword: row.options?.noPassword ?? false,
  };
}

/** A role as etcd's bucket `authRoles` has it. */
export function toRoleRow({ name, permissions }: Role): RoleRow {
  return { name: Buffer.from(name), keyPermission: [...permissions] };
}

export function fromRoleRow(row: RoleRow): Role {
  return { name: Buffer.from(row.name).toString(), permissions: row.keyPermission.map(copyPermission) };
}

/** The fields of a decoded message are views: a copy keeps no request alive. */
export function copyPermission({ permType, key, rangeEnd }: Permission): Permission {
  return { permType, key: new Uint8Array(key), rangeEnd: new Uint8Array(rangeEnd) };
}
