/**
 * Where a work queue keeps its jobs, and the moves between the places.
 *
 * A job is its payload, `jobs/<id>`, written once, and a small record (attempts and the
 * like) that is in exactly one of four places, which says what state the job is in:
 *
 *   ready/<id>            to be had, oldest first
 *   delayed/<due>-<id>    to be had later
 *   inflight/state/<id>   claimed by a worker
 *   dead/<id>             given up
 *
 * Besides, while it is claimed, `inflight/claims/<lease>/<id>` hangs on the worker's session.
 * A record without that key is a job whose worker is gone; nothing else makes it one. What
 * a deleted lease can take away is a claim, never a job.
 *
 * Every move is one transaction: it deletes the record in one place, on condition that it is
 * as it was seen or that the claim is still the one it was, and writes it in another. So a
 * job is neither lost between two places nor ever in both.
 *
 * @module
 */

import { type Codec, formatId, type Keyspace, type KeyValue, type Op } from '../../../src/index.ts';
import { recipePrefix } from '../../names.ts';
import { Receipts } from '../../receipts.ts';
import type { Session } from '../../session.ts';
import { Stamps, stampOf, stampText, type WallClock } from '../stamps.ts';

/** What is known of a job besides its payload. */
export interface JobRecord {
  /** How often it was claimed. */
  readonly attempts: number;
  /** When it was put, by its producer's wall clock, in milliseconds since the Unix epoch. */
  readonly enqueuedAt: number;
  /** The folder key that keeps others with the same dedupe key away while this job is here. */
  readonly dedupe?: string | undefined;
  /** While it is claimed: the claim's key. */
  readonly claim?: string | undefined;
  /** Why it failed last. */
  readonly reason?: string | undefined;
  /** When it was given up, by the clock of who gave it up. */
  readonly diedAt?: number | undefined;
}

/** The rules of a queue, which everybody who uses it should agree on. */
export interface WorkRules {
  /** After how many attempts a job is given up. */
  readonly maxAttempts: number;
  /** How long a job waits after a failed attempt, in milliseconds. */
  readonly retryDelayMs: (attempts: number) => number;
  /** How long a claim lasts without being extended, in milliseconds; undefined: as long as the session. */
  readonly visibilityMs: number | undefined;
  /** By how much the wall clocks of two hosts may differ, in milliseconds. */
  readonly maxClockSkewMs: number;
  readonly wallClock: WallClock;
}

const DELAYED = /^(\d{16})-(\d{16}-[0-9a-f]{12})$/;

/** The keys of one work queue. All keys are below `<name>/work/`. */
export class Board<V, In> {
  readonly session: Session;
  readonly name: string;
  readonly prefix: string;
  readonly rules: WorkRules;
  /** Everything but the payloads; keys are without the prefix. */
  readonly keys: Keyspace;
  /** The payloads, by job. */
  readonly jobs: Keyspace<V, In>;
  readonly receipts: Receipts;
  readonly stamps: Stamps;

  constructor(session: Session, name: string, codec: Codec<V, In>, rules: WorkRules) {
    this.session = session;
    this.name = name;
    this.prefix = `${recipePrefix(name)}work/`;
    this.rules = rules;
    this.keys = session.etcd.keyspace(this.prefix);
    this.jobs = session.etcd.keyspace(`${this.prefix}jobs/`, codec);
    this.receipts = new Receipts(session, `${this.prefix}receipts/`);
    this.stamps = new Stamps(rules.wallClock);
  }

  /** Where those stand who wait for a job. */
  get waiters(): string {
    return `${this.prefix}waiters/`;
  }

  /** Where those stand of whom the first looks after abandoned and delayed jobs. */
  get keepers(): string {
    return `${this.prefix}keepers/`;
  }

  /** Below which this session's claims are. */
  get ownClaims(): string {
    return `${CLAIMS}${formatId(this.session.id)}/`;
  }

  /** Puts a job's record where it can be had: at once, or at a moment of the wall clock. */
  offer(id: string, record: JobRecord, atMs?: number): Op<unknown> {
    const key = atMs === undefined ? `${READY}${id}` : `${DELAYED_AT}${stampText(atMs * 1_000)}-${id}`;
    return this.keys.op.put(key, recordText(record));
  }

  /** Puts a job's record where jobs go that nobody tries again. */
  bury(id: string, record: JobRecord, reason: string): Op<unknown> {
    const died = { ...record, reason, diedAt: this.rules.wallClock() };
    return this.keys.op.put(`${DEAD}${id}`, recordText(died));
  }

  /** What becomes of a job whose attempt has failed. */
  afterFailure(id: string, record: JobRecord, reason: string, delayMs: number): Op<unknown> {
    if (record.attempts >= this.rules.maxAttempts) return this.bury(id, record, reason);
    return this.offer(id, { ...record, reason }, delayMs > 0 ? this.rules.wallClock() + delayMs : undefined);
  }

  /** Deletes what there is of a job but its record and claim. */
  erase(id: string, { dedupe }: JobRecord): Op<unknown>[] {
    const { keys, jobs } = this;
    if (dedupe === undefined) return [jobs.op.delete(id)];
    // It may be another job's by now, if somebody has deleted it in between.
    const ours = { if: [keys.key(dedupe).value.equals(id)], then: [keys.op.delete(dedupe)] };
    return [jobs.op.delete(id), keys.op.txn(ours)];
  }
}

export const READY = 'ready/';
export const DELAYED_AT = 'delayed/';
export const INFLIGHT = 'inflight/';
export const STATE = 'inflight/state/';
export const CLAIMS = 'inflight/claims/';
export const DEAD = 'dead/';
export const DEDUPE = 'dedupe/';

/** The job that a key below `folder` is about; undefined for a key that has strayed there. */
export function jobIdOf(key: string, folder: string): string | undefined {
  const id = key.slice(folder.length);
  return key.startsWith(folder) && stampOf(id) !== undefined ? id : undefined;
}

/** The job that a delayed key is about, and when it is due in milliseconds since the Unix epoch. */
export function delayedOf(key: string): { readonly id: string; readonly dueMs: number } | undefined {
  const [, due, id] = (key.startsWith(DELAYED_AT) && DELAYED.exec(key.slice(DELAYED_AT.length))) || [];
  return due === undefined || id === undefined ? undefined : { id, dueMs: Math.ceil(Number(due) / 1_000) };
}

/** The job that a claim's key is about. */
export function claimedOf(key: string): string | undefined {
  const id = key.slice(key.lastIndexOf('/') + 1);
  return key.startsWith(CLAIMS) && stampOf(id) !== undefined ? id : undefined;
}

/** A record as text. */
export function recordText(record: JobRecord): string {
  return JSON.stringify(record);
}

/** Reads a record; one that somebody has spoiled counts as one of a job that was never tried. */
export function readRecord(kv: KeyValue): JobRecord {
  try {
    const { attempts, enqueuedAt, dedupe, claim, reason, diedAt } = JSON.parse(kv.value) as Partial<JobRecord>;
    return { attempts: numberOr(attempts, 0), enqueuedAt: numberOr(enqueuedAt, 0), dedupe, claim, reason, diedAt };
  } catch {
    return { attempts: 0, enqueuedAt: 0 };
  }
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : otherwise;
}
