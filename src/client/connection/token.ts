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
import { EtcdError, UnauthenticatedError } from '../errors.ts';

/** How the client proves who it is: a login, or a token that somebody else obtains. */
export type Credentials =
  | { readonly username: string; readonly password: string }
  | {
      /** The token, or what obtains one: it is asked again when a server refuses the one it gave. */
      readonly token: string | (() => string | Promise<string>);
    };

/** Logs in once; resolves undefined when the cluster has authentication switched off. */
export type Login = (username: string, password: string) => Promise<string | undefined>;

/** How long a refused login is remembered, so that a wrong password does not become a flood of logins. */
const REFUSAL_MS = 500;

/** A token is renewed when this part of its life is over, before a server has to refuse it. */
const RENEW_AT = 0.8;

/** The token in hand, if there is one that can still be used. */
export type Peeked =
  | { readonly ready: true; readonly token?: string | undefined }
  | { readonly ready: false; readonly token?: undefined };

interface Held {
  readonly ready: true;
  readonly token: string | undefined;
  /** When to get a new one, on the client's clock. */
  readonly renewAt: number;
  /** From when on it is of no use. */
  readonly expiresAt: number;
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
  peek(): Peeked {
    if (this.#credentials === undefined) return NO_TOKEN;
    const held = this.#held;
    if (held === undefined) return NOT_READY;
    if (held.renewAt === Number.POSITIVE_INFINITY) return held;
    const now = this.#clock.now();
    if (now >= held.expiresAt) return NOT_READY;
    // Nobody waits for the next token while this one is good.
    if (now >= held.renewAt) void this.#renew().catch(ignore);
    return held;
  }

  /** A valid token; undefined when none is needed. */
  get(): Promise<string | undefined> {
    const { ready, token } = this.peek();
    return ready ? Promise.resolve(token) : this.#renew();
  }

  /** A server refused this token. Ignored when it has been replaced meanwhile. */
  invalidate(token: string | undefined): void {
    if (this.renewable && this.#held?.token === token) this.#held = undefined;
  }

  #renew(): Promise<string | undefined> {
    if (this.#refreshing !== undefined) return this.#refreshing;
    if (this.#refusal !== undefined && this.#clock.now() < this.#refusal.until)
      return Promise.reject(this.#refusal.error);
    this.#refreshing = this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<string | undefined> {
    try {
      const token = await this.#fetch();
      const now = this.#clock.now();
      const lifeMs = lifetimeMs(token);
      this.#held = { ready: true, token, renewAt: now + RENEW_AT * lifeMs, expiresAt: now + lifeMs };
      this.#refusal = undefined;
      return token;
    } catch (error) {
      // That no member could be asked is no refusal, and each call has its own patience with that.
      const refused = error instanceof EtcdError && error.code === 'unauthenticated';
      if (refused) this.#refusal = { error, until: this.#clock.now() + REFUSAL_MS };
      throw error;
    }
  }

  async #fetch(): Promise<string | undefined> {
    const credentials = this.#credentials;
    if (credentials === undefined) return undefined;
    if ('username' in credentials) return this.#login(credentials.username, credentials.password);
    return typeof credentials.token === 'string' ? credentials.token : askFor(credentials.token);
  }
}

async function askFor(token: () => string | Promise<string>): Promise<string> {
  let given: unknown;
  try {
    given = await token();
  } catch (cause) {
    throw new UnauthenticatedError('the token function failed', { cause });
  }
  if (typeof given === 'string' && given !== '') return given;
  throw new UnauthenticatedError('the token function gave no token');
}

function ignore(): void {}

const NO_TOKEN: Peeked = { ready: true };
const NOT_READY: Peeked = { ready: false };

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
