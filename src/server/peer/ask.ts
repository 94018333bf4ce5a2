/**
 * One question to another member, and all of its answer: both are small, and bounded in every way.
 *
 * @module
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Clock } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import type { PeerDialer, PeerRequest } from './dialer.ts';

/** How long a connection may take to be there, in ms. */
const CONNECT_MS = 2_000;

/** Bytes of an answer: a list of members is the longest. */
const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024;

/** A question, and its bounds. */
export interface Question extends PeerRequest {
  readonly body?: Uint8Array | undefined;
  /** For all of it, in ms. */
  readonly timeoutMs: number;
  /** Each ends it. */
  readonly signals?: readonly (AbortSignal | undefined)[] | undefined;
}

/** All of an answer. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Asks questions; see the head of this file. */
export class Asker {
  readonly #dialer: PeerDialer;
  readonly #clock: Clock;

  constructor(dialer: PeerDialer, clock: Clock) {
    this.#dialer = dialer;
    this.#clock = clock;
  }

  /**
   * Asks a member.
   *
   * @param url Of the member, such as `https://10.0.0.1:2380`.
   * @throws Error there was no answer within the bounds, or a signal fired.
   */
  async ask(url: string, question: Question): Promise<Answer> {
    const { method, path, headers, body, signals = [] } = question;
    // A GET with a body has to say how long it is; a POST without one too.
    const sized = body !== undefined || method === 'POST';
    const length = sized ? { 'Content-Length': body?.length ?? 0 } : {};
    for (;;) {
      if (signals.some((signal) => signal?.aborted)) throw new Error('the question was called off');
      const request = this.#dialer.request(url, { method, path, headers: { ...headers, ...length } });
      try {
        return await this.#answer(request, question);
      } catch (error) {
        // The other side may have closed a kept connection just when it was used again: nobody has read the question.
        const stale = request.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET';
        if (!stale) throw error;
      }
    }
  }

  async #answer(request: ClientRequest, { body, timeoutMs, signals = [] }: Question): Promise<Answer> {
    const cut = (why: string) => (): void => void request.destroy(new Error(why));
    const late = this.#clock.after(timeoutMs, cut(`no answer within ${timeoutMs} ms`), { background: true });
    const unreached = this.#clock.after(
      CONNECT_MS,
      () => {
        if (request.socket?.connecting ?? true) cut(`no connection within ${CONNECT_MS} ms`)();
      },
      { background: true },
    );
    const unlisten = signals.map((signal) => onAbort(signal, cut('the question was called off')));
    try {
      return await new Promise<Answer>((resolve, reject) => {
        // Stays, for errors that come after the answer are nobody's.
        request.on('error', reject);
        request.once('response', (response) => void gather(response).then(resolve, reject));
        request.end(body);
      });
    } finally {
      late.cancel();
      unreached.cancel();
      for (const off of unlisten) off();
    }
  }
}

async function gather(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > ANSWER_LIMIT_BYTES) throw new Error(`the answer is larger than ${ANSWER_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
}
