/**
 * A watch stream that never ends: when the one it has breaks, it opens another and makes
 * all its watchers anew, each from where it had got.
 *
 * It goes on for as long as it has watchers, with a growing, jittered wait between
 * attempts; the first attempt is immediate when another member is healthy. A stream that
 * the server ends with OK has broken like any other. With its last watcher the lane closes
 * its stream, so that nothing is left that keeps the process alive.
 *
 * It gives up on its watchers only where trying again is pointless: the login is refused,
 * or a server refuses the stream several times in a row with a code that means "never".
 *
 * @module
 */

import type { WatchResponse } from '../../protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { type BackoffOptions, backoffMs } from '../../support/backoff.ts';
import type { Timer } from '../../support/clock.ts';
import { detached } from '../../telemetry/api.ts';
import { publish } from '../../telemetry/channels.ts';
import { beginResume, type ResumeTrace } from '../../telemetry/watches.ts';
import type { Caller } from '../connection/caller.ts';
import { toEtcdError } from '../connection/failures.ts';
import type { Member } from '../connection/member.ts';
import { isTokenFailure } from '../connection/retry.ts';
import { EtcdError } from '../errors.ts';
import type { CallFailure } from '../transport/transport.ts';
import { refusalError, refusalKind } from './refusal.ts';
import { WatchStream, type WatchStreamOwner } from './stream.ts';
import type { LaneKind, Subscription, SubscriptionLane } from './subscription.ts';

/** Decides what the lane can't. */
export interface LaneHost {
  readonly caller: Caller;
  created(subscription: Subscription, storeRevision: bigint): void;
  /** Something of this watcher was taken in; the store is at `storeRevision` at least. */
  received(subscription: Subscription, storeRevision: bigint): void;
  compacted(subscription: Subscription, compactRevision: bigint): void;
  /** Ends a watcher with an error. */
  fail(subscription: Subscription, error: EtcdError): void;
}

const REOPEN: BackoffOptions = { initialMs: 50, maxMs: 2_000 };

/** A stream that held for this long counts as sound: the next failure is the first of a new row. */
const STABLE_MS = 5_000;

/** How many refusals in a row, each after a new login or a new attempt, are taken before giving up. */
const MAX_REFUSALS = 2;

export class Lane implements WatchStreamOwner, SubscriptionLane {
  readonly kind: LaneKind;
  readonly requireLeader: boolean | undefined;
  readonly #host: LaneHost;
  readonly #subscriptions = new Set<Subscription>();
  #stream: WatchStream | undefined;
  #opening: AbortController | undefined;
  #timer: Timer | undefined;
  #openedAt = 0;
  #failures = 0;
  #refusals = 0;
  #oversized = 0;
  #avoid = new Set<Member>();
  #serial = false;
  /** Whether a watcher of this stream has caught up with the store, so that one that has not is in its way. */
  settled = false;
  /** Why the last stream ended; undefined before the first. */
  #brokenBy: string | undefined;
  /** The replacement of a stream that broke, until there is another. */
  #resume: ResumeTrace | undefined;

  constructor(kind: LaneKind, requireLeader: boolean | undefined, host: LaneHost) {
    this.kind = kind;
    this.requireLeader = requireLeader;
    this.#host = host;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  /** The stream, while one is open. */
  get stream(): WatchStream | undefined {
    return this.#stream;
  }

  add(subscription: Subscription): void {
    this.#subscriptions.add(subscription);
    subscription.lane = this;
    if (this.#stream !== undefined) this.#stream.create(subscription);
    else if (this.#opening === undefined && this.#timer === undefined) {
      // What comes on a stream is handled in the context it was opened in, and this one is everybody's.
      detached(() => void this.#open());
    }
  }

  remove(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    subscription.lane = undefined;
    this.#stream?.remove(subscription);
    if (this.#subscriptions.size === 0) this.#shut();
  }

  /** The reader has made room: reads on, if reading had stopped. */
  wake(): void {
    this.#stream?.wake();
  }

  #shut(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#opening?.abort();
    this.#opening = undefined;
    this.#stream?.close();
    this.#stream = undefined;
    this.settled = false;
    this.#brokenBy = undefined;
    this.#resume?.abandoned();
    this.#resume = undefined;
    this.#failures = 0;
    this.#refusals = 0;
  }

  async #open(): Promise<void> {
    const opening = new AbortController();
    this.#opening = opening;
    const { caller } = this.#host;
    let stream: WatchStream;
    try {
      const options = {
        requireLeader: this.requireLeader,
        signal: opening.signal,
        avoid: this.#avoid,
        serial: this.#serial,
      };
      stream = await WatchStream.open(caller, options, this);
    } catch (error) {
      if (this.#opening !== opening) return;
      this.#opening = undefined;
      this.#resume?.attemptFailed(error);
      this.#openFailed(error);
      return;
    }
    if (this.#opening !== opening) {
      stream.close();
      return;
    }
    this.#opening = undefined;
    this.#stream = stream;
    this.#openedAt = caller.clock.now();
    if (stream.over) {
      this.broken(stream, stream.failure);
      return;
    }
    this.#resume?.resumed(stream.member.name, this.size);
    this.#resume = undefined;
    const reason = this.#brokenBy;
    if (reason !== undefined) {
      const { name: endpoint } = stream.member;
      publish('etcdkit:watch:resume', () => ({ endpoint, watchers: this.size, reason }));
    }
    for (const subscription of [...this.#subscriptions]) stream.create(subscription);
  }

  #openFailed(thrown: unknown): void {
    const error =
      thrown instanceof EtcdError ? thrown : new EtcdError('server', (thrown as Error).message, { cause: thrown });
    for (const subscription of [...this.#subscriptions]) {
      if (HOPELESS.has(error.code) || (subscription.createdAt === undefined && DOUBTFUL.has(error.code))) {
        this.#host.fail(subscription, error);
      }
    }
    this.#detached();
    if (this.size > 0) this.#reopen(error.message);
  }

  /** Opens another stream, at once or after a while. */
  #reopen(reason: string): void {
    const { caller } = this.#host;
    this.#brokenBy = reason;
    this.#failures += 1;
    const another = caller.pool.members.some((member) => member.healthy && !this.#avoid.has(member));
    if (this.#failures === 1 && another) {
      void this.#open();
      return;
    }
    this.#timer = caller.clock.after(backoffMs(REOPEN, this.#failures - 1, caller.random), () => {
      this.#timer = undefined;
      void this.#open();
    });
  }

  broken(stream: WatchStream, failure: CallFailure | undefined): void {
    // One that breaks while it is being opened is looked at when the opening is done.
    if (stream !== this.#stream) return;
    const { member } = stream;
    const reason = failure === undefined ? 'the server ended the stream' : failure.details;
    this.#leave(member, reason);
    const error = this.#judge(failure, member);
    if (error === undefined) this.#reopen(reason);
    else for (const subscription of [...this.#subscriptions]) this.#host.fail(subscription, error);
  }

  /** Takes note that the stream is gone. */
  #leave(avoid: Member | undefined, reason: string): void {
    this.#stream = undefined;
    const traces = Array.from(this.#subscriptions, ({ trace }) => trace);
    this.#resume ??= beginResume(this.#host.caller.telemetry, reason, traces);
    this.settled = false;
    this.#avoid = new Set(avoid === undefined ? [] : [avoid]);
    if (this.#host.caller.clock.now() - this.#openedAt >= STABLE_MS) {
      this.#failures = 0;
      this.#oversized = 0;
    }
    for (const subscription of this.#subscriptions) subscription.leftStream();
    this.#detached();
  }

  /** Takes note that what should run does not. Moving from one lane to another is no interruption, and not noted. */
  #detached(): void {
    const now = this.#host.caller.clock.now();
    for (const subscription of this.#subscriptions) subscription.detachedSince ??= now;
  }

  /** The error to give up with, if it is time to. */
  #judge(failure: CallFailure | undefined, member: Member): EtcdError | undefined {
    if (failure === undefined) return undefined;
    const error = toEtcdError(failure, { endpoint: member.name, attempts: 1 });
    if (error.code === 'response-too-large') {
      // It will be sent again, and be as large again: whose it is nobody knows.
      this.#oversized += 1;
      return this.#oversized > MAX_REFUSALS ? error : undefined;
    }
    const login = isTokenFailure(failure) || failure.grpcCode === GrpcCode.UNAUTHENTICATED;
    if (!login && !NEVER.has(failure.grpcCode)) return undefined;
    this.#refusals += 1;
    if (this.#refusals > MAX_REFUSALS) return error;
    if (login) this.#host.caller.dropToken();
    return undefined;
  }

  disordered(): void {
    this.#serial = true;
    this.#leave(undefined, 'the server answers out of order');
    void this.#open();
  }

  created(subscription: Subscription, response: WatchResponse): void {
    this.#refusals = 0;
    subscription.aliveSince = Math.floor(this.#host.caller.clock.now());
    subscription.detachedSince = undefined;
    this.#host.created(subscription, response.header?.revision ?? 0n);
  }

  refused(subscription: Subscription, response: WatchResponse): void {
    this.#ended(subscription, response, false);
  }

  canceled(subscription: Subscription, response: WatchResponse): void {
    this.#ended(subscription, response, true);
  }

  #ended(subscription: Subscription, response: WatchResponse, created: boolean): void {
    if (response.compactRevision !== 0n) {
      this.#host.compacted(subscription, response.compactRevision);
      return;
    }
    const { cancelReason: reason } = response;
    const kind = refusalKind(reason, created);
    if (created && this.#host.caller.clock.now() - subscription.aliveSince >= STABLE_MS) subscription.refusals = 0;
    subscription.refusals += 1;
    const pointless =
      kind === 'login'
        ? !this.#host.caller.canLogin || this.#refusals >= MAX_REFUSALS
        : subscription.refusals > MAX_REFUSALS;
    if (kind === 'final' || pointless) {
      this.#host.fail(subscription, refusalError(reason, this.#stream?.member.name));
    } else if (kind === 'again') {
      this.#stream?.create(subscription);
    } else {
      this.#login(reason);
    }
  }

  /** Moves everything to a stream with a new token. */
  #login(reason: string): void {
    this.#refusals += 1;
    this.#host.caller.dropToken();
    this.#stream?.close();
    this.#leave(undefined, reason);
    this.#brokenBy = reason;
    if (this.#refusals === 1) void this.#open();
    else this.#reopen(reason);
  }

  received(subscription: Subscription, response: WatchResponse): void {
    const storeRevision = response.header?.revision ?? 0n;
    if (response.events.length > 0) {
      this.#host.caller.telemetry.instruments?.watchEvents.add(response.events.length);
    }
    if (response.events.length > 0 || response.fragment || subscription.incomplete) {
      subscription.take(response);
    } else {
      subscription.reached(storeRevision);
    }
    this.#host.received(subscription, storeRevision);
  }

  progressed(subscription: Subscription, revision: bigint): void {
    subscription.reached(revision);
    this.#host.received(subscription, revision);
  }

  /** All watchers of the lane, also those that wait for their creation. */
  get subscriptions(): Iterable<Subscription> {
    return this.#subscriptions;
  }

  wantsMore(): boolean {
    if (this.kind !== 'own') return true;
    for (const subscription of this.#subscriptions) {
      if (!subscription.full) return true;
    }
    return false;
  }
}

/** Failures to open a stream that no waiting mends, whoever asks. */
const HOPELESS: ReadonlySet<EtcdError['code']> = new Set([
  'closed',
  'unauthenticated',
  'permission-denied',
  'invalid-argument',
]);

/** Failures that end a watch which never ran, so that a mistake shows at once; one that ran has reason to hope. */
const DOUBTFUL: ReadonlySet<EtcdError['code']> = new Set(['tls', 'cluster-mismatch', 'unsupported', 'server']);

/** Codes by which a server says that it will not have this stream at all. */
const NEVER: ReadonlySet<GrpcCode> = new Set([
  GrpcCode.PERMISSION_DENIED,
  GrpcCode.UNIMPLEMENTED,
  GrpcCode.INVALID_ARGUMENT,
]);
