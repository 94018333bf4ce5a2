import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { PutRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { serve } from '../http/serving.ts';
import { framed } from './raw-client.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const [DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE] = [0, 1, 3, 4, 8] as const;
const [ACK, END_STREAM, END_HEADERS] = [1, 1, 4] as const;
/** In Huffman's code, as Go sends them. */
const AUTHORITIES = {
  'http://127.0.0.1:39371': '9d29aee30c044eae05c0b86e32fb2e87',
  'https://localhost:2379': '9d29ad1718628390744e7426e09975ff',
};

function frame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

function plain(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}

/** HEADERS of a put, and its message. */
function put(streamId: number, authority: Uint8Array): Buffer {
  const block = Buffer.concat([
    Buffer.of(0x83, 0x86, 0x04),
    plain('/etcdserverpb.KV/Put'),
    authority,
    ...['content-type', 'application/grpc', 'te', 'trailers'].map((text, i) =>
      i % 2 === 0 ? Buffer.concat([Buffer.of(0), plain(text)]) : plain(text),
    ),
  ]);
  const message = framed(PutRequest.encode({ key: Buffer.from('a') }));
  return Buffer.concat([frame(HEADERS, END_HEADERS, streamId, block), frame(DATA, END_STREAM, streamId, message)]);
}

/** `:authority` for the first time, which is remembered, and again. */
function first(authority: keyof typeof AUTHORITIES): Buffer {
  const text = Buffer.from(AUTHORITIES[authority], 'hex');
  return Buffer.concat([Buffer.of(0x41, 0x80 | text.length), text]);
}
const AGAIN = Buffer.of(0x80 | 62);

class Client implements Disposable {
  readonly socket: net.Socket;
  #bytes = Buffer.alloc(0);

  constructor(port: number) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.on('error', () => {});
    this.socket.on('data', (bytes) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
    });
  }

  /** Writes a byte at a time, so that no two need come together. */
  async trickle(bytes: Buffer): Promise<void> {
    this.socket.setNoDelay(true);
    for (const byte of bytes) {
      this.socket.write(Buffer.of(byte));
      await turn();
    }
  }

  get frames(): { type: number; flags: number; streamId: number }[] {
    const found = [];
    for (let at = 0; at + 9 <= this.#bytes.length; at += 9 + this.#bytes.readUIntBE(at, 3)) {
      const [type = 0, flags = 0] = this.#bytes.subarray(at + 3, at + 5);
      found.push({ type, flags, streamId: this.#bytes.readUInt32BE(at + 5) });
    }
    return found;
  }

  /** What ended the stream: a frame with that flag, or a reset. */
  async ended(streamId: number): Promise<'answered' | 'reset'> {
    for (;;) {
      for (const { type, flags, streamId: id } of this.frames) {
        if (id !== streamId) continue;
        if (type === RST_STREAM) return 'reset';
        if (type === HEADERS && flags & END_STREAM) return 'answered';
      }
      await once(this.socket, 'data');
    }
  }

  async settled(): Promise<void> {
    while (!this.frames.some(({ type, flags }) => type === SETTINGS && flags === 0)) await once(this.socket, 'data');
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

describe('a client that sends a URL for an authority', () => {
  it.each(['http://127.0.0.1:39371', 'https://localhost:2379'] as const)('is served: %s', async (authority) => {
    await using server = await serve();
    using client = new Client(Number(new URL(server.url).port));
    client.socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
    await client.settled();
    client.socket.write(Buffer.concat([frame(SETTINGS, ACK, 0), put(1, first(authority))]));
    expect(await client.ended(1)).toBe('answered');
    client.socket.write(put(3, AGAIN));
    expect(await client.ended(3)).toBe('answered');
  });

  it('is served when it does not wait for anything', async () => {
    await using server = await serve();
    using client = new Client(Number(new URL(server.url).port));
    const first1 = put(1, first('http://127.0.0.1:39371'));
    client.socket.write(
      Buffer.concat([PREFACE, frame(SETTINGS, 0, 0), frame(WINDOW_UPDATE, 0, 0, Buffer.of(0, 0, 1, 0)), first1]),
    );
    expect(await client.ended(1)).toBe('answered');
    // That came at once, so nobody sent SETTINGS but Node.
    expect(client.frames.filter(({ type, flags }) => type === SETTINGS && flags === 0)).toHaveLength(1);
  });

  it('is served whatever the pieces are that its bytes come in, and when it acknowledges late', async () => {
    await using server = await serve();
    using client = new Client(Number(new URL(server.url).port));
    await client.trickle(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
    await client.settled();
    await client.trickle(put(1, first('http://127.0.0.1:39371')));
    await client.trickle(frame(SETTINGS, ACK, 0));
    expect(await client.ended(1)).toBe('answered');
  });

  it('may go before it has said anything more', async () => {
    await using server = await serve();
    using client = new Client(Number(new URL(server.url).port));
    client.socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
    await client.settled();
    client.socket.end();
    await once(client.socket, 'close');
  });

  it('may not send for ever without acknowledging', async () => {
    await using server = await serve();
    using client = new Client(Number(new URL(server.url).port));
    client.socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
    await client.settled();
    const closed = new Promise((resolve) => client.socket.once('close', resolve));
    const data = frame(DATA, 0, 1, Buffer.alloc(16_384));
    for (let i = 0; i < 32; i += 1) client.socket.write(data);
    await closed;
  });

  it('may take its time before it asks for anything', async () => {
    await using server = await serve({ handshakeMs: 20 });
    using client = new Client(Number(new URL(server.url).port));
    client.socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
    await client.settled();
    client.socket.write(frame(SETTINGS, ACK, 0));
    // Node has it once its own SETTINGS come.
    while (client.frames.filter(({ type, flags }) => type === SETTINGS && flags === 0).length < 2) {
      await once(client.socket, 'data');
    }
    client.socket.write(Buffer.concat([frame(SETTINGS, ACK, 0), put(1, Buffer.concat([Buffer.of(0x01), plain('a')]))]));
    expect(await client.ended(1)).toBe('answered');
  });
});
