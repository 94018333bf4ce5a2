import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { encodeHeaders } from '../../../src/server/http2/hpack/encoder.ts';
import { Slabs } from '../../../src/server/http2/output.ts';
import { FrameType } from '../../../src/server/http2/protocol.ts';
import { Session } from '../../../src/server/http2/session.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { Heard, inWords } from './served.ts';
import { ACK, CALL, END_HEADERS, END_STREAM, frame, framesOf, GREETING, open, settings, windowUpdate } from './wire.ts';

const OK = encodeHeaders([[':status', '200']]);
const PING = frame(FrameType.PING, 0, 0, Buffer.alloc(8));
const PONG = frame(FrameType.PING, ACK, 0, Buffer.alloc(8));

/** A socket whose other end is the test. */
class FakeSocket extends Duplex {
  bytes = Buffer.alloc(0);
  /** Whether what is written leaves. */
  flows = true;
  writes = 0;
  #held: (() => void) | undefined;

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#take([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  #take(chunks: readonly Buffer[], done: () => void): void {
    this.writes += 1;
    this.bytes = Buffer.concat([this.bytes, ...chunks]);
    if (this.flows) done();
    else this.#held = done;
  }

  flow(): void {
    this.flows = true;
    this.#held?.();
  }
}

class Rig {
  readonly clock = new VirtualClock();
  readonly socket = new FakeSocket();
  readonly heard: Heard[] = [];
  readonly reports: unknown[] = [];
  closed = 0;
  readonly session: Session;

  constructor(onRequest: (heard: Heard) => void = () => {}) {
    this.session = new Session(this.socket, {
      clock: this.clock,
      slabs: new Slabs(),
      maxConcurrentStreams: 2 ** 32 - 1,
      keepalive: { minClientIntervalMs: 5_000, intervalMs: 100_000, timeoutMs: 20_000 },
      handshakeMs: 10_000,
      request: (stream, head) => {
        const heard = new Heard(stream, head);
        this.heard.push(heard);
        onRequest(heard);
      },
      report: (error) => this.reports.push(error),
      closed: () => {
        this.closed += 1;
      },
    });
  }

  /** Bytes of the client, and what the server has sent until it has come to rest. */
  async send(...parts: readonly Buffer[]): Promise<string[]> {
    for (const part of parts) this.socket.push(part);
    await this.clock.settle();
    const came = inWords(framesOf(this.socket.bytes));
    this.socket.bytes = Buffer.alloc(0);
    return came;
  }

  /** Whether it is over, and nothing of it left. */
  expectGone(): void {
    expect([this.socket.destroyed, this.closed, this.clock.pending.all, this.session.streams]).toEqual([true, 1, 0, 0]);
    expect(this.heard.map(({ events }) => events.at(-1))).toEqual(this.heard.map(() => 'close'));
  }
}

describe('a session', () => {
  it('sends all answers of a turn in one write', async () => {
    const rig = new Rig(({ stream }) => stream.respond(OK, true));
    await rig.send(GREETING);
    const before = rig.socket.writes;
    const all = Array.from({ length: 50 }, (_, at) => open(2 * at + 1, CALL, END_HEADERS | END_STREAM));
    expect(await rig.send(Buffer.concat(all))).toHaveLength(50);
    expect(rig.socket.writes - before).toBe(1);
  });

  it('sends more than a slab holds at once, too', async () => {
    const rig = new Rig();
    await rig.send(GREETING, settings([4, 1_000_000]), windowUpdate(0, 1_000_000), open(1));
    const before = rig.socket.writes;
    rig.heard[0]?.stream.write(Buffer.alloc(0), Buffer.alloc(150_000));
    expect(await rig.send()).toHaveLength(10);
    expect(rig.socket.writes - before).toBe(1);
  });

  it('sends no more data than its socket takes', async () => {
    const rig = new Rig();
    await rig.send(GREETING, settings([4, 2 ** 30]), windowUpdate(0, 2 ** 30), open(1));
    rig.socket.flows = false;
    const { stream } = rig.heard[0] as Heard;
    stream.write(Buffer.alloc(0), Buffer.alloc(10_000_000));
    await rig.clock.settle();
    const held = rig.socket.writableLength;
    expect(held).toBeLessThan(400_000);
    // Pings are answered all the same.
    await rig.send(PING);
    expect(rig.socket.writableLength - held).toBe(PING.length);
    rig.socket.flow();
    const all = await rig.send();
    expect(all.filter((text) => text.startsWith('DATA')).length + held / 16_393).toBeGreaterThan(609);
    expect(rig.heard[0]?.events).toEqual(['drain']);
  });

  it('waits for the client’s SETTINGS for so long', async () => {
    const rig = new Rig();
    await rig.send(GREETING.subarray(0, 30));
    await rig.clock.advance(9_999);
    expect(rig.socket.destroyed).toBe(false);
    await rig.clock.advance(1);
    rig.expectGone();
  });

  it('ends with its socket', async () => {
    for (const end of [(socket: FakeSocket) => socket.push(null), (socket: FakeSocket) => socket.destroy()]) {
      const rig = new Rig();
      await rig.send(GREETING, open(1));
      end(rig.socket);
      await rig.clock.settle();
      rig.expectGone();
    }
  });

  it('tells a client what it did wrong, and hangs up a moment later', async () => {
    const rig = new Rig();
    expect(await rig.send(GREETING, open(1), windowUpdate(0, 0))).toContain('GOAWAY PROTOCOL_ERROR');
    expect(rig.socket.writableEnded).toBe(true);
    expect(rig.heard[0]?.events).toEqual(['close']);
    expect(await rig.send(PING)).toEqual([]);
    expect(rig.socket.destroyed).toBe(false);
    await rig.clock.advance(1_000);
    rig.expectGone();
    expect(rig.reports).toEqual([]);
  });

  it('reports what goes wrong in the server', async () => {
    const rig = new Rig(() => {
      throw new Error('a fault');
    });
    expect(await rig.send(GREETING, open(1))).toContain('GOAWAY INTERNAL_ERROR');
    await rig.clock.advance(1_000);
    rig.expectGone();
    expect(rig.reports.map(String)).toEqual(['Error: a fault']);
  });

  it('finishes what was begun, also before the client heard, then hangs up', async () => {
    const rig = new Rig();
    await rig.send(GREETING, open(1));
    rig.session.finish();
    expect(await rig.send()).toEqual(['GOAWAY NO_ERROR', 'PING']);
    expect(await rig.send(open(3), PONG, open(5))).toEqual(['GOAWAY NO_ERROR']);
    expect(rig.heard).toHaveLength(2);
    for (const { stream } of rig.heard) stream.respond(OK, true);
    expect((await rig.send()).slice(0, 1)).toEqual(['HEADERS 1 end']);
    expect(rig.socket.writableEnded).toBe(true);
    // The client hangs up as well.
    rig.socket.push(null);
    await rig.clock.settle();
    rig.expectGone();
  });
});

describe('pings', () => {
  it('are sent to a client again and again, and one that does not answer is gone', async () => {
    const rig = new Rig();
    await rig.send(GREETING);
    for (let i = 0; i < 3; i++) {
      await rig.clock.advance(100_000);
      expect(await rig.send(PONG)).toEqual(['PING']);
    }
    // An answer to nothing does not put the next one off.
    await rig.clock.advance(60_000);
    await rig.send(PONG);
    await rig.clock.advance(40_000);
    expect(await rig.send()).toEqual(['PING']);
    await rig.clock.advance(20_000);
    rig.expectGone();
  });

  it('of a client are answered: two that come too soon are forgiven, the third is not', async () => {
    const rig = new Rig();
    await rig.send(GREETING);
    for (let i = 0; i < 3; i++) expect(await rig.send(PING)).toEqual(['PING ACK']);
    rig.socket.push(PING);
    await rig.clock.settle();
    const last = framesOf(rig.socket.bytes).at(-1);
    expect([last?.payload.readUInt32BE(4), String(last?.payload.subarray(8))]).toEqual([11, 'too_many_pings']);
  });

  it('may come every five seconds while there is a call, and as often as there are answers', async () => {
    const rig = new Rig();
    await rig.send(GREETING, open(1));
    for (let i = 0; i < 10; i++) {
      await rig.send(PING);
      await rig.clock.advance(5_000);
    }
    for (let i = 0; i < 10; i++) {
      rig.heard[0]?.stream.respond(OK, false);
      expect(await rig.send(PING)).toEqual(['HEADERS 1', 'PING ACK']);
    }
    expect(rig.socket.writableEnded).toBe(false);
    rig.heard[0]?.stream.respond(OK, true);
    // Without a call five seconds are too soon.
    for (let i = 0; i < 5; i++) {
      await rig.clock.advance(5_000);
      await rig.send(PING);
    }
    expect(rig.socket.writableEnded).toBe(true);
  });
});
