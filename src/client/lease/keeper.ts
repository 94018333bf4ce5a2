/**
 * Keeps leases alive: all of them over one stream, by one timer.
 *
 * Each lease is renewed when a third of its time to live is over. One that is not answered
 * for another third makes the stream move to another member. One that is not answered at
 * all is declared lost shortly before the server may let it run out (`timing.ts` says how
 * shortly). While something fails, what waits is sent again as soon as there is a stream.
 *
 * A server refuses a renewal by ending the stream, without saying whose it was
 * (`permission denied`, etcd >= 3.5.28). It answers the requests of one stream in order,
 * so the first one without an answer is the suspect: it is tried on a stream of its own,
 * and lost with reason `unauthorized` if that is refused too. Should a server answer out
 * of order, the suspect turns out innocent, and the next refusal names the next one: each
 * takes one lease off the shared stream for a while, so the culprit is found in the end.
 *
 * Obligations:
 * 1. A lease that is lost, stopped or revoked sends nothing more, ever.
 * 2. When no lease is kept alive there is no stream and no timer that holds the process.
 *
 * @module
 */

import { lookUpEtcdError } from '../../protocol/error-table.ts';
import type { LeaseId } from '../../protocol/int64.ts';
import { GrpcCode } from '../../protocol/status.ts';
import type { Timer } from '../../support/clock.ts';
import { detached } from '../../telemetry/api.ts';
import { publish } from '../../telemetry/channels.ts';
import type { Caller } from '../connection/caller.ts';
import { ClosedError, EtcdError, type LeaseLossReason } from '../errors.ts';
import type { CallFailure } from '../transport/transport.ts';
import { HeldLease, type HeldLeaseOwner } from './held-lease.ts';
import { KeepAliveLine, type LineUser, type Renewal } from './line.ts';
import { renewOnce } from './renew-once.ts';
import { Schedule } from './schedule.ts';

/** Renewals that are due this soon go along with one that is due now. */
const BATCH_MS = 25;

/**
 * When the timer is later than this, the event loop was blocked, and answers may lie unread in the socket: the servers
 * are not to blame yet.
 */
const LATE_MS = 20;

/** How long unread answers are waited for then. */
const GRACE_MS = 20;

export class LeaseKeeper {
  readonly #caller: Caller;
  readonly #line: KeepAliveLine;
  readonly #leases = new Map<LeaseId, HeldLease>();
  readonly #waiting = new Set<HeldLease>();
  readonly #schedule = new Schedule<HeldLease>();
  readonly #owner: HeldLeaseOwner;
  /** Leases that are kept alive: all but the stopped ones. */
  #kept = 0;
  #timer: { readonly handle: Timer; readonly at: number; readonly background: boolean } | undefined;
  #closed = false;

  constructor(caller: Caller) {
    this.#caller = caller;
    const user: LineUser = {
      onOpen: () => this.#flush(),
      onAnswer: (renewal, current) => this.#answered(renewal, current),
      onDown: (unanswered, failure) => this.#down(unanswered, failure),
      onClosed: () => this.close(),
      urgencyMs: () => this.#urgencyMs(),
    };
    const line = new KeepAliveLine(caller, user);
    this.#line = line;
    this.#owner = {
      get lastFailure() {
        return line.lastFailure;
      },
      telemetry: caller.telemetry,
      onLost: (lease, reason) => this.#lost(lease, reason),
    };
  }

  /** The lease, if this client has it, kept alive or stopped, and it is not lost. */
  find(id: LeaseId): HeldLease | undefined {
    const lease = this.#leases.get(id);
    return lease?.check() === undefined ? lease : undefined;
  }

  /**
   * Starts to keep a lease alive. `sentAt` is when the request was sent, or earlier, that the server answered with
   * `ttlSeconds`. A lease that is kept alive already stays one; a stopped one goes on.
   *
   * @throws ClosedError
   */
  hold(id: LeaseId, ttlSeconds: number, sentAt: number): HeldLease {
    // The server knows of it: it was granted, or renewed.
    if (this.#closed) throw new ClosedError('the client', { applied: 'maybe' });
    const known = this.find(id);
    if (known !== undefined) {
      known.renewed(sentAt, ttlSeconds);
      this.resume(known);
      return known;
    }
    const lease = new HeldLease(id, ttlSeconds, sentAt, this.#caller.clock, this.#owner);
    this.#leases.set(id, lease);
    this.#kept += 1;
    this.#rest(lease);
    this.#arm();
    return lease;
  }

  /** Takes the answer to a renewal made elsewhere into account. */
  credit(lease: HeldLease, ttlSeconds: number, sentAt: number): void {
    if (!lease.renewed(sentAt, ttlSeconds)) return;
    this.#reschedule(lease);
    this.#arm();
  }

  /** Goes on with a stopped lease. */
  resume(lease: HeldLease): void {
    if (lease.phase === 'stopped') {
      this.#kept += 1;
      this.#rest(lease);
    } else {
      this.#reschedule(lease);
    }
    this.#arm();
  }

  /** Sends no more renewals for a lease; it stays ours until its time is over. */
  stop(lease: HeldLease): void {
    if (lease.phase === 'lost' || lease.phase === 'stopped') return;
    this.#waiting.delete(lease);
    lease.phase = 'stopped';
    this.#reschedule(lease);
    this.#letGo();
  }

  /** Gives a lease up, if this client has it. */
  lose(id: LeaseId, reason: LeaseLossReason): void {
    this.#leases.get(id)?.lose(reason);
  }

  /** Gives everything up: every lease is lost with reason `closed`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const lease of [...this.#leases.values()]) lease.lose('closed');
    this.#line.close();
  }

  #rest(lease: HeldLease): void {
    lease.phase = 'resting';
    this.#reschedule(lease);
  }

  /** Puts a lease where its phase says: the next moment at which something has to be done about it. */
  #reschedule(lease: HeldLease): void {
    if (lease.phase === 'lost') return;
    let at = lease.cutoffAt;
    if (lease.phase === 'resting') at = Math.min(at, lease.dueAt);
    if (lease.phase === 'sent') at = Math.min(at, lease.sentAt + lease.intervalMs);
    this.#schedule.set(lease, at);
  }

  #arm(): void {
    const next = this.#schedule.first;
    const background = this.#kept === 0;
    const timer = this.#timer;
    if (timer !== undefined) {
      // A timer that fires too early only looks around and sets the next.
      if (next !== undefined && timer.at <= next.at && timer.background === background) return;
      timer.handle.cancel();
      this.#timer = undefined;
    }
    if (next === undefined) return;
    const { clock } = this.#caller;
    // Renewals, and the streams they open, do not belong to the trace in which somebody took up a lease.
    const handle = detached(() => clock.after(next.at - clock.now(), () => this.#tick(), { background }));
    this.#timer = { handle, at: next.at, background };
  }

  #tick(): void {
    const now = this.#caller.clock.now();
    const late = now - (this.#timer?.at ?? now) > LATE_MS;
    this.#timer = undefined;
    for (;;) {
      const lease = this.#schedule.first;
      if (lease === undefined || lease.at > now + (lease.phase === 'resting' ? BATCH_MS : 0)) break;
      if (lease.check() !== undefined) continue; // it has left the schedule
      if (lease.phase === 'resting') this.#wait(lease);
      else if (lease.phase !== 'sent') this.#reschedule(lease);
      else if (late) this.#schedule.set(lease, Math.min(lease.cutoffAt, now + GRACE_MS));
      else this.#overdue(lease);
    }
    this.#flush();
  }

  /** No answer in time: the line moves, and all that was sent on it waits again. */
  #overdue(lease: HeldLease): void {
    this.#line.replace();
    if (lease.phase === 'sent') this.#wait(lease);
  }

  #wait(lease: HeldLease): void {
    lease.phase = 'waiting';
    this.#waiting.add(lease);
    this.#reschedule(lease);
  }

  /** Sends what waits, or sees to it that it can be sent. */
  #flush(): void {
    if (this.#waiting.size > 0 && !this.#line.open) this.#line.connect();
    if (this.#line.open) {
      for (const lease of this.#waiting) {
        if (lease.check() !== undefined) continue;
        lease.sentAt = this.#line.request(lease.id);
        lease.phase = 'sent';
        this.#reschedule(lease);
      }
      this.#waiting.clear();
    }
    this.#arm();
  }

  #answered({ id, ttlSeconds, sentAt }: Renewal, current: boolean): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    if (!(ttlSeconds > 0)) return lease.lose('expired');
    const now = this.#caller.clock.now();
    lease.trace.renewed(lease.cutoffAt - now, now - sentAt);
    if (!lease.renewed(sentAt, ttlSeconds)) return;
    if (current && lease.phase === 'sent') this.#rest(lease);
    else this.#reschedule(lease);
    this.#arm();
  }

  #down(unanswered: readonly LeaseId[], failure: CallFailure): void {
    let refused = isRefusal(failure);
    for (const id of unanswered) {
      const lease = this.#leases.get(id);
      if (lease?.phase !== 'sent') continue;
      if (refused) {
        refused = false;
        void this.#renewAlone(lease);
      } else {
        this.#wait(lease);
      }
    }
    this.#arm();
  }

  /** Finds out whether this lease is the one that the server refuses to renew. Never rejects. */
  async #renewAlone(lease: HeldLease): Promise<void> {
    lease.phase = 'alone';
    this.#reschedule(lease);
    const timeoutMs = Math.max(1, lease.cutoffAt - this.#caller.clock.now());
    try {
      const { sentAt, ttlSeconds } = await renewOnce(this.#caller, lease.id, { signal: lease.signal, timeoutMs });
      lease.renewed(sentAt, ttlSeconds);
    } catch (error) {
      const code = error instanceof EtcdError ? error.code : undefined;
      if (code === 'permission-denied') lease.lose('unauthorized', { cause: error });
      if (code === 'lease-not-found') lease.lose('expired');
    }
    // Stopped or lost meanwhile, it is none of our business any more.
    if (lease.phase !== 'alone') return;
    this.#rest(lease);
    this.#arm();
  }

  #lost(lease: HeldLease, reason: LeaseLossReason): void {
    this.#leases.delete(lease.id);
    this.#waiting.delete(lease);
    this.#schedule.remove(lease);
    lease.trace.lost(lease.id, reason);
    publish('etcdkit:lease:lost', () => ({ leaseId: lease.id, reason }));
    if (lease.phase === 'stopped') this.#arm();
    else this.#letGo();
  }

  #letGo(): void {
    this.#kept -= 1;
    if (this.#kept === 0) this.#line.close();
    this.#arm();
  }

  #urgencyMs(): number {
    const now = this.#caller.clock.now();
    let leftMs = Number.POSITIVE_INFINITY;
    for (const lease of this.#waiting) leftMs = Math.min(leftMs, Math.max(0, lease.cutoffAt - now));
    return leftMs;
  }
}

function isRefusal({ details, grpcCode }: CallFailure): boolean {
  const known = lookUpEtcdError(details)?.code;
  return known === 'PermissionDenied' || (known === undefined && grpcCode === GrpcCode.PERMISSION_DENIED);
}
