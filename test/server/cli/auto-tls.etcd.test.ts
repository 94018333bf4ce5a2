/** `--auto-tls`: etcdctl, unmodified, and our client over the certificate that the server has made for itself. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ensureEtcd, unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { Etcd } from '../../../src/index.ts';
import { versions } from '../../support/fixtures.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { Seat, ServerProcess } from './server-process.ts';

const READY = 'ready to serve client requests';

describe('a certificate that is made for clients', () => {
  it.each(versions)('serves etcdctl %s, and the next start too', async (version) => {
    const { etcdctl } = await ensureEtcd(version);
    await using folder = new TempFolder('etcdkit-auto-tls');
    using seat = await Seat.take(folder.file('data'));
    const secureUrl = seat.clientUrl.replace('http:', 'https:');
    const args = [...seat.args.map((arg) => arg.replaceAll(seat.clientUrl, secureUrl)), '--auto-tls'];
    const certFile = path.join(folder.file('data'), 'fixtures', 'client', 'cert.pem');
    const run = async (...words: string[]): Promise<string> => {
      const env = {
        PATH: process.env.PATH ?? '',
        ETCDCTL_API: '3',
        ETCDCTL_ENDPOINTS: secureUrl,
        ...unsupportedArchEnv,
      };
      return (await promisify(execFile)(etcdctl, words, { env })).stdout;
    };
    const certificates: string[] = [];
    for (const life of ['1', '2']) {
      await using server = new ServerProcess(args);
      await server.printed(READY);
      expect(server.stderr).toContain(life === '1' ? 'created a self-signed' : 'using the self-signed certificate of');
      certificates.push(await readFile(certFile, 'utf8'));
      const flags = ['--insecure-skip-tls-verify', '--insecure-transport=false'];
      expect(await run(...flags, 'put', 'life', life)).toBe('OK\n');
      // Who was given the certificate knows whom it talks to.
      expect(await run('--cacert', certFile, 'get', 'life', '--print-value-only')).toBe(`${life}\n`);
      await using etcd = new Etcd({ endpoints: secureUrl, tls: { ca: await readFile(certFile) } });
      expect((await etcd.get('life'))?.value).toBe(life);
      const plain = new Etcd({ endpoints: seat.clientUrl });
      await expect(plain.get('life', { timeoutMs: 500 })).rejects.toThrow();
      await plain.close();
      server.child.kill('SIGTERM');
      await server.ended;
    }
    expect(certificates[1]).toBe(certificates[0]);
  });
});
