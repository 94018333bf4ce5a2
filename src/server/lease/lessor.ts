/**
 * The leases, the keys that hang on them, and which of them have run out.
 *
 * Two halves that must not mix. What is *granted*, attached and checkpointed comes from the log and is the same on all
 * members. *When* a lease ends is known to the primary alone, the lessor of the leader: no other lets a lease end,
 * renews one or tells its remaining time. The primary ends nothing by itself either; {@link Lessor.expired} says what
 * ran out, the caller proposes its end, and only {@link Lessor.revoke}, from the log again, takes it away.
 *
 * Obligations of the caller: times are in ms of one monotonic clock that never goes back; a put names a lease that is
 * there; the keys that a revoke returns are deleted at once, in one transaction; a checkpoint that a renewal returns is
 * applied before the client is told of the renewal.
 *
 * A lease never ends early: its time counts from grant or renewal, and a new primary gives each lease its whole time
 * again (what was left of it at the last checkpoint, if there was one), and more while there is a crowd.
 *
 * Source: etcd's lease API (`Lease` in its API reference) and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import type { LeaseCheckpoint } from '../../protocol/generated/etcdserverpb.ts';
import type { Lease as LeaseRow } from '../../protocol/generated/leasepb.ts';
import type { KeyString } from '../mvcc/record.ts';
import type { LeaseBook } from '../mvcc/store.ts';
import { Deadline, DeadlineHeap } from './deadlines.ts';
import { byRowKey, fromRow, type LeaseTerms, toRow } from './rows.ts';
import { spread } from './spread.ts';

/** The longest TTL that can be granted, in seconds: 285 years. */
export const MAX_TTL_SECONDS = 9_000_000_000;

/** How many ended leases one look gives at most: with two looks a second, etcd's 1000 ends a second. */
export const EXPIRED_PER_SCAN = 500;

/** How many checkpoints fit into one entry of the log. */
export const CHECKPOINTS_PER_ENTRY = 1_000;

/** From this many leases on a new primary spreads out their ends. */
const CROWD = 1_000;

const SECOND_MS = 1_000;

/**
 * Why a request about a lease can't be done.
 *
 * - `not-primary`: another member knows.
 * - `expired`: it has run out, and its end is on the way: wait for that, or for another primary, and ask again.
 */
export type LeaseError = 'lease-not-found' | 'lease-exists' | 'ttl-too-large' | 'not-primary' | 'expired';

export interface LessorOptions {
  /** The least TTL, in seconds: what is granted with less gets this. */
  readonly minTtlSeconds: number;
  /** When an ended lease that is still there is told of again, in ms. Default: 7000, as long as a proposal may take. */
  readonly retryMs?: number | undefined;
  /**
   * How often the primary tells the others what is left of a lease, in ms; leases that end sooner are left out.
   * Default: never, as with etcd.
   */
  readonly checkpointMs?: number | undefined;
}

/** A lease that was granted. */
export interface Granted {
  readonly id: bigint;
  /** The seconds it has: those asked for, or the minimum. */
  readonly ttlSeconds: number;
}

/** A lease that was renewed. */
export interface Renewed {
  /** Its whole time, in seconds. */
  readonly ttlSeconds: number;
  /** Takes a checkpoint back that would end the lease early under the next primary. */
  readonly checkpoint: LeaseCheckpoint | undefined;
}

/** What is known of a lease. */
export interface TimeToLive {
  /** Whole seconds left; 0 in the last one, -1 once it has run out for a second and is still there. */
  readonly remainingSeconds: number;
  readonly grantedSeconds: number;
}

class Lease implements LeaseTerms {
  readonly id: bigint;
  readonly ttlSeconds: number;
  remainingSeconds: number;
  /** Whether a checkpoint was given out for the log since the last renewal. */
  proposed = false;
  /** Whether a checkpoint of 0 was, which has not come out of the log yet and may be lost. */
  takingBack = false;
  /** When it ends; infinite where this is not the primary. */
  endsAt: number = Number.POSITIVE_INFINITY;
  readonly keys = new Set<KeyString>();
  /** When to tell that it has ended, for the first time or again. */
  readonly expiry: Deadline<Lease>;
  readonly checkpoint: Deadline<Lease>;

  constructor({ id, ttlSeconds, remainingSeconds }: LeaseTerms) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.remainingSeconds = remainingSeconds;
    this.expiry = new Deadline(this, id);
    this.checkpoint = new Deadline(this, id);
  }
}

export class Lessor implements LeaseBook {
  /** How often something was done since the start, for metrics. */
  readonly counts: { granted: number; revoked: number; renewed: number } = { granted: 0, revoked: 0, renewed: 0 };
  readonly #minTtlSeconds: number;
  readonly #retryMs: number;
  readonly #checkpointMs: number;
  #leases = new Map<bigint, Lease>();
  readonly #expiries = new DeadlineHeap<Lease>();
  readonly #checkpoints = new DeadlineHeap<Lease>();
  #primary = false;

  constructor({ minTtlSeconds, retryMs = 7_000, checkpointMs = Number.POSITIVE_INFINITY }: LessorOptions) {
    this.#minTtlSeconds = minTtlSeconds;
    this.#retryMs = retryMs;
    this.#checkpointMs = checkpointMs;
  }

  /** Whether this is the lessor that lets leases end. */
  get isPrimary(): boolean {
    return this.#primary;
  }

  /** How many leases there are. */
  get size(): number {
    return this.#leases.size;
  }

  /** Whether a lease is there. */
  has(id: bigint): boolean {
    return this.#leases.has(id);
  }

  /**
   * Makes a lease.
   *
   * @param id Any but 0, negative ones too: whoever proposes it has chosen.
   * @param ttlSeconds What was asked for: anything.
   */
  grant(id: bigint, ttlSeconds: bigint, now: number): Granted | LeaseError {
    if (id === 0n) return 'lease-not-found';
    if (ttlSeconds > BigInt(MAX_TTL_SECONDS)) return 'ttl-too-large';
    if (this.#leases.has(id)) return 'lease-exists';
    const granted = Math.max(Number(ttlSeconds), this.#minTtlSeconds);
    const lease = new Lease({ id, ttlSeconds: granted, remainingSeconds: 0 });
    this.#leases.set(id, lease);
    this.counts.granted += 1;
    if (this.#primary) this.#endAt(lease, now + granted * SECOND_MS, now);
    return { id, ttlSeconds: granted };
  }

  /** Ends a lease. @returns The keys that hung on it, in order: to be deleted now. */
  revoke(id: bigint): readonly KeyString[] | LeaseError {
    const lease = this.#leases.get(id);
    if (!lease) return 'lease-not-found';
    this.#leases.delete(id);
    this.counts.revoked += 1;
    this.#expiries.delete(lease.expiry);
    this.#checkpoints.delete(lease.checkpoint);
    return [...lease.keys].sort();
  }

  /** Hangs a key on a lease. One that is gone is left alone: as with etcd, an old key of it then stays for good. */
  attach(id: bigint, key: KeyString): void {
    this.#leases.get(id)?.keys.add(key);
  }

  detach(id: bigint, key: KeyString): void {
    this.#leases.get(id)?.keys.delete(key);
  }

  /** The keys that hang on a lease, in no particular order; none if there is no such lease. */
  keysOf(id: bigint): Iterable<KeyString> {
    return this.#leases.get(id)?.keys ?? [];
  }

  /** Gives a lease its whole time again. */
  renew(id: bigint, now: number): Renewed | LeaseError {
    if (!this.#primary) return 'not-primary';
    const lease = this.#leases.get(id);
    if (!lease) return 'lease-not-found';
    // Its end may be in the log already. Who is told that it lives must be able to rely on that.
    if (lease.endsAt <= now) return 'expired';
    this.counts.renewed += 1;
    this.#endAt(lease, now + lease.ttlSeconds * SECOND_MS, now);
    // A checkpoint that is still on its way counts too: once applied, it would say less than what is left now.
    lease.takingBack ||= lease.proposed || lease.remainingSeconds > 0;
    lease.proposed = false;
    return {
      ttlSeconds: lease.ttlSeconds,
      checkpoint: lease.takingBack ? { ID: id, remainingTTL: 0n } : undefined,
    };
  }

  timeToLive(id: bigint, now: number): TimeToLive | LeaseError {
    if (!this.#primary) return 'not-primary';
    const lease = this.#leases.get(id);
    if (!lease) return 'lease-not-found';
    const left = Math.max(Math.trunc((lease.endsAt - now) / SECOND_MS), -1);
    // Not -0, which a part of a second after the end would be.
    return { remainingSeconds: left === 0 ? 0 : left, grantedSeconds: lease.ttlSeconds };
  }

  /** The ids of all leases: of the primary, by the time they end; of the others, in the order of their rows. */
  list(): readonly bigint[] {
    const leases = [...this.#leases.values()];
    return leases.sort(this.#primary ? byEnd : byRowKey).map(({ id }) => id);
  }

  /**
   * Leases that have run out, the longest gone first. Each is told of again after a while if it is still there then.
   * None where this is not the primary.
   */
  expired(now: number, limit: number = EXPIRED_PER_SCAN): readonly bigint[] {
    const found: bigint[] = [];
    while (found.length < limit) {
      const next = this.#expiries.first;
      if (!next || next.at > now) break;
      found.push(next.owner.id);
      this.#expiries.set(next, now + this.#retryMs);
    }
    return found;
  }

  /**
   * Makes this the primary, from now on.
   *
   * @param extendMs Added to the time of each lease: clients could reach nobody during the election.
   */
  promote(now: number, extendMs: number): void {
    this.demote();
    this.#primary = true;
    const leases = [...this.#leases.values()];
    for (const lease of leases) {
      lease.proposed = false;
      lease.takingBack = false;
      lease.endsAt = now + extendMs + (lease.remainingSeconds || lease.ttlSeconds) * SECOND_MS;
    }
    leases.sort(byEnd);
    const ends = leases.map(({ endsAt }) => endsAt);
    if (leases.length >= CROWD) spread(ends);
    for (const [i, lease] of leases.entries()) this.#endAt(lease, ends[i] as number, now);
  }

  /** Another one is the primary: here no lease ends from now on. */
  demote(): void {
    this.#primary = false;
    this.#expiries.clear();
    this.#checkpoints.clear();
    for (const lease of this.#leases.values()) lease.endsAt = Number.POSITIVE_INFINITY;
  }

  /** What is left of leases that have had no checkpoint for a while: to be proposed in one entry. */
  dueCheckpoints(now: number, limit: number = CHECKPOINTS_PER_ENTRY): readonly LeaseCheckpoint[] {
    const found: LeaseCheckpoint[] = [];
    while (found.length < limit) {
      const next = this.#checkpoints.first;
      if (!next || next.at > now) break;
      const lease = next.owner;
      this.#planCheckpoint(lease, now);
      const left = Math.ceil((lease.endsAt - now) / SECOND_MS);
      // One that a promotion has put off has its whole time left.
      if (left <= 0 || left >= lease.ttlSeconds) continue;
      lease.proposed = true;
      found.push({ ID: lease.id, remainingTTL: BigInt(left) });
    }
    return found;
  }

  /** Applies a checkpoint: the next primary counts from it. 0 takes it back. A lease that is gone is left alone. */
  checkpoint({ ID, remainingTTL }: LeaseCheckpoint): void {
    const lease = this.#leases.get(ID);
    if (!lease) return;
    lease.remainingSeconds = Math.max(Number(remainingTTL), 0);
    if (lease.remainingSeconds === 0) lease.takingBack = false;
  }

  /** All leases as rows, in the order of etcd's bucket. */
  rows(): readonly LeaseRow[] {
    return [...this.#leases.values()].sort(byRowKey).map(toRow);
  }

  /**
   * Becomes what a snapshot says; not the primary.
   *
   * @param alive The newest record of each key that is there: what hangs on which lease is kept with the keys alone.
   */
  restore(rows: Iterable<LeaseRow>, alive: Iterable<{ readonly key: KeyString; readonly lease: bigint }>): void {
    this.demote();
    this.#leases = new Map();
    for (const row of rows) this.#leases.set(row.ID, new Lease(fromRow(row, this.#minTtlSeconds)));
    for (const { key, lease } of alive) this.attach(lease, key);
  }

  #endAt(lease: Lease, endsAt: number, now: number): void {
    lease.endsAt = endsAt;
    this.#expiries.set(lease.expiry, endsAt);
    this.#planCheckpoint(lease, now);
  }

  #planCheckpoint(lease: Lease, now: number): void {
    if (lease.endsAt - now > this.#checkpointMs) this.#checkpoints.set(lease.checkpoint, now + this.#checkpointMs);
    else this.#checkpoints.delete(lease.checkpoint);
  }
}

function byEnd(a: Lease, b: Lease): number {
  return a.endsAt - b.endsAt || byRowKey(a, b);
}
