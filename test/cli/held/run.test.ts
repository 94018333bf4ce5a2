/** `etcdkit lock` and `etcdkit elect`, on a server in this process; what they run are programs of their own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { Election } from '../../../recipes/election/election.ts';
import { Mutex } from '../../../recipes/mutex.ts';
import { Session } from '../../../recipes/session.ts';
import { runElect, runLock } from '../../../src/cli/held/run.ts';
import type { Etcd } from '../../../src/index.ts';
import { startEtcd } from '../../../src/testing/index.ts';
import { Captured } from '../captured.ts';

const MAIN = path.join(import.meta.dirname, '..', '..', '..', 'src', 'cli', 'main.ts');

const endpointOf = (etcd: Etcd): string => etcd.endpoints[0]?.endpoint ?? '';

async function bed() {
  const server = await startEtcd();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'etcdkit-'));
  onTestFinished(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });
  const etcd = server.client();
  const environment = { ...process.env, ETCDCTL_ENDPOINTS: server.endpoints.join(',') };
  const begin = (command: typeof runLock, args: readonly string[], signal?: AbortSignal) => {
    const [stdout, stderr] = [new Captured(), new Captured()];
    return { stdout, stderr, status: command({ args, environment, stdout, stderr, signal }) };
  };
  /** A program that says its token in a file, and then does something. */
  const program = (then: string): [string, string[]] => {
    const file = path.join(folder, 'token');
    const write = `require('fs').writeFileSync(${JSON.stringify(file)}, process.env.ETCDKIT_FENCING_TOKEN)`;
    return [file, ['--', process.execPath, '-e', `${write}; ${then}`]];
  };
  return { etcd, begin, program, folder };
}

it('runs a command under a lock, with the token of it, and ends as it does', async () => {
  const { begin, program, etcd } = await bed();
  const [file, command] = program('process.exitCode = 7');
  const { status } = begin(runLock, ['jobs', ...command]);
  expect(await status).toBe(7);
  const token = BigInt(await readFile(file, 'utf8'));
  expect(token).toBeGreaterThan(0n);
  // It was released, and the next holder's token is greater.
  await using session = await Session.open(etcd);
  const tried = await new Mutex(session, 'jobs').tryAcquire();
  expect(tried.acquired && tried.lock.token > token).toBe(true);
});

it('does not run it while somebody else has the lock', async () => {
  const { begin, program, etcd } = await bed();
  await using session = await Session.open(etcd);
  const lock = await new Mutex(session, 'jobs').acquire();
  const [file, command] = program('');
  const tried = begin(runLock, ['jobs', '--try', ...command]);
  expect(await tried.status).toBe(1);
  expect(tried.stderr.text).toContain('held by');
  expect(await begin(runLock, ['jobs', '--wait', '50ms', ...command]).status).toBe(1);
  await expect(readFile(file)).rejects.toThrow('ENOENT');
  const waiting = begin(runLock, ['jobs', ...command]);
  await lock.release();
  expect(await waiting.status).toBe(0);
  expect(BigInt(await readFile(file, 'utf8'))).toBeGreaterThan(lock.token);
});

it('kills the command when the lock is lost', async () => {
  const { begin, etcd } = await bed();
  const { status, stderr } = begin(runLock, ['jobs', '--', process.execPath, '-e', 'setInterval(() => {}, 1000)']);
  let key: string | undefined;
  for await (const event of etcd.watch({ prefix: 'jobs/' }, { from: 1n as never })) {
    if (event.type === 'put') key = event.kv.key;
    break;
  }
  await etcd.delete(key ?? '');
  expect(await status).toBe(1);
  expect(stderr.text).toContain('its key is gone');
});

it('holds without a command until it is told to end, and keeps nothing then', async () => {
  const { begin, etcd } = await bed();
  const over = new AbortController();
  const { status, stdout } = begin(runLock, ['jobs'], over.signal);
  await stdout.until(/^jobs\/[0-9a-f]+-[0-9a-f]+\n$/);
  expect(await etcd.count({ prefix: 'jobs/' })).toBe(1);
  over.abort();
  expect(await status).toBe(0);
  expect(await etcd.count({ prefix: 'jobs/' })).toBe(0);
});

it('leads while a command runs, and tells who leads', async () => {
  const { begin, program, etcd, folder } = await bed();
  const over = new AbortController();
  const listening = begin(runElect, ['scheduler', '--listen'], over.signal);
  await listening.stdout.until('nobody leads\n');
  const heard = path.join(folder, 'heard');
  const [file, command] = program(`setInterval(() => fs.existsSync(${JSON.stringify(heard)}) && process.exit(0), 5)`);
  const { status } = begin(runElect, ['scheduler', '--value', 'here\u0007', ...command]);
  await listening.stdout.until(/here\\u0007 leads since revision \d+\n$/);
  await writeFile(heard, '');
  expect(await status).toBe(0);
  const token = await readFile(file, 'utf8');
  await listening.stdout.until(new RegExp(`leads since revision ${token}\nnobody leads\n$`));
  over.abort();
  expect(await listening.status).toBe(0);
  await using session = await Session.open(etcd);
  await new Election(session, 'scheduler').campaign({ value: 'another' });
  const tried = begin(runElect, ['scheduler', '--try']);
  expect(await tried.status).toBe(1);
  expect(tried.stderr.text).toContain('led by another');
});

it('meets etcdctl under a name with a slash by --raw-name, and leaves it alone without', async () => {
  const { begin, program, etcd } = await bed();
  await using session = await Session.open(etcd);
  await using _lock = await new Mutex(session, 'team/job', { rawName: true }).acquire();
  await using _leader = await new Election(session, 'team/head', { rawName: true }).campaign();
  const [, command] = program('');
  expect(await begin(runLock, ['team/job', '--try', '--raw-name', ...command]).status).toBe(1);
  expect(await begin(runLock, ['team/job', '--try', ...command]).status).toBe(0);
  expect(await begin(runElect, ['team/head', '--try', '--raw-name', ...command]).status).toBe(1);
  expect(await begin(runElect, ['team/head', '--try', ...command]).status).toBe(0);
});

it('refuses what who only listens has no use for', async () => {
  const { begin } = await bed();
  const { status, stderr } = begin(runElect, ['scheduler', '--listen', '--wait', '1s', '--try', '--', 'true']);
  expect(await status).toBe(2);
  expect(stderr.text).toContain('--listen: who only listens has no use for --wait, --try, a command');
});

it('says what it cannot start', async () => {
  const { begin } = await bed();
  const { status, stderr } = begin(runLock, ['jobs', '--', '/nowhere/at/all']);
  expect(await status).toBe(1);
  expect(stderr.text).toContain('ENOENT');
  expect(await begin(runLock, []).status).toBe(2);
  expect(await begin(runLock, ['jobs', '--ttl', '0']).status).toBe(2);
});

it('passes a signal on to the command, and holds the lock until that has ended', async () => {
  const { etcd, program, folder } = await bed();
  const out = path.join(folder, 'end');
  const end = `process.on('SIGTERM', () => setTimeout(() => { fs.writeFileSync(${JSON.stringify(out)}, 'bye'); process.exit(3) }, 50))`;
  const [, command] = program(`${end}; setInterval(() => {}, 1000); console.log('begun')`);
  const args = ['--import', 'tsx', MAIN, 'lock', 'jobs', '--endpoints', endpointOf(etcd), ...command];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  for await (const chunk of child.stdout) if (String(chunk).includes('begun')) break;
  const deletions = etcd.watch({ prefix: 'jobs/' }, { only: 'delete' });
  await deletions.ready;
  child.kill('SIGTERM');
  for await (const { type } of deletions) if (type === 'delete') break;
  expect(await readFile(out, 'utf8')).toBe('bye');
  expect((await ended)[0]).toBe(3);
});
