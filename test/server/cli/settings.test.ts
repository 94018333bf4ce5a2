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

async function fresh(...words: string[]) {
  const found = await settings(...words);
  checkNewCluster(found);
  return found;
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
    [['--enable-log-rotation'], '--enable-log-rotation is not supported by this server'],
    [['--auto-tls', '--self-signed-cert-validity=0'], 'selfSignedCertValidity is invalid'],
    [['--auto-tls', '--client-cert-auth'], '--client-cert-auth needs --trusted-ca-file'],
    [['--metrics=some'], 'unknown metrics "some"'],
    [['--feature-gates=StopGRPCServiceOnDefrag'], 'invalid value for --feature-gates'],
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
    await expect(settings('--proxy=off', '--enable-log-rotation=false', '--discovery=')).resolves.toBeDefined();
  });

  it('ask for certificates that are made, for each side where none is given', async () => {
    const secure = [
      '--listen-client-urls=https://localhost:1,https://10.0.0.7:1',
      '--advertise-client-urls=https://a:1',
    ];
    const { server, certificates, warnings } = await settings(
      '--auto-tls',
      '--peer-auto-tls',
      '--data-dir=d',
      ...secure,
    );
    const peer = { certFile: 'd/fixtures/peer/cert.pem', keyFile: 'd/fixtures/peer/key.pem' };
    const client = { certFile: 'd/fixtures/client/cert.pem', keyFile: 'd/fixtures/client/key.pem' };
    const validityYears = 1;
    expect(certificates).toEqual([
      { ...client, directory: 'd/fixtures/client', hosts: ['10.0.0.7', 'localhost', '127.0.0.1'], validityYears },
      { ...peer, directory: 'd/fixtures/peer', hosts: ['localhost', '127.0.0.1'], validityYears },
    ]);
    expect(server.tls).toMatchObject({ ...client, clientCertAuth: false });
    expect(server.peerTls).toMatchObject({ ...peer, trustAnyServer: true });
    expect(server.listen?.map(({ transport }) => transport)).toEqual(['tls', 'tls']);
    const text = 'scheme is HTTP while key and cert files are present; ignoring key and cert files';
    expect(warnings.filter((warning) => warning !== text)).toEqual([expect.stringContaining('single port')]);
    const given = await settings('--auto-tls', '--cert-file=c', '--key-file=k', ...secure);
    expect(given.certificates).toEqual([]);
    expect(given.server.tls).toMatchObject({ certFile: 'c', keyFile: 'k' });
    expect(given.warnings).toContain('ignoring client auto TLS since certs given');
    expect((await settings('--self-signed-cert-validity=7')).certificates).toEqual([]);
    const [named] = (await settings('--auto-tls', '--self-signed-cert-validity=7', '--name=m')).certificates;
    expect(named).toMatchObject({ directory: 'm.etcd/fixtures/client', validityYears: 7 });
  });

  it('know whom to let in by certificate', async () => {
    const { server } = await settings(
      '--cert-file=c',
      '--key-file=k',
      '--client-crl-file=r',
      '--client-cert-allowed-hostname=a,b',
      '--client-cert-allowed-cn=x,y',
    );
    expect(server.tls).toMatchObject({ crlFile: 'r', allowedHostnames: ['a', 'b'], allowedCommonNames: ['x', 'y'] });
  });

  it('say what is measured, what is slow, how many learners there may be, and what a defragmentation does', async () => {
    const of = async (...words: string[]) => {
      const { server } = await settings(...words);
      const { extensiveMetrics, slowApplyMs, maxLearners, notServingOnDefragment } = server;
      return [extensiveMetrics, slowApplyMs, maxLearners, notServingOnDefragment];
    };
    expect(await of()).toEqual([false, 100, 1, false]);
    expect(await of('--metrics=extensive', '--experimental-warning-apply-duration=1s', '--max-learners=3')).toEqual([
      true,
      1_000,
      3,
      false,
    ]);
    expect(await of('--experimental-stop-grpc-service-on-defrag')).toEqual([false, 100, 1, true]);
    const gate = '--feature-gates=LeaseCheckpoint=true,StopGRPCServiceOnDefrag=';
    expect(await of(`${gate}true`)).toEqual([false, 100, 1, true]);
    expect(await of(`${gate}false`, '--experimental-stop-grpc-service-on-defrag')).toEqual([false, 100, 1, false]);
  });

  it('say when members are compared, by flags of 3.5 and by names and gates of 3.6', async () => {
    const of = async (...words: string[]) => {
      const { server } = await settings(...words);
      const { initialElectionTickAdvance, initialCorruptCheck, corruptCheckMs, compactHashCheckMs } = server;
      return [initialElectionTickAdvance, initialCorruptCheck, corruptCheckMs, compactHashCheckMs];
    };
    expect(await of()).toEqual([true, false, undefined, undefined]);
    expect(
      await of(
        '--initial-election-tick-advance=false',
        '--experimental-initial-corrupt-check',
        '--experimental-corrupt-check-time=2s',
        '--experimental-compact-hash-check-enabled',
      ),
    ).toEqual([false, true, 2_000, 60_000]);
    const gates = '--feature-gates=InitialCorruptCheck=true,CompactHashCheck=true';
    expect(await of(gates, '--corrupt-check-time=3s', '--compact-hash-check-time=4s')).toEqual([
      true,
      true,
      3_000,
      4_000,
    ]);
    await expect(of(gates, '--compact-hash-check-time=0s')).rejects.toThrow('must be >0');
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
  });

  it('found a cluster with others, or join one', async () => {
    const members = '--initial-cluster=default=http://localhost:2380,b=http://localhost:1,b=https://localhost:2';
    const { server } = await fresh(members, '--initial-cluster-state=existing');
    expect(server.initialClusterState).toBe('existing');
    expect([...server.initialCluster]).toEqual([
      ['default', ['http://localhost:2380']],
      ['b', ['http://localhost:1', 'https://localhost:2']],
    ]);
    expect((await fresh()).server.initialClusterState).toBe('new');
    await expect(fresh('--initial-cluster=default=http://localhost:2380,b=http://localhost:2380')).rejects.toThrow(
      'initial cluster default=http://localhost:2380,b=http://localhost:2380 has duplicated url',
    );
  });

  it('listen to other members, in the clear or not', async () => {
    const certificate = ['--peer-cert-file=c', '--peer-key-file=k'];
    const clear = [{ host: '127.0.0.1', port: 2380, secure: false }];
    expect((await settings()).server).toMatchObject({ listenPeers: clear, peerTls: undefined });
    const { server } = await settings(
      '--listen-peer-urls=https://10.0.0.1:1,http://localhost:2',
      ...certificate,
      ...['--peer-client-cert-auth', '--peer-trusted-ca-file=ca', '--peer-cert-allowed-cn=a,b', '--peer-crl-file=crl'],
      ...['--peer-client-cert-file=cc', '--peer-client-key-file=ck', '--peer-cert-allowed-hostname=h'],
    );
    expect(server.listenPeers).toEqual([
      { host: '127.0.0.1', port: 2, secure: false },
      { host: '10.0.0.1', port: 1, secure: true },
    ]);
    expect(server.peerTls).toMatchObject({
      ...{ certFile: 'c', keyFile: 'k', caFile: 'ca', crlFile: 'crl', clientCertFile: 'cc', clientKeyFile: 'ck' },
      ...{ allowedCommonNames: ['a', 'b'], allowedHostnames: ['h'] },
    });
    const { warnings } = await settings(...certificate);
    expect(warnings).toContain('scheme is HTTP while key and cert files are present; ignoring key and cert files');
    await expect(settings('--listen-peer-urls=https://10.0.0.1:1')).rejects.toThrow(
      'cannot listen on TLS for 10.0.0.1:1: KeyFile and CertFile are not presented',
    );
    await expect(settings('--peer-cert-file=c')).rejects.toThrow('KeyFile and CertFile must both be present');
    await expect(settings(...certificate, '--peer-client-cert-auth')).rejects.toThrow('--peer-trusted-ca-file');
    const file = await settings('--listen-peer-urls=unix://localhost:1');
    expect(file.server.listenPeers).toEqual([{ path: 'localhost:1', secure: false }]);
    await expect(settings('--listen-peer-urls=http://name:1')).rejects.toThrow('expected IP in URL for binding');
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
