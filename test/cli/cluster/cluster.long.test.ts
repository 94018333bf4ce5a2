/** `etcdkit cluster` as people use it: one shell that runs it, and others that tell it what to do. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { MemberLine } from '../../../src/cli/cluster/supervisor.ts';
import { Etcd } from '../../../src/index.ts';
import { TempFolder, tieProcess } from '../../support/lifeline.ts';

const ROOT = path.join(import.meta.dirname, '..', '..', '..');
const COMMAND = ['--import', 'tsx', path.join(ROOT, 'src', 'cli', 'main.ts'), 'cluster'];
const PORTS = ['--base-client-port', '0', '--base-peer-port', '0'];

/** What runs a cluster. */
class Shell implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown[]>;
  text = '';
  #heard: () => void = () => {};

  constructor({ dataDir, args = [] }: { readonly dataDir: string; readonly args?: readonly string[] }) {
    const stdio = ['pipe', 'pipe', 'pipe'] as const;
    this.child = spawn(process.execPath, [...COMMAND, '--data-dir', dataDir, ...PORTS, ...args], {
      cwd: ROOT,
      stdio: [...stdio],
    });
    tieProcess(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.text += text;
        this.#heard();
      });
    }
    this.ended = once(this.child, 'close');
    void this.ended.then(() => this.#heard());
  }

  /** Waits until it has printed something. */
  async printed(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.text)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`it has ended:\n${this.text}`);
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  get endpoints(): string[] {
    return /ETCDCTL_ENDPOINTS=(\S+)/.exec(this.text)?.[1]?.split(',') ?? [];
  }

  press(keys: string): void {
    this.child.stdin?.write(keys);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}

/** Another shell. */
function tell(dataDir: string, ...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [...COMMAND, ...args, '--data-dir', dataDir], { cwd: ROOT }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

async function statusOf(dataDir: string): Promise<MemberLine[]> {
  return JSON.parse((await tell(dataDir, 'status', '--json')).stdout) as MemberLine[];
}

/** Whether somebody listens there. */
async function listens(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const socket = net.connect({ host: hostname, port: Number(port) });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

describe('etcdkit cluster', () => {
  it('starts members, shows how they are, and does what other shells say', async () => {
    await using folder = new TempFolder('etcdkit-cli-cluster');
    const dataDir = folder.file('data');
    await using shell = new Shell({ dataDir });
    await shell.printed(/ready: all members are healthy/);
    await using etcd = new Etcd({ endpoints: shell.endpoints, timeoutMs: 20_000 });
    await etcd.put('a', '1');

    const before = await statusOf(dataDir);
    expect(before.map(({ name, state, healthy }) => ({ name, state, healthy }))).toEqual(
      ['m1', 'm2', 'm3'].map((name) => ({ name, state: 'running', healthy: true })),
    );
    const leader = before.findIndex(({ role }) => role === 'leader');
    expect(before.filter(({ role }) => role === 'follower')).toHaveLength(2);
    expect((await tell(dataDir, 'status')).stdout).toMatch(/NAME +ENDPOINT +STATE/);

    expect(await tell(dataDir, 'stop', `${leader + 1}`)).toMatchObject({ code: 0 });
    await shell.printed(new RegExp(`m${leader + 1} \\S+ stopped`));
    expect((await etcd.get('a'))?.value).toBe('1');
    expect((await statusOf(dataDir))[leader]).toMatchObject({ state: 'stopped', healthy: false });
    expect(await tell(dataDir, 'stop', `${leader + 1}`)).toMatchObject({
      code: 1,
      stderr: `m${leader + 1} is stopped\n`,
    });
    expect(await tell(dataDir, 'start', `m${leader + 1}`)).toMatchObject({ code: 0 });
    await expect.poll(async () => (await statusOf(dataDir))[leader]?.healthy, { timeout: 30_000 }).toBe(true);

    const follower = (await statusOf(dataDir)).findIndex(({ role }) => role === 'follower');
    expect(await tell(dataDir, 'lead', `${follower + 1}`)).toMatchObject({ code: 0 });
    expect((await statusOf(dataDir))[follower]?.role).toBe('leader');
    expect(await tell(dataDir, 'pause', `${follower + 1}`)).toMatchObject({ code: 0 });
    expect((await statusOf(dataDir))[follower]?.state).toBe('paused');
    expect(await tell(dataDir, 'resume', `${follower + 1}`)).toMatchObject({ code: 0 });
    expect(await tell(dataDir, 'kill', '9')).toMatchObject({ code: 1, stderr: 'there is no member 9: 1 to 3\n' });

    // For its owner alone: it has the token.
    expect((await stat(path.join(dataDir, 'cluster.json'))).mode & 0o077).toBe(0);
    expect(await tell(dataDir)).toMatchObject({ code: 1, stderr: expect.stringContaining('runs in') });
    expect(await tell(dataDir, 'down')).toMatchObject({ code: 0 });
    expect(await shell.ended).toEqual([0, null]);
    for (const endpoint of shell.endpoints) expect(await listens(endpoint)).toBe(false);
    expect(await tell(dataDir, 'status')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no cluster runs in'),
    });
    expect(await readFile(path.join(dataDir, 'cluster.json'), 'utf8')).not.toContain('control');
  }, 240_000);

  it('goes on where it ended, and takes keys', async () => {
    await using folder = new TempFolder('etcdkit-cli-cluster');
    const dataDir = folder.file('data');
    let endpoints: string[];
    {
      await using shell = new Shell({ dataDir, args: ['--members', '1'] });
      await shell.printed(/ready/);
      ({ endpoints } = shell);
      await using etcd = new Etcd({ endpoints, timeoutMs: 20_000 });
      await etcd.put('a', '1');
      shell.press('1');
      await shell.printed(/m1 \S+ stopped/);
      shell.press('q');
      expect(await shell.ended).toEqual([0, null]);
    }
    await using shell = new Shell({ dataDir });
    await shell.printed(/ready/);
    expect(shell.endpoints).toEqual(endpoints);
    await using etcd = new Etcd({ endpoints, timeoutMs: 20_000 });
    expect((await etcd.get('a'))?.value).toBe('1');
    shell.press('p1');
    await shell.printed(/m1 \S+ paused/);
    // Who is paused is ended all the same, and told so once: to a server a second signal means "at once".
    shell.press('1');
    shell.child.kill('SIGTERM');
    expect(await shell.ended).toEqual([143, null]);
    // And in good order, as in the first life of the cluster.
    const log = await readFile(path.join(dataDir, 'm1.log'), 'utf8');
    expect(log.match(/closed etcd server/g)).toHaveLength(2);
    expect(await listens(endpoints[0] ?? '')).toBe(false);
  }, 240_000);

  it('takes its members along when it is killed', async () => {
    await using folder = new TempFolder('etcdkit-cli-cluster');
    const dataDir = folder.file('data');
    await using shell = new Shell({ dataDir, args: ['--members', '2'] });
    await shell.printed(/ready/);
    for (const endpoint of shell.endpoints) expect(await listens(endpoint)).toBe(true);
    shell.child.kill('SIGKILL');
    await shell.ended;
    for (const endpoint of shell.endpoints) await expect.poll(() => listens(endpoint), { timeout: 30_000 }).toBe(false);
    expect(await tell(dataDir, 'status')).toMatchObject({ code: 1, stderr: 'no cluster runs there\n' });
  }, 240_000);

  it('shows a member that ends by itself, and how', async () => {
    await using folder = new TempFolder('etcdkit-cli-cluster');
    const dataDir = folder.file('data');
    await using shell = new Shell({ dataDir, args: ['--members', '1', '--real', '/bin/false'] });
    await shell.printed(/m1 \S+ ended \(code 1\)/);
    await using other = new Shell({ dataDir: folder.file('other'), args: ['--members', '1', '--real', '/nope'] });
    await other.printed(/m1 \S+ ended \(ENOENT\)/);
  }, 240_000);
});
