/** etcdctl's auth, user and role print the same on the bundled server as on etcd, and open and close the same doors. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { versions } from '../../support/fixtures.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { Pair, type RunOptions } from './pair.ts';

const ROOT: RunOptions = { env: { ETCDCTL_USER: 'root:root-pw' } };
const JOE: RunOptions = { env: { ETCDCTL_USER: 'joe:joe-pw' } };
const FORMATS = ['simple', 'json', 'fields', 'table'];

describe.each(versions)('etcdctl %s', (version) => {
  let pair: Pair;
  let folder: TempFolder;
  const good = (line: string, options?: RunOptions): Promise<string> => pair.good(line, options);
  const bad = (line: string, options?: RunOptions): Promise<string> => pair.bad(line, options);

  beforeAll(async () => {
    folder = new TempFolder('etcdkit-tools');
    pair = await Pair.start(version);
  });
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
    await folder?.remove();
  });

  it('manages roles', async () => {
    expect(await good('role add readers')).toBe('Role readers created\n');
    expect(await bad('role add readers')).toContain('role name already exists');
    await good('role add writers -w json');
    await good('role add spare');
    await good('role grant-permission readers read k');
    await good('role grant-permission readers readwrite a c');
    await good('role grant-permission readers --prefix write j/');
    await good('role grant-permission readers --from-key read x');
    await good('role grant-permission readers read a c -w json');
    await pair.same(['role', 'grant-permission', 'writers', '--prefix', 'readwrite', '']);
    expect(await bad('role grant-permission none read k')).toContain('role name not found');
    await bad('role grant-permission readers lick k');
    // 3.4 takes that, and then has no use for it.
    if (version !== '3.4')
      expect(await bad('role grant-permission readers read c a')).toContain('invalid auth management');
    for (const format of FORMATS) await pair.same(['role', 'get', 'readers', '-w', format]);
    await good('role get writers');
    await good('role get spare -w json');
    expect(await bad('role get none')).toContain('role name not found');
    expect(await bad('role get root')).toContain('role name not found');
    for (const format of FORMATS) await pair.same(['role', 'list', '-w', format]);
    await good('role revoke-permission readers a c');
    await good('role revoke-permission readers --prefix j/');
    await good('role revoke-permission readers --from-key x -w json');
    expect(await bad('role revoke-permission readers a c')).toContain('permission is not granted to the role');
    await bad('role revoke-permission none a');
    await good('role get readers');
    expect(await good('role delete spare')).toBe('Role spare deleted\n');
    expect(await bad('role delete spare')).toContain('role name not found');
  });

  it('manages users', async () => {
    await pair.same(['auth', 'status']);
    await pair.same(['auth', 'status', '-w', 'json']);
    expect(await bad('auth enable')).toMatch(/root user does not/);
    expect(await good('user add root:root-pw')).toBe('User root created\n');
    expect(await bad('user add root:root-pw')).toContain('user name already exists');
    await pair.same(['user', 'add', 'joe', '--interactive=false'], { input: 'joe-pw\n' });
    await good('user add ann --new-user-password=ann-pw -w json');
    await good('user add certified --no-password');
    await good('user add gone:soon');
    for (const format of FORMATS) await pair.same(['user', 'list', '-w', format]);
    expect(await bad('user grant-role joe none')).toContain('role name not found');
    expect(await bad('user grant-role none readers')).toContain('user name not found');
    await good('user grant-role joe readers');
    await good('user grant-role joe readers');
    await good('user grant-role joe writers -w json');
    await good('user grant-role root root');
    for (const format of FORMATS) await pair.same(['user', 'get', 'joe', '-w', format]);
    await good('user get joe --detail');
    await pair.same(['user', 'get', 'joe', '--detail', '-w', 'json']);
    await good('user get certified');
    expect(await bad('user get none')).toContain('user name not found');
    expect(await good('user revoke-role joe writers')).toBe('Role writers is revoked from user joe\n');
    expect(await bad('user revoke-role joe writers')).toContain('role is not granted to the user');
    await bad('user revoke-role none writers');
    await pair.same(['user', 'passwd', 'gone', '--interactive=false'], { input: 'other\n' });
    await pair.same(['user', 'passwd', 'none', '--interactive=false'], { input: 'other\n' });
    expect(await good('user delete gone')).toBe('User gone deleted\n');
    expect(await bad('user delete gone')).toContain('user name not found');
  });

  it('asks who it is once authentication is on', async () => {
    await good('put b 1');
    await good('put k 1');
    expect(await good('auth enable')).toBe('Authentication Enabled\n');
    await pair.same(['auth', 'enable'], ROOT);
    await pair.same(['auth', 'status'], ROOT);
    await pair.same(['auth', 'status'], JOE);
    expect(await bad('get k')).toContain('user name is empty');
    expect(await bad('get k', { env: { ETCDCTL_USER: 'joe:wrong' } })).toContain('authentication failed');
    expect(await bad('get k', { env: { ETCDCTL_USER: 'none:x' } })).toContain('authentication failed');
    await pair.same(['get', 'k'], { env: { ETCDCTL_USER: 'certified:x' } });
    expect(await good('get k', JOE)).toBe('k\n1\n');
    expect(await good('get k --user=joe --password=joe-pw')).toBe('k\n1\n');
    expect(await bad('put k 2', JOE)).toContain('permission denied');
    for (const line of [
      ...['get b', 'get k --prefix', 'get k --from-key', 'del k', 'watch b', 'lease list', 'txn'],
      ...['alarm list', 'alarm disarm', 'member list', 'endpoint health'],
      ...['user list', 'user get joe', 'user get root', 'user add x:y', 'role get readers', 'role get writers'],
      ...['role list', 'auth disable', 'lock b', 'elect b v', 'snapshot save /does/not/exist/file', 'get k --rev=9999'],
    ]) {
      await pair.same(line.split(' '), line === 'txn' ? { ...JOE, input: '\nget k\nput k 1\n\n\n' } : JOE);
    }
    // Refused by etcd too, 3.5.30 and later, or in words that are meant for its inside.
    for (const line of ['compaction 2', 'defrag', 'endpoint hashkv', `snapshot save ${folder.file('none')}`]) {
      const { code, errors } = await pair.ours.run(line.split(' '), JOE);
      expect(code, line).not.toBe(0);
      expect(errors, line).toContain('etcdserver: permission denied');
    }
    await good('put k 2', ROOT);
    await good('user get joe --detail', ROOT);
    await good('user revoke-role joe readers', ROOT);
    expect(await bad('get k', JOE)).toContain('permission denied');
    await pair.same(['user', 'passwd', 'joe', '--interactive=false'], { ...ROOT, input: 'new-pw\n' });
    expect(await bad('get k', JOE)).toContain('authentication failed');
    for (const line of ['user delete root', 'user revoke-role root root', 'role delete root']) {
      expect(await bad(line, ROOT)).toMatch(/invalid auth management|role name not found/);
    }
    expect(await good('auth disable', ROOT)).toBe('Authentication Disabled\n');
    await pair.same(['auth', 'disable']);
    await pair.same(['auth', 'status']);
    await pair.same(['get', 'k'], ROOT);
    expect(await good('get k')).toBe('k\n2\n');
  });
});
