/** Users, roles and requests as people write them. */
import { PermissionType } from '../../../src/protocol/generated/authpb.ts';
import type { AuthUserAddRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { fromLatin1 } from '../../../src/protocol/keys.ts';
import type { Init, MessageCodec } from '../../../src/protocol/wire.ts';
import { Access, type LeaseKeys } from '../../../src/server/auth/access.ts';
import { AuthStore, type TokenBook } from '../../../src/server/auth/store.ts';

/** A message as it comes off the wire. */
export function message<T>(codec: MessageCodec<T>, fields: Init<NoInfer<T>>): T {
  return codec.decode(codec.encode(fields));
}

/** `r`, `w` or `rw`, a key, and the end of a range. */
export type Grant = readonly [what: 'r' | 'w' | 'rw', key: string, end?: string];

const TYPES = { r: PermissionType.READ, w: PermissionType.WRITE, rw: PermissionType.READWRITE };

export function permission([what, key, end = '']: Grant) {
  return { permType: TYPES[what], key: new Uint8Array(fromLatin1(key)), rangeEnd: new Uint8Array(fromLatin1(end)) };
}

export function newUser(name: string, hash = 'hash', noPassword = false): AuthUserAddRequest {
  return { name, password: '', options: { noPassword }, hashedPassword: Buffer.from(hash).toString('base64') };
}

/** A user with one role, of the same name. */
export function addUser(store: AuthStore, name: string, grants: readonly Grant[]): void {
  store.roleAdd({ name });
  for (const grant of grants) store.roleGrantPermission({ name, perm: permission(grant) });
  store.userAdd(newUser(name));
  store.userGrantRole({ user: name, role: name });
}

/** A store with a root, switched on if asked. */
export function storeWithRoot(enabled: boolean, tokens?: TokenBook): AuthStore {
  const store = new AuthStore(tokens);
  store.userAdd(newUser('root'));
  store.userGrantRole({ user: 'root', role: 'root' });
  if (enabled) store.enable();
  return store;
}

/** Leases and their keys. */
export function leases(keys: Readonly<Record<string, readonly string[]>>): LeaseKeys {
  return { keysOf: (id) => keys[String(id)] ?? [], list: () => Object.keys(keys).map(BigInt) };
}

export function accessOf(store: AuthStore, keys: Readonly<Record<string, readonly string[]>> = {}): Access {
  return new Access(store, leases(keys));
}
