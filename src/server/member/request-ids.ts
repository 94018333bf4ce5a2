/**
 * Ids of requests: what a member finds its own proposals by when they come out of the log.
 *
 * Two bytes of the member's id, five of the time of its start in ms, one to count with; as etcd makes them, so that ids
 * of members of both kinds stay apart. The counter carries over into the time: a member that makes 256 ids per
 * millisecond of its life, and no more on average, never makes one twice, restarts included.
 *
 * @module
 */
const SUFFIX_BITS = 48n;
const SUFFIX_LIMIT = 2 ** 48;
const COUNTER = 256;

/** See the head of this file. */
export class RequestIds {
  readonly #prefix: bigint;
  #suffix: number;

  /** @param timeOfDayMs When the member starts, in ms since 1970. */
  constructor(memberId: bigint, timeOfDayMs: number) {
    this.#prefix = (memberId & 0xffffn) << SUFFIX_BITS;
    this.#suffix = (Math.trunc(timeOfDayMs) * COUNTER) % SUFFIX_LIMIT;
  }

  /** One that this member has not given before, and never 0. */
  next(): bigint {
    this.#suffix = this.#suffix + 1 === SUFFIX_LIMIT ? 1 : this.#suffix + 1;
    return this.#prefix | BigInt(this.#suffix);
  }
}
