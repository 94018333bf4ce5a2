/**
 * One stream of messages from another member: asked for with a GET, again whenever it ends.
 *
 * The other member answers with messages for as long as both are there. It says at least every few seconds that it
 * lives; if it does not, or what it sends is no stream of messages, the connection is destroyed. There is one attempt
 * every tenth of a second at most, at each of the member's addresses in turn.
 *
 * The answer may be that this member was removed from the cluster: then it asks no more.
 *
 * @module
 */
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Timer } from '../../support/clock.ts';
import type { Message } from '../raft/types.ts';
import type { Addresses } from './addresses.ts';
import { FrameReader, type Parser } from './frames.ts';
import { idText, requestHeaders } from './headers.ts';
import { LINK_TIMEOUT_MS, REDIAL_MS } from './limits.ts';
import { isLinkHeartbeat, messageParser } from './message-codec.ts';
import { appendParser } from './msgapp-codec.ts';
import type { TransportContext } from './options.ts';
import { StallWatch } from './stall-watch.ts';
import { causeOf, type PeerStatus } from './status.ts';

/** The two streams from each member: appends, and all else. */
export const STREAM_KINDS = ['msgapp', 'message'] as const;
export type StreamKind = (typeof STREAM_KINDS)[number];

/** Longest text of a refusal that is read. */
const REFUSAL_BYTES = 1_024;
/** The refusals that are known by their text; no other is repeated in a log. */
const REFUSALS: readonly string[] = ['incompatible version', 'cluster ID mismatch', 'to field mismatch'];

/** See the head of this file. Begins at once. */
export class StreamReader {
  readonly #context: TransportContext;
  readonly #kind: StreamKind;
  readonly #id: bigint;
  readonly #addresses: Addresses;
  readonly #status: PeerStatus;
  #request: ClientRequest | undefined;
  #redial: Timer | undefined;
  #dialedAt = 0;
  #stopped = false;

  constructor(context: TransportContext, kind: StreamKind, id: bigint, addresses: Addresses, status: PeerStatus) {
    this.#context = context;
    this.#kind = kind;
    this.#id = id;
    this.#addresses = addresses;
    this.#status = status;
    this.#dial();
  }

  /** Ends the stream, and asks for no other. */
  stop(): void {
    this.#stopped = true;
    this.#redial?.cancel();
    this.#request?.destroy();
  }

  #dial(): void {
    const { clock, dialer, host } = this.#context;
    this.#dialedAt = clock.now();
    let url = '';
    try {
      url = this.#addresses.pick();
      const path = `/raft/stream/${this.#kind}/${idText(host.id)}`;
      const headers = { ...requestHeaders(host), 'X-Raft-To': idText(this.#id) };
      this.#await(url, dialer.request(url, { method: 'GET', path, headers, ownConnection: true }));
    } catch (error) {
      this.#failed(url, error);
    }
  }

  #await(url: string, request: ClientRequest): void {
    this.#request = request;
    let answered = false;
    const watch = new StallWatch(this.#context.clock, LINK_TIMEOUT_MS, () => request.destroy(new Error('no answer')));
    request.once('response', (response) => {
      answered = true;
      if (response.statusCode !== 200) void this.#refused(url, request, response);
      else {
        watch.stop();
        this.#read(url, request, response);
      }
    });
    request.on('error', (error) => {
      // After the answer its reader hears of the end.
      if (!answered) this.#failed(url, error);
      answered = true;
    });
    request.once('close', () => watch.stop());
    request.end();
  }

  #read(url: string, request: ClientRequest, response: IncomingMessage): void {
    const { clock, observe } = this.#context;
    const frames = new FrameReader(this.#parser());
    const openedAt = clock.now();
    let up = false;
    let cause: unknown;
    const giveUp = (why: unknown): void => {
      cause ??= why;
      request.destroy();
    };
    const watch = new StallWatch(clock, LINK_TIMEOUT_MS, () => giveUp(new Error('it says nothing')));
    response.on('data', (chunk: Buffer) => {
      watch.moved();
      observe.received?.(this.#id, chunk.length);
      try {
        frames.push(chunk);
      } catch (error) {
        return giveUp(error);
      }
      // Whoever begins with nonsense is not connected, ten times a second.
      if (!up) this.#status.up();
      up = true;
    });
    response.on('error', giveUp);
    response.once('close', () => {
      watch.stop();
      giveUp(new Error('it ended the stream'));
      if (up) this.#status.down();
      if (clock.now() - openedAt > LINK_TIMEOUT_MS) this.#status.settled(this.#what);
      this.#failed(url, cause);
    });
  }

  #parser(): Parser {
    const { host } = this.#context;
    if (this.#kind === 'msgapp') return appendParser(this.#id, host.id, this.#take);
    return messageParser(this.#take);
  }

  #take = (message: Message): void => {
    if (!this.#stopped && !isLinkHeartbeat(message)) this.#context.receive(message);
  };

  async #refused(url: string, request: ClientRequest, response: IncomingMessage): Promise<void> {
    const status = response.statusCode ?? 0;
    const text = await shortText(response);
    request.destroy();
    if (status === 410) {
      this.#stopped = true;
      this.#context.removed();
      return;
    }
    const known = REFUSALS.includes(text) ? text : undefined;
    this.#failed(url, new Error(known ?? (status === 404 ? 'it does not know this member' : `it answered ${status}`)));
  }

  get #what(): string {
    return `no ${this.#kind} stream from a peer`;
  }

  #failed(url: string, error: unknown): void {
    this.#request = undefined;
    if (this.#stopped) return;
    this.#addresses.failed(url);
    this.#status.complain(this.#what, causeOf(error), { url });
    const waitMs = this.#dialedAt + REDIAL_MS - this.#context.clock.now();
    this.#redial = this.#context.clock.after(Math.max(waitMs, 0), () => this.#dial(), { background: true });
  }
}

/** The answer's text, if it is short; never rejects. */
async function shortText(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk as string;
      if (text.length > REFUSAL_BYTES) return '';
    }
  } catch {
    return '';
  }
  return text.trim();
}
