/** `etcdkit get`, `put`, `del`, `watch`, `status` and `snapshot save`, on a server in this process. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { connectionOptions, durationMs } from '../../src/cli/connection.ts';
import { runDel, runGet, runPut, runWatch } from '../../src/cli/keys.ts';
import { runSnapshot } from '../../src/cli/snapshot.ts';
import { runStatus } from '../../src/cli/status.ts';
import { startEtcd } from '../../src/testing/index.ts';
import { Captured, type Outcome } from './captured.ts';

type Command = typeof runGet;

async function bed() {
  const server = await startEtcd();
  onTestFinished(() => server.close());
  const environment = { ETCDCTL_ENDPOINTS: server.endpoints.join(',') };
  const run = (command: Command, ...args: readonly string[]): Promise<Outcome> =>
    Captured.run((out) => command({ args, environment, ...out }));
  return { server, environment, run, etcd: server.client() };
}

it('writes, reads and deletes as etcdctl does', async () => {
  const { run } = await bed();
  expect(await run(runPut, 'a', '1')).toMatchObject({ status: 0, stdout: 'OK\n' });
  await run(runPut, 'ab', '2');
  await run(runPut, 'b', '3');
  expect((await run(runGet, 'a')).stdout).toBe('a\n1\n');
  expect((await run(runGet, 'a', '--prefix', '--print-value-only')).stdout).toBe('1\n2\n');
  expect((await run(runGet, '', '--prefix', '--keys-only')).stdout).toBe('a\nab\nb\n');
  expect((await run(runGet, 'a', 'b')).stdout).toBe('a\n1\nab\n2\n');
  expect((await run(runGet, '', '--prefix', '--limit', '1')).stdout).toBe('a\n1\n');
  expect((await run(runGet, '', '--prefix', '--count-only')).stdout).toBe('3\n');
  expect((await run(runDel, 'a', '--prefix')).stdout).toBe('2\n');
  expect(await run(runGet, 'a')).toEqual({ status: 0, stdout: '', stderr: '' });
});

it('reads values from standard input, keeps bytes, and tells them from text in JSON', async () => {
  const { etcd, environment, run } = await bed();
  const stdin = (async function* () {
    yield Buffer.from([0xff, 0x00]);
  })();
  await Captured.run((out) => runPut({ args: ['bytes'], environment, stdin, ...out }));
  expect([...((await etcd.get('bytes'))?.valueBytes ?? [])]).toEqual([0xff, 0x00]);
  const { stdout } = await run(runGet, 'bytes', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ key: 'bytes', valueBase64: '/wA=', version: '1' });
});

it('reads an old revision, and hangs a key on a lease', async () => {
  const { etcd, run } = await bed();
  const { revision } = await etcd.put('a', '1');
  const { id } = await etcd.leases.grant({ ttlSeconds: 60 });
  await run(runPut, 'a', '2', '--lease', BigInt.asUintN(64, id).toString(16));
  expect((await run(runGet, 'a', '--rev', String(revision))).stdout).toBe('a\n1\n');
  expect((await etcd.get('a'))?.lease).toBe(id);
});

it('watches until it is told to end', async () => {
  const { environment, etcd } = await bed();
  const over = new AbortController();
  const { revision } = await etcd.put('a', '1');
  const [stdout, stderr] = [new Captured(), new Captured()];
  const args = ['a', '--rev', String(revision)];
  const watching = runWatch({ args, environment, stdout, stderr, signal: over.signal });
  await etcd.delete('a');
  await stdout.until(/DELETE\na\n$/);
  over.abort();
  expect(await watching).toBe(0);
  expect(stdout.text).toBe('PUT\na\n1\nDELETE\na\n');
});

it('says how the members are, and fails when they are not well', async () => {
  const { run, server } = await bed();
  const { status, stdout } = await run(runStatus);
  expect([status, stdout.split('\n')[0]]).toEqual([0, expect.stringMatching(/^NAME +ID +ENDPOINT .* HEALTH$/)]);
  expect(stdout).toContain('leader');
  expect(JSON.parse((await run(runStatus, '--json')).stdout)).toMatchObject({
    healthy: true,
    members: [{ role: 'leader' }],
  });
  await server.members[0]?.stop();
  expect((await run(runStatus, '--command-timeout', '200ms')).status).toBe(1);
});

it('saves a backup', async () => {
  const { run, environment } = await bed();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'etcdkit-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = path.join(folder, 'backup');
  const { status, stdout } = await run(runSnapshot, 'save', file, '--json');
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ bytes: (await stat(file)).size });

  // At a terminal people see how far it is, and the line is taken away in the end.
  const args = ['save', file];
  const stderr = Object.assign(new Captured(), { isTTY: true });
  expect(await runSnapshot({ args, environment, stdout: new Captured(), stderr })).toBe(0);
  expect(stderr.text).toMatch(/\r\S*backup \S+ 100 % of /);
  expect(stderr.text.endsWith('\r\u001b[K')).toBe(true);
});

it.each([
  [runGet, [], 'KEY is missing'],
  [runGet, ['a', '--rev', 'x'], 'a revision'],
  [runGet, ['a', 'b', 'c'], 'what is "c"?'],
  [runGet, ['a', '--nope'], '--nope'],
  [runDel, [], 'KEY is missing'],
  [runDel, [''], 'KEY is missing'],
  [runPut, ['a', '1', '--lease', 'no'], '--lease'],
  [runStatus, ['--command-timeout', '5'], '500ms or 5s'],
  [runSnapshot, ['save'], 'FILE is missing'],
  [runSnapshot, [], 'save or restore?'],
  [runSnapshot, ['status'], 'unknown: status'],
] as const)('has a usage: %o %j', async (command, args, message) => {
  const { status, stderr } = await Captured.run((out) => command({ args, environment: {}, ...out }));
  expect(status).toBe(2);
  expect(stderr).toContain(message);
});

it('reaches the cluster by flags first, and then by the variables of etcdctl', () => {
  const environment = {
    ETCDCTL_ENDPOINTS: 'a:1, b:2',
    ETCDCTL_USER: 'me:with:colons',
    ETCDCTL_CACERT: 'ca.pem',
    ETCDCTL_COMMAND_TIMEOUT: '2m',
  };
  expect(connectionOptions({}, environment)).toEqual({
    endpoints: ['a:1', 'b:2'],
    auth: { username: 'me', password: 'with:colons' },
    tls: { ca: { path: 'ca.pem' }, cert: undefined, key: undefined },
    timeoutMs: 120_000,
  });
  const values = { endpoints: 'c:3', user: 'you', password: 'p' };
  expect(connectionOptions(values, environment)).toMatchObject({
    endpoints: ['c:3'],
    auth: { username: 'you', password: 'p' },
  });
  expect(connectionOptions({}, {})).toMatchObject({ endpoints: undefined, auth: undefined, tls: undefined });
  expect([durationMs('x', '1.5s'), durationMs('x', '10ms')]).toEqual([1_500, 10]);
});
