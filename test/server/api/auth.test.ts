import { describe, expect, it } from 'vitest';
import { Auth, KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import { bytes, refusalOf, Served, text } from './served.ts';

describe('users and roles', () => {
  it('are made, listed, changed and deleted', async () => {
    const served = new Served();
    await served.call(Auth.userAdd, { name: 'ann', password: 'secret' });
    await served.call(Auth.userAdd, { name: 'bob', options: { noPassword: true } });
    await served.call(Auth.roleAdd, { name: 'r1' });
    await served.call(Auth.roleAdd, { name: 'r2' });
    for (const role of ['r2', 'r1']) await served.call(Auth.userGrantRole, { user: 'ann', role });
    expect((await served.call(Auth.userList)).users).toEqual(['ann', 'bob']);
    expect((await served.call(Auth.roleList)).roles).toEqual(['r1', 'r2']);
    expect((await served.call(Auth.userGet, { name: 'ann' })).roles).toEqual(['r1', 'r2']);
    const perm = { permType: 0, key: bytes('a'), rangeEnd: bytes('b') } as const;
    await served.call(Auth.roleGrantPermission, { name: 'r1', perm });
    const [granted] = (await served.call(Auth.roleGet, { role: 'r1' })).perm;
    expect([text(granted?.key), text(granted?.rangeEnd)]).toEqual(['a', 'b']);
    await served.call(Auth.roleRevokePermission, { role: 'r1', key: bytes('a'), rangeEnd: bytes('b') });
    expect((await served.call(Auth.roleGet, { role: 'r1' })).perm).toEqual([]);
    await served.call(Auth.userRevokeRole, { name: 'ann', role: 'r2' });
    await served.call(Auth.roleDelete, { role: 'r1' });
    expect((await served.call(Auth.userGet, { name: 'ann' })).roles).toEqual([]);
    await served.call(Auth.userDelete, { name: 'ann' });
    const { users, header } = await served.call(Auth.userList);
    expect([users, header?.revision]).toEqual([['bob'], 1n]);
    // etcd counts from 1, one for each change.
    expect(await served.call(Auth.authStatus)).toMatchObject({ enabled: false, authRevision: 12n });
  });

  it('are refused as applying them says', async () => {
    const served = new Served();
    expect(await refusalOf(served.call(Auth.userAdd))).toBe('3 etcdserver: user name is empty');
    expect(await refusalOf(served.call(Auth.roleGet, { role: 'x' }))).toBe('9 etcdserver: role name not found');
    expect(await refusalOf(served.call(Auth.authEnable))).toBe('9 etcdserver: root user does not exist');
  });

  it('keep passwords out of the log', async () => {
    const served = new Served();
    await served.call(Auth.userAdd, { name: 'root', password: 'first' });
    await served.call(Auth.userChangePassword, { name: 'root', password: 'second' });
    await served.call(Auth.userGrantRole, { user: 'root', role: 'root' });
    await served.call(Auth.authEnable);
    await served.logIn('root', 'second');
    const added = served.member.proposed.map(({ authUserAdd }) => authUserAdd).find((one) => one !== undefined);
    expect(added).toMatchObject({ password: '', hashedPassword: expect.stringMatching(/./) });
    const passwords = served.member.proposed.flatMap(({ authUserAdd, authUserChangePassword, authenticate }) =>
      [authUserAdd, authUserChangePassword, authenticate].map((one) => one?.password ?? ''),
    );
    expect(passwords.every((password) => password === '')).toBe(true);
  });
});

describe('Authenticate', () => {
  it('gives a token that says who asks', async () => {
    const served = new Served();
    const { user } = await served.enableAuth('ann', 'a/');
    await served.call(KV.put, { key: bytes('a/1') }, user);
    expect(served.member.proposed.at(-1)?.header?.username).toBe('ann');
  });

  it('refuses while authentication is off, and what is wrong', async () => {
    const served = new Served();
    const logIn = (name: string, password: string) => refusalOf(served.logIn(name, password));
    expect(await logIn('ann', 'u')).toBe('9 etcdserver: authentication is not enabled');
    const { root } = await served.enableAuth('ann', 'a/');
    await served.call(Auth.userAdd, { name: 'bob', options: { noPassword: true } }, root);
    const failed = '3 etcdserver: authentication failed, invalid user ID or password';
    expect([await logIn('ann', 'wrong'), await logIn('none', 'u')]).toEqual([failed, failed]);
    expect(await logIn('bob', '')).toBe('2 auth: authentication failed, password was given for no password user');
    expect(served.member.proposed.filter(({ authenticate }) => authenticate)).toHaveLength(2);
  });

  it('looks at the newest users first', async () => {
    const served = new Served();
    await served.enableAuth('ann', 'a/');
    const { linearized } = served.member;
    await served.logIn('ann', 'u');
    expect(served.member.linearized).toBe(linearized + 1);
  });

  it('checks the password again when users have changed while the login was on its way', async () => {
    const served = new Served();
    const { root } = await served.enableAuth('ann', 'a/');
    const { hasher } = served.member;
    const before = hasher.verified;
    served.member.beforeApply = async ({ authenticate }) => {
      if (!authenticate) return;
      served.member.beforeApply = () => {};
      await served.call(Auth.roleAdd, { name: 'other' }, root);
    };
    const user = await served.logIn('ann', 'u');
    expect(hasher.verified).toBe(before + 2);
    await served.call(KV.put, { key: bytes('a/1') }, user);
  });

  it('lets nobody in with a password that was changed meanwhile', async () => {
    const served = new Served();
    const { root } = await served.enableAuth('ann', 'a/');
    served.member.beforeApply = async ({ authenticate }) => {
      if (!authenticate) return;
      served.member.beforeApply = () => {};
      await served.call(Auth.userChangePassword, { name: 'ann', password: 'new' }, root);
    };
    expect(await refusalOf(served.logIn('ann', 'u'))).toBe(
      '3 etcdserver: authentication failed, invalid user ID or password',
    );
  });

  it('is open to all, as nobody has a token before', async () => {
    const served = new Served();
    const { root } = await served.enableAuth('ann', 'a/');
    const token = await served.logIn('ann', 'u');
    expect(token).not.toEqual(root);
    expect(await refusalOf(served.call(Auth.userList, {}, token))).toBe('7 etcdserver: permission denied');
    expect((await served.call(Auth.userGet, { name: 'ann' }, token)).roles).toEqual(['role']);
  });
});
