import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Auth as AuthService } from '../../../src/protocol/generated/etcdserverpb.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { type AdminClient, adminClient, put } from './callers.ts';

const root = { username: 'root', password: 'root-secret' };

describeOnEtcd('auth', (suite) => {
  let etcd: AdminClient;
  beforeAll(() => {
    etcd = adminClient(suite.cluster);
  });
  afterAll(() => etcd[Symbol.dispose]());

  it('manages users', async () => {
    const { users } = etcd.auth;
    await users.add('ada', { password: 'old' });
    await users.add('by-certificate', { noPassword: true });
    expect((await users.list()).names).toEqual(['ada', 'by-certificate']);
    await expect(users.add('ada', { password: 'x' })).rejects.toMatchObject({ etcdCode: 'UserExists', applied: 'no' });
    await etcd.auth.roles.add('reader');
    await users.grantRole('ada', 'reader');
    expect(await users.get('ada')).toMatchObject({ name: 'ada', roles: ['reader'] });
    await users.revokeRole('ada', 'reader');
    await expect(users.revokeRole('ada', 'reader')).rejects.toMatchObject({ etcdCode: 'RoleNotGranted' });
    expect((await users.get('ada')).roles).toEqual([]);
    await users.delete('ada');
    await users.delete('by-certificate');
    await etcd.auth.roles.delete('reader');
    await expect(users.get('ada')).rejects.toMatchObject({ etcdCode: 'UserNotFound' });
  });

  it('manages roles, and reads permissions as they were granted', async () => {
    const { roles } = etcd.auth;
    await roles.add('app');
    const granted = [
      { permission: 'read', target: 'config' },
      { permission: 'readwrite', target: { prefix: 'jobs/' } },
      { permission: 'write', target: { from: 'k', to: 'm' } },
      { permission: 'read', target: { from: 'z' } },
    ] as const;
    for (const permission of granted) await roles.grantPermission('app', permission);
    const { permissions, header } = await roles.get('app');
    expect(permissions).toEqual(granted);
    expect(header.clusterId).not.toBe(0n);
    for (const { target } of permissions) await roles.revokePermission('app', target);
    expect((await roles.get('app')).permissions).toEqual([]);
    await expect(roles.revokePermission('app', 'config')).rejects.toMatchObject({ etcdCode: 'PermissionNotGranted' });
    await roles.grantPermission('app', { permission: 'read', target: { all: true } });
    expect((await roles.get('app')).permissions).toEqual([{ permission: 'read', target: { all: true } }]);
    expect((await roles.list()).names).toEqual(['app']);
    await roles.delete('app');
    await expect(roles.get('app')).rejects.toMatchObject({ etcdCode: 'RoleNotFound' });
  });

  it('tells whether authentication is on, or that the server cannot', async () => {
    if (suite.version === '3.4') {
      const error: Error = await etcd.auth.status().then(
        () => expect.unreachable(),
        (reason: Error) => reason,
      );
      expect(error).toMatchObject({ code: 'unsupported' });
      expect(error.message).toMatch(/authStatus.* needs etcd 3\.5.*"3\.4\./);
      return;
    }
    const status = await etcd.auth.status();
    expect(status.enabled).toBe(false);
    expect(status.authRevision).toBeGreaterThan(0n);
  });

  it('does not log in while authentication is off', async () => {
    await expect(etcd.auth.authenticate('ada', 'x')).rejects.toMatchObject({
      etcdCode: 'AuthNotEnabled',
      applied: 'no',
    });
  });

  it('refuses to switch on without root', async () => {
    await expect(etcd.auth.enable()).rejects.toMatchObject({ etcdCode: 'RootUserNotFound', applied: 'no' });
    await etcd.auth.users.add('root', { password: root.password });
    await expect(etcd.auth.enable()).rejects.toMatchObject({ etcdCode: 'RootRoleNotGranted' });
    await etcd.auth.users.delete('root');
  });

  describe('switched on', () => {
    let admin: AdminClient;
    beforeAll(async () => {
      await etcd.auth.users.add('root', { password: root.password });
      await etcd.auth.users.grantRole('root', 'root');
      await etcd.auth.enable();
      admin = adminClient({ ...suite.cluster, endpoints: suite.cluster.endpoints, credentials: root });
    });
    afterAll(async () => {
      await admin.auth.disable();
      await etcd.auth.users.delete('root');
      admin[Symbol.dispose]();
    });

    it('can be switched on twice, and says so', async () => {
      await admin.auth.enable();
      if (suite.version !== '3.4') expect((await admin.auth.status()).enabled).toBe(true);
    });

    it('keeps users to their permissions, and passwords to themselves', async () => {
      await admin.auth.users.add('worker', { password: 'worker-secret' });
      await admin.auth.roles.add('jobs');
      await admin.auth.roles.grantPermission('jobs', { permission: 'readwrite', target: { prefix: 'jobs/' } });
      await admin.auth.users.grantRole('worker', 'jobs');
      const credentials = { username: 'worker', password: 'worker-secret' };
      using worker = adminClient({ endpoints: suite.cluster.endpoints, credentials });
      await put(worker, 'jobs/1', 'x');
      await expect(put(worker, 'elsewhere', 'x')).rejects.toMatchObject({ code: 'permission-denied' });
      await expect(worker.auth.users.list()).rejects.toMatchObject({ code: 'permission-denied' });
      expect((await worker.auth.users.get('worker')).roles).toEqual(['jobs']);

      await admin.auth.users.changePassword('worker', { password: 'next-secret' });
      const error: unknown = await admin.auth
        .authenticate('worker', 'worker-secret')
        .catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'unauthenticated', etcdCode: 'AuthFailed' });
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('worker-secret');

      const login = await admin.auth.authenticate('worker', 'next-secret');
      expect(login.token).not.toBe('');
      expect(inspect(login, { depth: 9, showHidden: true })).not.toContain(login.token);
      expect(JSON.stringify({ ...login, header: undefined })).not.toContain(login.token);
      using bearer = adminClient({ endpoints: suite.cluster.endpoints, credentials: { token: login.token } });
      await put(bearer, 'jobs/2', 'x');

      await admin.auth.users.delete('worker');
      await admin.auth.roles.delete('jobs');
    });

    it('takes hashes where the server understands them, and never makes an empty password of one', async () => {
      // bcrypt of 'hash-secret', cost 4.
      const hashedPassword = '$2b$04$abcdefghijklmnopqrstuu96oGIhD41Yc1ofAsDVmH68Whh1yyJDu';
      const { users } = admin.auth;
      await users.add('changed', { password: 'original' });
      const canLogIn = async (name: string, password: string): Promise<boolean> => {
        const request = { name, password };
        return admin.caller.unary(AuthService.authenticate, request, { kind: 'read', anonymous: true }).then(
          () => true,
          () => false,
        );
      };
      if (suite.version === '3.4') {
        const refusal = { code: 'unsupported', message: expect.stringContaining('hashedPassword') };
        await expect(users.changePassword('changed', { hashedPassword })).rejects.toMatchObject(refusal);
        await expect(users.add('hashed', { hashedPassword })).rejects.toMatchObject(refusal);
        expect((await users.list()).names).not.toContain('hashed');
        expect(await canLogIn('changed', 'original')).toBe(true);
      } else {
        await users.changePassword('changed', { hashedPassword });
        await users.add('hashed', { hashedPassword });
        for (const name of ['changed', 'hashed']) {
          expect(await canLogIn(name, 'hash-secret')).toBe(true);
          expect(await canLogIn(name, '')).toBe(false);
        }
        expect(await canLogIn('changed', 'original')).toBe(false);
        await users.delete('hashed');
      }
      expect(await canLogIn('changed', '')).toBe(false);
      await users.delete('changed');
    });

    it('backs up and lists alarms with a token, and not without', async () => {
      const snapshot = await admin.maintenance.snapshot();
      let bytes = 0;
      for await (const piece of snapshot as AsyncIterable<Uint8Array>) bytes += piece.length;
      expect(bytes).toBe(snapshot.totalBytes);
      expect((await admin.maintenance.alarms.list()).alarms).toEqual([]);
      await expect(etcd.maintenance.snapshot()).rejects.toMatchObject({ code: 'unauthenticated' });
    });
  });
});

describeOnEtcd(
  'auth by certificate',
  (suite) => {
    it('takes the common name for the user', async () => {
      const { authority, ca } = suite.cluster.tls!;
      const connect = async (user: string): Promise<AdminClient> => {
        const { cert, key } = await authority.client(user);
        return adminClient({ endpoints: suite.cluster.endpoints, tls: { ca, cert, key } });
      };
      using admin = await connect('root');
      await admin.auth.users.add('root', { noPassword: true });
      await admin.auth.users.grantRole('root', 'root');
      await admin.auth.users.add('deploy', { noPassword: true });
      await admin.auth.roles.add('releases');
      await admin.auth.roles.grantPermission('releases', { permission: 'readwrite', target: { prefix: 'releases/' } });
      await admin.auth.users.grantRole('deploy', 'releases');
      await admin.auth.enable();
      try {
        using deploy = await connect('deploy');
        await put(deploy, 'releases/1', 'x');
        await expect(put(deploy, 'other', 'x')).rejects.toMatchObject({ code: 'permission-denied' });
        using nobody = await connect('nobody');
        await expect(put(nobody, 'releases/1', 'x')).rejects.toMatchObject({
          code: expect.stringMatching(/denied|unauth/),
        });
        expect((await admin.auth.users.list()).names).toEqual(['deploy', 'root']);
        // Who has no password cannot log in with one.
        await expect(admin.auth.authenticate('deploy', 'guess')).rejects.toMatchObject({ code: 'unauthenticated' });
      } finally {
        await admin.auth.disable();
      }
    });
  },
  { tls: 'mutual' },
);
