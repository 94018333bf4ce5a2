import { once } from 'node:events';
import { cp } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { PutRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { deferred } from '../../../src/support/signals.ts';
import { Certificates } from '../../support/certificates.ts';
import { connectRaw, framed } from '../rpc/raw-client.ts';
import { serve } from './serving.ts';

const PUT = '/etcdserverpb.KV/Put';
const put = framed(PutRequest.encode({ key: Buffer.from('a') }));

async function post(url: string, body: string, headers: Record<string, string> = {}): Promise<[number, unknown]> {
  const response = await fetch(url, { method: 'POST', body, headers });
  return [response.status, await response.json()];
}

describe('a port of a member that is not ready', () => {
  it('takes connections, and answers once it is', async () => {
    const { promise: ready, resolve } = deferred<void>();
    await using server = await serve({ ready });
    const order: string[] = [];
    const early = fetch(`${server.url}/version`).then(({ status }) => order.push(`early ${status}`));
    const byGrpc = connectRaw(server.url).then(async (client) => {
      await using raw = client;
      const { code } = await raw.call({ path: PUT, data: [put] });
      order.push(`gRPC ${code}`);
    });
    await expect.poll(() => server.port.connections).toBe(2);
    // A request on a port that serves has long come back by the time this one has.
    await using other = await serve();
    await (await fetch(`${other.url}/version`)).text();
    order.push('ready');
    resolve();
    await Promise.all([early, byGrpc]);
    expect(order[0]).toBe('ready');
    expect(order.toSorted()).toEqual(['early 200', 'gRPC 0', 'ready']);
    expect((await fetch(`${server.url}/version`)).status).toBe(200);
  });

  it('lets go of them if it never is', async () => {
    const { promise: ready, reject } = deferred<void>();
    await using server = await serve({ ready });
    const early = fetch(`${server.url}/version`);
    await expect.poll(() => server.port.connections).toBe(1);
    reject(new Error('the member has ended'));
    await Promise.all([expect(early).rejects.toThrow(), server.port.close()]);
  });
});

describe('the pages', () => {
  it('tell health', async () => {
    await using server = await serve();
    const get = async (path: string): Promise<[number, string]> => {
      const response = await fetch(server.url + path);
      return [response.status, await response.text()];
    };
    expect(await get('/health')).toEqual([200, '{"health":"true","reason":""}']);
    server.state.alarms.add(1);
    expect(await get('/health')).toEqual([503, '{"health":"false","reason":"ALARM NOSPACE"}']);
    expect((await get('/health?exclude=NOSPACE'))[0]).toBe(200);
    expect(await get('/readyz')).toEqual([200, 'ok\n']);
    server.state.alarms.add(2);
    expect((await get('/readyz?verbose'))[1]).toContain('[-]data_corruption failed');
    expect((await get('/readyz?exclude=data_corruption'))[0]).toBe(200);
    server.state.alarms.clear();
    server.state.leader = 0n;
    expect(await get('/health')).toEqual([503, '{"health":"false","reason":"RAFT NO LEADER"}']);
    expect((await get('/health?serializable=true'))[0]).toBe(200);
    expect(await get('/livez?verbose')).toEqual([200, '[+]serializable_read ok\nok\n']);
    expect((await get('/livez/nope'))[0]).toBe(404);
    server.state.learner = true;
    expect((await get('/readyz/non_learner'))[0]).toBe(503);
  });

  it('tell version, metrics and what is not there', async () => {
    await using server = await serve();
    const version = await fetch(`${server.url}/version`);
    expect(await version.json()).toEqual({ etcdserver: '3.5.30', etcdcluster: '3.5.0' });
    expect(version.headers.get('access-control-allow-origin')).toBe('*');
    const post405 = await fetch(`${server.url}/health`, { method: 'POST' });
    expect([post405.status, post405.headers.get('allow')]).toEqual([405, 'GET']);
    for (const path of ['/', '/v2/keys', '/config']) expect((await fetch(server.url + path)).status).toBe(404);
    const options = await fetch(`${server.url}/v3/kv/put`, { method: 'OPTIONS' });
    expect([options.status, await options.text()]).toEqual([200, '']);
    await post(`${server.url}/v3/kv/put`, '{"key":"YQ=="}');
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain('etcd_server_has_leader 1\n');
    expect(metrics).toContain('etcd_server_proposals_failed_total 6\n');
    const put = 'grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary"';
    expect(metrics).toContain(`grpc_server_handled_total{${put},grpc_code="OK"} 1\n`);
    expect(metrics).toContain(`grpc_server_handled_total{${put},grpc_code="DataLoss"} 0\n`);
  });

  it('refuse a host that is not on the list', async () => {
    await using server = await serve({ hostWhitelist: ['etcd.example'] });
    const response = await fetch(`${server.url}/health`);
    expect(response.status).toBe(421);
    expect(await response.text()).toContain('CVE-2018-5702');
  });
});

describe('the gateway', () => {
  it('takes both spellings, and answers in etcd’s', async () => {
    await using server = await serve();
    const body = '{"key":"YQ==","value":"dg","lease":"7","prevKv":true,"ignore_value":true,"nope":[1]}';
    expect(await post(`${server.url}/v3/kv/put`, body)).toEqual([200, { header: { revision: '9007199254740993' } }]);
    expect(server.seen.puts[0]).toMatchObject({ lease: 7n, prevKv: true, ignoreValue: true });
    expect(Buffer.from(server.seen.puts[0]?.value ?? []).toString()).toBe('v');
    expect(await post(`${server.url}/v3beta/kv/range`, '{"key":"YQ=="}')).toEqual([
      200,
      { kvs: [{ key: 'YQ==', mod_revision: '5', value: 'dg==' }], count: '1' },
    ]);
    expect(server.seen.calls.map(({ via }) => via)).toEqual(['gateway', 'gateway']);
  });

  it('passes tokens on', async () => {
    await using server = await serve();
    const headers = { authorization: 't.1', 'grpc-metadata-token': 't.2' };
    await post(`${server.url}/v3/kv/put`, '', headers);
    const metadata = server.seen.calls[0]?.metadata;
    expect([metadata?.get('authorization'), metadata?.get('token'), metadata?.get('host')]).toEqual([
      't.1',
      't.2',
      undefined,
    ]);
  });

  it.each([
    ['/v3/kv/put', '{', 400, 3],
    ['/v3/kv/put', '{"key":1}', 400, 3],
    ['/v3/kv/put', '{"lease":"x"}', 400, 3],
    ['/v3/kv/put', '{"lease":9007199254740993}', 400, 3],
    ['/v3/kv/put', '{"key":"!!"}', 400, 3],
    ['/v3/kv/put', '[]', 400, 3],
    ['/v3/kv/put', `{"key":"${Buffer.from('refuse').toString('base64')}"}`, 400, 3],
    ['/v3/kv/put', `{"key":"${Buffer.from('break').toString('base64')}"}`, 500, 13],
    ['/v3/x', '{}', 404, 5],
  ])('%s %s is %i', async (path, body, status, code) => {
    await using server = await serve();
    const [got, json] = await post(server.url + path, body);
    expect(got).toBe(status);
    const { error, message } = json as { error: string; message: string };
    expect(json).toEqual({ error, code, message });
    expect(error).toBe(message);
  });

  it('is for POST alone', async () => {
    await using server = await serve();
    const response = await fetch(`${server.url}/v3/kv/range`);
    expect([response.status, await response.json()]).toMatchObject([501, { code: 12, message: 'Method Not Allowed' }]);
  });

  it('streams a line for each answer', async () => {
    await using server = await serve();
    const body =
      '{"create_request":{"watch_id":1}} {"createRequest":{"watchId":"2"}}{"create_request":{"watch_id":99}}';
    const response = await fetch(`${server.url}/v3/watch`, { method: 'POST', body });
    const lines = (await response.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([
      { result: { watch_id: '1', created: true } },
      { result: { watch_id: '2', created: true } },
      { error: { grpc_code: 11 } },
    ]);
  });

  it('streams over a websocket', async () => {
    await using server = await serve();
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/v3/watch`);
    await once(socket, 'open');
    socket.send('{"create_request":{"watch_id":1}}');
    const [message] = (await once(socket, 'message')) as [Buffer];
    expect(JSON.parse(String(message))).toEqual({ result: { watch_id: '1', created: true } });
    socket.send('{"create_request":{"watch_id":98}}');
    while (server.seen.waiting === 0) await sleep(2);
    socket.terminate();
    while (server.seen.cancelled === 0) await sleep(2);
  });
});

describe('the port', () => {
  it('closes what says nothing, or begins slowly', async () => {
    await using server = await serve({ handshakeMs: 50, headersMs: 50 });
    const port = server.port.port as number;
    for (const start of ['', 'P', 'PR', 'GET / HTTP/1.1\r\nHos', '\x16\x03']) {
      const socket = net.connect(port, '127.0.0.1').resume();
      socket.on('error', () => {});
      socket.write(start);
      await once(socket, 'close');
    }
  });

  it('tells HTTP/1.1 from HTTP/2 byte by byte', async () => {
    await using server = await serve();
    const socket = net.connect(server.port.port as number, '127.0.0.1');
    for (const byte of 'POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n') {
      socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const chunks = await socket.toArray();
    expect(String(Buffer.concat(chunks as Buffer[]))).toMatch(/^HTTP\/1.1 200 OK/);
  });

  it('takes a client that leaves in the middle of its request for that, and for no fault of its own', async () => {
    await using server = await serve();
    const socket = net.connect(server.port.port as number, '127.0.0.1');
    socket.write('POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{');
    const calls = server.metrics.calls.of(PUT);
    while (calls.started === 0) await sleep(2);
    socket.resetAndDestroy();
    while (!calls.handled.some((count) => count > 0)) await sleep(2);
    expect(calls.handled[GrpcCode.CANCELLED]).toBe(1);
    expect(server.faults).toEqual([]);
  });

  it('serves both kinds over TLS, and clear ones beside where it should', async () => {
    await using certificates = await Certificates.create();
    const { certPath, keyPath } = await certificates.server();
    const options = { cert: { path: certPath }, key: { path: keyPath } };
    await using server = await serve({ tls: options, clear: true });
    const ca = certificates.ca.cert;
    await using client = await connectRaw(server.url, { ca });
    expect(await client.call({ path: PUT, data: [put] })).toMatchObject({ code: 0 });
    const health = client.session.request({ ':path': '/health' }).setEncoding('utf8');
    expect((await health.toArray()).join('')).toBe('{"health":"true","reason":""}');
    const answer = (await once(https.get(`${server.url}/version`, { ca }), 'response')) as [
      { statusCode: number; resume(): void },
    ];
    answer[0].resume();
    expect(answer[0].statusCode).toBe(200);
    expect((await fetch(`${server.url.replace('https', 'http')}/health`)).status).toBe(200);
  });

  it('wants a certificate where it should, reads its own again, and tells the name', async () => {
    await using certificates = await Certificates.create();
    const first = await certificates.server();
    const second = await certificates.server('second');
    const user = await certificates.client('ada');
    const paths = { cert: { path: first.certPath }, key: { path: first.keyPath } };
    await using server = await serve({ tls: { ...paths, clientCa: certificates.ca.cert } });
    const ca = certificates.ca.cert;
    const port = server.port.port as number;
    const stranger = tls.connect({ port, host: '127.0.0.1', ca, ALPNProtocols: ['h2'] });
    const [error] = (await once(stranger.resume(), 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED');
    await using client = await connectRaw(server.url, { ca, cert: user.cert, key: user.key });
    await client.call({ path: PUT, data: [put] });
    expect(server.seen.calls[0]?.commonName).toBe('ada');
    server.state.authEnabled = true;
    const gateway = client.session.request({ ':path': '/v3/kv/put', ':method': 'POST' }).end('{}');
    const [headers] = (await once(gateway.resume(), 'response')) as [Record<string, unknown>];
    expect(headers[':status']).toBe(400);
    await cp(second.certPath, first.certPath);
    await cp(second.keyPath, first.keyPath);
    const renewed = tls.connect({ port, host: '127.0.0.1', ca, cert: user.cert, key: user.key });
    await once(renewed, 'secureConnect');
    expect(renewed.getPeerCertificate().subject.CN).toBe('second');
    renewed.destroy();
    // Clear ones are not taken here.
    const clear = net.connect(port, '127.0.0.1').resume();
    clear.on('error', () => {});
    clear.write('GET /health HTTP/1.1\r\n\r\n');
    await once(clear, 'close');
  });

  it('refuses an address that is taken', async () => {
    await using server = await serve();
    await expect(serve({ listen: { host: '127.0.0.1', port: server.port.port as number } })).rejects.toThrow(
      'EADDRINUSE',
    );
  });

  it('closes though streams are open', async () => {
    await using server = await serve();
    const body = '{"create_request":{"watch_id":98}}';
    const answer = fetch(`${server.url}/v3/watch`, { method: 'POST', body }).then(
      (response) => response.status,
      () => 0,
    );
    while (server.seen.waiting === 0) await sleep(2);
    await server.port.close();
    await answer;
    expect([server.seen.waiting, server.port.connections]).toEqual([0, 0]);
  });
});
