/**
 * An HTTP/2 connection on its socket: when bytes are read and written, and when it is time to go.
 *
 * Obligations: a session ends with its socket, whichever goes first, and then nothing of it is left: no timer, no stream.
 * A client that breaks the rules is told so, gets a moment to read it, and is cut off.
 *
 * @module
 */
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../support/clock.ts';
import { Connection, type ConnectionEvents } from './connection.ts';
import { Keepalive, type KeepaliveOptions } from './keepalive.ts';
import type { Transport } from './outgoing.ts';
import type { Slabs } from './output.ts';
import { ConnectionError } from './protocol.ts';
import type { RequestHead } from './request-head.ts';
import type { Stream } from './stream.ts';

/** What sessions share. */
export interface SessionOptions {
  readonly clock: Clock;
  readonly slabs: Slabs;
  /** Streams that may be open at a time. */
  readonly maxConcurrentStreams: number;
  readonly keepalive: KeepaliveOptions;
  /** How long a client may take for its first SETTINGS, in ms. */
  readonly handshakeMs: number;
  /** A request has begun: sets the stream's receiver, or answers at once. */
  readonly request: (stream: Stream, head: RequestHead, session: Session) => void;
  /** Hears of faults of the server itself. */
  readonly report: (error: unknown) => void;
  /** The session is over. */
  readonly closed: (session: Session) => void;
}

/** How long a client may take to read why it is cut off: data that is still coming would take it away unread. */
const LINGER_MS = 1_000;

/** See the head of this file. */
export class Session implements Transport, ConnectionEvents {
  readonly socket: Duplex;
  readonly #options: SessionOptions;
  readonly #connection: Connection;
  readonly #keepalive: Keepalive;
  #timer: Timer;

  /** Serves a connection of which nothing has been read, or all that was has been put back. */
  constructor(socket: Duplex, options: SessionOptions) {
    const { clock, slabs, maxConcurrentStreams, keepalive, handshakeMs } = options;
    this.socket = socket;
    this.#options = options;
    this.#connection = new Connection({
      transport: this,
      slabs,
      defer: (callback) => process.nextTick(callback),
      now: () => clock.now(),
      maxConcurrentStreams,
      events: this,
    });
    const destroy = (): void => this.destroy();
    this.#keepalive = new Keepalive(clock, keepalive, () => this.#connection.ping(), destroy);
    this.#timer = clock.after(handshakeMs, destroy, { background: true });
    socket.on('data', (chunk: Buffer) => this.#connection.receive(chunk));
    socket.on('drain', () => this.#connection.out.drained());
    socket.on('end', destroy);
    // What goes wrong with a socket is followed by its close.
    socket.on('error', () => {});
    socket.once('close', () => this.#closed());
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#connection.streams;
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  /** Lets the client finish what it has begun, and hangs up then. */
  finish(): void {
    this.#connection.finish();
    // What the client begins before it hears of that is served too; its answer comes after all of that.
    this.#connection.ping();
  }

  /** Hangs up. */
  destroy(): void {
    this.socket.destroy();
  }

  write(parts: readonly Buffer[]): boolean {
    const { socket } = this;
    if (socket.destroyed || socket.writableEnded) return true;
    if (parts.length === 1) return socket.write(parts[0]);
    socket.cork();
    let room = true;
    for (const part of parts) room = socket.write(part);
    socket.uncork();
    return room;
  }

  request(stream: Stream, head: RequestHead): void {
    this.#options.request(stream, head, this);
  }

  greeted(): void {
    this.#timer.cancel();
  }

  pinged(): void {
    const { out } = this.#connection;
    this.#keepalive.pinged(this.streams > 0, out.answered);
    out.answered = false;
  }

  ponged(): void {
    this.#keepalive.answered();
    if (this.#connection.isFinishing) this.#connection.finish();
  }

  finished(): void {
    this.#connection.out.flush();
    this.#hangUp();
  }

  failed(error: unknown): void {
    if (!(error instanceof ConnectionError)) this.#options.report(error);
    this.#hangUp();
  }

  #hangUp(): void {
    this.#timer.cancel();
    this.#keepalive.stop();
    if (this.socket.destroyed || this.socket.writableEnded) return;
    this.socket.end();
    this.#timer = this.#options.clock.after(LINGER_MS, () => this.destroy(), { background: true });
  }

  #closed(): void {
    this.#timer.cancel();
    this.#keepalive.stop();
    this.#connection.end();
    this.#options.closed(this);
  }
}
