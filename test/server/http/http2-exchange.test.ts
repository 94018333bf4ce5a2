import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Exchange } from '../../../src/server/http/exchange.ts';
import { Http2Request, Http2Response } from '../../../src/server/http/http2-exchange.ts';
import { HeaderDecoder } from '../../../src/server/http2/hpack/decoder.ts';
import { FrameType } from '../../../src/server/http2/protocol.ts';
import { inWords, Served } from '../http2/served.ts';
import { type Came, data, END_HEADERS, END_STREAM, open, reset, settings, windowUpdate } from '../http2/wire.ts';

const POST: readonly (readonly [string, string])[] = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':path', '/v3/kv/put?a=b'],
  [':authority', '[::1]:2379'],
  ['x-many', '1'],
  ['x-many', '2'],
];

function exchanging(): { served: Served; exchanges: Exchange[] } {
  const exchanges: Exchange[] = [];
  const socket = { encrypted: true } as unknown as Http2Request['socket'];
  const served = Served.greeted(({ stream, head }) => {
    const request = new Http2Request(stream, head, socket);
    exchanges.push(new Exchange(request, new Http2Response(request, stream)));
  });
  return { served, exchanges };
}

function headersOf(came: readonly Came[]): string[] {
  const { payload } = came.find(({ type }) => type === FrameType.HEADERS) as Came;
  const fields = new HeaderDecoder(10_000).decode(payload, 0, payload.length);
  return (fields ?? []).map(({ name, value }) => `${name}: ${value}`);
}

describe('a request over HTTP/2 that is no gRPC', () => {
  it('is like one over HTTP/1.1, and so is its answer', async () => {
    const { served, exchanges } = exchanging();
    served.send(open(1, POST), data(1, '{"a"'), data(1, ':1}', END_STREAM));
    const exchange = exchanges[0] as Exchange;
    expect(exchange).toMatchObject({ method: 'POST', path: '/v3/kv/put', secure: true, host: '::1' });
    expect([exchange.query.get('a'), exchange.header('x-many')]).toEqual(['b', '1, 2']);
    expect(await exchange.body(100)).toBe('{"a":1}');
    exchange.setHeader('X-Early', 'e');
    exchange.json(201, { b: 2 });
    await turn();
    const came = served.take();
    expect(inWords(came)).toEqual(['HEADERS 1', 'DATA 1 7', 'DATA 1 0 end']);
    expect(headersOf(came)).toEqual([
      ':status: 201',
      'x-early: e',
      'content-type: application/json',
      'content-length: 7',
    ]);
    expect(served.connection.streams).toBe(0);
  });

  it('with HEAD has an answer without a body', async () => {
    const { served, exchanges } = exchanging();
    served.send(open(1, [[':method', 'HEAD'], ...POST.slice(1)], END_HEADERS | END_STREAM));
    exchanges[0]?.json(200, {});
    await turn();
    expect(inWords(served.take())).toEqual(['HEADERS 1', 'DATA 1 0 end']);
  });

  it('holds its body back while nobody reads', async () => {
    const { served, exchanges } = exchanging();
    served.send(open(1, POST));
    const piece = Buffer.alloc(16_000, 'x');
    for (let i = 0; i < 49; i++) expect(served.send(data(1, piece))).toEqual([]);
    await turn();
    expect(served.send(data(1, piece, END_STREAM))).toEqual([]);
    expect((await exchanges[0]?.body(1_000_000))?.length).toBe(800_000);
  });

  it('waits for a client that does not read its answer, all of which arrives', async () => {
    const { served, exchanges } = exchanging();
    served.send(settings([4, 1_000]), open(1, POST, END_HEADERS | END_STREAM));
    const exchange = exchanges[0] as Exchange;
    exchange.start(200, {});
    exchange.onDrain(() => exchange.end());
    expect(exchange.write('x'.repeat(200_000))).toBe(false);
    await turn();
    expect(inWords(served.take())).toEqual(['HEADERS 1', 'DATA 1 1000']);
    let bytes = 1_000;
    for (let i = 0; i < 5; i++) {
      const came = served.send(windowUpdate(0, 50_000), windowUpdate(1, 50_000));
      await turn();
      for (const { type, payload } of [...came, ...served.take()]) if (type === FrameType.DATA) bytes += payload.length;
    }
    expect(bytes).toBe(200_000);
    expect(served.connection.streams).toBe(0);
  });

  it('is not cut off when its answer has ended and waits for a window', async () => {
    const { served, exchanges } = exchanging();
    served.send(settings([4, 3]), open(1, POST, END_HEADERS | END_STREAM));
    exchanges[0]?.respond(200, {}, 'hello');
    await turn();
    expect(inWords(served.take())).toEqual(['HEADERS 1', 'DATA 1 3']);
    expect(inWords(served.send(windowUpdate(1, 10)))).toEqual(['DATA 1 2', 'DATA 1 0 end']);
  });

  it('fires its signal when the client breaks off, and ends its body', async () => {
    const { served, exchanges } = exchanging();
    served.send(open(1, POST), data(1, 'x'));
    const exchange = exchanges[0] as Exchange;
    const body = exchange.body(100);
    served.send(reset(1));
    await expect(body).rejects.toThrow('context canceled');
    await turn();
    expect(exchange.signal.aborted).toBe(true);
    exchange.json(200, {});
    expect(served.take()).toEqual([]);
  });
});
