import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureSelfSigned, makeSelfSigned, selfSignedFiles } from '../../../src/server/http/self-signed.ts';
import { TempFolder } from '../../support/lifeline.ts';

const NOW_MS = Date.UTC(2030, 1, 2, 3, 4, 5);
const DAY_MS = 24 * 3_600_000;
const HOSTS = ['localhost', '127.0.0.1', '::1', 'etcd.example'];

let folder: TempFolder;
beforeEach(() => {
  folder = new TempFolder('etcdkit-self-signed');
});
afterEach(() => folder.remove());

const about = {
  hosts: HOSTS,
  validityYears: 2,
  timeOfDayMs: NOW_MS,
  randomBytes: (n: number) => new Uint8Array(n).fill(0xff),
};

describe('a certificate that a server makes for itself', () => {
  it('is for its hosts and its time, and goes with its key', async () => {
    const { cert, key } = await makeSelfSigned(about);
    const read = new X509Certificate(cert);
    for (const name of ['localhost', 'etcd.example']) expect(read.checkHost(name)).toBe(name);
    for (const ip of ['127.0.0.1', '::1']) expect(read.checkIP(ip)).toBe(ip);
    expect(read.checkHost('elsewhere')).toBeUndefined();
    expect(Date.parse(read.validFrom)).toBe(NOW_MS);
    expect(Date.parse(read.validTo)).toBe(NOW_MS + 2 * 365 * DAY_MS);
    expect(read.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(read.verify(read.publicKey)).toBe(true);
    expect(read.ca).toBe(false);
    // A positive number, whatever the dice say.
    expect(read.serialNumber).toBe(`7F${'FF'.repeat(15)}`);
    // Server and client: members show it to each other.
    expect(read.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(Reflect).not.toHaveProperty('getMetadata');
  });

  it('is kept, and only its owner may read the key', async () => {
    const directory = folder.file('data/fixtures/client');
    const { certFile, keyFile } = selfSignedFiles(directory);
    expect([certFile, keyFile]).toEqual([join(directory, 'cert.pem'), join(directory, 'key.pem')]);
    expect(await ensureSelfSigned({ ...about, directory })).toBe(true);
    const first = await readFile(certFile, 'utf8');
    expect([(await stat(directory)).mode & 0o777, (await stat(keyFile)).mode & 0o777]).toEqual([0o700, 0o600]);
    for (const timeOfDayMs of [NOW_MS, NOW_MS + 2 * 365 * DAY_MS - 1]) {
      expect(await ensureSelfSigned({ ...about, directory, timeOfDayMs })).toBe(false);
      expect(await readFile(certFile, 'utf8')).toBe(first);
    }
  });

  it.each<[string, (files: ReturnType<typeof selfSignedFiles>) => Promise<void>, number]>([
    ['has run out', async () => {}, NOW_MS + 2 * 365 * DAY_MS],
    ['is not valid yet', async () => {}, NOW_MS - 1_000],
    ['has lost its key', ({ keyFile }) => writeFile(keyFile, ''), NOW_MS],
    ['is cut off', async ({ certFile }) => writeFile(certFile, (await readFile(certFile)).subarray(0, 200)), NOW_MS],
    ['goes with another key', async ({ keyFile }) => writeFile(keyFile, (await makeSelfSigned(about)).key), NOW_MS],
  ])('is made anew if the one that is there %s', async (_what, spoil, timeOfDayMs) => {
    const directory = folder.file('client');
    const files = selfSignedFiles(directory);
    await ensureSelfSigned({ ...about, directory });
    await spoil(files);
    expect(await ensureSelfSigned({ ...about, directory, timeOfDayMs })).toBe(true);
    const read = new X509Certificate(await readFile(files.certFile));
    expect(Date.parse(read.validFrom)).toBe(timeOfDayMs);
    expect(read.checkPrivateKey(createPrivateKey(await readFile(files.keyFile)))).toBe(true);
  });

  it('that can not be written is an error that says where', async () => {
    await mkdir(folder.file('d'));
    await writeFile(folder.file('d/client'), 'a file');
    await expect(ensureSelfSigned({ ...about, directory: folder.file('d/client') })).rejects.toThrow(/EEXIST|ENOTDIR/);
  });
});
