import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import tls from 'node:tls';
import { describe, expect, it, vi } from 'vitest';
import { EtcdCluster, EtcdctlError } from '../support/etcd-cluster.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';

// A member whose first announcement to its cluster is lost in an election repeats it only after more than 5 s.
vi.setConfig({ testTimeout: 30_000 });

/** Whether the process does anything; a dead one that nobody has reaped still has its id, but does not. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

describeOnRealEtcd('one member', (suite) => {
  it('runs etcdctl of its own version', async () => {
    const key = `${suite.prefix()}a`;
    await suite.cluster.etcdctl(['put', key, '1']);
    expect(await suite.cluster.etcdctl(['get', key])).toBe(`${key}\n1\n`);
    const release = suite.version === 'bundled' ? '3.5' : suite.version;
    expect(await suite.cluster.etcdctl(['version'])).toContain(`etcdctl version: ${release}.`);
    expect((await suite.cluster.members[0]?.status())?.version).toBe(suite.cluster.binaries.version);
  });

  it('reads standard input and reports failures with what etcdctl printed', async () => {
    const key = `${suite.prefix()}a`;
    await suite.cluster.etcdctl(['put', key], { input: 'from stdin' });
    expect(await suite.cluster.etcdctl(['get', '--print-value-only', key])).toBe('from stdin\n');
    await expect(suite.cluster.etcdctl(['put'])).rejects.toThrow(EtcdctlError);
    await expect(suite.cluster.etcdctl(['put'])).rejects.toThrow(/put command needs/);
  });

  it('grants leases of one second', async () => {
    expect(await suite.cluster.etcdctl(['lease', 'grant', '1'])).toContain('TTL(1s)');
  });

  it('pauses, resumes, terminates, kills and comes back with its data', async () => {
    const { cluster } = suite;
    const [member] = cluster.members;
    if (!member) throw new Error('no member');
    const key = `${suite.prefix()}a`;
    await cluster.etcdctl(['put', key, 'kept']);
    member.pause();
    await expect(cluster.etcdctl(['get', key, '--command-timeout=300ms', '--dial-timeout=300ms'])).rejects.toThrow();
    member.resume();
    for (const end of ['terminate', 'kill'] as const) {
      const { pid } = member;
      member.pause();
      await member[end]();
      expect(member.running).toBe(false);
      expect(isRunning(pid)).toBe(false);
      await member.restart();
      expect(await cluster.etcdctl(['get', '--print-value-only', key])).toBe('kept\n');
    }
  });
});

describeOnRealEtcd(
  'three members',
  (suite) => {
    it('names the leader, elects another when it is killed, and takes it back', async () => {
      const { cluster } = suite;
      const key = `${suite.prefix()}a`;
      const first = await cluster.leader();
      expect(await cluster.followers()).toHaveLength(2);
      await first.kill();
      const second = await cluster.leader();
      expect(second).not.toBe(first);
      await cluster.etcdctl(['put', key, '1'], { endpoints: [second.clientUrl] });
      await first.restart();
      expect(await cluster.etcdctl(['get', '--print-value-only', key], { endpoints: [first.clientUrl] })).toBe('1\n');
    });

    it('has no leader without a majority, and one again after both are back', async () => {
      const { cluster } = suite;
      const [a, b] = await cluster.followers();
      await Promise.all([a?.kill(), b?.kill()]);
      await expect(cluster.leader(1_000)).rejects.toThrow(/no leader within 1000 ms/);
      await Promise.all([a?.restart(), b?.restart()]);
      await cluster.waitHealthy();
      await cluster.leader();
    });
  },
  { members: 3 },
);

describe('disposal', () => {
  it('ends the processes and removes the folders', async () => {
    const cluster = await EtcdCluster.start({ version: '3.5' });
    const [member] = cluster.members;
    const pid = member?.pid ?? 0;
    const dataDir = member?.dataDir ?? '';
    expect(existsSync(dataDir)).toBe(true);
    await cluster[Symbol.asyncDispose]();
    expect(isRunning(pid)).toBe(false);
    expect(existsSync(path.dirname(dataDir))).toBe(false);
  });

  it('happens even when the test process is killed', async () => {
    const script = path.join(import.meta.dirname, 'scripts', 'start-cluster.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
      const { pid, dataDir } = JSON.parse(line) as { pid: number; dataDir: string };
      expect(isRunning(pid)).toBe(true);
      child.kill('SIGKILL');
      await expect.poll(() => existsSync(dataDir), { timeout: 5_000 }).toBe(false);
      expect(isRunning(pid)).toBe(false);
    } finally {
      child.kill('SIGKILL');
    }
  }, 20_000);
});

describe('a crash', () => {
  it('is an end that nobody asked for', async () => {
    await using cluster = await EtcdCluster.start({ version: '3.5' });
    const [member] = cluster.members;
    await member!.terminate();
    await member!.restart();
    await member!.kill();
    expect(member!.crash).toBeUndefined();
    await member!.spawn();
    process.kill(member!.pid, 'SIGABRT');
    await expect.poll(() => member!.running).toBe(false);
    expect(member!.crash).toMatch(/^(SIGABRT|2)$/);
  });
});

describe('start', () => {
  it('shows the log of a member that does not come up', async () => {
    const start = EtcdCluster.start({ version: '3.5', flags: ['--no-such-flag'] });
    await expect(start).rejects.toThrow(/flag provided but not defined: -no-such-flag/);
  });
});

describeOnRealEtcd(
  'server certificate',
  (suite) => {
    it('serves TLS to clients that know the CA', async () => {
      const key = `${suite.prefix()}a`;
      await suite.cluster.etcdctl(['put', key, '1']);
      expect(await suite.cluster.etcdctl(['get', '--print-value-only', key])).toBe('1\n');
      expect(suite.cluster.endpoints[0]).toMatch(/^https:/);
    });
  },
  { tls: 'server' },
);

describeOnRealEtcd(
  'certificates on both sides',
  (suite) => {
    /** What becomes of a handshake with these credentials; a refusal of TLS 1.3 comes only after it. */
    function handshake(credentials: { cert?: Buffer; key?: Buffer }): Promise<string> {
      const [member] = suite.cluster.members;
      const [host, port] = (member?.address ?? '').split(':');
      return new Promise((resolve) => {
        const ca = suite.cluster.tls?.ca;
        const socket = tls.connect({ host, port: Number(port), ca, ALPNProtocols: ['h2'], ...credentials });
        socket.setTimeout(3_000, () => socket.destroy(new Error('nothing came')));
        // How a client begins with HTTP/2 (RFC 9113, 3.4), so that the server has something to answer.
        socket.once('secureConnect', () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'));
        socket.once('data', () => {
          resolve('accepted');
          socket.destroy();
        });
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        socket.once('close', () => resolve('closed'));
      });
    }

    it('lets in whom its CA has signed, and nobody else', async () => {
      const { tls: own } = suite.cluster;
      if (!own) throw new Error('no TLS');
      await suite.cluster.etcdctl(['put', `${suite.prefix()}a`, '1']);
      expect(await handshake({ cert: own.cert, key: own.key })).toBe('accepted');
      expect(await handshake({})).toMatch(/ALERT|ECONNRESET/);
      const expired = await own.authority.expired();
      // Node.js closes a connection whose certificate it refuses, without an alert.
      const refused = suite.version === 'bundled' ? /closed|ECONNRESET/ : /ALERT|ECONNRESET/;
      expect(await handshake({ cert: expired.cert, key: expired.key })).toMatch(refused);
    });

    it('takes the common name for the user once authentication is on', async () => {
      const { cluster } = suite;
      const root = await cluster.tls?.authority.client('root');
      const asRoot = { env: { ETCDCTL_CERT: root?.certPath ?? '', ETCDCTL_KEY: root?.keyPath ?? '' } };
      await cluster.etcdctl(['user', 'add', 'root:secret']);
      await cluster.etcdctl(['role', 'add', 'root']);
      await cluster.etcdctl(['user', 'grant-role', 'root', 'root']);
      await cluster.etcdctl(['auth', 'enable']);
      const key = `${suite.prefix()}a`;
      await cluster.etcdctl(['put', key, '1'], asRoot);
      await expect(cluster.etcdctl(['put', key, '2'])).rejects.toThrow(/permission denied|user name/);
      await cluster.waitHealthy(5_000);
      // It says who leads to those alone who have logged in, as etcd 3.5.30 does.
      if (suite.version !== 'bundled') await cluster.leader();
    });
  },
  { tls: 'mutual' },
);

describeOnRealEtcd(
  'JWT',
  (suite) => {
    it('hands out signed tokens', async () => {
      const { cluster } = suite;
      await cluster.etcdctl(['user', 'add', 'root:secret']);
      await cluster.etcdctl(['role', 'add', 'root']);
      await cluster.etcdctl(['user', 'grant-role', 'root', 'root']);
      await cluster.etcdctl(['auth', 'enable']);
      const response = await fetch(`${cluster.endpoints[0]}/v3/auth/authenticate`, {
        method: 'POST',
        body: JSON.stringify({ name: 'root', password: 'secret' }),
        headers: { connection: 'close' },
      });
      const { token = '' } = (await response.json()) as { token?: string };
      const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { username: string };
      expect(claims).toMatchObject({ username: 'root' });
    });
  },
  { authToken: { jwtTtlSeconds: 5 } },
);
