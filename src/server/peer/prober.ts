/**
 * Asks a member now and then whether it is there, how long the way is, and what time it has.
 *
 * Nothing depends on the answers but what people are told: streams find out by themselves.
 *
 * @module
 */
import type { ClientRequest } from 'node:http';
import type { Timer } from '../../support/clock.ts';
import type { Addresses } from './addresses.ts';
import { CLOCK_DIFFERENCE_MS, LINK_TIMEOUT_MS, PROBE_MS } from './limits.ts';
import type { TransportContext } from './options.ts';
import { causeOf, type PeerStatus } from './status.ts';

const UNANSWERED = 'a peer does not answer probes';
const CLOCKS_DIFFER = 'the clock of a peer differs';
/** Longest answer that is read. */
const ANSWER_BYTES = 4_096;

/** What a member answers a probe with: that it is there, and its time of day. */
export function probeAnswer(timeOfDayMs: number): string {
  return `${JSON.stringify({ OK: true, Now: new Date(timeOfDayMs).toISOString() })}\n`;
}

/** See the head of this file. Begins at once. */
export class Prober {
  readonly #context: TransportContext;
  readonly #id: bigint;
  readonly #addresses: Addresses;
  readonly #status: PeerStatus;
  #request: ClientRequest | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(context: TransportContext, id: bigint, addresses: Addresses, status: PeerStatus) {
    this.#context = context;
    this.#id = id;
    this.#addresses = addresses;
    this.#status = status;
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#request?.destroy();
  }

  async #run(): Promise<void> {
    const { clock } = this.#context;
    const sentAt = clock.now();
    try {
      this.#judge(await this.#ask(), clock.now() - sentAt);
      this.#status.settled(UNANSWERED);
    } catch (error) {
      if (!this.#stopped) this.#status.complain(UNANSWERED, causeOf(error));
    }
    if (this.#stopped) return;
    this.#timer = clock.after(PROBE_MS, () => void this.#run(), { background: true });
  }

  #judge(text: string, roundTripMs: number): void {
    const { OK, Now } = JSON.parse(text) as { OK?: unknown; Now?: unknown };
    if (OK !== true || typeof Now !== 'string') throw new Error('it is not well');
    const { observe, timeOfDayMs } = this.#context;
    observe.roundTrip?.(this.#id, roundTripMs);
    // It took the time somewhere on the way, at best in its middle.
    const differenceMs = Math.abs(Date.parse(Now) + roundTripMs / 2 - timeOfDayMs());
    if (differenceMs <= CLOCK_DIFFERENCE_MS + roundTripMs / 2) this.#status.settled(CLOCKS_DIFFER);
    else if (Number.isFinite(differenceMs)) this.#status.complain(CLOCKS_DIFFER, 'tokens and certificates go by them');
  }

  #ask(): Promise<string> {
    const { clock, dialer } = this.#context;
    return new Promise((resolve, reject) => {
      const request = dialer.request(this.#addresses.pick(), { method: 'GET', path: '/raft/probing' });
      this.#request = request;
      const timer = clock.after(LINK_TIMEOUT_MS, () => request.destroy(new Error('no answer')), { background: true });
      let text = '';
      request.once('response', (response) => {
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
          if (text.length > ANSWER_BYTES) request.destroy(new Error('its answer is too long'));
        });
        response.on('error', reject);
        response.once('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error('it is not well'))));
      });
      request.on('error', reject);
      request.once('close', () => {
        timer.cancel();
        reject(new Error('the connection has ended'));
      });
      request.end();
    });
  }
}
