/** What listens at an endpoint and is not a sound etcd. */
import http from 'node:http';
import http2 from 'node:http2';
import { describe, expect, it } from 'vitest';
import { DeadlineError, type EtcdError, UnavailableError, UnsupportedError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { snapshotResources } from '../../support/leaks.ts';
import { answering, deafServer, listen, STATUS, tcpServer } from './servers.ts';

async function failure(endpoints: string, timeoutMs = 1_500): Promise<EtcdError> {
  await using etcd = new Etcd({ endpoints, timeoutMs, connectTimeoutMs: 300 });
  return await etcd.put('k', 'v').then(
    () => {
      throw new Error('it worked');
    },
    (error: EtcdError) => error,
  );
}

describe('at an endpoint', () => {
  it('an HTTP/1.1 server is not taken for an etcd', async () => {
    await using server = await listen(http.createServer((_request, response) => response.end('hello')));
    const error = await failure(server.address);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ applied: 'no', attempts: 0 });
    expect(error.message).toContain('does not speak HTTP/2');
  });

  it('an echo is not taken for an etcd', async () => {
    await using server = await tcpServer((socket) => socket.pipe(socket));
    const error = await failure(server.address);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ applied: 'no', attempts: 0 });
  });

  it('a server that hangs up is unavailable', async () => {
    await using server = await tcpServer((socket) => socket.destroy());
    const error = await failure(server.address);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error.message).toMatch(/closed|ECONNRESET/);
  });

  it('a gRPC server without etcd’s services is unsupported, at once', async () => {
    const server = http2.createServer();
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
    });
    await using listening = await listen(server);
    const error = await failure(listening.address, 60_000);
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toContain('not an etcd');
  });

  it('a web server over HTTP/2 is unsupported', async () => {
    const server = http2.createServer((_request, response) => {
      response.writeHead(404, { 'content-type': 'text/html' });
      response.end('<h1>not here</h1>');
    });
    await using listening = await listen(server);
    const error = await failure(listening.address, 60_000);
    expect(error).toBeInstanceOf(UnsupportedError);
  });

  it('a server that accepts and says nothing is given up after the connect timeout, socket and all', async () => {
    let open = 0;
    await using server = await tcpServer((socket) => {
      open += 1;
      socket.resume();
      socket.once('close', () => {
        open -= 1;
      });
      socket.once('end', () => socket.end());
    });
    const error = await failure(server.address);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error.message).toContain('no connection within 300 ms');
    await expect.poll(() => open).toBe(0);
  });

  it('nobody who answers even to a SYN is given up after the connect timeout, socket and all', async () => {
    await using server = await deafServer();
    for (const scheme of ['http', 'https']) {
      const before = snapshotResources();
      const error = await failure(`${scheme}://${server.address}`);
      expect(error).toBeInstanceOf(UnavailableError);
      expect(error.message).toContain('no connection within 300 ms');
      await before.expectNothingAdded();
    }
  });

  it('nobody who answers even to a SYN keeps no socket of a client that is closed, by address or by name', async () => {
    await using server = await deafServer();
    for (const host of ['127.0.0.1', 'localhost']) {
      const before = snapshotResources();
      const etcd = new Etcd({ endpoints: `${host}:${server.port}`, connectTimeoutMs: 60_000, timeoutMs: 60_000 });
      const call = etcd.get('k').catch((error: EtcdError) => error);
      await expect.poll(() => before.added()).toContain('TCPSocketWrap');
      await etcd.close();
      expect(await call).toMatchObject({ code: 'closed' });
      await before.expectNothingAdded();
    }
  });

  it('a server that speaks HTTP/2 and answers no call fails its probe', async () => {
    const server = http2.createServer();
    server.on('stream', (stream) => stream.on('error', () => {}));
    await using listening = await listen(server);
    const error = await failure(listening.address);
    expect(error.message).toContain('no answer to a status call within 300 ms');
    expect(error).toMatchObject({ applied: 'no', attempts: 0 });
  });

  it('a server that sends garbage for a message is not believed', async () => {
    const server = http2.createServer();
    server.on('stream', (stream, headers) => {
      const bad = headers[':path']?.endsWith('/Put') ? Uint8Array.of(0xff, 0xff, 0xff) : STATUS;
      answering(bad)(stream);
    });
    await using listening = await listen(server);
    const error = await failure(listening.address);
    expect(error).toMatchObject({ applied: 'maybe', attempts: 1 });
    expect(error.message).toContain('malformed message');
  });

  it('a server that ends calls without an answer leaves the outcome open', async () => {
    for (const end of [
      (stream: http2.ServerHttp2Stream) => stream.close(http2.constants.NGHTTP2_NO_ERROR),
      (stream: http2.ServerHttp2Stream) =>
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true }),
      (stream: http2.ServerHttp2Stream) => stream.respond({ ':status': 200 }, { endStream: true }),
      (stream: http2.ServerHttp2Stream) => stream.respond({ ':status': 503 }, { endStream: true }),
    ]) {
      const server = http2.createServer();
      server.on('stream', (stream, headers) => {
        stream.on('error', () => {});
        if (headers[':path']?.endsWith('/Put')) end(stream);
        else answering(STATUS)(stream);
      });
      await using listening = await listen(server);
      expect(await failure(listening.address)).toMatchObject({ applied: 'maybe', attempts: 1 });
    }
  });

  it('a server that goes away with GOAWAY finishes what it took and gets the rest on a new connection', async () => {
    const server = http2.createServer();
    let sessions = 0;
    server.on('session', () => {
      sessions += 1;
    });
    let puts = 0;
    server.on('stream', (stream, headers) => {
      if (!headers[':path']?.endsWith('/Put')) return answering(STATUS)(stream);
      puts += 1;
      // Says goodbye first, then answers what it has.
      stream.session?.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id ?? 0);
      setTimeout(() => answering(new Uint8Array())(stream), 20);
    });
    await using listening = await listen(server);
    await using etcd = new Etcd({ endpoints: listening.address });
    for (let i = 0; i < 5; i++) await etcd.put('k', 'v');
    expect(puts).toBe(5);
    expect(sessions).toBe(5);
  });

  it('nobody: the call waits for its deadline, and says why', async () => {
    const error = await failure('127.0.0.1:1', 400);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).not.toBeInstanceOf(DeadlineError);
    expect(error.message).toContain('ECONNREFUSED');
  });

  it('a name that does not exist is said to be so', async () => {
    const error = await failure('nowhere.invalid:2379', 600);
    expect(error.message).toMatch(/nowhere\.invalid/);
  });
});
