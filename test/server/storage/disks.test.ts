/** What both disks do alike. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Disk } from '../../../src/server/storage/disk.ts';
import { makeDirectory } from '../../../src/server/storage/make-directory.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { nodeDisk } from '../../../src/server/storage/node-disk.ts';

const made: string[] = [];

afterEach(async () => {
  for (const folder of made.splice(0)) await rm(folder, { recursive: true });
});

const disks: [string, () => Promise<{ disk: Disk; root: string }>][] = [
  ['memory', async () => ({ disk: new MemoryDisk(), root: '/base' })],
  [
    'node',
    async () => {
      const folder = await mkdtemp(path.join(tmpdir(), 'disk-'));
      made.push(folder);
      return { disk: nodeDisk, root: `${folder}/base` };
    },
  ],
];

describe.each(disks)('a disk: %s', (_, make) => {
  it('writes, reads, cuts and extends', async () => {
    const { disk, root } = await make();
    await disk.makeDirectory(`${root}/a/b`);
    await disk.makeDirectory(`${root}/a/b`);
    const file = await disk.open(`${root}/a/b/f`, { mode: 'create' });
    await file.write(2, Buffer.from('hello'));
    expect(Buffer.from(await file.read(0, 100)).toString()).toBe('\0\0hello');
    expect(Buffer.from(await file.read(4, 2)).toString()).toBe('ll');
    expect((await file.read(7, 5)).length).toBe(0);
    await file.resize(4);
    await file.resize(6);
    expect(await file.size()).toBe(6);
    expect(Buffer.from(await file.read(0, 100)).toString()).toBe('\0\0he\0\0');
    await file.sync();
    await file.close();
    const again = await disk.open(`${root}/a/b/f`, { mode: 'write' });
    await again.write(0, Buffer.from('xy'));
    expect(Buffer.from(await again.read(0, 4)).toString()).toBe('xyhe');
    await again.close();
    const emptied = await disk.open(`${root}/a/b/f`, { mode: 'create' });
    expect(await emptied.size()).toBe(0);
    await emptied.close();
  });

  it('lists, renames and removes', async () => {
    const { disk, root } = await make();
    await disk.makeDirectory(root);
    for (const name of ['b', 'a', 'c']) await (await disk.open(`${root}/${name}`, { mode: 'create' })).close();
    expect(await disk.list(root)).toEqual(['a', 'b', 'c']);
    expect(await disk.list(`${root}/none`)).toBeUndefined();
    await disk.rename(`${root}/a`, `${root}/b`);
    expect(await disk.list(root)).toEqual(['b', 'c']);
    await disk.syncDirectory(root);
    await disk.remove(`${root}/none`);
    await disk.remove(root);
    expect(await disk.list(root)).toBeUndefined();
    for (const mode of ['read', 'write'] as const) {
      await expect(disk.open(`${root}/none`, { mode })).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  it('locks a file for one', async () => {
    const { disk, root } = await make();
    await disk.makeDirectory(root);
    const one = await disk.open(`${root}/f`, { mode: 'create' });
    const two = await disk.open(`${root}/f`, { mode: 'write' });
    expect([await one.tryLock(), await two.tryLock(), await one.tryLock()]).toEqual([true, false, true]);
    await one.close();
    expect(await two.tryLock()).toBe(true);
    await two.close();
  });
});

it('is for its owner alone', async () => {
  const { disk, root } = await disks[1]![1]();
  await disk.makeDirectory(root);
  await (await disk.open(`${root}/f`, { mode: 'create' })).close();
  expect([(await stat(root)).mode & 0o777, (await stat(`${root}/f`)).mode & 0o777]).toEqual([0o700, 0o600]);
});

describe('a directory', () => {
  it('is made once, though several make it, with those above it, and nobody else may look into them', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'disk-'));
    made.push(folder);
    const directory = `${folder}/a/b/c`;
    await Promise.all([makeDirectory(directory), makeDirectory(directory), makeDirectory(`${folder}/a/b`)]);
    for (const each of [directory, `${folder}/a/b`, `${folder}/a`]) expect((await stat(each)).mode & 0o777).toBe(0o700);
  });

  it('is not made where there is a file', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'disk-'));
    made.push(folder);
    await writeFile(`${folder}/file`, '');
    await expect(makeDirectory(`${folder}/file`)).rejects.toThrow('EEXIST');
    await expect(makeDirectory(`${folder}/file/a/b`)).rejects.toThrow(/EEXIST.*file'/);
  });

  // Node's own recursive `mkdir` never ends here, and takes a thread with it.
  it.skipIf(!existsSync('/proc/self'))('is not made where nothing can be made', async () => {
    await expect(makeDirectory('/proc/none/a/b')).rejects.toThrow('ENOENT');
  });
});
