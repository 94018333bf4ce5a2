/**
 * The token that calls carry, and logging in to get it.
 *
 * However many calls and streams need a token, one login is under way at a time: etcd
 * spends tens of milliseconds of CPU on each password check, and a reconnecting client
 * with a thousand streams must not turn that into a minute.
 *
 * @module
 */

import type { Clock } from '../../support/clock.ts';

/** How the client proves who it is: a login, or a token that somebody else obtains. */
export type Credentials =
  | { readonly username: string; readonly password: string }
  | { readonly token: string | (() => string | Promise<string>) };

/** Logs in once; resolves undefined when the cluster has authentication switched off. */
export type Login = (username: string, password: string) => Promise<string | undefined>;

/** How long a refused login is remembered, so that a wrong password does not become a flood of logins. */
const REFUSAL_MS = 500;

/** A token is renewed when this part of its life is over, before a server has to refuse it. */
const RENEW_AT = 0.8;

interface Held {
  readonly token: string | undefined;
  /** When to get a new one, on the client's clock. */
  readonly renewAt: number;
}

export class TokenSource {
  readonly #credentials: Credentials | undefined;
  readonly #login: Login;
  readonly #clock: Clock;
  #held: Held | undefined;
  #refreshing: Promise<string | undefined> | undefined;
  #refusal: { readonly error: unknown; readonly until: number } | undefined;

  constructor(credentials: Credentials | undefined, login: Login, clock: Clock) {
    this.#credentials = credentials;
    this.#login = login;
    this.#clock = clock;
  }

  /** Whether a refused token can be replaced by another one. */
  get renewable(): boolean {
    const credentials = this.#credentials;
    return credentials !== undefined && !('token' in credentials && typeof credentials.token === 'string');
  }

  /** The token in hand, without waiting. `ready` is false when one must be fetched first. */
  peek(): { readonly ready: boolean; readonly token?: string | undefined } {
    if (this.#credentials === undefined) return NO_TOKEN;
    const held = this.#held;
    return held !== undefined && this.#clock.now() < held.renewAt ? { ready: true, token: held.token } : NOT_READY;
  }

  /** A valid token; undefined when none is needed. */
  get(): Promise<string | undefined> {
    const { ready, token } = this.peek();
    if (ready) return Promise.resolve(token);
    if (this.#refusal !== undefined && this.#clock.now() < this.#refusal.until) return Promise.reject(this.#refusal.error);
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** A server refused this token. Ignored when it has been replaced meanwhile. */
  invalidate(token: string | undefined): void {
    if (this.renewable && this.#held?.token === token) this.#held = undefined;
  }

  async #refresh(): Promise<string | undefined> {
    try {
      const token = await this.#fetch();
      this.#held = { token, renewAt: this.#clock.now() + RENEW_AT * lifetimeMs(token) };
      this.#refusal = undefined;
      return token;
    } catch (error) {
      this.#refusal = { error, until: this.#clock.now() + REFUSAL_MS };
      throw error;
    }
  }

  async #fetch(): Promise<string | undefined> {
    const credentials = this.#credentials;
    if (credentials === undefined) return undefined;
    if ('username' in credentials) return this.#login(credentials.username, credentials.password);
    return typeof credentials.token === 'string' ? credentials.token : credentials.token();
  }
}

const NO_TOKEN = { ready: true } as const;
const NOT_READY = { ready: false } as const;

/**
 * How long a token lives from now: of a JWT what its `exp` claim says (RFC 7519, 4.1.4), of
 * any other for ever, since etcd prolongs simple tokens with each use. The claim is in wall
 * time, so the wall clock is read here, once, and only a lifetime that makes sense counts.
 */
function lifetimeMs(token: string | undefined): number {
  const payload = token?.split('.')[1];
  if (payload === undefined) return Number.POSITIVE_INFINITY;
  try {
    const { exp } = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as { exp?: unknown };
    const left = typeof exp === 'number' ? exp * 1000 - Date.now() : 0;
    return left > 1000 ? left : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
