import { copyFile } from 'node:fs/promises';
import { connect } from 'node:http2';
import https from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PortTlsOptions } from '../../../src/server/http/tls.ts';
import { type CertificateFiles, Certificates } from '../../support/certificates.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { serve } from './serving.ts';

let certificates: Certificates;
let shown: CertificateFiles;
let ann: CertificateFiles;
let bob: CertificateFiles;

beforeAll(async () => {
  certificates = await Certificates.create();
  shown = await certificates.server();
  ann = await certificates.issue({
    name: 'ann',
    commonName: 'ann',
    usage: 'client',
    hosts: ['a.example', '192.0.2.7'],
  });
  bob = await certificates.issue({ name: 'bob', commonName: 'bob', usage: 'client', hosts: ['*.b.example'] });
});

afterAll(() => certificates[Symbol.asyncDispose]());

function mutual(more: Partial<PortTlsOptions>): PortTlsOptions {
  return { cert: shown.cert, key: shown.key, clientCa: certificates.ca.cert, ...more };
}

/** What a client with a certificate gets: a status, or nothing. */
async function ask(url: string, client: CertificateFiles | undefined): Promise<number | 'turned away'> {
  const agent = new https.Agent({ keepAlive: false });
  try {
    return await new Promise((resolve) => {
      const options = { ca: certificates.ca.cert, agent, ...(client && { cert: client.cert, key: client.key }) };
      const request = https.get(`${url}/health`, options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on('error', () => resolve('turned away'));
    });
  } finally {
    agent.destroy();
  }
}

describe('client certificates', () => {
  it('are asked for once there is an authority for them', async () => {
    await using server = await serve({ tls: mutual({}) });
    expect(await ask(server.url, ann)).toBe(200);
    expect(await ask(server.url, undefined)).toBe('turned away');
    const stranger = await Certificates.create('a stranger');
    expect(await ask(server.url, await stranger.client('ann'))).toBe('turned away');
    await stranger[Symbol.asyncDispose]();
  });

  it('that are revoked are turned away, from the next connection on', async () => {
    const folder = new TempFolder('etcdkit-crl');
    const path = folder.file('crl.pem');
    await copyFile(await certificates.revoke(), path);
    await using server = await serve({ tls: mutual({ clientCrl: { path } }) });
    expect([await ask(server.url, ann), await ask(server.url, bob)]).toEqual([200, 200]);
    await copyFile(await certificates.revoke(bob), path);
    expect([await ask(server.url, ann), await ask(server.url, bob)]).toEqual([200, 'turned away']);
    await folder.remove();
  });

  it.each<[string, Partial<PortTlsOptions>, (number | 'turned away')[]]>([
    ['common name', { allowedCommonNames: ['carl', 'ann'] }, [200, 'turned away']],
    ['host name', { allowedHostnames: ['x.b.example'] }, ['turned away', 200]],
    ['address', { allowedHostnames: ['192.0.2.7'] }, [200, 'turned away']],
    ['host name, of several', { allowedHostnames: ['a.example', 'y.b.example'] }, [200, 200]],
    [
      'name of either kind',
      { allowedHostnames: ['a.example'], allowedCommonNames: ['bob'] },
      ['turned away', 'turned away'],
    ],
  ])('must have a %s that is allowed', async (_what, tls, expected) => {
    await using server = await serve({ tls: mutual(tls) });
    expect([await ask(server.url, ann), await ask(server.url, bob)]).toEqual(expected);
  });

  it('count for HTTP/2 as well', async () => {
    await using server = await serve({ tls: mutual({ allowedCommonNames: ['ann'] }) });
    for (const [client, served] of [
      [ann, true],
      [bob, false],
    ] as const) {
      const session = connect(server.url, { ca: certificates.ca.cert, cert: client.cert, key: client.key });
      const heard = await new Promise<boolean>((resolve) => {
        session.on('error', () => resolve(false));
        session.on('close', () => resolve(false));
        const stream = session.request({ ':path': '/health' });
        stream.on('error', () => resolve(false));
        stream.on('response', () => resolve(true));
      });
      expect(heard).toBe(served);
      session.destroy();
    }
  });
});
