/** Whom a peer port with TLS lets in, by his certificate: the same as a real etcd does. */
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureEtcd, unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { type CertificateFiles, type CertificateOptions, Certificates } from '../../support/certificates.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';
import { ServerProcess } from '../cli/server-process.ts';

const FAR = '192.0.2.7';
/** What callers show: their certificate's names, and other things that are wrong with it. */
const SHOWN: Readonly<Record<string, Omit<CertificateOptions, 'name'> & { readonly from?: string }>> = {
  'no names': {},
  'its address': { hosts: ['127.0.0.1'] },
  'another address': { hosts: [FAR] },
  'its address, from another': { hosts: ['127.0.0.1'], from: '127.0.0.2' },
  'its name': { hosts: ['localhost'] },
  'a name that nobody knows': { hosts: ['far.invalid'] },
  'its address, and a name that nobody knows': { hosts: ['127.0.0.1', 'far.invalid'] },
  'another address, and its name': { hosts: [FAR, 'localhost'] },
  'another address, and a name that nobody knows': { hosts: [FAR, 'far.invalid'] },
  'a pattern for others': { hosts: ['*.far.invalid'] },
  'another common name': { hosts: ['127.0.0.1'], commonName: 'other' },
  'a common name in capitals': { hosts: ['127.0.0.1'], commonName: 'MEMBER' },
  'no common name': { hosts: ['127.0.0.1'], commonName: '' },
  'a common name that is a host': { commonName: 'localhost' },
  'that it is for servers': { hosts: ['127.0.0.1'], usage: 'server' },
  'that it is for clients': { hosts: ['127.0.0.1'], usage: 'client' },
};

/** What a port is told about it. */
const TOLD: Readonly<Record<string, readonly string[]>> = {
  'nothing more': [],
  'a common name': ['--peer-cert-allowed-cn=member'],
  'a host': ['--peer-cert-allowed-hostname=localhost'],
  'an address': ['--peer-cert-allowed-hostname=127.0.0.1'],
  'not to look where callers are': ['--experimental-peer-skip-client-san-verification'],
};

let authority: Certificates;
let stranger: Certificates;
let folder: TempFolder;
let own: CertificateFiles;
/** By what they show. */
const callers = new Map<string, { readonly files: CertificateFiles | undefined; readonly from: string }>();

beforeAll(async () => {
  authority = await Certificates.create();
  stranger = await Certificates.create('another CA');
  folder = new TempFolder('etcdkit-peer-certificates');
  own = await authority.server('own');
  let count = 0;
  for (const [shown, { from = '127.0.0.1', ...options }] of Object.entries(SHOWN)) {
    const files = await authority.issue({ commonName: 'member', ...options, name: `caller-${++count}` });
    callers.set(shown, { files, from });
  }
  callers.set('that it ran out', { files: await authority.expired('old', 'member'), from: '127.0.0.1' });
  callers.set('another authority', { files: await stranger.server('member'), from: '127.0.0.1' });
  callers.set('nothing', { files: undefined, from: '127.0.0.1' });
});

afterAll(async () => {
  await authority?.[Symbol.asyncDispose]();
  await stranger?.[Symbol.asyncDispose]();
  await folder?.remove();
});

describe.each(Object.entries(TOLD))('a peer port that is told %s', (told, flags) => {
  it('lets in whom etcd 3.5 lets in', { timeout: 120_000 }, async () => {
    const [ours, theirs] = await Promise.all([
      lettingIn('bundled', folder.file(`bundled ${told}`), flags),
      lettingIn('3.5', folder.file(`etcd ${told}`), flags),
    ]);
    expect(ours).toEqual(theirs);
    // It is no comparison of two that let in nobody, or everybody.
    expect(new Set(Object.values(theirs)).size).toBe(2);
  });
});

/** Who is let in by a member of its own. */
async function lettingIn(
  version: 'bundled' | '3.5',
  dataDir: string,
  flags: readonly string[],
): Promise<Record<string, boolean>> {
  const ports = await freePorts(2);
  const [client, peer] = ports as [number, number];
  const args = [
    ...['--name=m', `--data-dir=${dataDir}`, `--initial-cluster=m=https://127.0.0.1:${peer}`],
    ...[`--listen-peer-urls=https://127.0.0.1:${peer}`, `--initial-advertise-peer-urls=https://127.0.0.1:${peer}`],
    ...[`--listen-client-urls=http://127.0.0.1:${client}`, `--advertise-client-urls=http://127.0.0.1:${client}`],
    ...[`--peer-cert-file=${own.certPath}`, `--peer-key-file=${own.keyPath}`, '--peer-client-cert-auth'],
    ...[`--peer-trusted-ca-file=${authority.ca.certPath}`, '--unsafe-no-fsync', ...flags],
  ];
  try {
    await using process = new ServerProcess(args, unsupportedArchEnv, (await ensureEtcd(version)).etcd);
    await process.printed('ready to serve client requests');
    // All at once: where there is no DNS, each question to it takes seconds.
    const found = Array.from(callers, async ([shown, { files, from }]) => [shown, await isLetIn(peer, files, from)]);
    return Object.fromEntries(await Promise.all(found)) as Record<string, boolean>;
  } finally {
    releasePorts(ports);
  }
}

/** Whether a request is answered. With TLS 1.3 a caller hears only after it that he is not wanted. */
async function isLetIn(port: number, files: CertificateFiles | undefined, from: string): Promise<boolean> {
  const socket = tls.connect({
    ...{ host: '127.0.0.1', port, localAddress: from, ca: authority.ca.cert, checkServerIdentity: () => undefined },
    ...(files && { cert: files.cert, key: files.key }),
  });
  let heard = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    heard += text;
  });
  // How he hears that he is not wanted differs.
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.write('GET /version HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n');
  await closed;
  return heard.startsWith('HTTP/1.1 200 ');
}
