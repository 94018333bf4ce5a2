/**
 * A gRPC client that does nothing but load a server: HTTP/2 by hand on one socket.
 *
 * Of two processors the one that makes the load must leave the server its own, so nothing here is done that the
 * benchmark does not need: requests are put together from bytes made beforehand, and of a response only the frames are
 * looked at. A response with data in it is a success; gRPC's refusals have none.
 *
 * Obligation of who uses it: no message is longer than a frame (16 KiB).
 *
 * Source: RFC 9113 (HTTP/2), RFC 7541 (HPACK).
 *
 * @module
 */
import { connect, type Socket } from 'node:net';

const HEAD_BYTES = 9;
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;

/** What the server may send unread, in bytes: never what the load waits for. */
const WINDOW_BYTES = 16 * 1024 * 1024;
/** What a server lets everybody send at first, in bytes. */
const FIRST_WINDOW_BYTES = 65_535;
const GRPC_PREFIX_BYTES = 5;

/** Told how a request ended, and when it had been sent. */
export type Done = (ok: boolean, sentAt: number) => void;

/** See the head of this file. */
export class LoadConnection {
  readonly #socket: Socket;
  readonly #done: Done;
  readonly #sentAt = new Map<number, number>();
  readonly #withData = new Set<number>();
  readonly #first: Buffer;
  readonly #later: Buffer;
  #nextStream = 1;
  #rest: Buffer = Buffer.alloc(0);
  #out: Buffer[] = [];
  /** What waits for the server to open its window. */
  #held: { readonly bytes: Buffer; readonly dataBytes: number }[] = [];
  #window = FIRST_WINDOW_BYTES;
  #unacknowledged = 0;

  private constructor(socket: Socket, authority: string, path: string, done: Done) {
    this.#socket = socket;
    this.#done = done;
    const fields: readonly (readonly [number | string, string])[] = [
      [4, path],
      [1, authority],
      [31, 'application/grpc'],
      ['te', 'trailers'],
      ['user-agent', 'grpc-bench'],
    ];
    // POST and http are in the static table; the others are put into the dynamic one, from where they are taken later.
    this.#first = Buffer.concat([Buffer.from([0x83, 0x86]), ...fields.map(([name, value]) => literal(name, value))]);
    this.#later = Buffer.from([0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]);
    socket.on('data', (chunk) => this.#onData(chunk));
    socket.once('close', () => {
      for (const stream of [...this.#sentAt.keys()]) this.#ended(stream, false);
    });
  }

  /** Connects to `host:port`, for calls of one method. Rejects if nobody listens. */
  static async open(authority: string, path: string, done: Done): Promise<LoadConnection> {
    const { hostname, port } = new URL(`http://${authority}`);
    const socket = connect(Number(port), hostname);
    socket.setNoDelay(true);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    const connection = new LoadConnection(socket, authority, path, done);
    const settings = Buffer.alloc(6);
    settings.writeUInt16BE(4);
    settings.writeUInt32BE(WINDOW_BYTES, 2);
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
    socket.write(Buffer.concat([preface, frame(SETTINGS, 0, 0, settings), windowUpdate(WINDOW_BYTES)]));
    return connection;
  }

  /** Sends a request, with the others of this turn once {@link flush} is called. */
  send(message: Uint8Array): void {
    const id = this.#nextStream;
    this.#nextStream += 2;
    const block = id === 1 ? this.#first : this.#later;
    const bytes = Buffer.allocUnsafe(2 * HEAD_BYTES + block.length + GRPC_PREFIX_BYTES + message.length);
    writeHead(bytes, 0, { length: block.length, type: HEADERS, flags: END_HEADERS, stream: id });
    block.copy(bytes, HEAD_BYTES);
    const data = HEAD_BYTES + block.length;
    writeHead(bytes, data, { length: GRPC_PREFIX_BYTES + message.length, type: DATA, flags: END_STREAM, stream: id });
    bytes[data + HEAD_BYTES] = 0;
    bytes.writeUInt32BE(message.length, data + HEAD_BYTES + 1);
    bytes.set(message, data + HEAD_BYTES + GRPC_PREFIX_BYTES);
    this.#sentAt.set(id, performance.now());
    this.#held.push({ bytes, dataBytes: GRPC_PREFIX_BYTES + message.length });
  }

  /** Writes what there is. */
  flush(): void {
    while (this.#held.length > 0) {
      const { bytes, dataBytes } = this.#held[0] as { bytes: Buffer; dataBytes: number };
      if (dataBytes > this.#window) break;
      this.#window -= dataBytes;
      this.#held.shift();
      this.#out.push(bytes);
    }
    if (this.#out.length === 0) return;
    this.#socket.write(this.#out.length === 1 ? (this.#out[0] as Buffer) : Buffer.concat(this.#out));
    this.#out = [];
  }

  /** Nobody is told of what is underway. */
  close(): void {
    this.#sentAt.clear();
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEAD_BYTES) {
      const length = bytes.readUIntBE(at, 3);
      const end = at + HEAD_BYTES + length;
      if (end > bytes.length) break;
      const [type, flags] = [bytes[at + 3] as number, bytes[at + 4] as number];
      this.#onFrame(type, flags, bytes.readUInt32BE(at + 5), bytes.subarray(at + HEAD_BYTES, end));
      at = end;
    }
    this.#rest = bytes.subarray(at);
    this.flush();
  }

  #onFrame(type: number, flags: number, stream: number, payload: Buffer): void {
    if (type === DATA) {
      this.#withData.add(stream);
      this.#unacknowledged += payload.length;
      if (this.#unacknowledged < WINDOW_BYTES / 2) return;
      this.#out.push(windowUpdate(this.#unacknowledged));
      this.#unacknowledged = 0;
    } else if (type === HEADERS) {
      if ((flags & END_STREAM) !== 0) this.#ended(stream, this.#withData.delete(stream));
    } else if (type === RST_STREAM) this.#ended(stream, false);
    else if (type === SETTINGS && (flags & ACK) === 0) this.#out.push(frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
    else if (type === PING && (flags & ACK) === 0) this.#out.push(frame(PING, ACK, 0, payload));
    else if (type === WINDOW_UPDATE && stream === 0) this.#window += payload.readUInt32BE();
    else if (type === GOAWAY) throw new Error('the server has had enough');
  }

  #ended(stream: number, ok: boolean): void {
    const sentAt = this.#sentAt.get(stream);
    // Servers may reset a stream that they have answered.
    if (sentAt === undefined) return;
    this.#sentAt.delete(stream);
    this.#done(ok, sentAt);
  }
}

interface Head {
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
}

function writeHead(into: Buffer, at: number, { length, type, flags, stream }: Head): void {
  into.writeUIntBE(length, at, 3);
  into[at + 3] = type;
  into[at + 4] = flags;
  into.writeUInt32BE(stream, at + 5);
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  writeHead(head, 0, { length: payload.length, type, flags, stream });
  return Buffer.concat([head, payload]);
}

function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frame(WINDOW_UPDATE, 0, 0, payload);
}

/** A header field for the dynamic table: a name of the static table by its index, or one of its own. */
function literal(name: number | string, value: string): Buffer {
  const text = (part: string): Buffer => Buffer.concat([Buffer.from([part.length]), Buffer.from(part, 'latin1')]);
  const named =
    typeof name === 'number' ? Buffer.from([0x40 | name]) : Buffer.concat([Buffer.from([0x40]), text(name)]);
  return Buffer.concat([named, text(value)]);
}
