/** Users, roles and permissions. */
import { Auth } from '../../../../src/protocol/generated/etcdserverpb.ts';
import type { AnyMethod, Step } from '../steps.ts';
import { keyRange } from './kv.ts';
import { ROLES, type Scene, USERS } from './scene.ts';

const BACKWARDS = { key: Buffer.from('b'), rangeEnd: Buffer.from('a') };

/** Root, and everything that root needs; after that its token is good. Also while it is so already. */
export function rootSteps(): Step[] {
  const call = (method: AnyMethod, request: object): Step => ({ kind: 'call', method, request, as: 'root' });
  return [
    call(Auth.userAdd, { name: 'root', password: 'root' }),
    call(Auth.userGrantRole, { user: 'root', role: 'root' }),
    call(Auth.authEnable, {}),
    call(Auth.authenticate, { name: 'root', password: 'root' }),
  ];
}

/** Users who may do something. */
export function prologue(): Step[] {
  const call = (method: AnyMethod, request: object): Step => ({ kind: 'call', method, request, as: 'root' });
  const login = (name: string): Step => call(Auth.authenticate, { name, password: name });
  const range = { key: Buffer.from('a'), rangeEnd: Buffer.from('z') };
  return [
    ...USERS.slice(0, 2).map((name) => call(Auth.userAdd, { name, password: name })),
    ...ROLES.map((name) => call(Auth.roleAdd, { name })),
    // The sentinel of watch streams.
    call(Auth.roleAdd, { name: 'base' }),
    call(Auth.roleGrantPermission, { name: 'base', perm: { permType: 0, key: Buffer.from('~') } }),
    ...USERS.slice(0, 2).map((user) => call(Auth.userGrantRole, { user, role: 'base' })),
    call(Auth.roleGrantPermission, { name: 'r0', perm: { permType: 2, ...range } }),
    call(Auth.userGrantRole, { user: 'u0', role: 'r0' }),
    call(Auth.userGrantRole, { user: 'u1', role: 'r1' }),
    ...rootSteps(),
    ...USERS.slice(0, 2).map(login),
  ];
}

export function authSteps(scene: Scene): Step[] {
  const { dice } = scene;
  // Mostly root, or all that would be seen is that others may not.
  const as = scene.authOn && dice.chance(85) ? 'root' : scene.caller();
  const call = (method: AnyMethod, request: object): Step[] => [{ kind: 'call', method, request, as }];
  const user = dice.of([...USERS, 'root', 'x', '']);
  const other = dice.of([...USERS, 'x', '']);
  const role = dice.of([...ROLES, 'x', '']);
  const perm = { permType: dice.of([0, 1, 2]), ...(dice.chance(95) ? keyRange(scene) : BACKWARDS) };
  // With permissions looked at, root has to stay root, and the sentinel to be written.
  const safe = scene.authOn ? user : other;
  return dice.weighted<() => Step[]>([
    [3, () => call(Auth.userAdd, { name: other, password: dice.of([other, '']), options: options(scene) })],
    [1, () => call(Auth.userDelete, { name: safe })],
    [2, () => call(Auth.userChangePassword, { name: other, password: other })],
    [6, () => call(Auth.userGrantRole, { user: other, role: dice.of([role, role, role, 'root']) })],
    [4, () => call(Auth.userRevokeRole, { name: safe, role: dice.of([role, role, 'root']) })],
    [3, () => call(Auth.userGet, { name: user })],
    [1, () => call(Auth.userList, {})],
    [3, () => call(Auth.roleAdd, { name: role })],
    [1, () => call(Auth.roleDelete, { role: dice.of([role, role, 'root']) })],
    [3, () => call(Auth.roleGet, { role: dice.of([role, 'base', 'root']) })],
    [1, () => call(Auth.roleList, {})],
    [10, () => call(Auth.roleGrantPermission, { name: role, perm: dice.chance(3) ? undefined : perm })],
    [4, () => call(Auth.roleRevokePermission, { role, key: perm.key, rangeEnd: perm.rangeEnd })],
    [6, () => call(Auth.authenticate, { name: user, password: dice.chance(85) ? user : 'wrong' })],
    // Or most would soon be nobody.
    [
      scene.authOn ? 10 : 0,
      () => USERS.slice(0, 2).flatMap((name) => call(Auth.authenticate, { name, password: name })),
    ],
    [2, () => call(Auth.authStatus, {})],
    [1, () => (scene.withAuth ? call(Auth.authDisable, {}) : call(Auth.authEnable, {}))],
    [scene.withAuth && !scene.authOn ? 30 : 0, rootSteps],
  ])();
}

function options({ dice }: Scene): object | undefined {
  return dice.chance(15) ? { noPassword: dice.chance(60) } : undefined;
}
