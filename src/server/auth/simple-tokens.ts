/**
 * Tokens that the members remember: sixteen letters, a dot, and the index of the log entry of the login.
 *
 * A token is good as long as it is used. Each member counts its time from when the token was last used there, so one
 * that is used at one member only runs out at the others. A restart forgets them, and users log in again. What is in the
 * log is applied once more then, and among it are logins of any age: a token that has long run out must not get another
 * life by it.
 *
 * Invariant: the map is in the order of last use, so what has run out is in front.
 *
 * Source: etcd's authentication guide (`--auth-token simple`), and its servers as observed, but for two things. A token
 * whose index lies ahead makes etcd wait for that index as long as the caller does. Only a member that lags behind
 * needs to wait for one; so it waits for a short while, and only if the token has the right form. And etcd, if it was
 * killed, remembers the logins of its last moments.
 *
 * @module
 */
import { type AuthError, AuthErrors } from './errors.ts';
import type { Actor } from './store.ts';
import type { AppliedLogin, TokenProvider } from './tokens.ts';

/** How long a token lives after its last use, by default. */
export const SIMPLE_TOKEN_TTL_SECONDS = 300;

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const PREFIX_LENGTH = 16;
const FORM = /^[A-Za-z]{16}\.(\d{1,20})$/;
/** The highest byte, exclusive, that gives every letter the same chance. */
const FAIR_BYTES = 256 - (256 % LETTERS.length);

export interface SimpleTokensOptions {
  /** Monotonic time in ms. */
  readonly now: () => number;
  /** Random bytes that nobody can guess. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Names the actor: {@link AuthStore.actor}. */
  readonly actor: (username: string) => Actor;
  /** Index of the log up to which this member has applied. */
  readonly appliedIndex: () => bigint;
  /** Waits until an index is applied, `timeoutMs` at most; never rejects. */
  readonly waitApplied: (index: bigint, timeoutMs: number, signal?: AbortSignal) => Promise<void>;
  /** Index at which the log ended when the member started: logins up to it are not remembered. Default: 0. */
  readonly resumedAt?: bigint | undefined;
  /** How long to wait for an index that is ahead, in ms. Default: 2000. */
  readonly waitMs?: number | undefined;
  /** How long a token lives after its last use, in seconds. Default: {@link SIMPLE_TOKEN_TTL_SECONDS}. */
  readonly ttlSeconds?: number | undefined;
}

interface Held {
  readonly username: string;
  expiresAt: number;
}

export class SimpleTokens implements TokenProvider {
  readonly #options: SimpleTokensOptions;
  readonly #ttlMs: number;
  readonly #waitMs: number;
  readonly #resumedAt: bigint;
  readonly #held = new Map<string, Held>();

  constructor(options: SimpleTokensOptions) {
    this.#options = options;
    this.#ttlMs = (options.ttlSeconds ?? SIMPLE_TOKEN_TTL_SECONDS) * 1_000;
    this.#waitMs = options.waitMs ?? 2_000;
    this.#resumedAt = options.resumedAt ?? 0n;
  }

  /** How many tokens are remembered, some of which may have run out. */
  get size(): number {
    return this.#held.size;
  }

  prefix(): string {
    let letters = '';
    while (letters.length < PREFIX_LENGTH) {
      for (const byte of this.#options.randomBytes(PREFIX_LENGTH - letters.length)) {
        if (byte < FAIR_BYTES) letters += LETTERS[byte % LETTERS.length];
      }
    }
    return letters;
  }

  assign(login: AppliedLogin): void {
    this.#sweep();
    if (login.index > this.#resumedAt) this.#use(tokenFor(login), login.username);
  }

  issue(login: AppliedLogin): Promise<string> {
    return Promise.resolve(tokenFor(login));
  }

  async resolve(token: string, signal?: AbortSignal): Promise<Actor | AuthError> {
    const digits = FORM.exec(token)?.[1];
    if (digits === undefined) return AuthErrors.InvalidAuthToken;
    const index = BigInt(digits);
    if (index > this.#options.appliedIndex()) await this.#options.waitApplied(index, this.#waitMs, signal);
    const held = this.#held.get(token);
    if (!held || held.expiresAt <= this.#options.now()) return AuthErrors.InvalidAuthToken;
    this.#use(token, held.username);
    return this.#options.actor(held.username);
  }

  invalidateUser(name: string): void {
    for (const [token, { username }] of this.#held) if (username === name) this.#held.delete(token);
  }

  reset(): void {
    this.#held.clear();
  }

  #use(token: string, username: string): void {
    this.#held.delete(token);
    this.#held.set(token, { username, expiresAt: this.#options.now() + this.#ttlMs });
  }

  /** Logins are what makes tokens pile up: so they clear away what has run out. */
  #sweep(): void {
    const now = this.#options.now();
    for (const [token, { expiresAt }] of this.#held) {
      if (expiresAt > now) return;
      this.#held.delete(token);
    }
  }
}

function tokenFor({ prefix, index }: AppliedLogin): string {
  return `${prefix}.${index}`;
}
