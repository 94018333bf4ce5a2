/** `bin/etcd` where a test framework looks for the executable `etcd`. Needs `npm run build`. */
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { flagsOf, OnTerminal, READY } from '../server/tools/framework.ts';
import { TempFolder } from '../support/lifeline.ts';
import { freePorts, releasePorts } from '../support/ports.ts';
import { root } from './packed.ts';

describe('bin/etcd', () => {
  it('starts, is killed, starts again at once and dies by SIGTERM, from a folder of executables', async () => {
    await using folder = new TempFolder('etcdkit-wrapper');
    const [client = 0, peer = 0] = await freePorts(2);
    const executable = folder.file('etcd');
    symlinkSync(path.join(root, 'bin', 'etcd'), executable);
    await using version = new OnTerminal(executable, ['--version'], folder.path);
    expect(await version.line('etcd Version')).toMatch(/^etcd Version: 3\.5\.\d+$/);
    const flags = flagsOf(client, `http://localhost:${peer}`);
    await using killed = new OnTerminal(executable, flags, folder.path);
    await killed.line(READY);
    killed.signal('SIGKILL');
    expect(await killed.ended).toBe(128 + 9);
    await using again = new OnTerminal(executable, flags, folder.path);
    await again.line(READY);
    again.signal('SIGTERM');
    expect(await again.ended).toBe(128 + 15);
    releasePorts([client, peer]);
  });
});
