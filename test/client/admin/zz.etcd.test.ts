import { it } from 'vitest';
import { Auth } from '../../../src/protocol/generated/etcdserverpb.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { adminClient } from './callers.ts';
describeOnEtcd('hash', (suite) => {
  it('x', async () => {
    using etcd = adminClient(suite.cluster);
    const hashedPassword = process.env['HASH']!;
    const W = { kind: 'write' } as const;
    await etcd.auth.users.add('root', { password: 'r' });
    await etcd.auth.users.grantRole('root', 'root');
    await etcd.caller.unary(Auth.userAdd, { name: 'h1', hashedPassword }, W);
    await etcd.auth.users.add('h2', { password: 'orig' });
    await etcd.caller.unary(Auth.userChangePassword, { name: 'h2', hashedPassword }, W);
    await etcd.caller.unary(Auth.userAdd, { name: 'h3', hashedPassword, options: { noPassword: true } }, W);
    await etcd.auth.enable();
    using admin = adminClient({ endpoints: suite.cluster.endpoints, credentials: { username: 'root', password: 'r' } });
    for (const name of ['h1', 'h2', 'h3']) for (const password of ['hash-secret', 'orig', '']) {
      const r = await admin.caller.unary(Auth.authenticate, { name, password }, { kind: 'read', anonymous: true }).then(() => 'OK', (e) => e.message);
      console.log(suite.version, name, JSON.stringify(password), r);
    }
  });
});
