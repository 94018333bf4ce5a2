/**
 * A lease that is being kept alive, as its user sees it.
 *
 * Ask it, do not only listen to it: after the event loop was blocked, code of the user may
 * run before any timer. `alive`, `remainingMs()`, `assertAlive()` and `signal.aborted` all
 * look at the clock before they answer.
 *
 * @module
 */

import type { LeaseId } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { LeaseLossReason } from '../errors.ts';
import type { HeldLease } from './held-lease.ts';

/** What a lease can have done to it. Internal: the client provides it. */
export interface LeaseActions {
  now(): number;
  renew(lease: HeldLease, options: CallOptions | undefined): Promise<void>;
  revoke(lease: HeldLease, options: CallOptions | undefined): Promise<void>;
  stop(lease: HeldLease): void;
}

/** How long the end of an `await using` block waits at most for the lease to be revoked. */
const DISPOSE_TIMEOUT_MS = 5_000;

/**
 * A lease that the client keeps alive until it is revoked, stopped or lost.
 *
 * Its keys are the server's to delete from the moment the lease runs out there. `signal`
 * fires before that moment: at the send time of the last answered keepalive, plus the time
 * to live, less a margin of 1 % (at least 50 ms) for clocks that drift and timers that are
 * late. What must not happen after the lease is gone needs a check on the server as well
 * (a compare in the same transaction): a process can be suspended between any two
 * instructions, and no clock is read in between.
 */
export class LiveLease implements AsyncDisposable {
  /** Names the lease on the server. */
  readonly id: LeaseId;
  readonly #lease: HeldLease;
  readonly #actions: LeaseActions;
  #revoked = false;

  /** Internal: made by `etcd.lease()` and `etcd.leases`. */
  constructor(lease: HeldLease, actions: LeaseActions) {
    this.id = lease.id;
    this.#lease = lease;
    this.#actions = actions;
  }

  /** The time to live that the server granted, in seconds; may be more than was asked for. */
  get ttlSeconds(): number {
    return this.#lease.ttlSeconds;
  }

  /**
   * Fires when the lease is lost, before the server can give its keys away; the reason is a
   * `LeaseLostError`. Reading its `aborted` and `reason` looks at the clock, and so does
   * `throwIfAborted()`. A signal made from it by `AbortSignal.any` fires with it, but does
   * not look at the clock when it is read.
   */
  get signal(): AbortSignal {
    this.#lease.check();
    return this.#lease.signal;
  }

  /** Whether the lease is still ours, by the clock, now. */
  get alive(): boolean {
    return this.#lease.check() === undefined;
  }

  /** How long the lease stays ours if no further keepalive is answered, in milliseconds; 0 when it is lost. */
  remainingMs(): number {
    return this.alive ? Math.max(0, this.#lease.cutoffAt - this.#actions.now()) : 0;
  }

  /** Why it is lost; undefined while it is ours. */
  get lossReason(): LeaseLossReason | undefined {
    return this.#lease.check()?.reason;
  }

  /**
   * Does nothing while the lease is ours.
   *
   * @throws LeaseLostError when it is not.
   */
  assertAlive(): void {
    const lost = this.#lease.check();
    if (lost !== undefined) throw lost;
  }

  /**
   * Renews the lease now, out of turn, so that its whole time to live lies ahead: before
   * work that must not be interrupted, for one.
   *
   * @throws LeaseLostError when it is lost, or the server no longer knows it; EtcdError when
   * the renewal failed, which does not mean that the lease is lost.
   */
  async keepAliveOnce(options?: CallOptions): Promise<void> {
    this.assertAlive();
    await this.#actions.renew(this.#lease, options);
    this.assertAlive();
  }

  /**
   * Ends the lease and deletes its keys. It counts as lost, with reason `revoked`, from the
   * moment this is called. When this rejects, the server may still have it until its time is
   * over, since it is no longer renewed; calling again tries again. A lease that is gone
   * already is no error.
   */
  async revoke(options?: CallOptions): Promise<void> {
    // Gone by the server's own word: a lease that has this id now is somebody else's.
    if (this.#revoked || this.lossReason === 'expired') return;
    await this.#actions.revoke(this.#lease, options);
    this.#revoked = true;
  }

  /**
   * Stops keeping the lease alive, and leaves it to run out, or to another process that goes
   * on with it. It stays ours until its time is over; `signal` fires then.
   */
  stop(): void {
    this.#actions.stop(this.#lease);
  }

  /**
   * Revokes the lease, as well as can be done in five seconds, or in the time it has left.
   * Never rejects: what could not be revoked runs out.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.lossReason === 'closed') return;
    const timeoutMs = Math.min(DISPOSE_TIMEOUT_MS, this.remainingMs() || DISPOSE_TIMEOUT_MS);
    await this.revoke({ timeoutMs }).catch(() => {});
  }
}
