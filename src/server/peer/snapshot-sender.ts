/**
 * A snapshot on its way to a member that is behind: one POST with the message's length, the message, and the image.
 *
 * The image is read no faster than the connection takes it, and is let go of however this ends. There is no limit to how
 * long it takes, only to how long nothing moves: an image can have gigabytes, and a line be slow.
 *
 * @module
 */
import { once } from 'node:events';
import type { ClientRequest } from 'node:http';
import type { Message } from '../raft/types.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import type { Addresses } from './addresses.ts';
import { writeLength } from './frames.ts';
import { idText, postHeaders } from './headers.ts';
import { SNAPSHOT_STALL_MS } from './limits.ts';
import { encodeMessage } from './message-codec.ts';
import type { TransportContext } from './options.ts';
import { readRefusal } from './refusal.ts';
import { StallWatch } from './stall-watch.ts';
import { causeOf, type PeerStatus } from './status.ts';

const WHAT = 'a snapshot could not be sent to a peer';

/** See the head of this file. */
export class SnapshotSender {
  readonly #context: TransportContext;
  readonly #id: bigint;
  readonly #addresses: Addresses;
  readonly #status: PeerStatus;
  readonly #active = new Set<ClientRequest>();
  #stopped = false;

  constructor(context: TransportContext, id: bigint, addresses: Addresses, status: PeerStatus) {
    this.#context = context;
    this.#id = id;
    this.#addresses = addresses;
    this.#status = status;
  }

  /** Whether the other member has taken it; never rejects. */
  async send(message: Message, image: BoltImage): Promise<boolean> {
    const { clock, log, observe } = this.#context;
    const startedAt = clock.now();
    const chunks = image.chunks[Symbol.asyncIterator]();
    let url = '';
    let ok = false;
    try {
      if (this.#stopped) return false;
      url = this.#addresses.pick();
      ok = await this.#post(url, message, chunks, image.sizeBytes);
      this.#status.settled(WHAT);
      log.write('info', 'peer/snapshot-sender.ts', 'sent database snapshot', {
        'remote-peer-id': idText(this.#id),
        'snapshot-index': message.snapshot?.index,
        bytes: image.sizeBytes,
      });
    } catch (error) {
      this.#addresses.failed(url);
      if (!this.#stopped) this.#status.complain(WHAT, causeOf(error), { url });
    } finally {
      // Also of an image of which nothing was read; what it says to that is of no use to anybody.
      await chunks.return?.().catch(() => {});
    }
    observe.snapshotSent?.(this.#id, ok, clock.now() - startedAt);
    return ok;
  }

  /** Gives up all that is under way. */
  stop(): void {
    this.#stopped = true;
    for (const request of this.#active) request.destroy(new Error('the transport is closed'));
  }

  async #post(url: string, message: Message, chunks: AsyncIterator<Uint8Array>, sizeBytes: number): Promise<boolean> {
    const { clock, dialer, host } = this.#context;
    const bytes = encodeMessage(message);
    const headers = postHeaders(host, 'application/octet-stream', 8 + bytes.length + sizeBytes);
    const request = dialer.request(url, { method: 'POST', path: '/raft/snapshot', headers });
    this.#active.add(request);
    const watch = new StallWatch(clock, SNAPSHOT_STALL_MS, () => request.destroy(new Error('nothing moves')));
    const answer = new Answer(request);
    try {
      await this.#write(request, writeLength(bytes.length), watch);
      await this.#write(request, bytes, watch);
      while (!answer.given) {
        const step = await chunks.next();
        if (step.done) break;
        await this.#write(request, step.value, watch);
      }
      if (!answer.given) request.end();
      const { status, saysRemoved } = await answer.whole;
      if (saysRemoved) this.#context.removed();
      if (status !== 204) throw new Error(`it answered ${status}`);
      return true;
    } finally {
      watch.stop();
      this.#active.delete(request);
      // Does nothing to a connection that has had its answer to all of it, and is kept for others.
      request.destroy();
    }
  }

  async #write(request: ClientRequest, bytes: Uint8Array, watch: StallWatch): Promise<void> {
    watch.moved();
    this.#context.observe.sent?.(this.#id, bytes.length);
    if (request.destroyed || request.write(bytes)) return;
    const stop = new AbortController();
    const { signal } = stop;
    try {
      await Promise.race(['drain', 'response', 'close'].map((event) => once(request, event, { signal })));
    } finally {
      stop.abort();
    }
  }
}

/** What the other member says in the end, or before. */
class Answer {
  /** It has answered, or never will. */
  given = false;
  /** Rejects if there is none. */
  readonly whole: Promise<{ readonly status: number; readonly saysRemoved: boolean }>;

  constructor(request: ClientRequest) {
    this.whole = new Promise((resolve, reject) => {
      request.once('response', (response) => {
        this.given = true;
        const saysRemoved = readRefusal(response.on('error', () => {}));
        response.once('end', () => resolve({ status: response.statusCode ?? 0, saysRemoved: saysRemoved() }));
      });
      request.on('error', reject);
      request.once('close', () => {
        this.given = true;
        reject(new Error('the connection has ended'));
      });
    });
    // Awaited when all is sent; until then its end is seen in `given`.
    this.whole.catch(() => {});
  }
}
