import { beforeEach, describe, expect, it } from 'vitest';
import { Role, User } from '../../../src/protocol/generated/authpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import { AuthErrors as E } from '../../../src/server/auth/errors.ts';
import { AuthStore, NOBODY } from '../../../src/server/auth/store.ts';
import { addUser, type Grant, newUser, permission, storeWithRoot } from './support.ts';

describe('switching authentication on', () => {
  it('needs the user root, then its role', () => {
    const store = new AuthStore();
    expect(store.enable()).toBe(E.RootUserNotFound);
    store.userAdd(newUser('root'));
    expect(store.enable()).toBe(E.RootRoleNotGranted);
    // The role need not be there itself.
    expect(store.userGrantRole({ user: 'root', role: 'root' })).toBeUndefined();
    expect(store.enabled).toBe(false);
    expect(store.enable()).toBeUndefined();
    expect([store.enabled, store.enable()]).toEqual([true, undefined]);
  });

  it('is no change of the revision; switching off is one, and voids all tokens', () => {
    let resets = 0;
    const store = storeWithRoot(false, { invalidateUser: () => {}, reset: () => (resets += 1) });
    const { revision } = store;
    store.enable();
    expect(store.revision).toBe(revision);
    store.disable();
    store.disable();
    expect([store.enabled, store.revision, resets]).toEqual([false, revision + 1n, 1]);
  });
});

describe('changes', () => {
  let store: AuthStore;
  let voided: string[];
  beforeEach(() => {
    voided = [];
    store = storeWithRoot(true, { invalidateUser: (name) => voided.push(name), reset: () => {} });
    addUser(store, 'ada', [
      ['r', 'a'],
      ['w', 'b', 'd'],
    ]);
    store.roleAdd({ name: 'root' });
    voided = [];
  });

  /** Each with the first refusal when several would do. */
  const refusals: Record<string, [(store: AuthStore) => unknown, unknown]> = {
    'a user without a name': [(s) => s.userAdd(newUser('')), E.UserEmpty],
    'a user that is there': [(s) => s.userAdd(newUser('ada')), E.UserExists],
    'deleting a user that is not there': [(s) => s.userDelete({ name: 'x' }), E.UserNotFound],
    'deleting root': [(s) => s.userDelete({ name: 'root' }), E.InvalidAuthManagement],
    'a password of nobody': [(s) => s.userChangePassword(newUser('x')), E.UserNotFound],
    'granting to nobody, and what is not there': [(s) => s.userGrantRole({ user: 'x', role: 'x' }), E.UserNotFound],
    'granting what is not there': [(s) => s.userGrantRole({ user: 'ada', role: 'x' }), E.RoleNotFound],
    'revoking from nobody': [(s) => s.userRevokeRole({ name: 'x', role: 'x' }), E.UserNotFound],
    'revoking what is not granted': [(s) => s.userRevokeRole({ name: 'ada', role: 'x' }), E.RoleNotGranted],
    'revoking root from root': [(s) => s.userRevokeRole({ name: 'root', role: 'root' }), E.InvalidAuthManagement],
    'a role without a name': [(s) => s.roleAdd({ name: '' }), E.RoleEmpty],
    'a role that is there': [(s) => s.roleAdd({ name: 'ada' }), E.RoleExists],
    'deleting a role that is not there': [(s) => s.roleDelete({ role: 'x' }), E.RoleNotFound],
    'deleting the role root': [(s) => s.roleDelete({ role: 'root' }), E.InvalidAuthManagement],
    'no permission, to no role': [(s) => s.roleGrantPermission({ name: 'x', perm: undefined }), E.PermissionNotGiven],
    'an empty key, to no role': [
      (s) => s.roleGrantPermission({ name: 'x', perm: permission(['r', '', 'b']) }),
      E.InvalidAuthManagement,
    ],
    'an end that is the key': [
      (s) => s.roleGrantPermission({ name: 'ada', perm: permission(['r', 'b', 'b']) }),
      E.InvalidAuthManagement,
    ],
    'an end before the key': [
      (s) => s.roleGrantPermission({ name: 'ada', perm: permission(['r', 'b', 'a']) }),
      E.InvalidAuthManagement,
    ],
    'a permission to no role': [
      (s) => s.roleGrantPermission({ name: 'x', perm: permission(['r', 'b']) }),
      E.RoleNotFound,
    ],
    'revoking of no role': [(s) => s.roleRevokePermission({ role: 'x', ...permission(['r', 'a']) }), E.RoleNotFound],
    'revoking a part of a range': [
      (s) => s.roleRevokePermission({ role: 'ada', ...permission(['w', 'b', 'c']) }),
      E.PermissionNotGranted,
    ],
    'looking at nobody': [(s) => s.userGet('x'), E.UserNotFound],
    'looking at no role': [(s) => s.roleGet('x'), E.RoleNotFound],
  };
  it.each(Object.entries(refusals))('refuse %s and leave everything as it was', (_, [change, refusal]) => {
    const before = store.rows();
    expect(change(store)).toBe(refusal);
    expect(store.rows()).toEqual(before);
    expect(voided).toEqual([]);
  });

  it('of root are free while authentication is off', () => {
    store.disable();
    expect(store.userRevokeRole({ name: 'root', role: 'root' })).toBeUndefined();
    expect(store.roleDelete({ role: 'root' })).toBeUndefined();
    expect(store.userDelete({ name: 'root' })).toBeUndefined();
  });

  const changes: Record<string, [(store: AuthStore) => unknown, bigint]> = {
    'a new user': [(s) => s.userAdd(newUser('bob')), 1n],
    'a user less': [(s) => s.userDelete({ name: 'ada' }), 1n],
    'another password': [(s) => s.userChangePassword(newUser('ada', 'other')), 1n],
    'a role granted': [(s) => s.userGrantRole({ user: 'ada', role: 'root' }), 1n],
    'a role granted again': [(s) => s.userGrantRole({ user: 'ada', role: 'ada' }), 0n],
    'a role revoked': [(s) => s.userRevokeRole({ name: 'ada', role: 'ada' }), 1n],
    'a new role': [(s) => s.roleAdd({ name: 'new' }), 1n],
    'a role less, of a user': [(s) => s.roleDelete({ role: 'ada' }), 1n],
    'a permission granted': [(s) => s.roleGrantPermission({ name: 'ada', perm: permission(['r', 'x']) }), 1n],
    'a permission granted again': [(s) => s.roleGrantPermission({ name: 'ada', perm: permission(['r', 'a']) }), 1n],
    'a permission revoked': [(s) => s.roleRevokePermission({ role: 'ada', ...permission(['r', 'a']) }), 1n],
  };
  it.each(Object.entries(changes))('count: %s', (_, [change, by]) => {
    const { revision } = store;
    expect(change(store)).toBeUndefined();
    expect(store.revision).toBe(revision + by);
  });

  it("of who somebody is void their tokens, and nobody else's", () => {
    addUser(store, 'bob', []);
    store.userChangePassword(newUser('ada', 'other'));
    store.userDelete({ name: 'bob' });
    expect(voided).toEqual(['ada', 'bob']);
  });

  it('of a role reach everybody who has it', () => {
    expect(store.userGet('ada')).toEqual(['ada']);
    store.roleDelete({ role: 'ada' });
    expect(store.userGet('ada')).toEqual([]);
    expect(store.roleList()).toEqual(['root']);
  });

  it('keep names and permissions in the order of their bytes', () => {
    for (const name of ['\u{1f600}', '\uffff', 'Z', 'a']) {
      store.userAdd(newUser(name));
      store.roleAdd({ name });
      store.userGrantRole({ user: 'ada', role: name });
    }
    // As UTF-16 the first of these would come before the second.
    expect(store.userList()).toEqual(['Z', 'a', 'ada', 'root', '\uffff', '\u{1f600}']);
    expect(store.userGet('ada')).toEqual(['Z', 'a', 'ada', '\uffff', '\u{1f600}']);
    store.roleGrantPermission({ name: 'ada', perm: permission(['r', 'B']) });
    store.roleGrantPermission({ name: 'ada', perm: permission(['r', 'b']) });
    store.roleGrantPermission({ name: 'ada', perm: permission(['rw', 'b', 'd']) });
    expect(store.roleGet('ada')).toEqual([
      permission(['r', 'B']),
      permission(['r', 'a']),
      permission(['rw', 'b', 'd']),
      permission(['r', 'b']),
    ]);
  });

  it('change a permission only if it is the first of its key', () => {
    const grant = (...range: Grant): void => {
      store.roleGrantPermission({ name: 'ada', perm: permission(range) });
    };
    grant('rw', 'k', 'z');
    grant('w', 'k', 'z');
    grant('r', 'k');
    grant('r', 'k', 'z');
    grant('w', 'k');
    const perms = store.roleGet('ada') as unknown[];
    expect(perms.slice(2)).toEqual([permission(['r', 'k', 'z']), permission(['r', 'k']), permission(['w', 'k'])]);
  });

  it('keep no password of a user without one', () => {
    store.userAdd(newUser('cert', 'hash', true));
    expect(store.loginTarget('cert')).toEqual({ hash: '', noPassword: true });
    store.userChangePassword(newUser('cert', 'hash'));
    expect(store.loginTarget('cert')).toEqual({ hash: '', noPassword: true });
    expect(store.loginTarget('ada')).toEqual({ hash: 'hash', noPassword: false });
    expect(store.loginTarget('x')).toBeUndefined();
  });

  it('decide about a login that is on its way', () => {
    store.userAdd(newUser('cert', '', true));
    expect(['ada', 'cert', 'x'].map((name) => store.checkLogin(name))).toEqual([
      undefined,
      E.NoPasswordUser,
      E.AuthFailed,
    ]);
    store.disable();
    expect(store.checkLogin('ada')).toBe(E.AuthNotEnabled);
  });
});

describe('who may do what', () => {
  const a = [{ key: 'a', end: '' }];
  let store: AuthStore;
  beforeEach(() => {
    store = storeWithRoot(true);
    addUser(store, 'ada', [['r', 'a']]);
  });

  it('is asked in this order: are they somebody, is that fresh, are they there, may they', () => {
    const stale = { username: 'x', revision: store.revision - 1n };
    expect(store.checkRanges(NOBODY, a, 'read')).toBe(E.UserEmpty);
    expect(store.checkRanges({ username: 'ada', revision: 0n }, a, 'read')).toBe(E.UserEmpty);
    expect(store.checkRanges(stale, a, 'read')).toBe(E.AuthOldRevision);
    expect(store.checkRanges({ ...stale, username: 'root' }, a, 'read')).toBe(E.AuthOldRevision);
    expect(store.checkRanges(store.actor('x'), a, 'read')).toBe(E.PermissionDenied);
    // A certificate without a name.
    expect(store.checkRanges(store.actor(''), a, 'read')).toBe(E.PermissionDenied);
    expect(store.checkRanges(store.actor('ada'), a, 'write')).toBe(E.PermissionDenied);
    expect(store.checkRanges(store.actor('ada'), a, 'read')).toBeUndefined();
    expect(store.checkRanges(store.self(), [{ key: '\0', end: '\0' }], 'write')).toBeUndefined();
    expect(store.checkRanges({ username: 'ada', revision: store.revision + 5n }, a, 'read')).toBeUndefined();
  });

  it('is administration for who has the role root, by whatever name, and whatever the age of their token', () => {
    store.userGrantRole({ user: 'ada', role: 'root' });
    expect(store.checkAdmin({ username: 'ada', revision: 1n })).toBeUndefined();
    store.userRevokeRole({ name: 'ada', role: 'root' });
    expect(store.checkAdmin({ username: 'ada', revision: store.revision })).toBe(E.PermissionDenied);
    expect(store.checkAdmin(store.actor('x'))).toBe(E.PermissionDenied);
    expect(store.checkAdmin(NOBODY)).toBe(E.UserEmpty);
    expect(store.checkAdmin(store.actor(''))).toBe(E.UserEmpty);
  });

  it('is anything, while authentication is off', () => {
    store.disable();
    expect(store.checkRanges(NOBODY, a, 'write')).toBeUndefined();
    expect(store.checkAdmin(NOBODY)).toBeUndefined();
    expect(store.checkUser(NOBODY)).toBeUndefined();
    expect(store.checkUnchanged(NOBODY)).toBeUndefined();
  });

  it('follows every change at once', () => {
    const may = () => store.checkRanges(store.actor('ada'), a, 'read') === undefined;
    const seen = [may()];
    store.roleRevokePermission({ role: 'ada', ...permission(['r', 'a']) });
    seen.push(may());
    store.roleGrantPermission({ name: 'ada', perm: permission(['rw', '\0', '\0']) });
    seen.push(may());
    store.userRevokeRole({ name: 'ada', role: 'ada' });
    seen.push(may());
    store.userGrantRole({ user: 'ada', role: 'ada' });
    seen.push(may());
    store.roleDelete({ role: 'ada' });
    seen.push(may());
    expect(seen).toEqual([true, false, true, false, true, false]);
  });

  it('may have changed while a read waited', () => {
    const actor = store.actor('ada');
    expect(store.checkUnchanged(actor)).toBeUndefined();
    store.roleAdd({ name: 'other' });
    expect(store.checkUnchanged(actor)).toBe(E.AuthOldRevision);
    expect(store.checkUnchanged(NOBODY)).toBe(E.UserEmpty);
  });

  it('gives nothing to a kind of permission that nobody knows', () => {
    store.roleGrantPermission({ name: 'ada', perm: { ...permission(['r', 'z']), permType: 9 as 0 } });
    for (const purpose of ['read', 'write'] as const) {
      expect(store.checkRanges(store.actor('ada'), [{ key: 'z', end: '' }], purpose)).toBe(E.PermissionDenied);
    }
  });
});

describe('rows', () => {
  it("are etcd's messages, and come back as they were", () => {
    const store = storeWithRoot(true);
    addUser(store, 'ada', [['rw', 'a', '\0']]);
    store.userAdd(newUser('cert', '', true));
    const rows = store.rows();
    const users = rows.users.map((row) => User.decode(User.encode(row)));
    const roles = rows.roles.map((row) => Role.decode(Role.encode(row)));
    expect(users[0]).toEqual({
      name: new Uint8Array(toBytes('ada')),
      password: new Uint8Array(toBytes('hash')),
      roles: ['ada'],
      options: { noPassword: false },
    });
    let resets = 0;
    const other = new AuthStore({ invalidateUser: () => {}, reset: () => (resets += 1) });
    other.userAdd(newUser('gone'));
    other.restore({ ...rows, users, roles });
    expect(other.rows()).toEqual(rows);
    expect(resets).toBe(1);
    expect(other.checkRanges(other.actor('ada'), [{ key: 'b', end: '\0' }], 'write')).toBeUndefined();
    expect(other.userList()).toEqual(['ada', 'cert', 'root']);
  });

  it('of a server before 3.4 have no options', () => {
    const store = new AuthStore();
    const user = { name: toBytes('old'), password: toBytes('h'), roles: [], options: undefined };
    store.restore({ enabled: false, revision: 0n, users: [user], roles: [] });
    expect(store.loginTarget('old')).toEqual({ hash: 'h', noPassword: false });
    expect(store.revision).toBe(1n);
  });
});
