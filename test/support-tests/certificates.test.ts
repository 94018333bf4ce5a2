import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CertificateFiles, Certificates } from '../support/certificates.ts';

describe('certificates', () => {
  let certificates: Certificates;
  beforeAll(async () => {
    certificates = await Certificates.create();
  });
  afterAll(async () => {
    await certificates[Symbol.asyncDispose]();
    expect(existsSync(certificates.ca.certPath)).toBe(false);
  });

  /** Connects to a server with this certificate as `host`; the code of the error, or the peer's common name. */
  async function connectTo(server: CertificateFiles, host: string, client?: CertificateFiles): Promise<string> {
    const ca = certificates.ca.cert;
    const listener = tls.createServer({ ...server, ca, requestCert: true, rejectUnauthorized: false }, (socket) => {
      socket.on('error', () => {});
      socket.end(`${socket.authorized} ${socket.getPeerCertificate().subject?.CN}`);
    });
    listener.on('tlsClientError', () => {});
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    try {
      const { port } = listener.address() as AddressInfo;
      const credentials = client && { cert: client.cert, key: client.key };
      const socket = tls.connect({ port, host, ca, ...credentials });
      socket.setEncoding('utf8');
      const [text] = (await once(socket, 'data', { signal: AbortSignal.timeout(5_000) })) as [string];
      socket.destroy();
      return text;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? String(error);
    } finally {
      listener.close();
    }
  }

  it('verify for both loopback names, and name the client', async () => {
    const server = await certificates.server();
    const client = await certificates.client('alice');
    expect(await connectTo(server, '127.0.0.1', client)).toBe('true alice');
    expect(await connectTo(server, 'localhost', client)).toBe('true alice');
    expect(readFileSync(server.certPath)).toEqual(server.cert);
    expect(readFileSync(server.keyPath)).toEqual(server.key);
  });

  it('fail for the wrong name and after their time', async () => {
    expect(await connectTo(await certificates.wrongName(), '127.0.0.1')).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(await connectTo(await certificates.expired(), '127.0.0.1')).toBe('CERT_HAS_EXPIRED');
  });

  it('of another authority do not verify', async () => {
    await using other = await Certificates.create('another CA');
    expect(await connectTo(await other.server(), '127.0.0.1')).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });
});
