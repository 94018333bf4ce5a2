import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseAuthToken } from '../../../src/server/cli/auth-token.ts';
import { parseCommandLine } from '../../../src/server/cli/command-line.ts';
import { cipherOf } from '../../../src/server/cli/listening.ts';
import { checkNewCluster, logSettingsOf, settingsOf } from '../../../src/server/cli/settings.ts';
import { TempFolder } from '../../support/lifeline.ts';

async function settings(...words: string[]) {
  const warnings: string[] = [];
  const found = await settingsOf(parseCommandLine(words).given, (message) => warnings.push(message));
  return { ...found, warnings };
}

async function fresh(...words: string[]): Promise<void> {
  checkNewCluster(await settings(...words));
}

describe('settings', () => {
  it('come from the flags', async () => {
    const { server } = await settings(
      '--name=m1',
      '--listen-client-urls=http://127.0.0.1:1,http://[::1]:2',
      '--advertise-client-urls=http://a:1',
      '--quota-backend-bytes=5',
      '--wal-segment-bytes=65536',
      '--unsafe-no-fsync',
    );
    expect(server).toMatchObject({
      name: 'm1',
      dataDir: 'm1.etcd',
      advertiseClientUrls: ['http://a:1'],
      peerUrls: ['http://localhost:2380'],
      quotaBytes: 5,
      walSegmentBytes: 65_536,
      unsafeNoFsync: true,
      heartbeatMs: 100,
      authToken: 'simple',
      tls: undefined,
      autoCompaction: undefined,
    });
    expect(server.listen).toEqual([
      { at: { host: '127.0.0.1', port: 1 }, transport: 'plain', serve: 'all' },
      { at: { host: '::1', port: 2 }, transport: 'plain', serve: 'all' },
    ]);
  });

  it('listen on localhost by IPv4, and on files', async () => {
    expect((await settings()).server.listen?.[0]?.at).toEqual({ host: '127.0.0.1', port: 2379 });
    const { server } = await settings(
      '--listen-client-urls=unix://localhost:1',
      '--advertise-client-urls=unix://localhost:1',
    );
    expect(server.listen?.[0]?.at).toEqual({ path: 'localhost:1' });
  });

  it('take http and https on one port as one address', async () => {
    const { server } = await settings(
      '--listen-client-urls=http://127.0.0.1:1,https://127.0.0.1:1',
      '--advertise-client-urls=https://127.0.0.1:1',
      '--cert-file=c',
      '--key-file=k',
    );
    expect(server.listen).toEqual([{ at: { host: '127.0.0.1', port: 1 }, transport: 'both', serve: 'all' }]);
  });

  it('keep HTTP and metrics apart where they are to be', async () => {
    const { server } = await settings(
      '--listen-client-http-urls=http://127.0.0.1:3',
      '--listen-metrics-urls=http://127.0.0.1:4',
    );
    expect(server.listen?.map(({ serve }) => serve)).toEqual(['grpc', 'http', 'metrics']);
  });

  it.each([
    [
      ['--election-timeout=100'],
      '--election-timeout[100ms] should be at least as 5 times as --heartbeat-interval[100ms]',
    ],
    [['--election-timeout=50001'], '--election-timeout[50001ms] is too long, and should be set less than 50000ms'],
    [['--heartbeat-interval=0'], '--heartbeat-interval must be >0 (set to 0ms)'],
    [
      ['--listen-client-urls=http://127.0.0.1:1'],
      '--advertise-client-urls is required when --listen-client-urls is set explicitly',
    ],
    [['--listen-peer-urls=http://example.com:1'], 'expected IP in URL for binding (http://example.com:1)'],
    [['--auto-compaction-mode=foo'], 'unknown auto-compaction-mode "foo"'],
    [['--auto-compaction-retention=foo'], 'error parsing CompactionRetention: time: invalid duration "foo"'],
    [['--auth-token=foo'], 'auth: invalid auth options'],
    [['--auth-token=jwt'], 'auth: invalid auth options'],
    [['--auth-token=jwt,sign-method=none,pub-key=/x'], 'auth: invalid auth options'],
    [['--auth-token=jwt,sign-method=RS256,pub-key=/does/not/exist'], "auth: can't read /does/not/exist: ENOENT"],
    [['--discovery=http://x'], '--discovery is not supported by this server'],
    [['--auto-tls'], '--auto-tls is not supported by this server'],
    [['--cert-file=c'], 'KeyFile and CertFile must both be present[key: , cert: c]'],
    [['--cert-file=c', '--key-file=k', '--client-cert-auth'], '--client-cert-auth needs --trusted-ca-file'],
    [
      ['--cert-file=c', '--key-file=k', '--tls-min-version=TLS1.1'],
      'unexpected TLS version "TLS1.1" in --tls-min-version',
    ],
    [['--cert-file=c', '--key-file=k', '--cipher-suites=TLS_FOO'], 'unexpected TLS cipher suite "TLS_FOO"'],
    [
      ['--listen-client-urls=https://127.0.0.1:1', '--advertise-client-urls=https://a:1'],
      'cannot listen on TLS for 127.0.0.1:1: KeyFile and CertFile are not presented',
    ],
    [['--experimental-enable-lease-checkpoint-persist'], 'requires experimental-enable-lease-checkpoint'],
  ])('refuse %j', async (words, message) => {
    await expect(settings(...words)).rejects.toThrow(message);
  });

  it('take what says the same as the default of a flag that is not supported', async () => {
    await expect(settings('--proxy=off', '--auto-tls=false', '--discovery=')).resolves.toBeDefined();
  });

  it('know the retention of both modes', async () => {
    const of = async (...words: string[]) => (await settings(...words)).server.autoCompaction;
    expect(await of('--auto-compaction-retention=5m')).toEqual({ mode: 'periodic', retentionMs: 300_000 });
    expect(await of('--auto-compaction-retention=2')).toEqual({ mode: 'periodic', retentionMs: 7_200_000 });
    expect(await of('--auto-compaction-retention=9', '--auto-compaction-mode=revision')).toEqual({
      mode: 'revision',
      revisions: 9,
    });
    expect(await of('--auto-compaction-mode=revision')).toBeUndefined();
  });

  it('warn of a cost that can not be, and take the default', async () => {
    const { server, warnings } = await settings('--bcrypt-cost=99');
    expect(server.bcryptCost).toBe(10);
    expect(warnings).toContain('use default bcrypt cost instead of the invalid given cost');
  });

  it('know checkpoints of leases by flag and by gate', async () => {
    expect((await settings()).server.leaseCheckpoints).toBe(false);
    expect((await settings('--experimental-enable-lease-checkpoint')).server.leaseCheckpoints).toBe(true);
    expect((await settings('--feature-gates=LeaseCheckpoint=true,Other=false')).server.leaseCheckpoints).toBe(true);
  });

  it('found a cluster of this member alone', async () => {
    await fresh();
    await fresh('--name=m1');
    await fresh('--name=m1', '--initial-cluster=m1=http://localhost:2380');
    await expect(fresh('--name=b', '--initial-cluster=a=http://localhost:2380')).rejects.toThrow(
      'couldn\'t find local name "b" in the initial cluster configuration',
    );
    await expect(fresh('--initial-cluster=default=http://localhost:1')).rejects.toThrow(
      '--initial-cluster has http://localhost:1 but missing from --initial-advertise-peer-urls=http://localhost:2380',
    );
    await expect(fresh('--initial-cluster=default=http://localhost:2380,b=http://localhost:1')).rejects.toThrow(
      'names 2 members',
    );
    await expect(fresh('--initial-cluster-state=existing')).rejects.toThrow('cannot fetch cluster info from peer urls');
  });

  it('log as they say', () => {
    const of = (...words: string[]) => logSettingsOf(parseCommandLine(words).given.values());
    expect(of()).toEqual({ level: 'info', format: 'json', outputs: ['stderr'] });
    expect(of('--log-outputs=stdout,/tmp/x', '--log-level=warn', '--log-format=console')).toEqual({
      level: 'warn',
      format: 'console',
      outputs: ['stdout', '/tmp/x'],
    });
    expect(() => of('--log-level=foo')).toThrow('unrecognized level: "foo"');
    expect(() => of('--log-outputs=default,stderr')).toThrow('not supported yet');
  });
});

describe('the kind of tokens', () => {
  it('is JWT with keys from files, of old and new forms', async () => {
    await using folder = new TempFolder('etcdkit-keys');
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(folder.file('private'), privateKey.export({ type: 'pkcs1', format: 'pem' }));
    writeFileSync(folder.file('public'), publicKey.export({ type: 'pkcs1', format: 'pem' }));
    const pem = publicKey.export({ type: 'spki', format: 'pem' });
    const both = `pub-key=${folder.file('public')},priv-key=${folder.file('private')}`;
    expect(await parseAuthToken(`jwt,sign-method=RS256,ttl=10s,${both}`)).toEqual({
      algorithm: 'RS256',
      ttlSeconds: 10,
      verifyKey: pem,
      signKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    });
    expect(await parseAuthToken(`jwt,sign-method=RS256,priv-key=${folder.file('private')}`)).toMatchObject({
      verifyKey: pem,
      ttlSeconds: 300,
    });
    const shown = await parseAuthToken(`jwt,sign-method=RS256,pub-key=${folder.file('public')}`);
    expect(shown).not.toHaveProperty('signKey');
    writeFileSync(folder.file('public'), 'hunter2');
    await expect(parseAuthToken(`jwt,sign-method=RS256,${both}`)).rejects.toThrow('the keys for tokens are no keys');
  });
});

describe('cipher suites', () => {
  it.each([
    ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
    ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
    ['TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256', 'ECDHE-RSA-CHACHA20-POLY1305'],
    ['TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
    ['TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA', 'ECDHE-RSA-AES128-SHA'],
    ['TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256', 'ECDHE-RSA-AES128-SHA256'],
    ['TLS_RSA_WITH_AES_128_GCM_SHA256', 'AES128-GCM-SHA256'],
  ])('%s is %s', (standard, name) => {
    expect(cipherOf(standard)).toBe(name);
  });
});
