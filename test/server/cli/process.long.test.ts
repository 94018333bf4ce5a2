/** What whoever starts an `etcd` executable relies on: exit status, lines, signals, the data directory. */

import { once } from 'node:events';
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/index.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { Seat, ServerProcess } from './server-process.ts';

const READY = 'ready to serve client requests';

/** Runs it to its end. */
async function finished(args: readonly string[], env: Record<string, string> = {}) {
  await using server = new ServerProcess(args, env);
  return { ...(await server.ended), stdout: server.stdout, stderr: server.stderr, lines: () => server.lines };
}

describe('a command that ends by itself', () => {
  it('prints the version', async () => {
    const { code, stdout } = await finished(['--version']);
    expect(stdout.split('\n')[0]).toMatch(/^etcd Version: 3\.5\.\d+$/);
    expect(code).toBe(0);
  });

  it('prints its help', async () => {
    const { code, stdout } = await finished(['--name=a', '--help']);
    expect(stdout).toContain("--data-dir '<name>.etcd'");
    expect(code).toBe(0);
  });

  it.each([
    [['--nope'], 'flag provided but not defined: -nope'],
    [['--listen-client-urls=::nope'], 'missing protocol scheme'],
  ])('shows the usage for %j', async (args, message) => {
    const { code, stderr } = await finished(args);
    expect(stderr).toContain(message);
    expect(stderr).toContain('Usage:');
    expect(code).toBe(2);
  });

  it.each<[string, string[], Record<string, string>, string]>([
    ['settings that can not be', ['--election-timeout=100'], {}, 'should be at least as 5 times'],
    ['a word that is no flag', ['foo'], {}, "'foo' is not a valid flag"],
    ['a flag and a variable', ['--name=a'], { ETCD_NAME: 'a' }, 'conflicting environment variable is shadowed'],
    ['a log that is to be rotated', ['--enable-log-rotation'], {}, '--enable-log-rotation is not supported'],
    ['a bad kind of tokens', ['--auth-token=foo'], {}, 'auth: invalid auth options'],
    ['a config file that is not there', ['--config-file=/does/not/exist'], {}, "can't read /does/not/exist: ENOENT"],
    [
      'a name that is in no cluster',
      ['--name=a', '--initial-cluster=b=http://localhost:2380'],
      {},
      `couldn't find local name "a"`,
    ],
  ])('says last what is wrong with %s', async (_, args, env, message) => {
    const { code, lines } = await finished(['--data-dir=/does/not/exist', ...args], env);
    expect(lines().at(-1)).toMatchObject({ level: 'fatal', error: expect.stringContaining(message) as string });
    expect(code).toBe(1);
  });

  it('says which flags do nothing, and what to do instead; not of those that ask for nothing', async () => {
    const asked = ['--enable-pprof', '--logger=zap', '--max-wals=9'];
    // An unknown data directory ends it.
    const { lines } = await finished(['--data-dir=/dev/null/no', '--listen-peer-urls=http://127.0.0.1:0', ...asked]);
    const idle = lines().filter(({ level, caller }) => level === 'warn' && caller === 'cli/run.ts');
    expect(idle).toMatchObject([
      { flags: ['enable-pprof', 'max-wals'] },
      { msg: '--enable-pprof has no meaning here', instead: expect.stringContaining('--cpu-prof') as string },
    ]);
  });

  it('warns of variables that are none of its own', async () => {
    const { lines } = await finished(['--auth-token=foo'], { ETCD_FOO: 'hunter2', ETCD_VERIFY: 'all' });
    const warnings = lines().filter(({ msg }) => msg === 'unrecognized environment variable');
    expect(warnings).toMatchObject([{ level: 'warn', 'environment-variable': 'ETCD_FOO' }]);
    expect(JSON.stringify(lines())).not.toContain('hunter2');
  });
});

describe('a server', () => {
  it('answers once it has said that it is ready, and dies by the signal that ends it', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    // As frameworks do: the same flag twice, and two names for one thing.
    const more = ['--snapshot-count', '100', '--snapshot-count=10000', '--experimental-initial-corrupt-check'];
    await using server = new ServerProcess([...seat.args, ...more], { ETCD_VERIFY: 'all' });
    await server.printed(READY);
    await using etcd = new Etcd({ endpoints: seat.clientUrl });
    const { revision } = await etcd.put('a', '1');
    // An open stream holds nothing up. From the past: it may be opened after the next write.
    const watch = etcd.watch('a', { from: revision })[Symbol.asyncIterator]();
    await watch.next();
    expect(statSync(folder.file('data')).mode & 0o777).toBe(0o700);
    server.child.kill('SIGTERM');
    expect(await server.ended).toEqual({ code: null, signal: 'SIGTERM' });
    const messages = server.lines.map(({ msg }) => msg);
    const last = messages.filter((msg) => /^(received signal|closing|closed)/.test(msg));
    expect(last).toEqual(['received signal; shutting down', 'closing etcd server', 'closed etcd server']);
    expect(messages.filter((msg) => msg === READY)).toHaveLength(1);
    expect(server.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
    for (const { ts, caller } of server.lines) {
      expect(ts).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(caller).not.toBe('');
    }
    expect(server.stdout).toBe('');
  });

  it('ends by SIGINT too, and by any signal while it starts', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    await using server = new ServerProcess(seat.args);
    await server.printed('starting an etcd server');
    server.child.kill('SIGINT');
    expect(await server.ended).toEqual({ code: null, signal: 'SIGINT' });
  });

  it('is killed and comes back with what it had, on the same ports', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    await using etcd = new Etcd({ endpoints: seat.clientUrl });
    for (let life = 1; life <= 3; life++) {
      await using server = new ServerProcess(seat.args);
      await server.printed(READY);
      expect((await etcd.get('life'))?.value ?? '0').toBe(String(life - 1));
      await etcd.put('life', String(life));
      server.child.kill('SIGKILL');
      await server.ended;
    }
  });

  it('lets no second one at its data', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    using other = await Seat.take(folder.file('data'));
    await using first = new ServerProcess(seat.args);
    await first.printed(READY);
    await using etcd = new Etcd({ endpoints: seat.clientUrl });
    await etcd.put('a', '1');
    const second = await finished(other.args);
    expect(second.code).toBe(1);
    expect(second.lines().at(-1)).toMatchObject({
      level: 'fatal',
      error: expect.stringContaining('in use by another server') as string,
    });
    await etcd.put('a', '2');
    first.child.kill('SIGKILL');
    await first.ended;
    await using again = new ServerProcess(seat.args);
    await again.printed(READY);
    expect((await etcd.get('a'))?.value).toBe('2');
  });

  it('says that its port is taken', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    const squatter = createServer();
    squatter.listen(Number(new URL(seat.clientUrl).port), '127.0.0.1');
    await once(squatter, 'listening');
    const { code, lines } = await finished(seat.args);
    squatter.close();
    expect(code).toBe(1);
    expect(lines().at(-1)).toMatchObject({
      level: 'fatal',
      error: expect.stringContaining('address already in use') as string,
    });
  });

  it('refuses a data directory that is none, and leaves it as it was', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    mkdirSync(folder.file('data', 'member', 'wal'), { recursive: true });
    const file = folder.file('data', 'member', 'wal', '0000000000000000-0000000000000000.wal');
    writeFileSync(file, 'this is no log');
    chmodSync(file, 0o600);
    const { code, lines } = await finished(seat.args);
    expect(code).toBe(1);
    expect(lines().at(-1)).toMatchObject({ level: 'fatal' });
    expect(statSync(file).size).toBe('this is no log'.length);
  });

  it('takes its settings from a file, and then from nothing else', async () => {
    await using folder = new TempFolder('etcdkit-process');
    using seat = await Seat.take(folder.file('data'));
    const file = folder.file('etcd.yml');
    writeFileSync(
      file,
      seat.args
        .slice(0, 4)
        .map((arg) => arg.slice(2).replace('=', ': '))
        .join('\n'),
    );
    await using server = new ServerProcess(['--config-file', file, '--name=other'], { ETCD_NAME: 'third' });
    await server.printed(READY);
    expect(server.stderr).toContain('loaded server configuration, other configuration command line flags');
    await using etcd = new Etcd({ endpoints: seat.clientUrl });
    expect((await etcd.cluster.members()).members.map(({ name }) => name)).toEqual(['m1']);
  });
});
