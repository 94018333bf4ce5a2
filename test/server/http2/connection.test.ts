import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeHeaders } from '../../../src/server/http2/hpack/encoder.ts';
import { ErrorCode, FrameType, PREFACE } from '../../../src/server/http2/protocol.ts';
import { type Heard, inWords, Served } from './served.ts';
import {
  ACK,
  block,
  CALL,
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  GREETING,
  huffman,
  integer,
  literal,
  open,
  reset,
  settings,
  uint32,
  windowUpdate,
} from './wire.ts';

const OK = encodeHeaders([[':status', '200']]);
const TRAILERS = encodeHeaders([['grpc-status', '0']]);
const EMPTY = Buffer.alloc(0);

/** Answers with headers, what came, and trailers. */
function echo({ stream, data: body }: Heard): void {
  stream.respond(OK, false);
  stream.write(EMPTY, body);
  stream.end(TRAILERS);
}

function goAway(code: keyof typeof ErrorCode): unknown {
  return expect.arrayContaining([`GOAWAY ${code}`]);
}

describe('a connection', () => {
  it('greets with its settings and a large window, and acknowledges those of the client', () => {
    const served = new Served();
    expect(inWords(served.take())).toEqual(['SETTINGS', 'WINDOW_UPDATE +8323073']);
    expect(inWords(served.send(GREETING))).toEqual(['SETTINGS ACK']);
    expect(served.told).toEqual(['greeted']);
    expect(inWords(served.send(frame(FrameType.SETTINGS, ACK, 0)))).toEqual([]);
  });

  it('answers pings with what was in them', () => {
    const served = Served.greeted();
    const [pong] = served.send(frame(FrameType.PING, 0, 0, Buffer.from('12345678')));
    expect([pong?.flags, String(pong?.payload)]).toEqual([ACK, '12345678']);
    served.send(frame(FrameType.PING, ACK, 0, Buffer.from('12345678')));
    expect(served.told).toEqual(['greeted', 'pinged', 'ponged']);
  });

  it('tells the receiver of a request what came, and sends its answer', () => {
    const served = Served.greeted();
    expect(served.send(open(1), data(1, 'hel'), data(1, 'lo', END_STREAM))).toEqual([]);
    const [heard] = served.heard as [Heard];
    expect(heard.head).toMatchObject({ method: 'POST', path: '/a.B/C' });
    expect(heard.head.get('te')).toBe('trailers');
    expect([String(heard.data), heard.events]).toEqual(['hello', ['data', 'data', 'end']]);
    echo(heard);
    expect(inWords(served.take())).toEqual(['HEADERS 1', 'DATA 1 5', 'HEADERS 1 end']);
    expect(heard.events.at(-1)).toBe('close');
    expect(served.connection.streams).toBe(0);
  });

  it('ends a request whose answer came early, by a reset without an error behind the answer', () => {
    const served = Served.greeted(({ stream }) => stream.respond(OK, true));
    expect(inWords(served.send(open(1)))).toEqual(['HEADERS 1 end', 'RST_STREAM 1 NO_ERROR']);
    // What is still under way is let go by, trailers too.
    expect(inWords(served.send(data(1, 'x'), open(1, [['a', 'b']], END_STREAM | END_HEADERS)))).toEqual([]);
    expect(inWords(served.send(open(3)))).toEqual(['HEADERS 3 end', 'RST_STREAM 3 NO_ERROR']);
  });

  it('takes trailers for an end', () => {
    const served = Served.greeted();
    served.send(open(1), open(1, [['a', 'b']], END_HEADERS | END_STREAM));
    expect(served.heard[0]?.events).toEqual(['end']);
  });

  it('takes padding, priorities, continuations, and frames of types that nobody knows', () => {
    const served = Served.greeted();
    const bytes = block(CALL);
    const padded = Buffer.concat([Buffer.of(3), uint32(0), Buffer.of(16), bytes.subarray(0, 10), Buffer.alloc(3)]);
    served.send(
      frame(FrameType.HEADERS, 0x8 | 0x20, 1, padded),
      frame(FrameType.CONTINUATION, 0, 1, bytes.subarray(10, 20)),
      frame(FrameType.CONTINUATION, END_HEADERS, 1, bytes.subarray(20)),
      frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(5)),
      frame(99, 255, 1, Buffer.alloc(50)),
      frame(FrameType.DATA, 0x8 | END_STREAM, 1, Buffer.from('\x02hi\0\0')),
    );
    expect([String(served.heard[0]?.data), served.heard[0]?.events]).toEqual(['hi', ['data', 'end']]);
  });

  it('takes a URL for an authority, remembered and in Huffman’s code, as Go clients of etcd 3.4 send it', () => {
    const served = Served.greeted();
    const url = huffman('http://127.0.0.1:39371');
    const first = Buffer.concat([Buffer.of(0x41), integer(0x80, 7, url.length), url]);
    const head = Buffer.concat([Buffer.of(0x83, 0x86), literal([':path', '/a']), first]);
    served.send(frame(FrameType.HEADERS, END_HEADERS, 3, head));
    expect(served.heard[0]?.head.authority).toBe('http://127.0.0.1:39371');
    const again = Buffer.concat([Buffer.of(0x83, 0x86), literal([':path', '/a']), Buffer.of(0xbe)]);
    served.send(frame(FrameType.HEADERS, END_HEADERS, 5, again));
    expect(served.heard[1]?.head.authority).toBe('http://127.0.0.1:39371');
  });

  it('cuts an answer’s long headers into continuations', () => {
    const served = Served.greeted(({ stream }) => stream.respond(encodeHeaders([['a', 'x'.repeat(40_000)]]), true));
    const came = served.send(open(1, CALL, END_HEADERS | END_STREAM));
    expect(inWords(came)).toEqual(['HEADERS 1 end', 'CONTINUATION 1', 'CONTINUATION 1']);
    expect(came.map(({ flags }) => flags & END_HEADERS)).toEqual([0, 0, END_HEADERS]);
  });

  it('tells a client with a smaller table of headers, once, that it uses none', () => {
    const served = new Served(({ stream }) => stream.respond(OK, true));
    served.send(PREFACE, settings([1, 100]));
    const [first] = served.send(open(1, CALL, END_HEADERS | END_STREAM));
    const [second] = served.send(open(3, CALL, END_HEADERS | END_STREAM));
    expect([first?.payload[0], second?.payload]).toEqual([0x20, OK]);
  });

  it('closes its streams with itself, and tells their receivers', () => {
    const served = Served.greeted();
    served.send(open(1), open(3));
    served.connection.end();
    expect(served.heard.map(({ events }) => events)).toEqual([['close'], ['close']]);
    expect(served.send(open(5))).toEqual([]);
  });

  it('begins nothing more once it has ended, in the same bytes neither', () => {
    const served = Served.greeted(() => served.connection.end());
    served.send(Buffer.concat([open(1), open(3)]));
    expect([served.heard.length, served.connection.streams]).toEqual([1, 0]);
  });

  it('ends with what goes wrong in the server, and says no more of it than that', () => {
    const served = Served.greeted(() => {
      throw new Error('a secret');
    });
    const [away] = served.send(open(1));
    expect([away?.payload.readUInt32BE(4), String(away?.payload)]).toEqual([
      ErrorCode.INTERNAL_ERROR,
      expect.not.stringContaining('secret'),
    ]);
    expect(served.failures.map(String)).toEqual(['Error: a secret']);
    expect(served.connection.streams).toBe(0);
  });
});

describe('flow control', () => {
  it('sends what the windows of stream and connection take, and no more', () => {
    const served = Served.greeted();
    served.send(settings([4, 10]), open(1, CALL, END_HEADERS | END_STREAM));
    const { stream } = served.heard[0] as Heard;
    stream.respond(OK, false);
    stream.write(EMPTY, Buffer.alloc(25));
    stream.end(TRAILERS);
    expect(inWords(served.take())).toEqual(['HEADERS 1', 'DATA 1 10']);
    expect(inWords(served.send(windowUpdate(1, 5)))).toEqual(['DATA 1 5']);
    // Less than nothing: what was sent counts.
    expect(inWords(served.send(settings([4, 0])))).toEqual(['SETTINGS ACK']);
    expect(inWords(served.send(windowUpdate(1, 10)))).toEqual([]);
    expect(inWords(served.send(settings([4, 100])))).toEqual(['DATA 1 10', 'HEADERS 1 end', 'SETTINGS ACK']);
  });

  it('lets streams that wait for the connection’s window go in turns', () => {
    const served = Served.greeted();
    served.send(settings([4, 1_000_000]), open(1), open(3));
    const [first, second] = served.heard as [Heard, Heard];
    for (const { stream } of [first, second]) stream.respond(OK, false);
    first.stream.write(EMPTY, Buffer.alloc(100_000));
    second.stream.write(EMPTY, Buffer.alloc(100_000));
    // 65,535 at first, which the first one takes.
    const before = served.take();
    expect(before.reduce((sum, { type, payload }) => sum + (type === FrameType.DATA ? payload.length : 0), 0)).toBe(
      65_535,
    );
    expect(inWords(served.send(windowUpdate(0, 65_536)))).toEqual([
      'DATA 1 16384',
      'DATA 3 16384',
      'DATA 1 16384',
      'DATA 3 16384',
    ]);
  });

  it('says when a sender is behind, and when it is not any more', () => {
    const served = Served.greeted();
    served.send(open(1));
    const heard = served.heard[0] as Heard;
    heard.stream.respond(OK, false);
    expect(heard.stream.write(EMPTY, Buffer.alloc(100_000))).toBe(true);
    expect(heard.stream.write(EMPTY, Buffer.alloc(50_000))).toBe(false);
    expect(served.connection.out.queuedBytes).toBe(150_000 - 65_535);
    served.send(windowUpdate(0, 10_000_000), windowUpdate(1, 60_000));
    expect(heard.events).toEqual(['drain']);
    heard.stream.reset(ErrorCode.CANCEL);
    expect(served.connection.out.queuedBytes).toBe(0);
  });

  it('sends no data while the socket is behind, in one turn neither', () => {
    const served = Served.greeted();
    served.send(settings([4, 10_000_000]), windowUpdate(0, 10_000_000), open(1));
    const { stream } = served.heard[0] as Heard;
    stream.respond(OK, false);
    served.hasRoom = false;
    stream.write(EMPTY, Buffer.alloc(1_000_000));
    const first = served.take().reduce((sum, { payload }) => sum + payload.length, 0);
    expect(first).toBeLessThan(300_000);
    stream.write(EMPTY, Buffer.alloc(10));
    expect(served.take()).toEqual([]);
    served.hasRoom = true;
    served.connection.out.drained();
    expect(served.take().reduce((sum, { payload }) => sum + payload.length, first)).toBe(1_000_010 + OK.length);
  });

  it('opens windows in large steps, that of the connection as data comes, that of a stream as it is taken', () => {
    const served = Served.greeted();
    served.send(open(1), open(3));
    const [reading, paused] = served.heard as [Heard, Heard];
    paused.stream.pause();
    const piece = Buffer.alloc(16_384);
    const come = Array.from({ length: 32 }, () => served.send(data(1, piece), data(3, piece))).flat();
    expect(inWords(come)).toEqual(['WINDOW_UPDATE 1 +524288']);
    expect([reading.data.length, paused.data.length]).toEqual([524_288, 0]);
    paused.stream.resume();
    expect(inWords(served.take())).toEqual(['WINDOW_UPDATE 3 +524288']);
    expect(paused.data.length).toBe(524_288);
    const more = Array.from({ length: 192 }, () => served.send(data(1, piece))).flat();
    expect(inWords(more).filter((text) => !text.startsWith('WINDOW_UPDATE 1'))).toEqual(['WINDOW_UPDATE +4194304']);
  });

  it('counts padding, and data of streams that are over', () => {
    const served = Served.greeted();
    served.send(open(1), open(3));
    served.heard[0]?.stream.reset(ErrorCode.CANCEL);
    const all = Buffer.concat([Buffer.of(255), Buffer.alloc(16_383)]);
    const come = Array.from({ length: 256 }, (_, at) =>
      served.send(frame(0, at % 2 === 0 ? 0 : 8, at % 2 === 0 ? 1 : 3, all)),
    );
    expect(inWords(come.flat()).sort()).toEqual([
      'RST_STREAM 1 CANCEL',
      'WINDOW_UPDATE +4194304',
      ...Array(4).fill('WINDOW_UPDATE 3 +524288'),
    ]);
  });

  it('gives what was held to a receiver that pauses in the middle of it, then the end', () => {
    const served = Served.greeted();
    served.send(open(1));
    const heard = served.heard[0] as Heard;
    heard.stream.pause();
    served.send(data(1, 'a'), data(1, 'b'), data(1, 'c', END_STREAM));
    const taken: string[] = [];
    heard.onData = (chunk) => {
      taken.push(String(chunk));
      heard.stream.pause();
    };
    for (let i = 0; i < 4; i++) {
      heard.stream.resume();
      taken.push(...heard.events);
    }
    expect(taken).toEqual(['a', 'b', 'c', 'end']);
  });
});

describe('what breaks a rule of the connection ends it', () => {
  const cases: [string, keyof typeof ErrorCode, Buffer[]][] = [
    ['no preface', 'PROTOCOL_ERROR', [Buffer.alloc(30, 'x')]],
    ['no SETTINGS first', 'PROTOCOL_ERROR', [PREFACE, frame(FrameType.PING, 0, 0, Buffer.alloc(8))]],
    ['an acknowledgement first', 'PROTOCOL_ERROR', [PREFACE, frame(FrameType.SETTINGS, ACK, 0)]],
    ['SETTINGS of a wrong length', 'FRAME_SIZE_ERROR', [GREETING, frame(FrameType.SETTINGS, 0, 0, Buffer.alloc(5))]],
    [
      'an acknowledgement of something',
      'FRAME_SIZE_ERROR',
      [GREETING, frame(FrameType.SETTINGS, ACK, 0, Buffer.alloc(6))],
    ],
    ['SETTINGS on a stream', 'PROTOCOL_ERROR', [GREETING, frame(FrameType.SETTINGS, 0, 1)]],
    ['push of 2', 'PROTOCOL_ERROR', [GREETING, settings([2, 2])]],
    ['a window that is too large', 'FLOW_CONTROL_ERROR', [GREETING, settings([4, 2 ** 31])]],
    ['frames that are too short', 'PROTOCOL_ERROR', [GREETING, settings([5, 16_383])]],
    ['frames that are too long', 'PROTOCOL_ERROR', [GREETING, settings([5, 2 ** 24])]],
    ['a frame that is too long', 'FRAME_SIZE_ERROR', [GREETING, data(1, Buffer.alloc(16_385))]],
    ['a PING of a wrong length', 'FRAME_SIZE_ERROR', [GREETING, frame(FrameType.PING, 0, 0, Buffer.alloc(7))]],
    ['a PING on a stream', 'PROTOCOL_ERROR', [GREETING, frame(FrameType.PING, 0, 1, Buffer.alloc(8))]],
    ['DATA on no stream', 'PROTOCOL_ERROR', [GREETING, data(0, 'x')]],
    ['DATA before HEADERS', 'PROTOCOL_ERROR', [GREETING, data(1, 'x')]],
    ['HEADERS on no stream', 'PROTOCOL_ERROR', [GREETING, open(0)]],
    ['HEADERS on a stream of the server', 'PROTOCOL_ERROR', [GREETING, open(2)]],
    ['HEADERS that are no HPACK', 'COMPRESSION_ERROR', [GREETING, frame(FrameType.HEADERS, 4, 1, Buffer.of(0xbe))]],
    [
      'a priority that is cut off',
      'FRAME_SIZE_ERROR',
      [GREETING, frame(FrameType.HEADERS, 4 | 32, 1, Buffer.alloc(4))],
    ],
    ['a reset of no stream', 'PROTOCOL_ERROR', [GREETING, reset(0)]],
    ['a reset before HEADERS', 'PROTOCOL_ERROR', [GREETING, reset(1)]],
    ['a reset of a wrong length', 'FRAME_SIZE_ERROR', [GREETING, open(1), frame(FrameType.RST_STREAM, 0, 1)]],
    ['a window of a wrong length', 'FRAME_SIZE_ERROR', [GREETING, frame(FrameType.WINDOW_UPDATE, 0, 0)]],
    ['a window that does not open', 'PROTOCOL_ERROR', [GREETING, windowUpdate(0, 0)]],
    ['a window of a stream to come', 'PROTOCOL_ERROR', [GREETING, windowUpdate(1, 1)]],
    ['a window that overflows', 'FLOW_CONTROL_ERROR', [GREETING, windowUpdate(0, 2 ** 31 - 1)]],
    [
      'windows that overflow by SETTINGS',
      'FLOW_CONTROL_ERROR',
      [GREETING, open(1), windowUpdate(1, 2 ** 31 - 65_536), settings([4, 65_536])],
    ],
    ['PRIORITY on no stream', 'PROTOCOL_ERROR', [GREETING, frame(FrameType.PRIORITY, 0, 0, Buffer.alloc(5))]],
    ['PRIORITY of a wrong length', 'FRAME_SIZE_ERROR', [GREETING, frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(4))]],
    ['GOAWAY on a stream', 'PROTOCOL_ERROR', [GREETING, frame(FrameType.GOAWAY, 0, 1, Buffer.alloc(8))]],
    ['a push', 'PROTOCOL_ERROR', [GREETING, frame(FrameType.PUSH_PROMISE, 0, 1, Buffer.alloc(8))]],
    ['CONTINUATION of nothing', 'PROTOCOL_ERROR', [GREETING, frame(FrameType.CONTINUATION, 4, 1)]],
    ['CONTINUATION of another', 'PROTOCOL_ERROR', [GREETING, open(1, CALL, 0), frame(FrameType.CONTINUATION, 4, 3)]],
    ['something between', 'PROTOCOL_ERROR', [GREETING, open(1, CALL, 0), frame(FrameType.PING, 0, 0, Buffer.alloc(8))]],
    ['padding that is longer than its frame', 'PROTOCOL_ERROR', [GREETING, open(1), frame(0, 8, 1, Buffer.of(2, 1))]],
    ['padding that is nowhere', 'PROTOCOL_ERROR', [GREETING, open(1), frame(0, 8, 1)]],
  ];

  it.each(cases)('%s: %s', (_name, code, parts) => {
    const served = new Served();
    expect(inWords(served.send(...parts))).toEqual(goAway(code));
    expect(served.told.at(-1)).toBe('failed');
    expect(served.connection.streams).toBe(0);
    // Nothing more is taken.
    expect(served.send(frame(FrameType.PING, 0, 0, Buffer.alloc(8)))).toEqual([]);
  });
});

describe('what breaks a rule of a stream ends that', () => {
  /** One field, remembered, and 80 times more: 82 KiB as HTTP/2 counts them. */
  const BOMB = Buffer.concat([block(CALL), literal(['a', 'x'.repeat(1_000)], 0x40), Buffer.alloc(80, 0xbe)]);
  const without = (name: string) => CALL.filter(([other]) => other !== name);
  const cases: [string, keyof typeof ErrorCode, Buffer[]][] = [
    ['no method', 'PROTOCOL_ERROR', [open(1, without(':method'))]],
    ['no scheme', 'PROTOCOL_ERROR', [open(1, without(':scheme'))]],
    ['no path', 'PROTOCOL_ERROR', [open(1, without(':path'))]],
    ['an empty path', 'PROTOCOL_ERROR', [open(1, [...without(':path'), [':path', '']])]],
    ['a method twice', 'PROTOCOL_ERROR', [open(1, [[':method', 'GET'], ...CALL])]],
    ['an unknown pseudo-header', 'PROTOCOL_ERROR', [open(1, [[':status', '200'], ...CALL])]],
    ['a pseudo-header behind others', 'PROTOCOL_ERROR', [open(1, [...CALL, [':authority', 'a']])]],
    ['a name in upper case', 'PROTOCOL_ERROR', [open(1, [...CALL, ['Token', 'a']])]],
    ['a name with a space', 'PROTOCOL_ERROR', [open(1, [...CALL, ['a b', 'a']])]],
    ['no name', 'PROTOCOL_ERROR', [open(1, [...CALL, ['', 'a']])]],
    ['a value with a line feed', 'PROTOCOL_ERROR', [open(1, [...CALL, ['a', 'a\nb']])]],
    ['a connection header', 'PROTOCOL_ERROR', [open(1, [...CALL, ['connection', 'close']])]],
    ['chunks', 'PROTOCOL_ERROR', [open(1, [...CALL, ['transfer-encoding', 'chunked']])]],
    ['te that is not trailers', 'PROTOCOL_ERROR', [open(1, [...CALL, ['te', 'gzip']])]],
    ['a length that is none', 'PROTOCOL_ERROR', [open(1, [...CALL, ['content-length', 'x']])]],
    ['two lengths', 'PROTOCOL_ERROR', [open(1, [...CALL, ['content-length', '1'], ['content-length', '2']])]],
    ['more than its length', 'PROTOCOL_ERROR', [open(1, [...CALL, ['content-length', '1']]), data(1, 'ab')]],
    [
      'less than its length',
      'PROTOCOL_ERROR',
      [open(1, [...CALL, ['content-length', '3']]), data(1, 'ab', END_STREAM)],
    ],
    ['no end with its trailers', 'PROTOCOL_ERROR', [open(1), open(1, [['a', 'b']])]],
    ['pseudo-headers in trailers', 'PROTOCOL_ERROR', [open(1), open(1, [[':path', '/']], END_HEADERS | END_STREAM)]],
    ['data behind its end', 'STREAM_CLOSED', [open(1, CALL, END_HEADERS | END_STREAM), data(1, 'x')]],
    ['headers behind its end', 'STREAM_CLOSED', [open(1, CALL, END_HEADERS | END_STREAM), open(1)]],
    ['a window that does not open', 'PROTOCOL_ERROR', [open(1), windowUpdate(1, 0)]],
    ['a window that overflows', 'FLOW_CONTROL_ERROR', [open(1), windowUpdate(1, 2 ** 31 - 1)]],
    ['headers without bounds', 'ENHANCE_YOUR_CALM', [frame(FrameType.HEADERS, END_HEADERS, 1, BOMB)]],
  ];

  it.each(cases)('%s: %s', (_name, code, parts) => {
    const served = Served.greeted();
    expect(inWords(served.send(...parts))).toEqual([`RST_STREAM 1 ${code}`]);
    expect(served.heard.map(({ events }) => events.at(-1))).toEqual(served.heard.map(() => 'close'));
    // The connection is as good as before.
    served.send(open(3));
    expect(served.heard.at(-1)?.stream.id).toBe(3);
  });

  it('data beyond the window that it was given', () => {
    const served = Served.greeted(({ stream }) => stream.pause());
    served.send(open(1));
    const piece = Buffer.alloc(16_384);
    const all = Array.from({ length: 65 }, () => inWords(served.send(data(1, piece)))).flat();
    expect(all).toEqual(['RST_STREAM 1 FLOW_CONTROL_ERROR']);
  });

  it('more streams than allowed', () => {
    const served = Served.greeted(undefined, 2);
    expect(inWords(served.send(open(1), open(3), open(5)))).toEqual(['RST_STREAM 5 REFUSED_STREAM']);
    served.send(reset(1));
    expect(inWords(served.send(open(7)))).toEqual([]);
  });
});

describe('floods end the connection', () => {
  const times = (count: number, make: (at: number) => Buffer): Buffer =>
    Buffer.concat(Array.from({ length: count }, (_, at) => make(at)));
  const id = (at: number): number => 2 * at + 1;
  const cases: [string, Buffer, Buffer][] = [
    ['resets', times(1_500, (at) => Buffer.concat([open(id(at)), reset(id(at))])), EMPTY],
    [
      'streams that the server has to reset',
      times(1_500, (at) => Buffer.concat([open(id(at)), windowUpdate(id(at), 0)])),
      EMPTY,
    ],
    ['requests that are none', times(1_500, (at) => open(id(at), [])), EMPTY],
    ['settings', times(1_500, () => settings()), EMPTY],
    ['data of nothing', times(1_500, () => data(1, '')), open(1)],
    ['priorities', times(1_500, () => frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(5))), EMPTY],
    ['unknown frames', times(1_500, () => frame(77, 0, 0)), EMPTY],
    ['continuations of nothing', times(40, () => frame(FrameType.CONTINUATION, 0, 1)), open(1, CALL, 0)],
    ['continuations', times(10, () => frame(FrameType.CONTINUATION, 0, 1, Buffer.alloc(16_000))), open(1, CALL, 0)],
  ];

  it.each(cases)('%s', (_name, flood, before) => {
    const served = Served.greeted();
    expect(inWords(served.send(before, flood)).at(-1)).toBe('GOAWAY ENHANCE_YOUR_CALM');
    expect(served.connection.streams).toBe(0);
  });

  it('but not resets of calls that were answered: a client ends its watches and keepalives so', () => {
    const served = Served.greeted(({ stream }) => stream.respond(OK, false));
    for (let at = 0; at < 3_000; at++) served.send(open(id(at)), reset(id(at)));
    expect(served.told).toEqual(['greeted']);
    expect(served.heard.every(({ events }) => events.join() === 'close')).toBe(true);
  });

  it('but not what comes in its time: 33 a second', () => {
    const served = Served.greeted();
    for (let second = 0; second < 200; second++) {
      served.now += 1_000;
      served.send(times(33, () => settings()));
    }
    expect(served.told).toEqual(['greeted']);
    served.send(times(1_001, () => settings()));
    expect(served.told).toEqual(['greeted', 'failed']);
  });

  it('of answers that nobody reads', () => {
    const served = Served.greeted();
    served.hasRoom = false;
    const ping = frame(FrameType.PING, 0, 0, Buffer.alloc(8));
    served.send(ping);
    served.unsentBytes = 16 * 1024 * 1024;
    expect(inWords(served.send(ping))).toEqual(['PING ACK']);
    served.unsentBytes += 1;
    expect(inWords(served.send(ping))).toEqual(['PING ACK', 'GOAWAY ENHANCE_YOUR_CALM']);
  });

  it('of answers that nobody has a window for: no new streams', () => {
    const served = Served.greeted();
    served.send(open(1));
    const { stream } = served.heard[0] as Heard;
    stream.respond(OK, false);
    const piece = Buffer.alloc(64 * 1024 * 1024);
    for (let i = 0; i < 4; i++) stream.write(EMPTY, piece);
    served.take();
    expect(inWords(served.send(open(3)))).toEqual([]);
    stream.write(EMPTY, Buffer.alloc(100_000));
    expect(inWords(served.send(open(5)))).toEqual(['RST_STREAM 5 REFUSED_STREAM']);
    served.send(reset(1));
    expect(inWords(served.send(open(7)))).toEqual([]);
  });
});

describe('going away', () => {
  const lastId = (served: Served): number => served.take().at(-1)?.payload.readUInt32BE() as number;

  it('serves what the client has begun before it heard, and nothing more', () => {
    const served = Served.greeted();
    served.send(open(1));
    served.connection.finish();
    expect(lastId(served)).toBe(2 ** 31 - 1);
    served.send(open(3));
    served.connection.finish();
    expect(lastId(served)).toBe(3);
    served.send(open(5));
    expect(served.heard.map(({ stream }) => stream.id)).toEqual([1, 3]);
    for (const { stream } of served.heard) {
      expect(served.told).not.toContain('finished');
      stream.respond(OK, true);
    }
    expect(served.told).toContain('finished');
  });

  it('is finished at once when nothing runs', () => {
    const served = Served.greeted();
    served.connection.finish();
    served.connection.finish();
    expect(served.told).toEqual(['greeted', 'finished']);
  });

  it('is finished when the client goes, and its streams are done', () => {
    const served = Served.greeted();
    served.send(open(1), frame(FrameType.GOAWAY, 0, 0, Buffer.alloc(8)));
    expect(served.told).toEqual(['greeted']);
    served.heard[0]?.stream.respond(OK, true);
    expect(served.told).toEqual(['greeted', 'finished']);
  });
});

describe('whatever a client sends', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc
      .record({
        type: fc.integer({ min: 0, max: 11 }),
        flags: fc.integer({ min: 0, max: 255 }),
        id: fc.integer({ min: 0, max: 9 }),
        payload: fc.uint8Array({ maxLength: 12 }),
      })
      .map(({ type, flags, id, payload }) => frame(type, flags, id, payload)),
    fc
      .record({ id: fc.constantFrom(1, 3, 5, 7), flags: fc.constantFrom(0, 4, 5) })
      .map(({ id, flags }) => open(id, CALL, flags)),
    fc
      .record({ id: fc.constantFrom(1, 3, 5), end: fc.integer({ min: 0, max: 1 }) })
      .map(({ id, end }) => data(id, 'x', end)),
    fc.constantFrom(
      settings([4, 0]),
      settings([4, 70_000]),
      windowUpdate(1, 9),
      windowUpdate(0, 9),
      reset(1),
      reset(3),
    ),
  );

  it('nothing is thrown out, every stream is closed, and the pieces that it comes in make no difference', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 25 }), fc.integer({ min: 1, max: 20 }), (pieces, length) => {
        const bytes = Buffer.concat([GREETING, ...pieces]);
        const answer = (heard: Heard): void => {
          heard.onEnd = () => echo(heard);
        };
        const [whole, cut] = [new Served(answer), new Served(answer)];
        const sentWhole = whole.send(bytes);
        for (let at = 0; at < bytes.length; at += length) cut.connection.receive(bytes.subarray(at, at + length));
        expect(cut.take()).toEqual(sentWhole);
        expect(cut.told).toEqual(whole.told);
        expect(whole.failures.filter((error) => !(error as Error).name.startsWith('Connection'))).toEqual([]);
        whole.connection.end();
        expect(whole.heard.map(({ events }) => events.filter((event) => event === 'close'))).toEqual(
          whole.heard.map(() => ['close']),
        );
        expect([whole.connection.streams, whole.connection.out.queuedBytes]).toEqual([0, 0]);
      }),
      { numRuns: 3_000 },
    );
  });
});
