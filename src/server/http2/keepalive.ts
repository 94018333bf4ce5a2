/**
 * Pings: how often a client may send them, and those of the server, which find out who is gone without a word.
 *
 * As grpc-go counts them: two pings that come too soon are forgiven, the third ends the connection with
 * ENHANCE_YOUR_CALM and `too_many_pings`. After an answer the count begins anew.
 *
 * Source: gRFC A8 and A9; grpc-go's keepalive enforcement.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';
import { ConnectionError, ErrorCode } from './protocol.ts';

/** How connections are kept alive, and kept from being a nuisance. In ms. */
export interface KeepaliveOptions {
  /** How often a client may ping while it has calls. etcd: 5,000. */
  readonly minClientIntervalMs: number;
  /** How long a connection lives until it is pinged, again and again. etcd: 7,200,000. */
  readonly intervalMs: number;
  /** How long the answer to such a ping may take. etcd: 20,000. */
  readonly timeoutMs: number;
}

/** How often a client may ping that has no call. */
const IDLE_PING_INTERVAL_MS = 7_200_000;

const FORGIVEN_PINGS = 2;

/** Says when a client is to be pinged, and when it is gone. */
export class Keepalive {
  readonly #clock: Clock;
  readonly #options: KeepaliveOptions;
  readonly #ping: () => void;
  readonly #gone: () => void;
  #timer: Timer;
  #waits = false;
  #lastPing = Number.NEGATIVE_INFINITY;
  #strikes = 0;

  /** @param ping Sends a ping. @param gone Nobody has answered it. */
  constructor(clock: Clock, options: KeepaliveOptions, ping: () => void, gone: () => void) {
    this.#clock = clock;
    this.#options = options;
    this.#ping = ping;
    this.#gone = gone;
    this.#timer = this.#later();
  }

  /** The client has answered a ping. */
  answered(): void {
    if (!this.#waits) return;
    this.stop();
    this.#timer = this.#later();
  }

  stop(): void {
    this.#timer.cancel();
    this.#waits = false;
  }

  /**
   * The client pings.
   *
   * @param hasCalls Whether it has any.
   * @param answered Whether the server has sent it an answer since the last ping.
   * @throws ConnectionError ENHANCE_YOUR_CALM, when it was too soon too often.
   */
  pinged(hasCalls: boolean, answered: boolean): void {
    const now = this.#clock.now();
    const since = now - this.#lastPing;
    this.#lastPing = now;
    if (answered) {
      this.#strikes = 0;
      return;
    }
    const allowed = hasCalls ? this.#options.minClientIntervalMs : IDLE_PING_INTERVAL_MS;
    if (since >= allowed) return;
    this.#strikes += 1;
    if (this.#strikes > FORGIVEN_PINGS) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'too_many_pings');
  }

  #later(): Timer {
    const { intervalMs, timeoutMs } = this.#options;
    const ping = (): void => {
      this.#waits = true;
      this.#timer = this.#clock.after(timeoutMs, this.#gone, { background: true });
      this.#ping();
    };
    return this.#clock.after(intervalMs, ping, { background: true });
  }
}
