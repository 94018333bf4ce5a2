/**
 * Leases, as the client offers them.
 *
 * A grant's id is chosen here and not by the server: only then can a grant that was sent
 * and never answered be sent again without leaving a second lease behind.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { Lease, type LeaseGrantResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { LeaseId, Revision } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller, CallTraits } from '../connection/caller.ts';
import { EtcdError, InvalidArgumentError, LeaseLostError } from '../errors.ts';
import { checkLeaseId } from '../ids.ts';
import type { HeldLease } from './held-lease.ts';
import type { LeaseKeeper } from './keeper.ts';
import { type LeaseActions, LiveLease } from './live-lease.ts';
import { renewOnce } from './renew-once.ts';
import { MAX_TTL_SECONDS } from './timing.ts';

/** What lease to grant. */
export interface LeaseGrantOptions {
  /**
   * How long the lease lives without a keepalive, in whole seconds, at most 9,000,000,000.
   * The server raises it to its minimum: one and a half election timeouts, 2 s by default.
   */
  readonly ttlSeconds: number;
  /** Its id; not 0. Default: a random one. */
  readonly id?: LeaseId | undefined;
}

/** A lease that was granted. */
export interface GrantedLease {
  readonly id: LeaseId;
  /** The time to live that the server granted; may be more than was asked for. */
  readonly ttlSeconds: number;
  /** The store's revision at the time. A grant makes no new one. */
  readonly revision: Revision;
}

/** What is left of a lease. */
export interface LeaseTimeToLive {
  readonly id: LeaseId;
  /** Whole seconds that are left, rounded down; undefined when there is no such lease. */
  readonly ttlSeconds: number | undefined;
  /** What it lives without a keepalive, in seconds; 0 when there is no such lease. */
  readonly grantedTtlSeconds: number;
  /** The keys that hang on it, in no order; only if asked for. */
  readonly keys?: readonly Uint8Array[] | undefined;
  readonly revision: Revision;
}

/** Options of {@link Leases.timeToLive}. */
export interface TimeToLiveOptions extends CallOptions {
  /** Whether to tell the keys too. Default false. */
  readonly keys?: boolean | undefined;
}

const WRITE: CallTraits = { kind: 'idempotent' };
const READ: CallTraits = { kind: 'read' };
/** Asks about a grant that was applied: what fails now leaves it so. */
const CONFIRM: CallTraits = { kind: 'read', applied: 'maybe' };

/** Leases: keys that hang on one are deleted with it, when it runs out or is revoked. */
export class Leases {
  readonly #caller: Caller;
  readonly #keeper: LeaseKeeper;
  readonly #views = new WeakMap<HeldLease, LiveLease>();
  readonly #actions: LeaseActions;
  readonly #newId: () => LeaseId;

  /** Internal: made by the client. `newId` gives the ids of leases that are granted without one. */
  constructor(caller: Caller, keeper: LeaseKeeper, newId: () => LeaseId = randomId) {
    this.#caller = caller;
    this.#keeper = keeper;
    this.#newId = newId;
    this.#actions = {
      now: () => caller.clock.now(),
      renew: (lease, options) => this.#renew(lease, options),
      revoke: (lease, options) => this.#revoke(lease.id, options, true),
      stop: (lease) => keeper.stop(lease),
    };
  }

  /**
   * Grants a lease and keeps it alive. `signal` and `timeoutMs` are for the grant alone;
   * they do not end the lease later. What {@link Leases.grant} says of failures holds here too.
   *
   * @throws InvalidArgumentError, and EtcdError `lease-exists` when `id` was given and is taken.
   */
  async open(options: LeaseGrantOptions & CallOptions): Promise<LiveLease> {
    // The server counts from when it handles the grant, which is no earlier than this.
    const startedAt = this.#caller.clock.now();
    const { id, ttlSeconds } = await this.grant(options, options);
    try {
      if (this.#caller.clock.now() - startedAt < (ttlSeconds * 1000) / 2) return this.#hold(id, ttlSeconds, startedAt);
      // The grant took its time, and that is gone from the lease's: see whether it is still there.
      const renewed = await renewOnce(this.#caller, id, options, 'maybe');
      return this.#hold(id, renewed.ttlSeconds, renewed.sentAt);
    } catch (error) {
      if (options.id === undefined) this.#abandon(id);
      throw error;
    }
  }

  /**
   * Grants a lease that nobody keeps alive.
   *
   * When this rejects with `applied: 'maybe'`, a lease with a random id is revoked in the
   * background, as far as that can be done; one with an id of yours is left alone.
   *
   * @throws InvalidArgumentError, and EtcdError `lease-exists` when `id` was given and is taken.
   */
  async grant(lease: LeaseGrantOptions, options: CallOptions = {}): Promise<GrantedLease> {
    const { ttlSeconds } = lease;
    if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds <= 0 || ttlSeconds > MAX_TTL_SECONDS) {
      throw new InvalidArgumentError(`ttlSeconds ${ttlSeconds} is not an integer from 1 to ${MAX_TTL_SECONDS}`);
    }
    if (lease.id === 0n) throw new InvalidArgumentError('id 0 names no lease');
    const id = lease.id === undefined ? this.#newId() : checkLeaseId(lease.id);
    const deadlineAt = this.#caller.clock.now() + (options.timeoutMs ?? this.#caller.timeoutMs);
    try {
      const request = { ID: id, TTL: BigInt(ttlSeconds) };
      return toGranted(await this.#caller.unary(Lease.leaseGrant, request, WRITE, options));
    } catch (error) {
      if (lease.id !== undefined || !(error instanceof EtcdError)) throw error;
      // Nobody else can have drawn this id: an attempt before this one was applied.
      if (error.code === 'lease-exists' && error.applied === 'maybe') return this.#confirm(id, deadlineAt, options);
      if (error.applied === 'maybe') this.#abandon(id);
      throw error;
    }
  }

  /** Asks for the time to live of a lease that our own grant made unseen. */
  async #confirm(id: LeaseId, deadlineAt: number, options: CallOptions): Promise<GrantedLease> {
    const timeoutMs = Math.max(1, deadlineAt - this.#caller.clock.now());
    try {
      const answer = await this.#timeToLive(id, false, CONFIRM, { ...options, timeoutMs });
      if (answer.ttlSeconds === undefined) throw new LeaseLostError(id, 'expired');
      return { id, ttlSeconds: answer.grantedTtlSeconds, revision: answer.revision };
    } catch (error) {
      if (!(error instanceof LeaseLostError)) this.#abandon(id);
      throw error;
    }
  }

  /** Ends, as far as that can be done, a lease that may have been granted and that nobody will hear of. */
  #abandon(id: LeaseId): void {
    void this.#revoke(id, {}, true).catch(() => {});
  }

  /**
   * Ends a lease and deletes its keys, all in one revision. If this client keeps it alive,
   * it counts as lost, with reason `revoked`, from the moment this is called.
   *
   * @throws EtcdError `lease-not-found` when there is no such lease.
   */
  async revoke(id: LeaseId, options?: CallOptions): Promise<void> {
    await this.#revoke(checkLeaseId(id), options, false);
  }

  async #revoke(id: LeaseId, options: CallOptions | undefined, goneIsFine: boolean): Promise<void> {
    this.#keeper.lose(id, 'revoked'); // first: whoever works under it has to stop before its keys go
    try {
      await this.#caller.unary(Lease.leaseRevoke, { ID: id }, WRITE, options);
    } catch (error) {
      const gone = error instanceof EtcdError && error.code === 'lease-not-found';
      // After an attempt whose outcome is not known, "not found" says that it was applied.
      if (!gone || !(goneIsFine || error.applied === 'maybe')) throw error;
    }
  }

  /**
   * Renews a lease once: sets what is left of it back to its full time to live.
   *
   * @throws EtcdError `lease-not-found` when there is no such lease.
   */
  async keepAliveOnce(id: LeaseId, options?: CallOptions): Promise<GrantedLease> {
    const { ttlSeconds, revision, sentAt } = await renewOnce(this.#caller, id, options);
    const held = this.#keeper.find(id);
    if (held !== undefined) this.#keeper.credit(held, ttlSeconds, sentAt);
    return { id, ttlSeconds, revision };
  }

  /**
   * Keeps alive a lease that exists: one that was granted elsewhere, or before a restart. It
   * is renewed once before this resolves, so what is returned is a lease that is known to be
   * alive. A lease that this client keeps alive already is returned as it is.
   *
   * @throws EtcdError `lease-not-found` when there is no such lease.
   */
  async keepAlive(id: LeaseId, options?: CallOptions): Promise<LiveLease> {
    const held = this.#keeper.find(id);
    if (held !== undefined) {
      this.#keeper.resume(held);
      return this.#view(held);
    }
    const { ttlSeconds, sentAt } = await renewOnce(this.#caller, id, options);
    return this.#hold(id, ttlSeconds, sentAt);
  }

  /** Tells what is left of a lease. A lease that is not there is an answer, not an error. */
  async timeToLive(id: LeaseId, options: TimeToLiveOptions = {}): Promise<LeaseTimeToLive> {
    const { keys: withKeys = false, ...call } = options;
    return this.#timeToLive(checkLeaseId(id), withKeys, READ, call);
  }

  async #timeToLive(
    id: LeaseId,
    withKeys: boolean,
    traits: CallTraits,
    options: CallOptions,
  ): Promise<LeaseTimeToLive> {
    const answer = await this.#caller.unary(Lease.leaseTimeToLive, { ID: id, keys: withKeys }, traits, options);
    const ttlSeconds = Number(answer.TTL);
    return {
      id,
      ttlSeconds: ttlSeconds < 0 ? undefined : ttlSeconds,
      grantedTtlSeconds: Number(answer.grantedTTL),
      // Copies: the decoded ones would keep the whole answer in memory.
      keys: withKeys ? answer.keys.map((key) => Uint8Array.from(key)) : undefined,
      revision: (answer.header?.revision ?? 0n) as Revision,
    };
  }

  /** Lists the leases that the answering member knows, in no order. It may lag behind the leader. */
  async list(options?: CallOptions): Promise<LeaseId[]> {
    const answer = await this.#caller.unary(Lease.leaseLeases, {}, READ, options);
    return answer.leases.map(({ ID }) => ID as LeaseId);
  }

  async #renew(lease: HeldLease, options: CallOptions | undefined): Promise<void> {
    try {
      const { ttlSeconds, sentAt } = await renewOnce(this.#caller, lease.id, options);
      this.#keeper.credit(lease, ttlSeconds, sentAt);
    } catch (error) {
      if (!(error instanceof EtcdError && error.code === 'lease-not-found')) throw error;
      lease.lose('expired');
    }
  }

  #hold(id: LeaseId, ttlSeconds: number, sentAt: number): LiveLease {
    const live = this.#view(this.#keeper.hold(id, ttlSeconds, sentAt));
    live.assertAlive();
    return live;
  }

  /** One object for one lease, however often it is asked for. */
  #view(held: HeldLease): LiveLease {
    let live = this.#views.get(held);
    if (live === undefined) {
      live = new LiveLease(held, this.#actions);
      this.#views.set(held, live);
    }
    return live;
  }
}

function toGranted({ ID, TTL, header }: LeaseGrantResponse): GrantedLease {
  return { id: ID as LeaseId, ttlSeconds: Number(TTL), revision: (header?.revision ?? 0n) as Revision };
}

/** A positive 63-bit number. From the system's source, not the client's jitter: two clients must not draw one id. */
function randomId(): LeaseId {
  for (;;) {
    const id = BigInt.asUintN(63, randomBytes(8).readBigUInt64BE());
    if (id !== 0n) return id as LeaseId;
  }
}
