/**
 * Whether leases lived as long as they were promised, no longer than they may, and took their keys with them.
 *
 * A lease's time is known to the leader alone, so what clients saw bounds it from both sides:
 *
 * - Not early: a renewal that was answered had been made after it was sent. So the lease lives at least its TTL from
 *   the latest *sending* of an answered grant or keepalive, unless somebody asked for its end.
 * - Not late: the last renewal was made before its *answer*, or, if it has none, while it may have been on its way. From
 *   then on it has its TTL; a new leader gives it the TTL, and an election timeout, afresh. While nobody can commit
 *   nothing ends; each time that a leader can is a reign, and the lease has to be gone in the first that was long
 *   enough, give or take the time in which the end of a lease is noticed and committed, and the rate at which many are.
 * - Whole: what a lease's end takes away is all keys that hang on it, in one revision, in their order, and nothing else.
 * - For good: once a lease is gone, no key hangs on it, none is put with it, and nothing renews it.
 *
 * Times are in ms of one clock that never goes back. Each id is granted once.
 *
 * Source: etcd's lease API (`Lease` in its API reference); its servers as observed (`reference/server.md` §1.7).
 */
import { describeEvents } from './describe.ts';
import type { Finding, LogEntry } from './history.ts';
import { evaluate } from './kv-model.ts';
import { type End, LeaseLife } from './lease-life.ts';
import { EMPTY_START, type Start, Versions } from './versions.ts';

/** A request about a lease. Without an answer its outcome is unknown. */
export interface LeaseCall {
  readonly sentAtMs: number;
  readonly answeredAtMs?: number | undefined;
}

export interface LeaseKeepalive extends LeaseCall {
  /** As it was answered; 0: there is no such lease. */
  readonly ttlSeconds?: number | undefined;
}

export interface LeaseQuestion extends LeaseCall {
  /** What is left, as it was answered. */
  readonly remainingSeconds: number;
  /** 0: there is no such lease. */
  readonly grantedSeconds: number;
}

/** All that clients did with one lease. Requests that failed for certain are left out. */
export interface LeaseHistory {
  readonly id: bigint;
  /** As it was granted. */
  readonly ttlSeconds: number;
  readonly grant: LeaseCall;
  readonly keepalives: readonly LeaseKeepalive[];
  readonly revokes: readonly LeaseCall[];
  /** Answers to TimeToLive. */
  readonly questions: readonly LeaseQuestion[];
}

/** A time in which one leader could commit all along. */
export interface Reign {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface LeaseLimits {
  /** What a new leader gives beside the TTL. */
  readonly electionTimeoutMs: number;
  /** From a lease's end to the time at which it must be seen: the pause between two looks, and what a commit takes. */
  readonly slackMs: number;
  /** For how long a request without an answer may be on its way. */
  readonly inFlightMs: number;
  /** How late a revision may be seen. Default: 0, as where the members themselves tell. */
  readonly sightMs?: number | undefined;
  /** How many leases end in a second, at least, when all end together. Default: 750, as with etcd. */
  readonly endsPerSecond?: number | undefined;
}

export interface LeaseTruth {
  /** All revisions from the start's next one to the last there ever was. It is sound (`checkLog`). */
  readonly log: readonly LogEntry[];
  readonly start?: Start | undefined;
  /** When a revision was first seen. For the sharpest verdict: when the first member applied it. */
  readonly seenAtMs: (revision: number) => number;
  /**
   * Revisions of clients' puts, deletes and transactions. All others are taken for ends of leases. `checkHistory` tells
   * them: `clientRevisions`.
   */
  readonly clientRevisions: ReadonlySet<number>;
  /** In their order, without overlap. */
  readonly reigns: readonly Reign[];
  /** Until when everything was seen. */
  readonly endMs: number;
  readonly limits: LeaseLimits;
}

/** A broken rule. */
export interface LeaseFinding extends Finding {
  /** Undefined if none is known. */
  readonly lease: bigint | undefined;
  readonly revision?: number | undefined;
}

/** Does what the head of this file says. @throws RangeError if an id was granted twice. */
export function checkLeases(truth: LeaseTruth, leases: readonly LeaseHistory[]): LeaseFinding[] {
  if (new Set(leases.map(({ id }) => id)).size < leases.length) throw new RangeError('a lease was granted twice');
  const versions = new Versions(truth.log, truth.start ?? EMPTY_START);
  const { ends, findings } = findEnds(truth, versions);
  const attached = attachments(truth, versions);
  const crowdMs = (leases.length * 1_000) / (truth.limits.endsPerSecond ?? 750);
  const lives = leases.map(
    (lease) => new LeaseLife(lease, truth, crowdMs, ends.get(lease.id), attached.get(lease.id) ?? []),
  );
  return [...findings, ...lives.flatMap((life) => life.check())];
}

/** A key that hung on a lease from one revision up to, not including, another. */
export interface Attachment {
  readonly key: string;
  readonly from: number;
  /** Infinity: for ever. */
  to: number;
}

/** The revisions in which leases ended, and those that are neither that nor a client's. */
function findEnds({ log, clientRevisions, seenAtMs }: LeaseTruth, versions: Versions) {
  const ends = new Map<bigint, End>();
  const findings: LeaseFinding[] = [];
  for (const { revision, events } of log) {
    if (clientRevisions.has(revision)) continue;
    const before = versions.at(revision - 1);
    const lease = before?.get(events[0]?.kv.key ?? '')?.lease;
    const what = `revision ${revision} (${describeEvents(events)}), which no client made,`;
    if (before === undefined || !lease) {
      findings.push({ rule: 'not-an-end', lease: undefined, revision, message: `${what} is not the end of a lease` });
      continue;
    }
    const whole = evaluate(before, { kind: 'revoke', lease }).events;
    const keys = (all: LogEntry['events']): string => all.map(({ type, kv }) => `${type} ${kv.key}`).join();
    if (keys(whole) !== keys(events)) {
      const message = `${what} is not the whole end of lease ${lease}: that is ${describeEvents(whole)}`;
      findings.push({ rule: 'partial-end', lease, revision, message });
    }
    if (!ends.has(lease)) ends.set(lease, { revision, seenAtMs: seenAtMs(revision) });
  }
  return { ends, findings };
}

/** By lease, what hung on it. */
function attachments({ log, start = EMPTY_START }: LeaseTruth, versions: Versions): Map<bigint, Attachment[]> {
  const all = new Map<bigint, Attachment[]>();
  const current = new Map<string, Attachment>();
  const attach = (key: string, lease: bigint, from: number): void => {
    const one = { key, from, to: Infinity };
    const others = all.get(lease);
    if (others === undefined) all.set(lease, [one]);
    else others.push(one);
    current.set(key, one);
  };
  for (const { key, lease } of versions.at(start.revision)?.range({ key: '', end: '\0' }) ?? [])
    if (lease !== 0n) attach(key, lease, start.revision);
  for (const { revision, events } of log)
    for (const { type, kv } of events) {
      const before = current.get(kv.key);
      if (before !== undefined) before.to = revision;
      current.delete(kv.key);
      if (type === 'put' && kv.lease !== 0n) attach(kv.key, kv.lease, revision);
    }
  return all;
}
