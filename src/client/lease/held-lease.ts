/**
 * What the keeper knows of one lease: until when it is ours, and where its renewal stands.
 *
 * Invariants:
 * 1. The deadline is the send time of an answered request plus the time to live in the
 *    answer, on the monotonic clock. Nothing else moves it.
 * 2. Once lost, lost for good: no answer brings a lease back, however the race went.
 * 3. The first who asks after the deadline is told, timer or no timer: every question goes
 *    through {@link HeldLease.check}.
 *
 * @module
 */

import type { LeaseId } from '../../protocol/int64.ts';
import type { Clock } from '../../support/clock.ts';
import type { CallTelemetry } from '../../telemetry/calls.ts';
import { LeaseTrace } from '../../telemetry/leases.ts';
import { type EtcdErrorDetails, type LeaseLossReason, LeaseLostError } from '../errors.ts';
import { type CheckedSignal, checkedSignal } from './checked-signal.ts';
import type { Scheduled } from './schedule.ts';
import { renewalIntervalMs, safetyMarginMs } from './timing.ts';

/**
 * Where a lease's renewal stands: not due yet; due, but there is no stream to send it on;
 * sent; being tried on a stream of its own; no longer renewed; lost.
 */
export type RenewalPhase = 'resting' | 'waiting' | 'sent' | 'alone' | 'stopped' | 'lost';

/** What the owner of a lease hears of it. */
export interface HeldLeaseOwner {
  /** The last failure to renew anything, for the error that a lost lease carries. */
  readonly lastFailure: unknown;
  readonly telemetry: CallTelemetry;
  /** The lease is lost; its signal fires when this returns. */
  onLost(lease: HeldLease, reason: LeaseLossReason): void;
}

export class HeldLease implements Scheduled {
  readonly id: LeaseId;
  at = 0;
  slot = -1;
  phase: RenewalPhase = 'resting';
  /** When the renewal under way was sent. */
  sentAt = 0;
  /** Its telemetry. */
  readonly trace: LeaseTrace;
  readonly #clock: Clock;
  readonly #owner: HeldLeaseOwner;
  readonly #signal: CheckedSignal;
  #ttlSeconds: number;
  /** When the answered request was sent that the deadline stands on. */
  #renewedAt: number;
  #lost: LeaseLostError | undefined;

  /** `sentAt`: when the request was sent, or earlier, whose answer was `ttlSeconds`. */
  constructor(id: LeaseId, ttlSeconds: number, sentAt: number, clock: Clock, owner: HeldLeaseOwner) {
    this.id = id;
    this.#ttlSeconds = ttlSeconds;
    this.#renewedAt = sentAt;
    this.#clock = clock;
    this.#owner = owner;
    this.trace = new LeaseTrace(owner.telemetry);
    this.#signal = checkedSignal(() => this.check());
  }

  /** The time to live of the last answer. */
  get ttlSeconds(): number {
    return this.#ttlSeconds;
  }

  /** When the lease is given up unless it is renewed: the deadline less the safety margin. */
  get cutoffAt(): number {
    return this.#renewedAt + this.#ttlSeconds * 1000 - safetyMarginMs(this.#ttlSeconds);
  }

  /** When the next renewal is due. */
  get dueAt(): number {
    return this.#renewedAt + this.intervalMs;
  }

  get intervalMs(): number {
    return renewalIntervalMs(this.#ttlSeconds);
  }

  get signal(): AbortSignal {
    return this.#signal.signal;
  }

  /** The error that says why and when it was lost; undefined while it is held. */
  check(): LeaseLostError | undefined {
    if (this.#lost === undefined && this.#clock.now() >= this.cutoffAt) {
      this.lose('deadline', { cause: this.#owner.lastFailure });
    }
    return this.#lost;
  }

  /** Takes an answer into account. False when it came too late to count. */
  renewed(sentAt: number, ttlSeconds: number): boolean {
    if (this.check() !== undefined) return false;
    // Answers of two streams may cross; the later question is the one that says how things stand.
    if (sentAt >= this.#renewedAt) {
      this.#renewedAt = sentAt;
      this.#ttlSeconds = ttlSeconds;
    }
    return this.check() === undefined;
  }

  /** Declares the lease lost; only the first time counts. */
  lose(reason: LeaseLossReason, details?: EtcdErrorDetails): void {
    if (this.#lost !== undefined) return;
    this.#lost = new LeaseLostError(this.id, reason, details);
    this.#owner.onLost(this, reason);
    this.phase = 'lost';
    this.#signal.abort(this.#lost);
  }
}
