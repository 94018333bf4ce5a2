import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/index.ts';
import { runSnapshot } from '../../../src/server/cli/snapshot.ts';
import { EtcdServer } from '../../../src/server/etcd-server.ts';
import { TempFolder } from '../../support/lifeline.ts';

async function saved(file: string): Promise<void> {
  await using server = await EtcdServer.start();
  await using etcd = new Etcd({ endpoints: server.endpoint });
  await etcd.put('a', '1');
  await etcd.maintenance.saveSnapshot(file);
}

describe('etcdkit snapshot restore', () => {
  it('makes a data directory that a server starts from', async () => {
    await using folder = new TempFolder('etcdkit-restore');
    const [file, dataDir] = [folder.file('snapshot.db'), folder.file('data')];
    await saved(file);
    const words = ['restore', file, '--data-dir', dataDir, '--name=m1', '--initial-cluster-token=new'];
    expect(await runSnapshot({ args: words })).toBe(0);
    await using server = await EtcdServer.start({ dataDir, name: 'm1' });
    await using etcd = new Etcd({ endpoints: server.endpoint });
    expect((await etcd.get('a'))?.value).toBe('1');
    // What is there is not written over.
    expect(await runSnapshot({ args: words })).toBe(1);
  });

  it.each([
    [['restore'], 2],
    [['save', 'file'], 2],
    [['restore', 'one', 'two'], 2],
    [['restore', 'file', '--nonsense'], 2],
    [['--help'], 0],
    [['restore', '/does/not/exist/file'], 1],
    [['restore', 'file', '--initial-cluster=other=http://localhost:2380'], 1],
    [['restore', 'file', '--name=default', '--initial-cluster=default=http://localhost:1'], 1],
    [['restore', 'file', '--initial-advertise-peer-urls=nonsense'], 1],
  ])('ends %j with status %i', async (words, status) => {
    await using folder = new TempFolder('etcdkit-restore');
    const dataDir = folder.file('data');
    expect(await runSnapshot({ args: [...words, `--data-dir=${dataDir}`] })).toBe(status);
    expect(existsSync(dataDir)).toBe(false);
  });
});
