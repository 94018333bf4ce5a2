/**
 * What a role allows, as people write it and as etcd stores it.
 *
 * etcd keeps each permission under the exact range it was granted for, and revokes it only
 * by that exact range. So a permission that was read gives back a target that makes the
 * same bytes again; {@link toTarget} is the inverse of `toByteRange`.
 *
 * Source: etcd `server/auth/range_perm_cache.go` and `store.go` for how ranges are compared.
 *
 * @module
 */

import { PermissionType, type Permission as WirePermission } from '../../protocol/generated/authpb.ts';
import { bytesEqual, isUnbounded, type Key, NO_BYTES, prefixEnd } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import { InvalidArgumentError } from '../errors.ts';
import { type Target, toByteRange } from '../kv/target.ts';

/** What may be done with some keys. Writing alone does not include reading. */
export type Access = 'read' | 'write' | 'readwrite';

/** A permission of a role. */
export interface Permission {
  readonly permission: Access;
  /** The keys it is about: whole keys, not those of a keyspace. */
  readonly target: Target;
}

const TO_WIRE: Readonly<Record<Access, PermissionType>> = {
  read: PermissionType.READ,
  write: PermissionType.WRITE,
  readwrite: PermissionType.READWRITE,
};

/** @throws InvalidArgumentError for a target that is none, a range that ends before it starts, or an unknown access. */
export function toWirePermission({ permission, target }: Permission): Init<WirePermission> {
  if (!Object.hasOwn(TO_WIRE, permission)) {
    throw new InvalidArgumentError('permission is none of read, write and readwrite');
  }
  return { permType: TO_WIRE[permission], ...toPermissionRange(target) };
}

/** The range of a permission on the wire. @throws InvalidArgumentError */
export function toPermissionRange(target: Target): { key: Uint8Array; rangeEnd: Uint8Array } {
  const { key, end } = toByteRange(target, NO_BYTES);
  if (end.length > 0 && !isUnbounded(end) && Buffer.compare(key, end) >= 0) {
    throw new InvalidArgumentError('the range of the permission is empty: `to` is not above `from`');
  }
  return { key, rangeEnd: end };
}

/** A stored permission, as people write it. */
export function toPermission({ permType, key, rangeEnd }: WirePermission): Permission {
  return { permission: toAccess(permType), target: toTarget(key, rangeEnd) };
}

function toAccess(type: PermissionType | number): Access {
  if (type === PermissionType.WRITE) return 'write';
  return type === PermissionType.READWRITE ? 'readwrite' : 'read';
}

/** The shortest target that names this range and no other. */
export function toTarget(key: Uint8Array, end: Uint8Array): Target {
  if (end.length === 0) return readable(key);
  if (isUnbounded(end)) {
    // Since 3.6 the root role is told with an empty key.
    return key.length === 0 || isUnbounded(key) ? { all: true } : { from: readable(key) };
  }
  if (bytesEqual(end, prefixEnd(key))) return { prefix: readable(key) };
  return { from: readable(key), to: readable(end) };
}

/** Text where the bytes are UTF-8; else a copy of the bytes. */
function readable(bytes: Uint8Array): Key {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  return bytesEqual(Buffer.from(text, 'utf8'), bytes) ? text : Uint8Array.from(bytes);
}
