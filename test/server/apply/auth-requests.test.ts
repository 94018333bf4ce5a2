import { describe, expect, it } from 'vitest';
import { PermissionType } from '../../../src/protocol/generated/authpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import { ApplyError } from '../../../src/server/apply/errors.ts';
import { Bench, compact, disarm, put, type Request, raise, remove } from './support.ts';

const DENIED = 'etcdserver: permission denied';
const HASH = 'aGFzaA==';

const addUser = (name: string): Request => ({ authUserAdd: { name, hashedPassword: HASH } });

/** Somebody's request, checked at the auth revision of now, or at another. */
function by(bench: Bench, username: string, request: Request, authRevision = bench.machine.auth.revision): string {
  return bench.say({ ...request, header: { ID: 1n, username, authRevision } });
}

/** With root, and with ann who may write `a` and `b` and read `a`. */
function enabled(): Bench {
  const bench = new Bench();
  const grant = (key: string, permType: PermissionType): Request => ({
    authRoleGrantPermission: { name: 'r', perm: { permType, key: toBytes(key) } },
  });
  for (const request of [
    addUser('root'),
    addUser('ann'),
    { authUserGrantRole: { user: 'root', role: 'root' } },
    { authRoleAdd: { name: 'r' } },
    grant('a', PermissionType.READWRITE),
    grant('b', PermissionType.WRITE),
    { authUserGrantRole: { user: 'ann', role: 'r' } },
    { authEnable: {} },
  ]) {
    expect(bench.say(request)).toBe('auth-change');
  }
  return bench;
}

describe('who may', () => {
  it('is asked again when an entry is applied', () => {
    const bench = enabled();
    expect(by(bench, 'ann', put('a'))).toBe('put');
    expect(by(bench, 'ann', put('c'))).toBe(DENIED);
    expect(by(bench, 'ann', { put: { key: toBytes('b'), prevKv: true } })).toBe(DENIED);
    expect(by(bench, 'ann', { txn: { failure: [{ requestDeleteRange: remove('a', 'd').deleteRange }] } })).toBe(DENIED);
    expect(by(bench, 'ann', { range: { key: toBytes('b') } })).toBe(DENIED);
    expect(by(bench, '', put('a'), 0n)).toBe('etcdserver: user name is empty');
    expect(by(bench, 'ann', addUser('bob'))).toBe(DENIED);
    expect(by(bench, 'ann', { authUserGet: { name: 'ann' } })).toBe('auth-names');
    expect(bench.machine.store.revision).toBe(2);
  });

  it('is asked by the permissions of then: what was checked before a change is refused', () => {
    const bench = enabled();
    const { revision } = bench.machine.auth;
    expect(by(bench, 'root', { authRoleAdd: { name: 's' } })).toBe('auth-change');
    expect(by(bench, 'ann', put('a'), revision)).toBe('etcdserver: revision of auth store is old');
    expect(by(bench, 'ann', put('a'))).toBe('put');
  });

  it('counts for the keys of a lease, and not for what members propose on their own', () => {
    const bench = enabled();
    expect(bench.say({ leaseGrant: { ID: 1n, TTL: 60n } })).toBe('lease-grant');
    by(bench, 'root', put('c', '', 1n));
    expect(by(bench, 'ann', { leaseRevoke: { ID: 1n } })).toBe(DENIED);
    expect(by(bench, 'ann', put('a', '', 1n))).toBe(DENIED);
    expect(by(bench, 'root', { leaseRevoke: { ID: 1n } })).toBe('lease-revoke');
    expect(
      [compact(2), raise(1), disarm(1), { clusterVersionSet: { ver: '3.5.0' } }].map((one) => bench.say(one)),
    ).toEqual(['compact', 'alarm', 'alarm', 'cluster-change']);
  });

  it('comes before what an alarm forbids', () => {
    const bench = enabled();
    bench.do(raise(1));
    expect(by(bench, 'ann', put('c'))).toBe(DENIED);
    expect(by(bench, 'ann', put('a'))).toBe('etcdserver: mvcc: database space exceeded');
  });
});

describe('logins', () => {
  const login = (name: string): Request => ({ authenticate: { name, simpleToken: 'abc' } });

  it('are made known with the revision of now, for who checks whether the password still counts', () => {
    const bench = enabled();
    const { index } = bench.machine;
    const expected = {
      username: 'ann',
      revision: bench.machine.auth.revision,
      index: BigInt(index + 1),
      prefix: 'abc',
    };
    expect(bench.do(login('ann'))).toEqual({ type: 'auth-login', login: expected });
    expect(bench.tokens.logins).toEqual([expected]);
    by(bench, 'root', { authUserChangePassword: { name: 'ann', hashedPassword: HASH } });
    expect(bench.tokens.voided).toEqual(['ann']);
    expect(bench.do(login('ann'))).toMatchObject({ login: { revision: expected.revision + 1n } });
  });

  it('are refused to who is gone, who has no password, and while nobody is asked', () => {
    const bench = enabled();
    by(bench, 'root', { authUserAdd: { name: 'bob', options: { noPassword: true } } });
    expect(bench.say(login('eve'))).toBe('etcdserver: authentication failed, invalid user ID or password');
    expect(bench.say(login('bob'))).toMatch(/^auth: authentication failed/);
    by(bench, 'root', { authDisable: {} });
    expect(bench.tokens.voided).toEqual(['*']);
    expect(bench.say(login('ann'))).toBe('etcdserver: authentication is not enabled');
    expect(bench.tokens.logins).toEqual([]);
  });
});

describe('users and roles', () => {
  it('are changed, told, and refused with the words of etcd', () => {
    const bench = enabled();
    const root = (request: Request) => bench.do({ ...request, header: { username: 'root', authRevision: 99n } });
    expect(root({ authStatus: {} })).toEqual({ type: 'auth-status', enabled: true, revision: 8n });
    expect(root({ authUserList: {} })).toEqual({ type: 'auth-names', names: ['ann', 'root'] });
    expect(root({ authRoleList: {} })).toEqual({ type: 'auth-names', names: ['r'] });
    expect(root({ authUserGet: { name: 'ann' } })).toEqual({ type: 'auth-names', names: ['r'] });
    expect(root({ authRoleGet: { role: 'r' } })).toMatchObject({
      type: 'auth-permissions',
      permissions: [{ permType: PermissionType.READWRITE }, { permType: PermissionType.WRITE }],
    });
    const revoke = { authRoleRevokePermission: { role: 'r', key: toBytes('a') } };
    expect([root(revoke), root(revoke)]).toMatchObject([
      { type: 'auth-change' },
      { refusal: { text: 'etcdserver: permission is not granted to the role' } },
    ]);
    const texts = [
      { authUserGet: { name: 'eve' } },
      { authRoleGet: { role: 'x' } },
      { authUserRevokeRole: { name: 'ann', role: 'x' } },
      { authUserDelete: { name: 'root' } },
      { authRoleDelete: { role: 'x' } },
      { authUserAdd: { name: '' } },
    ].map((request) => by(bench, 'root', request).replace('etcdserver: ', ''));
    expect(texts).toEqual([
      'user name not found',
      'role name not found',
      'role is not granted to the user',
      'invalid auth management',
      'role name not found',
      'user name is empty',
    ]);
  });

  it('are not switched on without a root', () => {
    expect(new Bench().say({ authEnable: {} })).toBe('etcdserver: root user does not exist');
  });

  it('have hashed passwords alone: a plain one stops the member before anything has changed', () => {
    const bench = new Bench();
    const apply = () => bench.do({ authUserAdd: { name: 'ann', password: 'secret' } });
    expect(apply).toThrow(ApplyError);
    expect(apply).toThrow(/^(?!.*secret)/);
    expect(bench.machine.auth.userList()).toEqual([]);
    expect(bench.say({ authUserAdd: { name: 'ann', password: 'x', options: { noPassword: true } } })).toBe(
      'auth-change',
    );
  });
});
