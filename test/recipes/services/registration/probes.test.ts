/** The ready-made checks, against real servers of their kinds. */
import { createServer, type Server as HttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { Server, ServerCredentials, type ServiceDefinition, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CheckFailedError } from '../../../../recipes/services/registration/checks.ts';
import { grpcHealthCheck } from '../../../../recipes/services/registration/grpc-health.ts';
import { httpCheck, tcpCheck } from '../../../../recipes/services/registration/probes.ts';
import { Certificates } from '../../../support/certificates.ts';

const never = new AbortController().signal;

describe('over HTTP', () => {
  let server: HttpServer;
  let open = 0;
  const url = (path: string): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
  beforeAll(async () => {
    server = createServer((request, response) => {
      if (request.url === '/hang') return;
      const code = Number(request.url?.slice(1));
      response.writeHead(code, { location: '/200' });
      // A long body is not waited for.
      response.write('secret');
      if (code !== 206) response.end();
    });
    server.on('connection', (socket) => {
      open += 1;
      socket.on('close', () => {
        open -= 1;
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  it.each([200, 204, 206, 299])('passes with %i', async (code) => {
    await httpCheck({ url: url(`/${code}`) }).run(never);
  });

  it.each([302, 404, 500, 503])('fails with %i, and shows no body', async (code) => {
    const failed = Promise.resolve(httpCheck({ url: url(`/${code}`) }).run(never));
    await expect(failed).rejects.toThrow(CheckFailedError);
    await expect(failed).rejects.toThrow(new RegExp(`status ${code}$`));
  });

  it('fails when nobody listens, and when it is told to stop', async () => {
    await expect(httpCheck({ url: 'http://127.0.0.1:1/' }).run(never)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const controller = new AbortController();
    const hanging = Promise.resolve(httpCheck({ url: url('/hang') }).run(controller.signal));
    const failed = expect(hanging).rejects.toMatchObject({ name: 'AbortError' });
    controller.abort();
    await failed;
    expect(() => httpCheck({ url: 'ftp://localhost/' })).toThrow(/http/);
  });

  it('leaves no connection behind', async () => {
    await vi.waitFor(() => expect(open).toBe(0), { timeout: 20_000 });
  });
});

describe('over TCP', () => {
  it('passes when a connection is accepted', async () => {
    let accepted = 0;
    const server: TcpServer = createTcpServer((socket) => {
      accepted += 1;
      socket.on('error', () => {});
      socket.resume();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await tcpCheck({ port }).run(never);
    await new Promise((resolve) => server.close(resolve));
    expect(accepted).toBe(1);
    await expect(tcpCheck({ port }).run(never)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('over gRPC', () => {
  let server: Server;
  let port: number;
  const asked: string[] = [];
  /** What the server answers, by the service asked about: a message, or a status. */
  const answers = new Map<string, Buffer | number>([
    ['', Buffer.from([0x08, 1])],
    ['orders.Orders', Buffer.from([0x08, 1])],
    [`long.${'x'.repeat(200)}`, Buffer.from([0x08, 1])],
    ['away', Buffer.from([0x08, 2])],
    ['unknown', Buffer.alloc(0)],
    ['strange', Buffer.from([0x08, 9])],
    ['refused', status.UNAUTHENTICATED],
  ]);
  beforeAll(async () => {
    const raw = { requestSerialize: (b: Buffer) => b, requestDeserialize: (b: Buffer) => b };
    const definition = {
      check: {
        path: '/grpc.health.v1.Health/Check',
        requestStream: false,
        responseStream: false,
        ...raw,
        responseSerialize: (b: Buffer) => b,
        responseDeserialize: (b: Buffer) => b,
      },
    } satisfies ServiceDefinition;
    server = new Server();
    server.addService(definition, {
      check: (call: { request: Buffer }, done: (error: unknown, answer?: Buffer) => void) => {
        const text = call.request;
        // Tag 1, a varint of one or two bytes, the text.
        const name = text.length === 0 ? '' : text.subarray(text[1]! < 0x80 ? 2 : 3).toString();
        asked.push(name);
        if (name === 'hang') return;
        const answer = answers.get(name) ?? status.NOT_FOUND;
        if (typeof answer === 'number') done({ code: answer, details: 'secret' });
        else done(null, answer);
      },
    } as never);
    port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
  });
  afterAll(() => server.forceShutdown());

  it.each([undefined, 'orders.Orders', `long.${'x'.repeat(200)}`])('passes when %s is SERVING', async (service) => {
    await grpcHealthCheck({ port, service }).run(never);
    expect(asked.at(-1)).toBe(service ?? '');
  });

  it.each([
    ['away', /says NOT_SERVING$/],
    ['unknown', /says UNKNOWN$/],
    ['strange', /status that is not known$/],
    ['refused', /gRPC status 16$/],
    ['nobody', /gRPC status 5$/],
  ])('fails when %s is not', async (service, text) => {
    const failed = Promise.resolve(grpcHealthCheck({ port, service }).run(never));
    await expect(failed).rejects.toThrow(CheckFailedError);
    await expect(failed).rejects.toThrow(text);
  });

  it('fails when nobody listens, when it is no gRPC server, and when it is told to stop', async () => {
    await expect(grpcHealthCheck({ port: 1 }).run(never)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const plain = createServer((_request, response) => response.end('hello'));
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
    await expect(grpcHealthCheck({ port: (plain.address() as AddressInfo).port }).run(never)).rejects.toThrow();
    await new Promise((resolve) => plain.close(resolve));
    const controller = new AbortController();
    const hanging = Promise.resolve(grpcHealthCheck({ port, service: 'hang' }).run(controller.signal));
    const failed = expect(hanging).rejects.toThrow('enough');
    controller.abort(new Error('enough'));
    await failed;
  });
});

describe('over TLS', () => {
  it('passes when the authority is trusted, and only then', async () => {
    await using certificates = await Certificates.create();
    const { cert, key } = await certificates.server();
    const ca = certificates.ca.cert;

    const https = createHttpsServer({ cert, key }, (_request, response) => response.end());
    await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${(https.address() as AddressInfo).port}/`;
    await httpCheck({ url, ca }).run(never);
    await expect(httpCheck({ url }).run(never)).rejects.toThrow(/certificate/);
    await new Promise((resolve) => https.close(resolve));

    const grpc = new Server();
    const path = '/grpc.health.v1.Health/Check';
    const bytes = (buffer: Buffer): Buffer => buffer;
    const codec = {
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    grpc.addService({ check: { path, requestStream: false, responseStream: false, ...codec } }, {
      check: (_call: unknown, done: (error: unknown, answer: Buffer) => void) => done(null, Buffer.from([0x08, 1])),
    } as never);
    const credentials = ServerCredentials.createSsl(null, [{ cert_chain: cert, private_key: key }]);
    const port = await new Promise<number>((resolve, reject) =>
      grpc.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    await grpcHealthCheck({ port, tls: { ca } }).run(never);
    await expect(grpcHealthCheck({ port, tls: {} }).run(never)).rejects.toThrow(/certificate/);
    grpc.forceShutdown();
  });
});
