/**
 * When a request that has failed is sent to another instance.
 *
 * - Never established: no byte of it has left, whatever its method. Always, while there is an instance that was not tried.
 * - Lost, or answered 502, 503 or 504: the service may have acted on it. Only when doing it twice is the same as doing
 *   it once: by RFC 9110 §9.2.2 that is so for GET, HEAD, OPTIONS, TRACE, PUT and DELETE; and while its body is whole.
 *
 * Retries of the second kind are limited by a budget for each service, so that one that is in trouble is not given more to
 * do because of it: a token bucket as in gRPC's retry throttling (gRFC A6). Each failed attempt takes a token, each good
 * answer gives a part of one back, and while the bucket is half empty or less there are no retries.
 *
 * @module
 */

import { InvalidArgumentError } from '../index.ts';

/** How often, and for what, requests are sent again. */
export interface RetryOptions {
  /**
   * How many times a request that may have been acted on is sent again. Default 2; 0 never does. Requests that never
   * left are sent to up to five other instances in any case.
   */
  readonly retries?: number | undefined;
  /** The status codes that are worth asking another instance. Default 502, 503 and 504. */
  readonly statusCodes?: readonly number[] | undefined;
  /** Methods that may be repeated. Default: those that RFC 9110 calls idempotent. A request's own `idempotent` wins. */
  readonly methods?: readonly string[] | undefined;
  /** The bucket's size. Default 100: in a burst, 50 failures are retried. */
  readonly budgetTokens?: number | undefined;
  /** The part of a token that a good answer gives back. Default 0.1: in the long run a tenth of the load are retries. */
  readonly budgetRatio?: number | undefined;
}

/** The options, checked. */
export interface RetrySettings {
  readonly retries: number;
  readonly statusCodes: ReadonlySet<number>;
  readonly methods: ReadonlySet<string>;
  readonly budgetTokens: number;
  readonly budgetRatio: number;
}

const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'];

/** How many other instances a request that never left is sent to: each may take as long as it takes to connect. */
export const MAX_CONNECTS = 5;

/** @throws InvalidArgumentError when an option is out of range. */
export function retrySettings(options: RetryOptions = {}): RetrySettings {
  const { retries = 2, statusCodes = [502, 503, 504], methods = IDEMPOTENT } = options;
  const { budgetTokens = 100, budgetRatio = 0.1 } = options;
  if (!(Number.isInteger(retries) && retries >= 0)) {
    throw new InvalidArgumentError(`retry.retries ${retries} is not a whole number`);
  }
  if (!(budgetTokens > 0)) throw new InvalidArgumentError(`retry.budgetTokens ${budgetTokens} is not positive`);
  if (!(budgetRatio >= 0)) throw new InvalidArgumentError(`retry.budgetRatio ${budgetRatio} is negative`);
  return { retries, statusCodes: new Set(statusCodes), methods: new Set(methods), budgetTokens, budgetRatio };
}

/** The bucket of one service. */
export class RetryBudget {
  readonly #max: number;
  readonly #ratio: number;
  #tokens: number;

  constructor({ budgetTokens, budgetRatio }: RetrySettings) {
    this.#max = budgetTokens;
    this.#ratio = budgetRatio;
    this.#tokens = budgetTokens;
  }

  /** Whether a retry is within it. */
  get allows(): boolean {
    return this.#tokens > this.#max / 2;
  }

  failed(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  succeeded(): void {
    this.#tokens = Math.min(this.#max, this.#tokens + this.#ratio);
  }
}

// The caller's doing: wrong anywhere, or wanted.
const OWN_FAULTS: ReadonlySet<unknown> = new Set([
  'UND_ERR_INVALID_ARG',
  'UND_ERR_INVALID_RETURN_VALUE',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
  'UND_ERR_ABORTED',
  'UND_ERR_DESTROYED',
  'UND_ERR_CLOSED',
]);

/** Whether a failure says nothing of the instance, and would be the same at another. */
export function isOwnFault(error: unknown): boolean {
  return OWN_FAULTS.has((error as { code?: unknown } | undefined)?.code);
}

// Somebody has waited long already, and the instance may still be at work.
const TIMEOUTS: ReadonlySet<unknown> = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** Whether the time that the program gave the answer is over; such a request is not sent again. */
export function isTimeout(error: unknown): boolean {
  return TIMEOUTS.has((error as { code?: unknown } | undefined)?.code);
}
