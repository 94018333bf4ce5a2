import { copyFile } from 'node:fs/promises';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EtcdError } from '../../../src/client/errors.ts';
import { TlsError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import { GrpcTransport } from '../../../src/client/transport/grpc.ts';
import { credentialsSource, type TlsOptions } from '../../../src/client/transport/grpc-tls.ts';
import type { ConnectError } from '../../../src/client/transport/transport.ts';
import { Certificates } from '../../support/certificates.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { TlsServer, tcpServer } from './servers.ts';

let authority: Certificates;
let stranger: Certificates;
let sound: { cert: Buffer; key: Buffer };

beforeAll(async () => {
  authority = await Certificates.create();
  stranger = await Certificates.create('another CA');
  sound = await authority.server();
});

afterAll(async () => {
  await authority[Symbol.asyncDispose]();
  await stranger[Symbol.asyncDispose]();
});

function transport(endpoint: string, options: TlsOptions): GrpcTransport {
  return new GrpcTransport(parseEndpoint(endpoint, true), {
    connectTimeoutMs: 3_000,
    keepaliveTimeMs: 0,
    keepaliveTimeoutMs: 0,
    maxReceiveBytes: 2 ** 31 - 1,
    credentials: credentialsSource(options),
    userAgent: 'test',
  });
}

/** How a connection ends: `ready`, or the kind and text of its failure. */
async function connect(endpoint: string, options: TlsOptions): Promise<string> {
  const connection = transport(endpoint, options);
  try {
    await connection.connect();
    return connection.state;
  } catch (error) {
    const { kind, message } = error as ConnectError;
    return `${kind}: ${message}`;
  } finally {
    connection.close();
  }
}

describe('a TLS connection', () => {
  it('is made to a server whose name and authority are right', async () => {
    await using server = await TlsServer.start(sound);
    const { ca } = authority;
    expect(await connect(server.address, { ca: ca.cert })).toBe('ready');
    expect(await connect(`localhost:${server.port}`, { ca: ca.cert.toString() })).toBe('ready');
    expect(await connect(server.address, { ca: { path: ca.certPath } })).toBe('ready');
  });

  it('asks for the server by its name, and never by an address', async () => {
    await using server = await TlsServer.start(sound);
    const ca = authority.ca.cert;
    await connect(server.address, { ca });
    await connect(`localhost:${server.port}`, { ca });
    await connect(server.address, { ca, serverName: 'localhost' });
    expect(server.names).toEqual([false, 'localhost', 'localhost']);
  });

  it('says nothing on stderr about addresses for names', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on('warning', note);
    await using server = await TlsServer.start(sound);
    await connect(server.address, { ca: authority.ca.cert });
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('is refused with the reason', async () => {
    const ca = authority.ca.cert;
    const cases: [server: tls.TlsOptions, client: TlsOptions, reason: RegExp][] = [
      [sound, { ca: stranger.ca.cert }, /^tls: .*(unable to verify|UNABLE_TO_VERIFY|self[- ]signed|local issuer)/],
      [sound, {}, /^tls: .*(unable to verify|UNABLE_TO_VERIFY|self[- ]signed|local issuer)/],
      [await authority.wrongName(), { ca }, /^tls: .*127\.0\.0\.1 is not in the cert's list/],
      [sound, { ca, serverName: 'db.example' }, /^tls: .*db\.example/],
      [await authority.expired(), { ca }, /^tls: .*certificate has expired/],
      [
        { ...sound, ca, requestCert: true, rejectUnauthorized: true },
        { ca },
        /^tls: .*(certificate required|CERTIFICATE_REQUIRED)/,
      ],
      [
        { ...sound, ca, requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' },
        { ca },
        /^(tls|refused|protocol): /,
      ],
      [
        { ...sound, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
        { ca },
        /^tls: .*(protocol|version)/,
      ],
    ];
    for (const [serverOptions, clientOptions, reason] of cases) {
      await using server = await TlsServer.start(serverOptions);
      expect(await connect(server.address, clientOptions)).toMatch(reason);
    }
  });

  it('is accepted with a client certificate where one is asked for', async () => {
    const ca = authority.ca.cert;
    await using server = await TlsServer.start({ ...sound, ca, requestCert: true, rejectUnauthorized: true });
    const { cert, key } = await authority.client('alice');
    expect(await connect(server.address, { ca, cert, key })).toBe('ready');
    const other = await stranger.client('mallory');
    expect(await connect(server.address, { ca, cert: other.cert, key: other.key })).toMatch(/client's certificate/);
  });

  it('checks every server anew: no session is resumed', async () => {
    // The server hands out tickets; a client that used one would skip the certificate.
    await using server = await TlsServer.start({ ...sound, sessionTimeout: 300 });
    const tickets = new Promise<Buffer>((resolve) => {
      const socket = tls.connect({ port: server.port, ca: authority.ca.cert, ALPNProtocols: ['h2'] });
      socket.once('session', (ticket) => {
        resolve(ticket);
        socket.destroy();
      });
    });
    const session = await tickets;
    // The server does resume for who asks for it, so what follows means something.
    const again = tls.connect({ port: server.port, ca: authority.ca.cert, ALPNProtocols: ['h2'], session });
    await expect.poll(() => server.resumed).toEqual([false, true]);
    again.destroy();
    const ca = authority.ca.cert;
    const connection = transport(server.address, { ca });
    await connection.connect();
    connection.close();
    expect(await connect(server.address, { ca })).toBe('ready');
    expect(await connect(server.address, { ca, serverName: 'other.example' })).toMatch(/^tls: .*other\.example/);
    expect(server.resumed.slice(2)).not.toContain(true);
  });

  it('uses what was rotated on disk from the next connection on', async () => {
    await using folder = new TempFolder('rotate');
    const files = { ca: folder.file('ca.pem'), cert: folder.file('c.pem'), key: folder.file('k.pem') };
    const install = async (from: Certificates): Promise<void> => {
      const { certPath, keyPath } = await from.client('alice');
      await copyFile(from.ca.certPath, files.ca);
      await copyFile(certPath, files.cert);
      await copyFile(keyPath, files.key);
    };
    const options = { ca: { path: files.ca }, cert: { path: files.cert }, key: { path: files.key } };
    await install(authority);
    const connection = transport('127.0.0.1:1', options);
    connection.close();
    const mutual = async (by: Certificates): Promise<TlsServer> => {
      const { cert, key } = await by.server();
      return TlsServer.start({ cert, key, ca: by.ca.cert, requestCert: true, rejectUnauthorized: true });
    };
    await using before = await mutual(authority);
    await using after = await mutual(stranger);
    expect(await connect(before.address, options)).toBe('ready');
    expect(await connect(after.address, options)).toMatch(/^tls: /);
    await install(stranger);
    expect(await connect(after.address, options)).toBe('ready');
    expect(await connect(before.address, options)).toMatch(/^tls: /);
  });

  it('says which file it cannot read, and what is wrong with a key, without quoting it', async () => {
    const { cert } = await authority.client('a');
    const { key } = await authority.client('b');
    expect(await connect('127.0.0.1:1', { ca: { path: '/nowhere/ca.pem' } })).toMatch(
      /^tls: cannot read the CA file: ENOENT/,
    );
    expect(await connect('127.0.0.1:1', { cert, key })).toMatch(/^tls: the TLS options cannot be used: .*mismatch/);
    const garbage = await connect('127.0.0.1:1', { cert, key: 'CANARY-KEY' });
    expect(garbage).toMatch(/^tls: the TLS options cannot be used: /);
    expect(garbage).not.toContain('CANARY');
  });

  it('to a server that speaks no TLS fails, and nothing is sent in clear text', async () => {
    const heard: Buffer[] = [];
    await using server = await tcpServer((socket) => {
      socket.on('data', (chunk: Buffer) => {
        heard.push(chunk);
        socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
      });
    });
    expect(await connect(server.address, {})).toMatch(/^tls: .*does not speak TLS/);
    // A TLS record, and nothing else.
    expect(heard.every((chunk) => chunk[0] === 0x16 || chunk[0] === 0x15)).toBe(true);
    expect(Buffer.concat(heard).includes('PRI * HTTP/2.0')).toBe(false);
  });

  it('that hangs in the handshake is given up, and its socket is freed', async () => {
    const closed = deferred();
    await using server = await tcpServer((socket) => {
      socket.resume();
      socket.once('end', () => closed.resolve());
      socket.once('close', () => closed.resolve());
    });
    const connection = new GrpcTransport(parseEndpoint(server.address, true), {
      connectTimeoutMs: 200,
      keepaliveTimeMs: 0,
      keepaliveTimeoutMs: 0,
      maxReceiveBytes: 1024,
      credentials: credentialsSource({}),
      userAgent: 'test',
    });
    await expect(connection.connect()).rejects.toMatchObject({ kind: 'timeout' });
    await closed.promise;
    expect(connection.state).toBe('idle');
    connection.close();
  });
});

describe('a client', () => {
  it('fails fast with a TlsError, whose text names the endpoint and the reason', async () => {
    await using server = await TlsServer.start(sound);
    await using etcd = new Etcd({ endpoints: `https://${server.address}`, timeoutMs: 60_000 });
    const error = await etcd.put('k', 'v').catch((cause: EtcdError) => cause);
    expect(error).toBeInstanceOf(TlsError);
    expect(error).toMatchObject({ code: 'tls', applied: 'no', attempts: 0, endpoint: server.address });
    expect((error as Error).message).toContain(server.address);
  });
});

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
