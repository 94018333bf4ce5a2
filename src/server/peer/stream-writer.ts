/**
 * One stream of messages to another member: the answer, without an end, to its GET.
 *
 * Messages are encoded when the socket can take them, and in the order in which they came: what waits is the messages
 * themselves, which the log has anyway. Those that come in one turn of the event loop leave in one piece. If too many
 * wait, the next ones are refused; what was waiting when the stream breaks is lost. Raft sends again what matters, as
 * long as it is told.
 *
 * @module
 */
import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../../support/clock.ts';
import type { Message } from '../raft/types.ts';
import { FAREWELL_MS, LINK_HEARTBEAT_MS, LINK_TIMEOUT_MS, STREAM_BUFFER_BYTES, STREAM_QUEUE } from './limits.ts';
import { LINK_HEARTBEAT } from './message-codec.ts';
import { StallWatch } from './stall-watch.ts';

/** Bytes after which the socket is asked whether it moves. */
const SLICE_BYTES = 256 * 1024;

export interface StreamWriterOptions {
  readonly clock: Clock;
  /** Turns a message, or a link heartbeat, into what goes over this connection. Called in the order of sending. */
  readonly encode: (message: Message) => readonly Uint8Array[];
  /** So many bytes were given to the connection. */
  readonly sent: (bytes: number) => void;
  /** The stream has ended, whoever ended it. Called once. */
  readonly closed: () => void;
}

/** See the head of this file. */
export class StreamWriter {
  readonly #response: ServerResponse;
  readonly #options: StreamWriterOptions;
  #queue: Message[] = [];
  #scheduled = false;
  #unsent = 0;
  #stall: StallWatch | undefined;
  #heartbeat: Timer;
  #farewell: Timer | undefined;
  #closed = false;

  /** @param response Its head was sent. */
  constructor(response: ServerResponse, options: StreamWriterOptions) {
    this.#response = response;
    this.#options = options;
    response.on('error', this.#close);
    response.on('close', this.#close);
    // At once, so that the other side need not wait to know that this one is there.
    this.#heartbeat = this.#beat();
  }

  /** Sends a message as soon as those before it are sent. False: it was not taken. */
  send(message: Message): boolean {
    if (this.#closed || this.#farewell || this.#queue.length >= STREAM_QUEUE) return false;
    this.#queue.push(message);
    this.#schedule();
    return true;
  }

  /** Ends the stream once what is queued is sent, and within a bound. */
  end(): void {
    if (this.#closed || this.#farewell) return;
    this.#farewell = this.#options.clock.after(FAREWELL_MS, () => this.destroy(), { background: true });
    this.#pump();
  }

  /** Ends the stream now. */
  destroy(): void {
    this.#response.destroy();
    this.#close();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(this.#pump);
  }

  #pump = (): void => {
    this.#scheduled = false;
    if (this.#closed) return;
    const response = this.#response;
    let taken = 0;
    response.cork();
    try {
      for (const message of this.#queue) {
        if (response.writableLength >= STREAM_BUFFER_BYTES) break;
        taken++;
        this.#write(this.#options.encode(message));
      }
    } finally {
      response.uncork();
    }
    // A full queue that does not move is not copied with each message that finds no place in it.
    if (taken > 0) this.#queue = this.#queue.slice(taken);
    if (this.#farewell && this.#queue.length === 0) response.end();
  };

  #write(parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      this.#options.sent(part.length);
      for (let at = 0; at < part.length; at += SLICE_BYTES) this.#writeSlice(part.subarray(at, at + SLICE_BYTES));
    }
  }

  #writeSlice(slice: Uint8Array): void {
    this.#unsent++;
    this.#stall ??= new StallWatch(this.#options.clock, LINK_TIMEOUT_MS, () => this.destroy());
    this.#response.write(slice, () => {
      this.#stall?.moved();
      // Not on `drain`: from Node.js 22 on there is none when it was small pieces that filled the socket.
      if (this.#queue.length > 0) this.#schedule();
      if (--this.#unsent > 0) return;
      this.#stall?.stop();
      this.#stall = undefined;
    });
  }

  #beat(): Timer {
    // What is on its way says the same.
    if (this.#unsent === 0 && !this.#farewell) this.#write(this.#options.encode(LINK_HEARTBEAT));
    return this.#options.clock.after(LINK_HEARTBEAT_MS, () => (this.#heartbeat = this.#beat()), { background: true });
  }

  #close = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#heartbeat.cancel();
    this.#farewell?.cancel();
    this.#stall?.stop();
    this.#options.closed();
  };
}
