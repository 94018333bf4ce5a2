/** Disks that are full, or may not be written to, under a process: what it says, how it ends, what is left. */
import { chmodSync, cpSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/index.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { buildServer, type ServerBuild } from '../../support/server-build.ts';
import { Seat } from '../cli/server-process.ts';
import { Victim, type VictimOptions } from './victim.ts';

/** Nobody, on every Unix. */
const NOBODY = 65_534;

let build: ServerBuild;
beforeAll(() => {
  build = buildServer();
});
afterAll(() => build[Symbol.dispose]());

async function started(seat: Seat, options: VictimOptions = {}, flags: readonly string[] = []): Promise<Victim> {
  const args = seat.args.filter((arg) => arg !== '--unsafe-no-fsync');
  const victim = new Victim(build, [...args, '--wal-segment-bytes=65536', ...flags], options);
  await victim.held();
  victim.go();
  return victim;
}

/** It ended by itself as it should. @returns What its last line says. */
async function expectFatal(victim: Victim): Promise<string> {
  await victim.end();
  expect(victim.code).toBe(1);
  expect(victim.lastLine.level).toBe('fatal');
  return victim.lastLine.error ?? '';
}

describe('a disk with no room', () => {
  it('ends the server at the first write that fails, and loses nothing that was acknowledged', async () => {
    await using folder = new TempFolder('etcdkit-full');
    using seat = await Seat.take(folder.file('data'));
    // A limit of the file size is the nearest to a full disk that any user can have.
    const victim = await started(seat, { limits: 'ulimit -f 1000' });
    await victim.ready();
    await using etcd = new Etcd({ endpoints: seat.clientUrl });
    for (let i = 0; i < 20; i++) await etcd.put(`key/${i}`, `secret-value-${i}`);
    const large = 'secret-value'.repeat(100_000);
    await expect(etcd.put('large', large, { timeoutMs: 10_000 })).rejects.toMatchObject({ applied: 'maybe' });
    expect(await expectFatal(victim)).toMatch(/^wal: a write or a sync failed: E[A-Z]+ \(.+\.wal\)$/);
    expect(victim.log).not.toContain('secret-value');
    const again = await started(seat);
    await again.ready();
    for (let i = 0; i < 20; i++) expect((await etcd.get(`key/${i}`))?.value).toBe(`secret-value-${i}`);
    // It was never acknowledged, and it is not there by halves.
    expect([undefined, large]).toContain((await etcd.get('large'))?.value);
    await etcd.put('after', '1');
    await again.kill();
  });

  it('for images costs no more than that', async () => {
    await using folder = new TempFolder('etcdkit-full');
    using seat = await Seat.take(folder.file('data'));
    const flags = ['--snapshot-count=20', '--snapshot-catchup-entries=5', '--wal-segment-bytes=16384'];
    const victim = await started(seat, { limits: 'ulimit -f 200' }, flags);
    await victim.ready();
    await using etcd = new Etcd({ endpoints: seat.clientUrl });
    for (let i = 0; i < 60; i++) await etcd.put(`key/${i}`, 'v'.repeat(5_000));
    await victim.kill();
    expect(victim.log).toContain('failed to save snapshot');
    const again = await started(seat, {}, flags);
    await again.ready();
    expect(await etcd.count({ prefix: 'key/' })).toBe(60);
    await again.kill();
  });
});

describe('a data directory that may only be read', () => {
  it('is refused, and named', async () => {
    await using folder = new TempFolder('etcdkit-read-only');
    using seat = await Seat.take(folder.file('data'));
    const first = await started(seat);
    await first.ready();
    await first.kill();
    const names = [...readdirSync(folder.path, { recursive: true, encoding: 'utf8' }), ''];
    for (const name of names) chmodSync(path.join(folder.path, name), name.endsWith('.wal') ? 0o444 : 0o555);
    // To the super-user it may be written all the same.
    const victim = await started(seat, { uid: process.getuid?.() === 0 ? NOBODY : undefined });
    expect(await expectFatal(victim)).toMatch(/EACCES: permission denied, open '.+\.wal'/);
    for (const name of names) chmodSync(path.join(folder.path, name), 0o700);
  });
});

describe('a damaged data directory', () => {
  it('is refused by a process with status 1, and by name', async () => {
    await using folder = new TempFolder('etcdkit-damaged');
    using seat = await Seat.take(folder.file('data'));
    const first = await started(seat);
    await first.ready();
    await first.kill();
    const wal = folder.file('data', 'member', 'wal');
    cpSync(path.join(wal, readdirSync(wal)[0] as string), path.join(wal, 'ffffffffffffffff-0000000000000000.wal'));
    const victim = await started(seat);
    expect(await expectFatal(victim)).toMatch(/^wal: the file before is missing \(.+ffffffffffffffff-.+\.wal\)$/);
  });
});
