/**
 * The server's end of an HTTP/2 connection, without the socket: bytes in, requests out, answers back into bytes.
 *
 * Invariants:
 *
 * - Whatever the client sends, nothing is thrown out of here: what breaks a rule ends the stream or the connection that
 *   it concerns, with the code that RFC 9113 has for it.
 * - What a client can make the server hold is bounded: a list of headers by its limit (and the frames of one block by
 *   {@link MAX_BLOCK_FRAMES}), data by the window of its stream, answers by {@link MAX_QUEUED_BYTES} and by what waits in
 *   the socket. What it can do without end is rationed (`misbehaviour.ts`).
 * - Every stream that was begun is closed, at the latest with the connection, and its receiver hears of it.
 *
 * The window of the connection is opened again as soon as data is there, whoever takes it, so that a stream that nobody
 * reads holds up no other; what may wait is bounded stream by stream.
 *
 * Source: RFC 9113.
 *
 * @module
 */

import { FrameReader, type FrameSink } from './frame-reader.ts';
import { HeaderDecoder } from './hpack/decoder.ts';
import { TABLE_BYTES } from './hpack/dynamic-table.ts';
import type { Field } from './hpack/field.ts';
import { Patience } from './misbehaviour.ts';
import { Outgoing, type Transport } from './outgoing.ts';
import type { Slabs } from './output.ts';
import { ConnectionError, DEFAULT_WINDOW_BYTES, ErrorCode, Flag, FrameType, MAX_31_BITS, Setting } from './protocol.ts';
import { areRegular, type RequestHead, readHead } from './request-head.ts';
import { encodeSettings, readSettings } from './settings.ts';
import { Stream, type StreamHost } from './stream.ts';

/** What belongs to a connection. */
export interface ConnectionOptions {
  readonly transport: Transport;
  readonly slabs: Slabs;
  /** Calls back once what is being done now is done. */
  readonly defer: (callback: () => void) => void;
  /** Monotonic time in ms. */
  readonly now: () => number;
  /** Streams that may be open at a time. */
  readonly maxConcurrentStreams: number;
  readonly events: ConnectionEvents;
}

/** What a connection tells. */
export interface ConnectionEvents {
  /** A request has begun: sets the stream's receiver, or answers at once. */
  request(stream: Stream, head: RequestHead): void;
  /** The client's first SETTINGS have come. */
  greeted(): void;
  /** The client has pinged, and was answered. */
  pinged(): void;
  /** The client has answered a ping. */
  ponged(): void;
  /** There is no stream any more, and the client or the server wants no new one. */
  finished(): void;
  /** It is over: what has been sent may still leave. Undefined: nothing was wrong. */
  failed(error: unknown): void;
}

/** What a client may send unread, on a stream and on a connection, in bytes. */
const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;

/** What the headers of a request may count (RFC 9113, 6.5.2). */
const HEADER_LIST_BYTES = 64 * 1024;

/** Frames of one block of headers, and their bytes: one that is sent well needs five. */
const MAX_BLOCK_FRAMES = 32;
const MAX_BLOCK_BYTES = 128 * 1024;

/** While more than this waits for a client, it gets no new streams. */
const MAX_QUEUED_BYTES = 256 * 1024 * 1024;

const PING_BYTES = 8;
const PING = Buffer.from('etcdkit\0', 'latin1');

/** A block of headers that has not ended. */
interface OpenBlock {
  readonly streamId: number;
  readonly end: boolean;
  readonly parts: Buffer[];
  bytes: number;
}

/** See the head of this file. */
export class Connection implements FrameSink, StreamHost {
  readonly out: Outgoing;
  readonly streamWindowBytes = STREAM_WINDOW_BYTES;
  readonly #options: ConnectionOptions;
  readonly #reader: FrameReader;
  readonly #decoder = new HeaderDecoder(HEADER_LIST_BYTES);
  readonly #patience: Patience;
  readonly #streams = new Map<number, Stream>();
  /** The highest stream that the client has begun, and the highest that is served. */
  #lastId = 0;
  #servedId = MAX_31_BITS;
  #block: OpenBlock | undefined;
  #unreported = 0;
  #lastFields: readonly Field[] | undefined;
  #lastHead: RequestHead | undefined;
  #greeted = false;
  #finishing = false;
  #ended = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#reader = new FrameReader(this);
    this.#patience = new Patience(options.now);
    this.out = new Outgoing(options.transport, options.slabs, options.defer);
    const { maxConcurrentStreams } = options;
    const settings = encodeSettings([
      [Setting.MAX_CONCURRENT_STREAMS, maxConcurrentStreams],
      [Setting.INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES],
      [Setting.MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES],
    ]);
    this.out.control(FrameType.SETTINGS, 0, 0, settings);
    this.out.number(FrameType.WINDOW_UPDATE, 0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES);
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Whether the client has been told to begin nothing more, and may not have heard. */
  get isFinishing(): boolean {
    return this.#finishing && this.#servedId === MAX_31_BITS;
  }

  /** Bytes have come. */
  receive(bytes: Buffer): void {
    if (this.#ended) return;
    try {
      this.#reader.push(bytes);
      this.out.checkUnread();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Asks the client whether it is there. */
  ping(): void {
    this.out.control(FrameType.PING, 0, 0, PING);
  }

  /**
   * Tells the client to begin nothing more, and serves what it has begun until it has heard that: the first time all,
   * then no more than there is (RFC 9113, 6.8).
   */
  finish(): void {
    if (this.#ended) return;
    if (this.#finishing) {
      this.#servedId = this.#lastId;
      this.#goAway(ErrorCode.NO_ERROR, this.#lastId);
      this.#checkFinished();
    } else {
      this.#finishing = true;
      this.#goAway(ErrorCode.NO_ERROR, MAX_31_BITS);
    }
  }

  /** Ends it: the client hears why, as far as that is its own doing, and nothing more is taken from it. */
  fail(error: unknown): void {
    if (this.#ended) return;
    if (error instanceof ConnectionError) this.#goAway(error.code, this.#lastId, error.message);
    else this.#goAway(ErrorCode.INTERNAL_ERROR, this.#lastId);
    this.out.flush();
    this.end();
    this.#options.events.failed(error);
  }

  /** The socket is gone, or is to go. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.out.end();
    for (const stream of [...this.#streams.values()]) stream.close();
  }

  streamClosed(stream: Stream): void {
    this.#streams.delete(stream.id);
    this.#checkFinished();
  }

  streamFailed(stream: Stream, code: ErrorCode): void {
    stream.reset(code);
    this.#patience.use();
  }

  frame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#block !== undefined && type !== FrameType.CONTINUATION) throw wrong('a block of headers is interrupted');
    if (!this.#greeted) this.#greet(type, flags);
    switch (type) {
      case FrameType.DATA:
        this.#data(flags, id, bytes, start, end);
        break;
      case FrameType.HEADERS:
        this.#headers(flags, id, bytes, start, end);
        break;
      case FrameType.CONTINUATION:
        this.#continuation(flags, id, bytes.subarray(start, end));
        break;
      case FrameType.WINDOW_UPDATE:
        this.#windowUpdate(id, bytes, start, end);
        break;
      case FrameType.RST_STREAM:
        this.#reset(id, end - start);
        break;
      case FrameType.SETTINGS:
        this.#settings(flags, id, bytes.subarray(start, end));
        break;
      case FrameType.PING:
        this.#pinged(flags, id, bytes.subarray(start, end));
        break;
      case FrameType.GOAWAY:
        if (id !== 0) throw wrong('GOAWAY on a stream');
        this.#finishing = true;
        this.#servedId = this.#lastId;
        this.#checkFinished();
        break;
      case FrameType.PUSH_PROMISE:
        throw wrong('a client must not push');
      case FrameType.PRIORITY:
        if (id === 0) throw wrong('PRIORITY on no stream');
        if (end - start !== 5) throw wrongSize('PRIORITY');
        this.#patience.use();
        break;
      default:
        // Extensions may have frames of their own.
        this.#patience.use();
    }
  }

  #greet(type: number, flags: number): void {
    if (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0) throw wrong('SETTINGS do not come first');
    this.#greeted = true;
    this.#options.events.greeted();
  }

  #data(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const windowBytes = end - start;
    this.#unreported += windowBytes;
    if (this.#unreported >= CONNECTION_WINDOW_BYTES / 2) {
      this.out.number(FrameType.WINDOW_UPDATE, 0, this.#unreported);
      this.#unreported = 0;
    }
    const isLast = (flags & Flag.END_STREAM) !== 0;
    if (windowBytes === 0 && !isLast) this.#patience.use();
    const [from, to] = (flags & Flag.PADDED) === 0 ? [start, end] : unpadded(bytes, start, end);
    const stream = this.#streams.get(id);
    if (stream !== undefined) stream.receive(bytes.subarray(from, to), windowBytes, isLast);
    else this.#checkClosed(id, 'DATA');
  }

  #headers(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id % 2 === 0) throw wrong('a stream id that is not the client’s');
    let [from, to] = (flags & Flag.PADDED) === 0 ? [start, end] : unpadded(bytes, start, end);
    if ((flags & Flag.PRIORITY) !== 0) {
      from += 5;
      if (from > to) throw wrongSize('HEADERS');
    }
    const isLast = (flags & Flag.END_STREAM) !== 0;
    if ((flags & Flag.END_HEADERS) !== 0) this.#headersEnd(id, isLast, bytes, from, to);
    else this.#block = { streamId: id, end: isLast, parts: [bytes.subarray(from, to)], bytes: to - from };
  }

  #continuation(flags: number, id: number, part: Buffer): void {
    const block = this.#block;
    if (block?.streamId !== id) throw wrong('CONTINUATION of nothing');
    block.parts.push(part);
    block.bytes += part.length;
    if (block.bytes > MAX_BLOCK_BYTES || block.parts.length > MAX_BLOCK_FRAMES) {
      throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'a block of headers does not end');
    }
    if ((flags & Flag.END_HEADERS) === 0) return;
    this.#block = undefined;
    this.#headersEnd(id, block.end, Buffer.concat(block.parts), 0, block.bytes);
  }

  #headersEnd(id: number, isLast: boolean, block: Buffer, start: number, end: number): void {
    const fields = this.#decoder.decode(block, start, end);
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#trailers(stream, isLast, fields);
    // Trailers of a stream that was answered early are among those.
    else if (id > this.#lastId) this.#begin(id, isLast, fields);
  }

  #trailers(stream: Stream, isLast: boolean, fields: readonly Field[] | undefined): void {
    if (stream.requestEnded) this.streamFailed(stream, ErrorCode.STREAM_CLOSED);
    else if (!isLast || fields === undefined || !areRegular(fields))
      this.streamFailed(stream, ErrorCode.PROTOCOL_ERROR);
    else stream.endRequest();
  }

  #begin(id: number, isLast: boolean, fields: readonly Field[] | undefined): void {
    this.#lastId = id;
    // The client has been told that this one is not served, or nobody is there any more who could close it.
    if (id > this.#servedId || this.#ended) return;
    const head = fields === undefined ? undefined : this.#headOf(fields);
    if (head === undefined)
      this.#refuse(id, fields === undefined ? ErrorCode.ENHANCE_YOUR_CALM : ErrorCode.PROTOCOL_ERROR);
    else if (this.#streams.size >= this.#options.maxConcurrentStreams || this.out.queuedBytes > MAX_QUEUED_BYTES)
      this.#refuse(id, ErrorCode.REFUSED_STREAM);
    else {
      const stream = new Stream(id, this, head.contentLength, isLast);
      this.#streams.set(id, stream);
      this.#options.events.request(stream, head);
      if (isLast && !stream.closed) stream.endRequest();
    }
  }

  #headOf(fields: readonly Field[]): RequestHead | undefined {
    if (fields !== this.#lastFields) {
      this.#lastFields = fields;
      this.#lastHead = readHead(fields);
    }
    return this.#lastHead;
  }

  #refuse(id: number, code: ErrorCode): void {
    this.out.number(FrameType.RST_STREAM, id, code);
    this.#patience.use();
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw wrongSize('WINDOW_UPDATE');
    const more = bytes.readUInt32BE(start) & MAX_31_BITS;
    if (id === 0) {
      if (more === 0) throw wrong('a window that does not open');
      this.out.open(more);
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) this.#checkClosed(id, 'WINDOW_UPDATE');
    else if (more === 0) this.streamFailed(stream, ErrorCode.PROTOCOL_ERROR);
    else if (!stream.open(more)) this.streamFailed(stream, ErrorCode.FLOW_CONTROL_ERROR);
  }

  #reset(id: number, length: number): void {
    if (length !== 4) throw wrongSize('RST_STREAM');
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#checkClosed(id, 'RST_STREAM');
      return;
    }
    stream.close();
    // One that was answered has had its turn: clients end watches, keepalives and snapshots so.
    if (!stream.answerBegun) this.#patience.use();
  }

  #settings(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw wrong('SETTINGS on a stream');
    if ((flags & Flag.ACK) !== 0) {
      if (payload.length > 0) throw wrongSize('SETTINGS');
      return;
    }
    this.#patience.use();
    const { initialWindowBytes, headerTableBytes } = readSettings(payload);
    if (initialWindowBytes !== undefined) this.#resizeWindows(initialWindowBytes);
    if (headerTableBytes !== undefined && headerTableBytes < TABLE_BYTES) this.out.dropTable();
    this.out.control(FrameType.SETTINGS, Flag.ACK, 0);
  }

  #resizeWindows(bytes: number): void {
    const more = bytes - this.out.initialWindowBytes;
    this.out.initialWindowBytes = bytes;
    for (const stream of [...this.#streams.values()]) {
      if (!stream.open(more)) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'a window overflows');
    }
  }

  #pinged(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw wrong('PING on a stream');
    if (payload.length !== PING_BYTES) throw wrongSize('PING');
    if ((flags & Flag.ACK) !== 0) {
      this.#options.events.ponged();
      return;
    }
    this.out.control(FrameType.PING, Flag.ACK, 0, payload);
    this.#options.events.pinged();
  }

  /** A frame for a stream that is not open: one that was may have crossed its end, one that never was is a fault. */
  #checkClosed(id: number, type: string): void {
    if (id > this.#lastId || id % 2 === 0) throw wrong(`${type} on a stream that was not begun`);
  }

  #checkFinished(): void {
    if (this.#servedId <= this.#lastId && this.#streams.size === 0 && !this.#ended) this.#options.events.finished();
  }

  #goAway(code: ErrorCode, lastId: number, text = ''): void {
    const payload = Buffer.alloc(8 + text.length);
    payload.writeUInt32BE(lastId, 0);
    payload.writeUInt32BE(code, 4);
    payload.write(text, 8, 'latin1');
    this.out.control(FrameType.GOAWAY, 0, 0, payload);
  }
}

/** Where the payload begins and ends that has padding around it. */
function unpadded(bytes: Buffer, start: number, end: number): readonly [number, number] {
  const from = start + 1;
  const to = end - (bytes[start] ?? 0);
  if (from > end || to < from) throw wrong('padding is longer than its frame');
  return [from, to];
}

function wrong(text: string): ConnectionError {
  return new ConnectionError(ErrorCode.PROTOCOL_ERROR, text);
}

function wrongSize(type: string): ConnectionError {
  return new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, `${type} has a wrong length`);
}
