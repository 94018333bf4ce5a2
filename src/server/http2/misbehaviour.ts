/**
 * How often a client may do what is allowed and of no use.
 *
 * Resets of what was not answered yet, empty frames, settings over and over: each costs the server more than the client,
 * and each is legitimate now and then. A client has a store of them, which fills up again with time; one that has used it
 * up is cut off.
 *
 * The figures are those of nghttp2 against streams that are reset in rapid succession: 1,000 at once, 33 a second.
 *
 * Source: CVE-2023-44487, CVE-2019-9512 to 9518, CVE-2025-8671.
 *
 * @module
 */
import { ConnectionError, ErrorCode } from './protocol.ts';

const STORE = 1_000;
const PER_SECOND = 33;

/** The store of one client. */
export class Patience {
  readonly #now: () => number;
  #left = STORE;
  #at: number | undefined;

  /** @param now Monotonic time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @throws ConnectionError ENHANCE_YOUR_CALM, when it has run out. */
  use(): void {
    const now = this.#now();
    this.#left = Math.min(STORE, this.#left + ((now - (this.#at ?? now)) / 1_000) * PER_SECOND);
    this.#at = now;
    if (this.#left < 1) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'too many useless frames');
    this.#left -= 1;
  }
}
