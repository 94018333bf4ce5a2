import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';

let disk: MemoryDisk;

beforeEach(async () => {
  disk = new MemoryDisk();
  await disk.makeDirectory('d');
});

async function content(path: string): Promise<string> {
  const file = await disk.open(path);
  return Buffer.from(await file.read(0, await file.size())).toString();
}

async function durable(name: string, text: string) {
  const file = await disk.open(`d/${name}`, { mode: 'create' });
  await file.write(0, Buffer.from(text));
  await file.sync();
  await disk.syncDirectory('');
  await disk.syncDirectory('d');
  return file;
}

describe('a crash', () => {
  it('takes what was not synced', async () => {
    const file = await durable('a', 'old');
    await file.write(0, Buffer.from('new and longer'));
    expect(await content('d/a')).toBe('new and longer');
    disk.crash('none');
    expect(await content('d/a')).toBe('old');
  });

  it('leaves what was synced, and everything if only the process dies', async () => {
    const file = await durable('a', 'old');
    await file.write(3, Buffer.from('er'));
    await file.sync();
    await file.write(5, Buffer.from('!'));
    disk.crash('all');
    expect(await content('d/a')).toBe('older!');
  });

  it('leaves the first sectors, or any of them', async () => {
    const seen = async (mode: 'prefix' | 'subset', random: () => number) => {
      const file = await durable('a', 'o'.repeat(2048));
      // From the middle of the first sector to the middle of the last.
      await file.write(100, Buffer.from('n'.repeat(1700)));
      disk.crash(mode, random);
      const text = await content('d/a');
      return [0, 100, 512, 1024, 1536, 1799, 1800].map((at) => text[at]).join('');
    };
    expect(await seen('prefix', () => 0)).toBe('ooooooo');
    expect(await seen('prefix', () => 0.5)).toBe('onnoooo');
    expect(await seen('prefix', () => 0.99)).toBe('onnnnno');
    let turn = 0;
    expect(await seen('subset', () => (turn++ % 2 === 0 ? 0.9 : 0.1))).toBe('ononooo');
  });

  it('flips bits of what was not synced alone, and takes that back', async () => {
    const synced = 'a'.repeat(2_000);
    const file = await durable('a', synced);
    const unsynced = 'b'.repeat(2_000);
    await file.write(synced.length, Buffer.from(unsynced));
    let draws = 0;
    disk.crash('all', () => (draws++ % 7) / 7, 1);
    const found = await content('d/a');
    expect(found.slice(0, synced.length)).toBe(synced);
    expect(found.length).toBe(4_000);
    // One bit in each of the sectors, the first and the last of which are shared.
    const wrong = [...found.slice(synced.length)].filter((byte) => byte !== 'b');
    expect(wrong).toHaveLength(4);
    disk.unflip();
    expect(await content('d/a')).toBe(synced + unsynced);
  });

  it('takes names whose directory was not synced, and their contents with them', async () => {
    await durable('a', '1');
    const file = await disk.open('d/b', { mode: 'create' });
    await file.write(0, Buffer.from('2'));
    await file.sync();
    await disk.rename('d/a', 'd/c');
    expect(await disk.list('d')).toEqual(['b', 'c']);
    disk.crash('none');
    expect(await disk.list('d')).toEqual(['a']);
  });

  it('takes back removals and renames of directories', async () => {
    await durable('a', '1');
    await disk.rename('d', 'e');
    await disk.remove('e/a');
    expect([await disk.list('d'), await disk.list('e')]).toEqual([undefined, []]);
    disk.crash('none');
    expect(await content('d/a')).toBe('1');
    await disk.rename('d', 'e');
    await disk.syncDirectory('');
    disk.crash('none');
    expect(await content('e/a')).toBe('1');
  });

  it('ends files and locks', async () => {
    const file = await durable('a', '1');
    expect(await file.tryLock()).toBe(true);
    const other = await disk.open('d/a');
    expect(await other.tryLock()).toBe(false);
    disk.crash('none');
    await expect(file.write(0, Uint8Array.of(1))).rejects.toThrow('EBADF');
    expect(await (await disk.open('d/a')).tryLock()).toBe(true);
  });
});
