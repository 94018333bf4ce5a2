/**
 * One connection through the fault proxy: two sockets and a lane of bytes each way.
 *
 * Obligations: bytes of a lane keep their order whatever the settings do; bytes that a lane swallowed leave a hole, so
 * such a connection never carries bytes again once its lane is healed; a closed side closes the other unless the
 * news of it is swallowed too.
 */
import { type EventEmitter, once } from 'node:events';
import net from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** The way that bytes go. */
export type Direction = 'to-server' | 'to-client';

/** What the proxy does to the bytes of one direction, and what it has done. */
export interface Lane {
  paused: boolean;
  swallowing: boolean;
  delayMs: number;
  /** Largest piece that is delivered at a time; 0: as they come. */
  sliceBytes: number;
  /** Ends the connection that carries the last of these bytes. */
  cutoff: { remaining: number; reset: boolean; done: () => void } | undefined;
  delivered: number;
  swallowed: number;
}

/** The settings that all connections of a proxy share; `changes` emits `change` when a lane is paused or resumed. */
export interface Lanes {
  readonly lanes: Readonly<Record<Direction, Lane>>;
  readonly changes: EventEmitter;
}

interface Item {
  /** Without a chunk it is the end of the sender's bytes. */
  readonly chunk?: Buffer;
  readonly dueAt: number;
}

/** More than this is left in the sender's hands while a lane is slow or held. */
const QUEUE_LIMIT = 256 * 1024;

/** A pair of sockets. */
export class ProxyConnection {
  /** Whether some of its bytes, or the news of its end, were swallowed. */
  holed = false;
  readonly closed: Promise<void>;
  readonly #client: net.Socket;
  readonly #server: net.Socket;
  readonly #settings: Lanes;
  readonly #ended = new AbortController();

  constructor(client: net.Socket, target: { host: string; port: number }, settings: Lanes) {
    this.#client = client;
    this.#settings = settings;
    const unreachable = settings.lanes['to-server'].swallowing && settings.lanes['to-client'].swallowing;
    this.#server = new net.Socket({ allowHalfOpen: true });
    client.setNoDelay(true);
    this.#server.setNoDelay(true);
    // A server behind a black hole does not hear of new connections either.
    if (unreachable) this.holed = true;
    else this.#server.connect(target);
    const sockets = [client, this.#server];
    this.closed = Promise.all(
      sockets.map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))),
    ).then(() => this.#ended.abort());
    this.#watch(client, this.#server, 'to-server');
    this.#watch(this.#server, client, 'to-client');
  }

  /** Closes both sides at once, with a reset (RST) or in the ordinary way. What is queued is lost. */
  destroy(reset = false): void {
    this.#ended.abort();
    for (const socket of [this.#client, this.#server]) {
      // Reset of a socket that still connects would wait for the connection first.
      if (reset && !socket.connecting && !socket.destroyed) socket.resetAndDestroy();
      else socket.destroy();
    }
  }

  #watch(from: net.Socket, to: net.Socket, direction: Direction): void {
    const lane = this.#settings.lanes[direction];
    const queue = new LaneQueue(from, this.#ended.signal);
    from.on('data', (chunk: Buffer) => queue.push({ chunk, dueAt: performance.now() + lane.delayMs }));
    from.once('end', () => queue.push({ dueAt: performance.now() + lane.delayMs }));
    from.on('error', () => {});
    from.once('close', (failed) => {
      if (!failed && !to.destroyed && from.readableEnded) return;
      if (lane.swallowing) this.holed = true;
      else this.destroy(failed);
    });
    // The only way for it to fail is that the connection ended.
    this.#carry(queue, to, direction).catch(() => {});
  }

  async #carry(queue: LaneQueue, to: net.Socket, direction: Direction): Promise<void> {
    const lane = this.#settings.lanes[direction];
    const { signal } = this.#ended;
    for (;;) {
      const item = await queue.next();
      const waitMs = item.dueAt - performance.now();
      if (waitMs > 0) await sleep(waitMs, undefined, { signal });
      while (lane.paused && !lane.swallowing) await once(this.#settings.changes, 'change', { signal });
      if (lane.swallowing) {
        this.holed = true;
        lane.swallowed += item.chunk?.length ?? 0;
      } else if (item.chunk) {
        await this.#deliver(item.chunk, to, lane);
      } else {
        to.end();
        return;
      }
    }
  }

  async #deliver(chunk: Buffer, to: net.Socket, lane: Lane): Promise<void> {
    const { signal } = this.#ended;
    for (let offset = 0; offset < chunk.length; ) {
      const size = Math.min(lane.sliceBytes || chunk.length, lane.cutoff?.remaining ?? Infinity, chunk.length - offset);
      if (size > 0) {
        lane.delivered += size;
        if (!to.write(chunk.subarray(offset, offset + size))) await once(to, 'drain', { signal });
        offset += size;
      }
      if (lane.cutoff) {
        lane.cutoff.remaining -= size;
        if (lane.cutoff.remaining === 0) return this.#cutOff(to, lane);
      }
      // A turn of the loop between pieces, so that they leave as packets of their own.
      if (lane.sliceBytes > 0) await nextTurn(undefined, { signal });
    }
  }

  async #cutOff(to: net.Socket, lane: Lane): Promise<void> {
    const cutoff = lane.cutoff;
    lane.cutoff = undefined;
    // The receiver must have the last byte before the end.
    await new Promise<void>((resolve) => to.write(Buffer.alloc(0), () => resolve()));
    this.destroy(cutoff?.reset);
    cutoff?.done();
  }
}

/** What came from a socket and has not been delivered; stops the socket while it is long. */
class LaneQueue {
  readonly #source: net.Socket;
  readonly #signal: AbortSignal;
  readonly #items: Item[] = [];
  #bytes = 0;
  #wake: (() => void) | undefined;

  constructor(source: net.Socket, signal: AbortSignal) {
    this.#source = source;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  push(item: Item): void {
    this.#items.push(item);
    this.#bytes += item.chunk?.length ?? 0;
    if (this.#bytes > QUEUE_LIMIT) this.#source.pause();
    this.#wake?.();
  }

  /** The next item; rejects when the connection has ended. */
  async next(): Promise<Item> {
    for (;;) {
      this.#signal.throwIfAborted();
      const item = this.#items.shift();
      if (item) {
        this.#bytes -= item.chunk?.length ?? 0;
        if (this.#bytes <= QUEUE_LIMIT) this.#source.resume();
        return item;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
