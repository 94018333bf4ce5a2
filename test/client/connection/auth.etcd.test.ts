/** Logging in, and staying logged in, on real etcd with authentication on. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EtcdError, PermissionDeniedError, UnauthenticatedError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import type { EtcdCluster } from '../../support/etcd-cluster.ts';
import type { EtcdMember } from '../../support/etcd-member.ts';
import { describeOnEtcd, type EtcdSuite } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';

const AUTHENTICATE = '/etcdserverpb.Auth/Authenticate';
const RANGE = '/etcdserverpb.KV/Range';
const PUT = '/etcdserverpb.KV/Put';
const ROOT = { ETCDCTL_USER: 'root:root-secret' };
const ALICE = { username: 'alice', password: 'alice-secret' };

async function enableAuth(cluster: EtcdCluster): Promise<void> {
  await cluster.etcdctl(['user', 'add', 'root:root-secret']);
  await cluster.etcdctl(['user', 'grant-role', 'root', 'root']);
  await cluster.etcdctl(['role', 'add', 'app']);
  await cluster.etcdctl(['role', 'grant-permission', 'app', '--prefix=true', 'readwrite', 'app/']);
  await cluster.etcdctl(['user', 'add', 'alice:alice-secret']);
  await cluster.etcdctl(['user', 'grant-role', 'alice', 'app']);
  await cluster.etcdctl(['auth', 'enable']);
}

function withAuth(suite: EtcdSuite): void {
  beforeAll(() => enableAuth(suite.cluster));
  afterAll(() => suite.cluster.etcdctl(['auth', 'disable'], { env: ROOT }));
}

function front(suite: EtcdSuite): Promise<GrpcFaultProxy> {
  return GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
}

const code = (error: EtcdError): string => error.code;

/**
 * Restarts a member so that it has forgotten all simple tokens, which live in its memory. Killed, it may not have: a
 * login is an entry of the Raft log, and one that its database does not have yet is done again at the start, with the
 * same token. An orderly end brings the database up to the last write (3.4 notes its place in the log at writes alone),
 * so there must have been one since the login.
 */
async function restartForgetful(member: EtcdMember): Promise<void> {
  await member.terminate();
  await member.restart();
}

describeOnEtcd('a user with a password', (suite) => {
  withAuth(suite);

  it('logs in once for a hundred first calls', async () => {
    await using proxy = await front(suite);
    await using etcd = new Etcd({ endpoints: proxy.address, auth: ALICE });
    await Promise.all(Array.from({ length: 100 }, (_, i) => etcd.put(`app/${i}`, 'v')));
    expect(proxy.count(AUTHENTICATE)).toBe(1);
    expect(proxy.count(PUT)).toBe(100);
    // The login opened the member's mouth: its version is known although it would not tell a stranger.
    await expect.poll(() => etcd.endpoints[0]!.version).toMatch(/^3\./);
  });

  it('with a wrong password is told so, without a storm of logins', async () => {
    await using proxy = await front(suite);
    const password = 'CANARY-wrong';
    await using etcd = new Etcd({ endpoints: proxy.address, auth: { username: 'alice', password } });
    const errors = await Promise.all(
      Array.from({ length: 50 }, () =>
        etcd.get('app/1').then(
          () => undefined,
          (error: EtcdError) => error,
        ),
      ),
    );
    for (const error of errors) {
      expect(error).toBeInstanceOf(UnauthenticatedError);
      expect(error).toMatchObject({ etcdCode: 'AuthFailed', applied: 'no' });
      expect(`${error?.message} ${error?.stack} ${JSON.stringify(error)}`).not.toContain('CANARY');
    }
    expect(proxy.count(AUTHENTICATE)).toBe(1);
    expect(proxy.count(RANGE)).toBe(0);
  });

  it('may not do what its roles do not say', async () => {
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints, auth: ALICE });
    await expect(etcd.put('elsewhere', 'v')).rejects.toBeInstanceOf(PermissionDeniedError);
  });

  it('without credentials is refused, once', async () => {
    await using proxy = await front(suite);
    await using etcd = new Etcd({ endpoints: proxy.address });
    await expect(etcd.put('app/1', 'v').catch(code)).resolves.toBe('unauthenticated');
    expect(proxy.count(PUT)).toBeLessThanOrEqual(3);
  });

  it('goes on when the server has forgotten its token: one login for all that wait', async () => {
    await using proxy = await front(suite);
    await using etcd = new Etcd({ endpoints: proxy.address, auth: ALICE, timeoutMs: 20_000 });
    await etcd.put('app/1', 'v');
    const member = suite.cluster.members[0]!;
    await restartForgetful(member);
    await expect
      .poll(() => etcd.get('app/1', { timeoutMs: 1_000 }).then((kv) => kv?.value, code), { timeout: 10_000 })
      .toBe('v');
    expect(proxy.count(AUTHENTICATE)).toBeGreaterThan(1);
    await etcd.put('app/1', 'v');
    const before = { logins: proxy.count(AUTHENTICATE), puts: proxy.count(PUT) };
    await restartForgetful(member);
    await expect.poll(() => etcd.endpoints[0]!.state).not.toBe('ready');
    await Promise.all(Array.from({ length: 50 }, (_, i) => etcd.put(`app/${i}`, 'w')));
    expect(proxy.count(AUTHENTICATE) - before.logins).toBe(1);
    // Each refused once, and sent once more.
    expect(proxy.count(PUT) - before.puts).toBeLessThanOrEqual(100);
    expect((await etcd.get('app/49'))?.value).toBe('w');
  });
});

describeOnEtcd(
  'a token that runs out',
  (suite) => {
    withAuth(suite);

    it('is replaced when it is refused, and the call sent once more', async () => {
      await using proxy = await front(suite);
      await using etcd = new Etcd({ endpoints: proxy.address, auth: ALICE });
      const key = 'app/expiring';
      await etcd.put(key, '0');
      await new Promise((resolve) => setTimeout(resolve, 3_500));
      const before = proxy.count(PUT);
      await Promise.all(Array.from({ length: 20 }, (_, i) => etcd.put(key, `${i}`)));
      expect(proxy.count(AUTHENTICATE)).toBe(2);
      expect(proxy.count(PUT) - before).toBe(40);
      expect((await etcd.get(key))?.version).toBe(21n);
    });
  },
  { authTokenTtlSeconds: 1, versions: ['3.5'] },
);

describeOnEtcd(
  'a JWT',
  (suite) => {
    withAuth(suite);

    it('is replaced when any role changes', async () => {
      await using proxy = await front(suite);
      await using etcd = new Etcd({ endpoints: proxy.address, auth: ALICE });
      await etcd.put('app/1', 'v');
      await suite.cluster.etcdctl(['role', 'add', `r${suite.version.replace('.', '')}`], { env: ROOT });
      await Promise.all(Array.from({ length: 20 }, (_, i) => etcd.put(`app/${i}`, 'v')));
      expect(proxy.count(AUTHENTICATE)).toBe(2);
    });

    it('is replaced before it ends, so that no call is refused', async () => {
      await using proxy = await front(suite);
      await using etcd = new Etcd({ endpoints: proxy.address, auth: ALICE });
      let calls = 0;
      // Some more once there is a second one, so that it is used too.
      for (let left = 10; left > 0; calls++) {
        await etcd.get('app/1');
        if (proxy.count(AUTHENTICATE) > 1) left -= 1;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const ranges = proxy.callsOf(RANGE);
      expect(ranges.filter(({ status }) => status !== 0)).toEqual([]);
      expect(ranges).toHaveLength(calls);
      const tokens = new Set(ranges.map(({ requestMetadata }) => requestMetadata['token']));
      expect(tokens.size).toBe(proxy.count(AUTHENTICATE));
    });
  },
  // A fifth of it is left for the next login, also on a busy machine.
  { authToken: { jwtTtlSeconds: 8 } },
);

describeOnEtcd('authentication that is off', (suite) => {
  it('is no obstacle to a client with credentials', async () => {
    await using proxy = await front(suite);
    await using etcd = new Etcd({ endpoints: proxy.address, auth: ALICE });
    await etcd.put('k', 'v');
    await etcd.get('k');
    expect(proxy.count(AUTHENTICATE)).toBe(1);
  });

  it('and comes on later', async () => {
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints, auth: ALICE });
    await etcd.put('app/1', 'v');
    await enableAuth(suite.cluster);
    try {
      await etcd.put('app/1', 'w');
      expect((await etcd.get('app/1'))?.value).toBe('w');
    } finally {
      await suite.cluster.etcdctl(['auth', 'disable'], { env: ROOT });
    }
  });
});

describeOnEtcd(
  'a client certificate',
  (suite) => {
    withAuth(suite);

    it('says who the client is', async () => {
      const { ca, authority } = suite.cluster.tls!;
      const { cert, key } = await authority.client('alice');
      await using etcd = new Etcd({ endpoints: suite.cluster.endpoints, tls: { ca, cert, key } });
      await etcd.put('app/1', 'v');
      expect((await etcd.get('app/1'))?.value).toBe('v');
      await expect(etcd.put('elsewhere', 'v')).rejects.toBeInstanceOf(PermissionDeniedError);
      await suite.cluster.etcdctl(['role', 'add', 'another'], { env: ROOT });
      await etcd.put('app/1', 'w');
    });

    it('is asked for', async () => {
      const { ca } = suite.cluster.tls!;
      await using etcd = new Etcd({ endpoints: suite.cluster.endpoints, tls: { ca }, timeoutMs: 60_000 });
      await expect(etcd.get('app/1')).rejects.toMatchObject({ name: 'TlsError', code: 'tls' });
    });
  },
  { tls: 'mutual' },
);
