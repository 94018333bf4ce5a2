/**
 * Messages to a member with whom there is no stream: each a POST of its own.
 *
 * A few are under way at a time, some more wait, the rest is refused: Raft sends again what matters. Their order may
 * change on the way, which Raft takes too.
 *
 * @module
 */
import type { ClientRequest } from 'node:http';
import type { Message } from '../raft/types.ts';
import type { Addresses } from './addresses.ts';
import { postHeaders } from './headers.ts';
import { PIPELINE_QUEUE, PIPELINE_WIDTH, POST_TIMEOUT_MS, POST_TIMEOUT_MS_PER_MIB } from './limits.ts';
import { encodeMessage } from './message-codec.ts';
import type { TransportContext } from './options.ts';
import { readRefusal } from './refusal.ts';
import { causeOf, type PeerStatus } from './status.ts';

const MIB = 1024 * 1024;
const WHAT = 'a message could not be posted to a peer';

/** See the head of this file. */
export class Pipeline {
  readonly #context: TransportContext;
  readonly #id: bigint;
  readonly #addresses: Addresses;
  readonly #status: PeerStatus;
  readonly #active = new Set<ClientRequest>();
  #queue: Message[] = [];
  #stopped = false;

  constructor(context: TransportContext, id: bigint, addresses: Addresses, status: PeerStatus) {
    this.#context = context;
    this.#id = id;
    this.#addresses = addresses;
    this.#status = status;
  }

  /** Posts a message when its turn has come. False: it was not taken. */
  send(message: Message): boolean {
    if (this.#stopped || this.#queue.length >= PIPELINE_QUEUE) return false;
    this.#queue.push(message);
    this.#next();
    return true;
  }

  /** Drops what waits, and gives up what is under way. */
  stop(): void {
    this.#stopped = true;
    this.#queue = [];
    for (const request of this.#active) request.destroy();
  }

  #next(): void {
    while (this.#active.size < PIPELINE_WIDTH) {
      const message = this.#queue.shift();
      if (message === undefined) return;
      this.#post(encodeMessage(message));
    }
  }

  #post(bytes: Uint8Array): void {
    const { clock, dialer, host, observe } = this.#context;
    let url = '';
    try {
      url = this.#addresses.pick();
      const headers = postHeaders(host, 'application/protobuf', bytes.length);
      const request = dialer.request(url, { method: 'POST', path: '/raft', headers });
      const limitMs = POST_TIMEOUT_MS + (bytes.length / MIB) * POST_TIMEOUT_MS_PER_MIB;
      const timer = clock.after(limitMs, () => request.destroy(new Error('no answer')), { background: true });
      let cause: unknown;
      let status = 0;
      let saysRemoved = (): boolean => false;
      request.once('response', (response) => {
        status = response.statusCode ?? 0;
        saysRemoved = readRefusal(response.on('error', (error) => (cause ??= error)));
      });
      request.on('error', (error) => (cause ??= error));
      request.once('close', () => {
        timer.cancel();
        this.#active.delete(request);
        if (saysRemoved() && !this.#stopped) this.#context.removed();
        this.#done(url, status, cause);
        this.#next();
      });
      this.#active.add(request);
      observe.sent?.(this.#id, bytes.length);
      request.end(bytes);
    } catch (error) {
      this.#done(url, 0, error);
    }
  }

  #done(url: string, status: number, cause: unknown): void {
    if (this.#stopped) return;
    if (status === 204) {
      this.#status.settled(WHAT);
      return;
    }
    this.#addresses.failed(url);
    this.#status.complain(WHAT, status === 0 ? causeOf(cause) : `it answered ${status}`, { url });
    this.#context.unreachable(this.#id);
  }
}
