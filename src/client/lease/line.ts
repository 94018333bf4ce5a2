/**
 * The one stream that carries the renewals of all leases, and its replacement when it fails.
 *
 * A stream that breaks, ends (the server's OK is no answer to a renewal), or is too slow is
 * replaced by one to another member. A slow one is kept beside its successor until that has
 * answered: a member that takes half a time to live to answer is slow, not wrong, and its
 * late answer may be the only one there is.
 *
 * An answer belongs to the oldest request of its lease without one on its stream: servers
 * answer a stream in order, and where one did not, the older time is the safe one.
 *
 * The line opens nothing by itself: `connect` is called while something waits to be sent.
 *
 * @module
 */

import type { LeaseKeepAliveResponse } from '../../protocol/generated/etcdserverpb.ts';
import { Lease } from '../../protocol/generated/etcdserverpb.ts';
import type { LeaseId } from '../../protocol/int64.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { backoffMs } from '../../support/backoff.ts';
import type { Timer } from '../../support/clock.ts';
import type { Caller, OpenStream } from '../connection/caller.ts';
import { toEtcdError } from '../connection/failures.ts';
import type { Member } from '../connection/member.ts';
import type { CallFailure } from '../transport/transport.ts';

/** An answer, and when its question was sent. */
export interface Renewal {
  readonly id: LeaseId;
  /** 0 when the server does not know the lease. */
  readonly ttlSeconds: number;
  readonly sentAt: number;
}

/** Who uses the line. */
export interface LineUser {
  /** A stream is open: what waits can be sent. */
  onOpen(): void;
  /** An answer; `current` unless it came on a stream that has been replaced. */
  onAnswer(renewal: Renewal, current: boolean): void;
  /** The current stream is gone, or given up; `unanswered` in the order they were sent. The line goes on by itself. */
  onDown(unanswered: readonly LeaseId[], failure: CallFailure): void;
  /** The line could not be opened because the client is closed. */
  onClosed(): void;
  /** How much time the most urgent waiting lease has left, in milliseconds; Infinity when none waits. */
  urgencyMs(): number;
}

const TRAITS = { kind: 'idempotent' } as const;

/** Short: a lease is running out meanwhile, and the pool has a back-off of its own for members that fail. */
const BACKOFF = { initialMs: 50, maxMs: 1_000 };

/** A stream that lived less than this is not replaced without a pause, even if it had answered. */
const SHORT_LIFE_MS = 100;

const MIN_PAUSE_MS = 5;
const MIN_OPEN_TIMEOUT_MS = 250;
const MAX_OPEN_TIMEOUT_MS = 1_000;

/** With less time than this, the rest that the pool gives to members that failed (up to 5 s) is not waited for. */
const URGENT_MS = 10_000;

/** One stream, from the attempt to open it. */
class RenewalStream {
  /** When the requests without an answer were sent, oldest first, by lease; leases in the order of their oldest. */
  readonly unanswered = new Map<LeaseId, number[]>();
  readonly aborter = new AbortController();
  stream: OpenStream<{ ID: bigint }> | undefined;
  openedAt = 0;
  over = false;

  sent(id: LeaseId, at: number): void {
    const times = this.unanswered.get(id);
    if (times === undefined) this.unanswered.set(id, [at]);
    else times.push(at);
  }

  /** Gives the send time of the request that an answer belongs to. */
  answered(id: LeaseId): number | undefined {
    const times = this.unanswered.get(id);
    const sentAt = times?.shift();
    if (times?.length === 0) this.unanswered.delete(id);
    return sentAt;
  }

  end(): void {
    this.over = true;
    this.aborter.abort();
    this.stream?.cancel();
  }
}

export class KeepAliveLine {
  readonly #caller: Caller;
  readonly #user: LineUser;
  #current: RenewalStream | undefined;
  #replaced: RenewalStream | undefined;
  #pause: Timer | undefined;
  #failures = 0;
  #avoid = new Set<Member>();
  #lastFailure: unknown;

  constructor(caller: Caller, user: LineUser) {
    this.#caller = caller;
    this.#user = user;
  }

  /** Whether requests can be sent. */
  get open(): boolean {
    return this.#current?.stream !== undefined;
  }

  /** Why the last stream broke, or could not be opened; undefined since the last answer. */
  get lastFailure(): unknown {
    return this.#lastFailure;
  }

  /** Sends a request and returns when that was. Only while the line is {@link open}. */
  request(id: LeaseId): number {
    const current = this.#current as RenewalStream;
    const sentAt = this.#caller.clock.now();
    current.sent(id, sentAt);
    current.stream?.send({ ID: id });
    return sentAt;
  }

  /** Sees to it that a stream is open soon. */
  connect(): void {
    if (this.#current === undefined && this.#pause === undefined) void this.#open();
  }

  /** Gives the current stream up: it answers too late. */
  replace(): void {
    const slow = this.#current;
    if (slow?.stream === undefined) return;
    const { member } = slow.stream;
    const failure = {
      grpcCode: GrpcCode.DEADLINE_EXCEEDED,
      details: 'no answer to a keepalive',
      sent: 'maybe',
    } as const;
    member.suspect(failure.details);
    this.#replaced?.end();
    this.#replaced = slow;
    this.#down(slow, failure);
  }

  /** Ends everything; the line can be used again. */
  close(): void {
    this.#pause?.cancel();
    this.#pause = undefined;
    this.#current?.end();
    this.#current = undefined;
    this.#replaced?.end();
    this.#replaced = undefined;
    this.#failures = 0;
    this.#lastFailure = undefined;
    this.#avoid.clear();
  }

  async #open(): Promise<void> {
    const opening = new RenewalStream();
    this.#current = opening;
    const urgencyMs = this.#user.urgencyMs();
    const { pool } = this.#caller;
    if (urgencyMs < URGENT_MS && !pool.members.some(({ healthy }) => healthy)) pool.hurry();
    const options = {
      signal: opening.aborter.signal,
      timeoutMs: Math.min(Math.max(urgencyMs / 4, MIN_OPEN_TIMEOUT_MS), MAX_OPEN_TIMEOUT_MS),
      requireLeader: true,
      avoid: this.#avoid,
    };
    try {
      const stream = await this.#caller.open(Lease.leaseKeepAlive, TRAITS, options, {
        onMessage: (message) => this.#receive(opening, message),
        onClose: (failure) => this.#closed(opening, failure),
      });
      if (opening.over) return stream.cancel();
      opening.stream = stream;
      opening.openedAt = this.#caller.clock.now();
      stream.pull();
      this.#user.onOpen();
    } catch (error) {
      if (opening.over) return;
      this.#current = undefined;
      this.#lastFailure = error;
      if (this.#caller.pool.closed) this.#user.onClosed();
      else this.#pauseThenOpen();
    }
  }

  #receive(from: RenewalStream, message: LeaseKeepAliveResponse): void {
    if (from.over) return;
    from.stream?.pull();
    const id = message.ID as LeaseId;
    const sentAt = from.answered(id);
    if (sentAt === undefined) return;
    const current = from === this.#current;
    if (current) {
      this.#failures = 0;
      this.#lastFailure = undefined;
      this.#avoid.clear();
      this.#replaced?.end();
      this.#replaced = undefined;
    }
    this.#user.onAnswer({ id, ttlSeconds: Number(message.TTL), sentAt }, current);
  }

  #closed(which: RenewalStream, failure: CallFailure | undefined): void {
    if (which.over) return;
    which.over = true;
    if (which === this.#replaced) this.#replaced = undefined;
    if (which === this.#current) this.#down(which, failure ?? ENDED);
  }

  #down(which: RenewalStream, failure: CallFailure): void {
    const member = which.stream?.member;
    const now = this.#caller.clock.now();
    const livedMs = which.stream === undefined ? 0 : now - which.openedAt;
    this.#current = undefined;
    this.#lastFailure = toEtcdError(failure, { endpoint: member?.name });
    if (member !== undefined) this.#avoid.add(member);
    this.#user.onDown([...which.unanswered.keys()], failure);
    if (!this.#wanted || this.#current !== undefined) return;
    if (this.#failures > 0 || livedMs < SHORT_LIFE_MS) return this.#pauseThenOpen();
    this.#failures += 1;
    void this.#open();
  }

  /** Whether anything waits to be sent. */
  get #wanted(): boolean {
    return this.#user.urgencyMs() < Number.POSITIVE_INFINITY;
  }

  /** Opens the next stream after a pause that leaves the most urgent lease three quarters of its time. */
  #pauseThenOpen(): void {
    const pauseMs = backoffMs(BACKOFF, this.#failures, this.#caller.random);
    this.#failures += 1;
    const atMostMs = Math.max(MIN_PAUSE_MS, this.#user.urgencyMs() / 4);
    this.#pause?.cancel();
    this.#pause = this.#caller.clock.after(Math.min(pauseMs, atMostMs), () => {
      this.#pause = undefined;
      if (this.#wanted) this.connect();
    });
  }
}

const ENDED: CallFailure = {
  grpcCode: GrpcCode.UNAVAILABLE,
  details: 'the server ended the keepalive stream',
  sent: 'maybe',
};
