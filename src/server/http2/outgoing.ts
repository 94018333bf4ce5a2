/**
 * What a connection sends: control frames at once, data as far as the client's windows and the socket take it.
 *
 * Invariants:
 *
 * - Frames leave in the order in which they were sent here; all of one turn in one write.
 * - Data never exceeds the window of the connection or of its stream. Streams that wait for room get it in turns, a frame
 *   each. A stream whose own window is empty is not among those who wait.
 * - While the socket is behind, no data leaves. So what a client that does not read costs in the socket is bounded for
 *   data, and for the rest by {@link MAX_UNREAD_BYTES}: then the connection ends.
 *
 * Source: RFC 9113, sections 5.2 and 6.9.
 *
 * @module
 */
import { NO_TABLE } from './hpack/encoder.ts';
import { Output, type Slabs } from './output.ts';
import {
  ConnectionError,
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  ErrorCode,
  Flag,
  FrameType,
  MAX_31_BITS,
} from './protocol.ts';

/** Where bytes go. */
export interface Transport {
  /** Takes bytes. @returns False when the client is behind: {@link Outgoing.drained} is called when it is not any more. */
  write(parts: readonly Buffer[]): boolean;
  /** Bytes that were taken and have not left. */
  readonly unsentBytes: number;
}

/** A stream with data that its own window allows to send. */
export interface Sender {
  /** Sends one frame, which takes at most so many bytes of the connection's window. @returns Whether there is more to send now. */
  sendSome(roomBytes: number): boolean;
}

/** When more is gathered in one turn than this, it leaves before the turn ends, so that a slow reader is noticed. */
const GATHERED_BYTES = 256 * 1024;

/** What may wait in the socket. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;

const EMPTY = Buffer.alloc(0);
const SIZE_UPDATE = Buffer.of(NO_TABLE);

/** See the head of this file. */
export class Outgoing {
  /** The longest frame that the client takes, as far as we would send it. */
  readonly frameBytes = DEFAULT_FRAME_BYTES;
  /** What a new stream's window is. */
  initialWindowBytes = DEFAULT_WINDOW_BYTES;
  /** Whether an answer has been sent since this was last set. */
  answered = false;
  /** Data that waits in streams. */
  queuedBytes = 0;
  readonly #output: Output;
  readonly #transport: Transport;
  readonly #defer: (callback: () => void) => void;
  readonly #waiting = new Set<Sender>();
  #windowBytes = DEFAULT_WINDOW_BYTES;
  #scheduled = false;
  #behind = false;
  #sizeUpdateDue = false;
  #ended = false;

  /** @param defer Calls back once what is being done now is done. */
  constructor(transport: Transport, slabs: Slabs, defer: (callback: () => void) => void) {
    this.#transport = transport;
    this.#output = new Output(slabs);
    this.#defer = defer;
  }

  /** A frame other than HEADERS and DATA. */
  control(type: number, flags: number, streamId: number, payload: Uint8Array = EMPTY): void {
    this.#output.frame(type, flags, streamId, payload);
    this.#schedule();
  }

  /** WINDOW_UPDATE or RST_STREAM. */
  number(type: number, streamId: number, value: number): void {
    this.#output.numbers(type, streamId, value);
    this.#schedule();
  }

  /** A block of headers, in as many frames as it needs. */
  headers(streamId: number, block: Buffer, end: boolean): void {
    this.answered = true;
    const whole = this.#sizeUpdateDue ? Buffer.concat([SIZE_UPDATE, block]) : block;
    this.#sizeUpdateDue = false;
    const flags = end ? Flag.END_STREAM : 0;
    if (whole.length <= this.frameBytes) {
      this.#output.frame(FrameType.HEADERS, flags | Flag.END_HEADERS, streamId, whole);
    } else {
      for (let at = 0; at < whole.length; at += this.frameBytes) {
        const to = Math.min(at + this.frameBytes, whole.length);
        const last = to === whole.length ? Flag.END_HEADERS : 0;
        const type = at === 0 ? FrameType.HEADERS : FrameType.CONTINUATION;
        this.#output.part(type, at === 0 ? flags | last : last, streamId, whole, at, to);
      }
    }
    this.#schedule();
  }

  /** Whether so much data may leave now, as far as the connection is concerned. */
  hasRoom(bytes: number): boolean {
    return bytes <= this.#windowBytes && bytes <= this.frameBytes && !this.#behind;
  }

  /** A DATA frame of two parts, for which there is room. */
  data(streamId: number, lead: Uint8Array, body: Uint8Array): void {
    this.answered = true;
    this.#windowBytes -= lead.length + body.length;
    this.#output.data(streamId, lead, body);
    this.#schedule();
  }

  /** A DATA frame that is a part of something, for which there is room. */
  dataPart(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    this.answered = true;
    this.#windowBytes -= end - start;
    this.#output.part(FrameType.DATA, 0, streamId, bytes, start, end);
    this.#schedule();
  }

  /** A stream has something to send, and a window for it. */
  wait(sender: Sender): void {
    this.#waiting.add(sender);
    this.#pump();
  }

  /** A stream has nothing to send any more. */
  forget(sender: Sender): void {
    this.#waiting.delete(sender);
  }

  /** The client takes more. @throws ConnectionError when that is too much. */
  open(bytes: number): void {
    this.#windowBytes += bytes;
    if (this.#windowBytes > MAX_31_BITS) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'a window overflows');
    this.#pump();
  }

  /** The client has a smaller table of headers than we might use: it wants to hear that we use none. */
  dropTable(): void {
    this.#sizeUpdateDue = true;
  }

  /** The socket has room again. */
  drained(): void {
    this.#behind = false;
    this.#pump();
  }

  /** Gives what has been gathered to the transport. */
  readonly flush = (): void => {
    this.#scheduled = false;
    if (this.#ended || this.#output.bytes === 0) return;
    if (!this.#transport.write(this.#output.take())) this.#behind = true;
  };

  /** Nothing is sent any more. */
  end(): void {
    this.#ended = true;
    this.#waiting.clear();
    this.#output.take();
  }

  /** @throws ConnectionError when the client makes us answer, and does not read that. */
  checkUnread(): void {
    if (this.#behind && this.#transport.unsentBytes > MAX_UNREAD_BYTES) {
      throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'too many answers are not read');
    }
  }

  #schedule(): void {
    if (this.#output.bytes > GATHERED_BYTES) this.flush();
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#defer(this.flush);
  }

  #pump(): void {
    for (const sender of this.#waiting) {
      if (this.#behind || this.#windowBytes <= 0) return;
      // Taken out and put in again, it is behind the others, and is met again in this round.
      this.#waiting.delete(sender);
      if (sender.sendSome(Math.min(this.#windowBytes, this.frameBytes))) this.#waiting.add(sender);
    }
  }
}
