/**
 * What one HTTP/2 connection may do to the server.
 *
 * Node bounds these by itself: streams that are reset in rapid succession (CVE-2023-44487: 1,000 at once, 33 a second
 * after that, then the connection ends), header blocks (64 KiB and 128 pairs) and floods of CONTINUATION frames, settings
 * and answers to pings that nobody reads. Added here: pings more often than allowed (as grpc-go counts them: two are
 * forgiven, the third ends the connection with ENHANCE_YOUR_CALM and `too_many_pings`), and a ping of our own now and
 * then, so that a connection whose other end is gone without a word is found out.
 *
 * Source: gRFC A8 and A9; grpc-go's keepalive enforcement.
 *
 * @module
 */
import { constants, type ServerHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../support/clock.ts';

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

/**
 * A connection without calls is pinged sooner than etcd would: after a protocol error Node tells the client and then
 * waits for it to hang up, for ever.
 */
const IDLE_CHECK_MS = 60_000;

const FORGIVEN_PINGS = 2;

const TOO_MANY_PINGS = Buffer.from('too_many_pings');

/** One connection. */
export class GrpcSession {
  /** Calls that run on it. */
  calls = 0;
  /** Whether the server has answered something since the last ping: then pings are no nuisance. */
  wrote = false;
  readonly #session: ServerHttp2Session;
  readonly #clock: Clock;
  readonly #keepalive: KeepaliveOptions;
  #lastPing = Number.NEGATIVE_INFINITY;
  #strikes = 0;
  #timer: Timer | undefined;
  #commonName: string | undefined | null = null;

  constructor(session: ServerHttp2Session, clock: Clock, keepalive: KeepaliveOptions) {
    this.#session = session;
    this.#clock = clock;
    this.#keepalive = keepalive;
    session.on('ping', () => this.#onPing());
    session.once('close', () => this.#timer?.cancel());
    this.#later();
  }

  /** Common name of the client's certificate, if one was checked. */
  get commonName(): string | undefined {
    if (this.#commonName === null) this.#commonName = commonNameOf(this.#session.socket as TLSSocket);
    return this.#commonName;
  }

  #onPing(): void {
    const now = this.#clock.now();
    const since = now - this.#lastPing;
    this.#lastPing = now;
    if (this.wrote) {
      this.wrote = false;
      this.#strikes = 0;
      return;
    }
    const allowed = this.calls > 0 ? this.#keepalive.minClientIntervalMs : IDLE_PING_INTERVAL_MS;
    if (since >= allowed || ++this.#strikes <= FORGIVEN_PINGS || this.#session.destroyed) return;
    this.#session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, undefined, TOO_MANY_PINGS);
    // In a turn of its own, or the frame would not leave.
    this.#clock.after(0, () => this.#session.destroy());
  }

  #later(): void {
    const delayMs = this.calls > 0 ? this.#keepalive.intervalMs : Math.min(this.#keepalive.intervalMs, IDLE_CHECK_MS);
    this.#timer = this.#clock.after(delayMs, () => this.#ping(), { background: true });
  }

  #ping(): void {
    if (this.#session.destroyed || this.#session.closed) return;
    this.#timer = this.#clock.after(this.#keepalive.timeoutMs, () => this.#session.destroy(), { background: true });
    this.#session.ping((error) => {
      this.#timer?.cancel();
      if (error === null) this.#later();
    });
  }
}

/** Common name of the certificate at the other end; undefined without one, or one that was not checked. */
export function commonNameOf(socket: Partial<TLSSocket> | undefined): string | undefined {
  if (socket?.authorized !== true) return undefined;
  const name = socket.getPeerCertificate?.()?.subject?.CN as string | readonly string[] | undefined;
  return typeof name === 'string' && name !== '' ? name : undefined;
}
