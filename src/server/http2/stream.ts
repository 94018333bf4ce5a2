/**
 * One request and its answer.
 *
 * Invariants:
 *
 * - The {@link Receiver} hears of data, then of the end, then of the close; of the last one in any case, once, and of
 *   nothing after it.
 * - What is sent leaves in its order; what there is no window for waits here. {@link Stream.write} says when that is
 *   much: it is the sender who must wait.
 * - An answer that ends before its request ends the stream: the client is told, by a reset without an error, that nobody
 *   listens any more (RFC 9113, 8.1).
 *
 * @module
 */
import type { Outgoing, Sender } from './outgoing.ts';
import { addPiece } from './pieces.ts';
import { ErrorCode, FrameType, MAX_31_BITS } from './protocol.ts';

/** Hears what a client sends on a stream. */
export interface Receiver {
  /** Data: a view into what came, which stays as it is. */
  onData(chunk: Buffer): void;
  /** The client has sent all. */
  onEnd(): void;
  /** The stream is over, whatever the reason. */
  onClose(): void;
  /** There is room again after {@link Stream.write} returned false. */
  onDrain(): void;
}

/** What a stream needs of its connection. */
export interface StreamHost {
  readonly out: Outgoing;
  /** How much a client may send on a stream before the receiver has taken any, in bytes. */
  readonly streamWindowBytes: number;
  /** The stream is over, and the receiver is to be told. */
  streamClosed(stream: Stream): void;
  /** The client has broken a rule that concerns this stream only. */
  streamFailed(stream: Stream, code: ErrorCode): void;
}

/** A sender is behind when more than this waits. */
const BEHIND_BYTES = 64 * 1024;

const EMPTY = Buffer.alloc(0);

/** See the head of this file. */
export class Stream implements Sender {
  readonly id: number;
  /** Who hears of it. Set right after it was made. */
  receiver: Receiver | undefined;
  readonly #host: StreamHost;
  readonly #bodyBytes: number | undefined;
  /** What the client lets us send. */
  #sendWindow: number;
  /** What we let the client send. */
  #receiveWindow: number;
  #received = 0;
  #taken = 0;
  #held: Buffer[] | undefined;
  /** How many of those, at the end, were not joined yet: see {@link addPiece}. */
  #looseHeld = 0;
  #paused = false;
  #requestEnded: boolean;
  #endHeld = false;
  /** Bytes that wait for a window; the first one from {@link #queueAt} on. */
  #queue: Uint8Array[] | undefined;
  #queueAt = 0;
  #queuedBytes = 0;
  /** Trailers that wait for the queue; empty: the stream ends without. */
  #tail: Buffer | undefined;
  #behind = false;
  #answerBegun = false;
  #answerEnded = false;
  #closed = false;

  /**
   * @param bodyBytes How long the request says that it is.
   * @param ended Whether it has no body: {@link Stream.endRequest} tells the receiver, once there is one.
   */
  constructor(id: number, host: StreamHost, bodyBytes: number | undefined, ended: boolean) {
    this.id = id;
    this.#requestEnded = ended;
    this.#host = host;
    this.#bodyBytes = bodyBytes;
    this.#sendWindow = host.out.initialWindowBytes;
    this.#receiveWindow = host.streamWindowBytes;
  }

  /** Whether it is over. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether the client has sent all. */
  get requestEnded(): boolean {
    return this.#requestEnded;
  }

  /** Whether the client has been sent headers at least. */
  get answerBegun(): boolean {
    return this.#answerBegun;
  }

  /** Sends a block of headers; with `end` it is all of the answer. */
  respond(block: Buffer, end: boolean): void {
    if (this.#answerEnded || this.#closed) return;
    this.#answerBegun = true;
    this.#host.out.headers(this.id, block, end);
    if (end) this.#endAnswer();
  }

  /** Sends data of two parts, which may be used again at once. @returns False when the client is behind. */
  write(lead: Uint8Array, body: Uint8Array): boolean {
    if (this.#answerEnded || this.#closed || this.#tail !== undefined) return true;
    const { out } = this.#host;
    const bytes = lead.length + body.length;
    if (bytes === 0) return !this.#behind;
    if (this.#queue === undefined && bytes <= this.#sendWindow && out.hasRoom(bytes)) {
      this.#sendWindow -= bytes;
      out.data(this.id, lead, body);
      return true;
    }
    this.#queue ??= [];
    this.#queue.push(Buffer.concat([lead, body]));
    this.#queuedBytes += bytes;
    out.queuedBytes += bytes;
    if (this.#sendWindow > 0) out.wait(this);
    this.#behind = this.#queuedBytes > BEHIND_BYTES;
    return !this.#behind;
  }

  /** Ends the answer once all has left, with trailers or without. */
  end(trailers: Buffer = EMPTY): void {
    if (this.#answerEnded || this.#closed || this.#tail !== undefined) return;
    if (this.#queue === undefined) this.#sendTail(trailers);
    else this.#tail = trailers;
  }

  /** Ends the stream at once, and tells the client why. */
  reset(code: ErrorCode): void {
    if (this.#closed) return;
    this.#host.out.number(FrameType.RST_STREAM, this.id, code);
    this.close();
  }

  /** The receiver wants no more for now. */
  pause(): void {
    this.#paused = true;
  }

  /** The receiver goes on. What has come meanwhile is given to it. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    const held = this.#held;
    this.#held = undefined;
    for (let at = 0; held !== undefined && at < held.length; at += 1) {
      if (this.#paused) {
        // Nothing can have come between: this is one go.
        this.#held = held.slice(at);
        this.#looseHeld = 0;
        return;
      }
      this.#give(held[at] as Buffer);
    }
    if (this.#endHeld && !this.#paused && !this.#closed) {
      this.#endHeld = false;
      this.receiver?.onEnd();
    }
  }

  /** For the connection: data came. `windowBytes` is what it counts, padding and all. */
  receive(chunk: Buffer, windowBytes: number, end: boolean): void {
    this.#received += chunk.length;
    this.#receiveWindow -= windowBytes;
    if (this.#requestEnded) this.#fail(ErrorCode.STREAM_CLOSED);
    else if (this.#receiveWindow < 0) this.#fail(ErrorCode.FLOW_CONTROL_ERROR);
    else if (this.#received > (this.#bodyBytes ?? this.#received)) this.#fail(ErrorCode.PROTOCOL_ERROR);
    else {
      if (end) this.#requestEnded = true;
      this.#take(windowBytes - chunk.length);
      if (this.#paused) this.#hold(chunk);
      else this.#give(chunk);
      if (end) this.#ended();
    }
  }

  /** For the connection: the request is all there. */
  endRequest(): void {
    this.#requestEnded = true;
    this.#ended();
  }

  /** For the connection: the client takes more. @returns False when that is too much. */
  open(bytes: number): boolean {
    const wasShut = this.#sendWindow <= 0;
    this.#sendWindow += bytes;
    if (this.#sendWindow > MAX_31_BITS) return false;
    if (wasShut && this.#sendWindow > 0 && this.#queue !== undefined) this.#host.out.wait(this);
    return true;
  }

  sendSome(roomBytes: number): boolean {
    const part = this.#queue?.[0];
    if (part === undefined || this.#sendWindow <= 0) return false;
    const { out } = this.#host;
    const from = this.#queueAt;
    const to = Math.min(part.length, from + Math.min(roomBytes, this.#sendWindow));
    out.dataPart(this.id, part, from, to);
    this.#sendWindow -= to - from;
    this.#queuedBytes -= to - from;
    out.queuedBytes -= to - from;
    this.#queueAt = to;
    if (to === part.length) this.#nextPart();
    if (this.#behind && this.#queuedBytes <= BEHIND_BYTES / 2 && !this.#closed) {
      this.#behind = false;
      this.receiver?.onDrain();
    }
    return this.#queue !== undefined && this.#sendWindow > 0;
  }

  /** Ends it without telling anybody but the receiver. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#host.out.forget(this);
    this.#host.out.queuedBytes -= this.#queuedBytes;
    this.#queue = undefined;
    this.#held = undefined;
    this.#host.streamClosed(this);
    this.receiver?.onClose();
  }

  #nextPart(): void {
    const queue = this.#queue as Uint8Array[];
    this.#queueAt = 0;
    queue.shift();
    if (queue.length === 0) this.#queue = undefined;
    if (this.#queue === undefined && this.#tail !== undefined) this.#sendTail(this.#tail);
  }

  #sendTail(trailers: Buffer): void {
    const { out } = this.#host;
    if (trailers.length > 0) out.headers(this.id, trailers, true);
    else out.control(FrameType.DATA, 1, this.id);
    this.#endAnswer();
  }

  #endAnswer(): void {
    this.#answerEnded = true;
    if (this.#requestEnded) this.close();
    else this.reset(ErrorCode.NO_ERROR);
  }

  #give(chunk: Buffer): void {
    this.#take(chunk.length);
    if (chunk.length > 0) this.receiver?.onData(chunk);
  }

  #hold(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#held === undefined) {
      this.#held = [];
      this.#looseHeld = 0;
    }
    this.#looseHeld = addPiece(this.#held, chunk, this.#looseHeld);
  }

  /** The receiver has, or nobody ever will have, so many bytes: the client may send them again, told in large steps. */
  #take(bytes: number): void {
    this.#taken += bytes;
    if (this.#requestEnded || this.#closed || this.#taken < this.#host.streamWindowBytes / 2) return;
    this.#host.out.number(FrameType.WINDOW_UPDATE, this.id, this.#taken);
    this.#receiveWindow += this.#taken;
    this.#taken = 0;
  }

  #ended(): void {
    if (this.#closed) return;
    if (this.#bodyBytes !== undefined && this.#received !== this.#bodyBytes) this.#fail(ErrorCode.PROTOCOL_ERROR);
    else if (this.#held !== undefined || this.#paused) this.#endHeld = true;
    else this.receiver?.onEnd();
  }

  #fail(code: ErrorCode): void {
    this.#host.streamFailed(this, code);
  }
}
