/**
 * What can go wrong in a recipe that cannot go wrong in a call.
 *
 * @module
 */

import type { Owner } from './names.ts';

/** What kind of failure of a recipe. */
export type RecipeErrorCode =
  | 'held-by-another'
  | 'lost'
  | 'session-lost'
  | 'wait-timeout'
  | 'released'
  | 'unknown-outcome'
  | 'conflict'
  | 'invalid-config'
  | 'no-instance';

/** A failure of a recipe; failures of calls stay EtcdErrors. */
export class RecipeError extends Error {
  override readonly name: string = 'RecipeError';
  readonly code: RecipeErrorCode;
  constructor(code: RecipeErrorCode, message: string, options?: ErrorOptions) {
    super(`[${code}] ${message}`, options);
    this.code = code;
  }
}

/** Somebody else holds it, and this call was not to wait. */
export class HeldByAnotherError extends RecipeError {
  override readonly name = 'HeldByAnotherError';
  /** Who holds it, as far as they said. */
  readonly holder: Owner | undefined;
  constructor(what: string, holder: Owner | undefined) {
    super('held-by-another', `${what} is held by ${holder?.owner ?? 'another'}`);
    this.holder = holder;
  }
}

/** Why something that was held is held no more. */
export type LossReason =
  /** The session behind it is lost; see the cause. */
  | 'session'
  /** Its key was deleted or replaced: by an operator, or by a lease revoked behind our back. */
  | 'key-gone'
  /** It was held for a certain time only, and that is over. */
  | 'expired'
  /** It was released by its holder. */
  | 'released';

/** What was held is not held any more. */
export class LostError extends RecipeError {
  override readonly name = 'LostError';
  readonly reason: LossReason;
  constructor(what: string, reason: LossReason, options?: ErrorOptions) {
    super(reason === 'released' ? 'released' : 'lost', `${what} is not held any more: ${REASONS[reason]}`, options);
    this.reason = reason;
  }
}

const REASONS: Record<LossReason, string> = {
  session: 'its session is lost',
  'key-gone': 'its key is gone',
  expired: 'its time is over',
  released: 'it was released',
};

/** The wait took longer than it was allowed to. Nothing of it is left in the store. */
export class WaitTimeoutError extends RecipeError {
  override readonly name = 'WaitTimeoutError';
  constructor(what: string, timeoutMs: number, options?: ErrorOptions) {
    super('wait-timeout', `${what} did not come within ${timeoutMs} ms`, options);
  }
}

/**
 * Whether something was done could not be found out before the wait had to end: no answer
 * came, and none to the question what became of it.
 */
export class UnknownOutcomeError extends RecipeError {
  override readonly name = 'UnknownOutcomeError';
  /** As `EtcdError.applied` has it: it may have happened. */
  readonly applied = 'maybe';
  constructor(what: string, options?: ErrorOptions) {
    super('unknown-outcome', `${what}: whether it was done is not known`, options);
  }
}
