/** A connection without a socket: bytes go in, frames come out, and requests are answered as a test likes. */
import { Connection, type ConnectionEvents } from '../../../src/server/http2/connection.ts';
import { Slabs } from '../../../src/server/http2/output.ts';
import { ErrorCode, FrameType } from '../../../src/server/http2/protocol.ts';
import type { RequestHead } from '../../../src/server/http2/request-head.ts';
import type { Receiver, Stream } from '../../../src/server/http2/stream.ts';
import { type Came, framesOf, GREETING } from './wire.ts';

/** What a stream has told its receiver. */
export class Heard implements Receiver {
  readonly stream: Stream;
  readonly head: RequestHead;
  data: Buffer = Buffer.alloc(0);
  readonly events: string[] = [];

  constructor(stream: Stream, head: RequestHead) {
    this.stream = stream;
    this.head = head;
    stream.receiver = this;
  }

  onData(chunk: Buffer): void {
    this.data = Buffer.concat([this.data, chunk]);
    this.events.push('data');
  }

  onEnd(): void {
    this.events.push('end');
  }

  onClose(): void {
    this.events.push('close');
  }

  onDrain(): void {
    this.events.push('drain');
  }
}

/** See the head of this file. */
export class Served implements ConnectionEvents {
  readonly heard: Heard[] = [];
  /** What the connection has told. */
  readonly told: string[] = [];
  readonly failures: unknown[] = [];
  /** Monotonic time in ms. */
  now = 0;
  /** Whether the socket takes more. */
  hasRoom = true;
  unsentBytes = 0;
  readonly connection: Connection;
  readonly #deferred: (() => void)[] = [];
  readonly #onRequest: (heard: Heard) => void;
  #out: Buffer = Buffer.alloc(0);

  constructor(onRequest: (heard: Heard) => void = () => {}, maxConcurrentStreams = 2 ** 32 - 1) {
    this.#onRequest = onRequest;
    this.connection = new Connection({
      transport: this,
      slabs: new Slabs(),
      defer: (callback) => this.#deferred.push(callback),
      now: () => this.now,
      maxConcurrentStreams,
      events: this,
    });
  }

  /** One whose client has greeted, and been greeted. */
  static greeted(onRequest?: (heard: Heard) => void, maxConcurrentStreams?: number): Served {
    const served = new Served(onRequest, maxConcurrentStreams);
    served.send(GREETING);
    return served;
  }

  /** Bytes of the client. @returns Frames that the server has sent since the last time. */
  send(...parts: readonly Buffer[]): Came[] {
    for (const part of parts) this.connection.receive(part);
    return this.take();
  }

  /** What has been sent since the last time. */
  take(): Came[] {
    for (let next = this.#deferred.shift(); next !== undefined; next = this.#deferred.shift()) next();
    const came = framesOf(this.#out);
    this.#out = Buffer.alloc(0);
    return came;
  }

  write(parts: readonly Buffer[]): boolean {
    this.#out = Buffer.concat([this.#out, ...parts]);
    return this.hasRoom;
  }

  request(stream: Stream, head: RequestHead): void {
    const heard = new Heard(stream, head);
    this.heard.push(heard);
    this.#onRequest(heard);
  }

  greeted(): void {
    this.told.push('greeted');
  }

  pinged(): void {
    this.told.push('pinged');
  }

  ponged(): void {
    this.told.push('ponged');
  }

  finished(): void {
    this.told.push('finished');
  }

  failed(error: unknown): void {
    this.told.push('failed');
    this.failures.push(error);
  }
}

const NAMES = new Map<number, string>(Object.entries(FrameType).map(([name, type]) => [type, name]));
const CODES = new Map<number, string>(Object.entries(ErrorCode).map(([name, code]) => [code, name]));

/** Frames in words: their type, their stream, and how long they are or which error they tell. */
export function inWords(came: readonly Came[]): string[] {
  return came.map(({ type, flags, streamId, payload }) => {
    const name = `${NAMES.get(type)}${streamId === 0 ? '' : ` ${streamId}`}`;
    if (type === FrameType.RST_STREAM) return `${name} ${CODES.get(payload.readUInt32BE())}`;
    if (type === FrameType.GOAWAY) return `${name} ${CODES.get(payload.readUInt32BE(4))}`;
    if (type === FrameType.WINDOW_UPDATE) return `${name} +${payload.readUInt32BE()}`;
    if (type === FrameType.SETTINGS || type === FrameType.PING) return flags === 1 ? `${name} ACK` : name;
    const end = (flags & 1) === 1 ? ' end' : '';
    return type === FrameType.DATA ? `${name} ${payload.length}${end}` : `${name}${end}`;
  });
}
