/**
 * What can go wrong with services.
 *
 * @module
 */

import { RecipeError } from '../errors.ts';
import type { Owner } from '../names.ts';

/**
 * Why there is no instance to be had. `not-ready`: there is no list yet. `none-registered`: nobody is registered.
 * `none-up`: all that are registered are down or draining. `all-filtered`: some are up, and none passes the filters.
 * `all-busy`: each has as many requests under way as it may (`maxInFlight`).
 */
export type NoInstanceReason = 'not-ready' | 'none-registered' | 'none-up' | 'all-filtered' | 'all-busy';

const TEXTS: Record<NoInstanceReason, string> = {
  'not-ready': 'there is no list of its instances yet',
  'none-registered': 'no instance is registered',
  'none-up': 'all its instances are down or draining',
  'all-filtered': 'no instance that is up passes the filters',
  'all-busy': 'all its instances have as many requests under way as they may',
};

/** A service has no instance that takes requests. The request has not been sent. */
export class NoInstanceError extends RecipeError {
  override readonly name = 'NoInstanceError';
  readonly service: string;
  readonly reason: NoInstanceReason;
  constructor(service: string, reason: NoInstanceReason) {
    super('no-instance', `${service}: ${TEXTS[reason]}`);
    this.service = service;
    this.reason = reason;
  }
}

/** Another registration has the id, as far as is known a living one. Nothing of ours is in the store. */
export class InstanceIdTakenError extends RecipeError {
  override readonly name = 'InstanceIdTakenError';
  readonly service: string;
  readonly id: string;
  /** Which process has it, as far as it said. */
  readonly holder: Owner | undefined;
  constructor(service: string, id: string, holder: Owner | undefined) {
    super('held-by-another', `the id ${id} of ${service} is held by ${holder?.owner ?? 'another'}`);
    this.service = service;
    this.id = id;
    this.holder = holder;
  }
}
