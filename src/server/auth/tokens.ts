/**
 * What a token is to the rest of the server, whichever kind it is.
 *
 * A login is an entry of the log. Every member applies it ({@link TokenProvider.assign}), and the one that was asked
 * makes the token of it ({@link TokenProvider.issue}).
 *
 * @module
 */
import type { AuthError } from './errors.ts';
import type { Actor, TokenBook } from './store.ts';

/** A login that came out of the log. */
export interface AppliedLogin {
  readonly username: string;
  /** The auth revision that the password was right at. */
  readonly revision: bigint;
  /** Index of its entry. */
  readonly index: bigint;
  /** What {@link TokenProvider.prefix} gave. */
  readonly prefix: string;
}

export interface TokenProvider extends TokenBook {
  /** Makes the part of a token that has to be in the log; nothing if there is none. */
  prefix(): string;
  /** Remembers a login. Called on every member. */
  assign(login: AppliedLogin): void;
  /** Gives a token for a login that was assigned. A secret. */
  issue(login: AppliedLogin): Promise<string | AuthError>;
  /** Who has a token. Ends within a bounded time, whatever the token is. */
  resolve(token: string, signal?: AbortSignal): Promise<Actor | AuthError>;
}

/**
 * The token of a call, from its metadata: `token`, or else `authorization`, bare or after `Bearer`.
 *
 * @param metadata First value of each, if there is one.
 */
export function tokenOf(metadata: {
  readonly token?: string | undefined;
  readonly authorization?: string | undefined;
}): string | undefined {
  return metadata.token ?? metadata.authorization?.replace(/^Bearer +/i, '');
}
