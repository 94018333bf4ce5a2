/** What Node's own HTTP/2 makes of ours. */
import { once } from 'node:events';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { encodeHeaders } from '../../../src/server/http2/hpack/encoder.ts';
import { Slabs } from '../../../src/server/http2/output.ts';
import { Session } from '../../../src/server/http2/session.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { Heard } from './served.ts';

const OK = encodeHeaders([[':status', '200']]);
const TRAILERS = encodeHeaders([['status', 'done']]);
const EMPTY = Buffer.alloc(0);

/** Sends back what it gets, as it comes, and as fast as the client reads. */
class Echo extends Heard {
  override onData(chunk: Buffer): void {
    if (this.events.length === 0) this.stream.respond(OK, false);
    this.events.push('data');
    if (!this.stream.write(EMPTY, chunk)) this.stream.pause();
  }

  override onDrain(): void {
    this.stream.resume();
  }

  override onEnd(): void {
    if (this.events.length === 0) this.stream.respond(OK, false);
    this.stream.end(TRAILERS);
  }
}

async function served(options: http2.ClientSessionOptions): Promise<{
  client: http2.ClientHttp2Session;
  heads: Heard['head'][];
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const heads: Heard['head'][] = [];
  const listener = net.createServer((socket) => {
    new Session(socket, {
      clock: systemClock,
      slabs: new Slabs(),
      maxConcurrentStreams: 100,
      keepalive: { minClientIntervalMs: 5_000, intervalMs: 100_000, timeoutMs: 20_000 },
      handshakeMs: 60_000,
      request: (stream, head) => heads.push(new Echo(stream, head).head),
      report: () => {},
      closed: () => {},
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const client = http2.connect(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`, options);
  await once(client, 'remoteSettings');
  return {
    client,
    heads,
    async [Symbol.asyncDispose]() {
      client.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}

async function echoed(client: http2.ClientHttp2Session, body: Buffer, pieceBytes: number): Promise<Buffer> {
  const stream = client.request({ ':method': 'POST', ':path': '/' });
  for (let at = 0; at < body.length; at += pieceBytes) stream.write(body.subarray(at, at + pieceBytes));
  stream.end();
  const trailers = once(stream, 'trailers') as Promise<[Record<string, unknown>]>;
  const back = Buffer.concat((await stream.toArray()) as Buffer[]);
  expect((await trailers)[0]['status']).toBe('done');
  return back;
}

describe('a client of Node', () => {
  it.each([
    ['with its own windows', {}],
    ['with windows of 1,000 bytes', { settings: { initialWindowSize: 1_000 } }],
    ['with large windows and frames', { settings: { initialWindowSize: 2 ** 24, maxFrameSize: 2 ** 20 } }],
    ['without a table of headers', { settings: { headerTableSize: 0 } }],
    ['with padding', { paddingStrategy: http2.constants.PADDING_STRATEGY_MAX }],
  ])('%s gets back what it sent, on many streams at a time', async (_name, options) => {
    await using rig = await served(options);
    const bodies = Array.from({ length: 12 }, (_, at) => Buffer.alloc(40_000 * at + 1, `${at}-`));
    const back = await Promise.all(bodies.map((body, at) => echoed(rig.client, body, 777 * (at + 1))));
    expect(back.map((body, at) => body.equals(bodies[at] as Buffer))).toEqual(bodies.map(() => true));
  });

  it('is told the limits', async () => {
    await using rig = await served({});
    expect(rig.client.remoteSettings).toMatchObject({
      maxConcurrentStreams: 100,
      maxHeaderListSize: 65_536,
      initialWindowSize: 1_048_576,
    });
  });

  it('sends headers that arrive as they were, in each way that it has to write them', async () => {
    await using rig = await served({});
    const printable = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at))
      .join('')
      .trim();
    for (let i = 0; i < 300; i++) {
      const headers = { 'x-all': printable, [`x-${i}`]: 'y'.repeat(i), cookie: 'secret', authorization: `token ${i}` };
      const stream = rig.client.request({ ':method': 'POST', ':path': `/${i}`, ...headers }, { endStream: true });
      await once(stream.resume(), 'close');
      const head = rig.heads[i] as Heard['head'];
      expect(head.path).toBe(`/${i}`);
      for (const [name, value] of Object.entries(headers)) expect(head.get(name)).toBe(value);
    }
  });
});
