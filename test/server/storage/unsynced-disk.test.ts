import { expect, it } from 'vitest';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { withoutSync } from '../../../src/server/storage/unsynced-disk.ts';

it('keeps what is written, and syncs nothing', async () => {
  const below = new MemoryDisk();
  const disk = withoutSync(below);
  await disk.makeDirectory('d');
  const file = await disk.open('d/f', { mode: 'create' });
  await file.write(0, Buffer.from('hello'));
  await file.sync();
  await disk.syncDirectory('d');
  expect(Buffer.from(await file.read(0, await file.size())).toString()).toBe('hello');
  expect(await file.tryLock()).toBe(true);
  await file.close();
  await disk.rename('d/f', 'd/g');
  expect(await disk.list('d')).toEqual(['g']);
  below.crash('none');
  expect((await disk.list('d')) ?? []).toEqual([]);
});
