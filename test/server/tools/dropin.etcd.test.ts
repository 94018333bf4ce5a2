/** The bundled server where a program expects the executable `etcd`. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureEtcd } from '../../../scripts/etcd.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import type { EtcdMember } from '../../support/etcd-member.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';
import { flagsOf, OnTerminal, READY } from './framework.ts';

const run = promisify(execFile);
/** What `bin/etcd` is, on the sources as they are. The package's own tests have that one. */
const EXECUTABLE = path.join(import.meta.dirname, '..', '..', '..', 'scripts', 'etcd', 'bundled');

describe('as an etcd executable', () => {
  let folder: TempFolder;
  let ports: number[];

  beforeEach(async () => {
    folder = new TempFolder('etcdkit-dropin');
    ports = await freePorts(2);
  });
  afterEach(async () => {
    releasePorts(ports);
    await folder.remove();
  });

  const start = (peerUrl = `http://localhost:${ports[1]}`): OnTerminal =>
    new OnTerminal(EXECUTABLE, flagsOf(ports[0] as number, peerUrl), folder.path);

  async function etcdctl(...words: string[]): Promise<string> {
    const { etcdctl: program } = await ensureEtcd('3.5');
    const { stdout } = await run(program, [`--endpoints=localhost:${ports[0]}`, ...words]);
    return stdout;
  }

  it('tells its version in a line of its own', async () => {
    await using etcd = new OnTerminal(EXECUTABLE, ['--version'], folder.path);
    expect(await etcd.line('etcd Version')).toMatch(/^etcd Version: 3\.5\.\d+$/);
    expect(await etcd.ended).toBe(0);
  });

  it('is ready when it says so, is killed and comes back at once, with all it had', async () => {
    for (let life = 0; life < 3; life += 1) {
      await using etcd = start();
      await etcd.line(READY);
      expect(await etcdctl('get', 'life', '--print-value-only')).toBe(life === 0 ? '' : `${life - 1}\n`);
      expect(await etcdctl('put', 'life', String(life))).toBe('OK\n');
      etcd.signal('SIGKILL');
      expect(await etcd.ended).toBe(128 + 9);
    }
  });

  it('dies by SIGTERM, whoever holds streams, and has logged nothing but JSON and no error', async () => {
    await using etcd = start();
    await etcd.line(READY);
    const { etcdctl: program } = await ensureEtcd('3.5');
    const watch = new OnTerminal(program, [`--endpoints=localhost:${ports[0]}`, 'watch', 'a', '--rev=1'], folder.path);
    await using _ = watch;
    await etcdctl('put', 'a', '1');
    await watch.line('PUT');
    etcd.signal('SIGTERM');
    expect(await etcd.ended).toBe(128 + 15);
    const lines = etcd.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.length).toBeGreaterThan(5);
    for (const line of lines) {
      expect(Object.keys(line).slice(0, 4)).toEqual(['level', 'ts', 'caller', 'msg']);
      expect(line.level).not.toMatch(/error|fatal|panic/);
    }
  });

  it('is not confused by a stop', async () => {
    // Without a terminal, which would stop with it.
    await using cluster = await EtcdCluster.start({ version: 'bundled' });
    const member = cluster.members[0] as EtcdMember;
    await cluster.etcdctl(['put', 'a', '1']);
    member.pause();
    const asked = cluster.etcdctl(['get', 'a', '--print-value-only', '--command-timeout=30s', '--dial-timeout=30s']);
    member.resume();
    expect(await asked).toBe('1\n');
  });

  it('takes a socket file for a peer URL', async () => {
    await using etcd = start(`unix://localhost:${ports[1]}`);
    await etcd.line(READY);
    expect(await etcdctl('put', 'a', '1')).toBe('OK\n');
    expect(await etcdctl('member', 'list')).toContain(`unix://localhost:${ports[1]}`);
  });

  it('ends with what is wrong as its last line, and a status that tells', async () => {
    await using first = start();
    await first.line(READY);
    await using second = start();
    expect(await second.ended).toBe(1);
    expect(JSON.parse(second.lines.at(-1) ?? '')).toMatchObject({ level: 'fatal' });
    await using nonsense = new OnTerminal(EXECUTABLE, ['--no-such-flag'], folder.path);
    expect(await nonsense.ended).toBe(2);
    expect(nonsense.lines.join('\n')).toContain('Usage:');
  });
});
