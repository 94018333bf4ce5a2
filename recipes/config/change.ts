/**
 * Changes of a configuration: one transaction each, whose conditions are what was seen before.
 *
 * The conditions are the revisions of all three keys, the value, what is said about it and the candidate. So a change is
 * made on what its author has looked at or not at all; and the same transaction, sent twice, is applied at most once, since
 * the first time changes a revision.
 *
 * When an answer is lost the same transaction is sent again. If it is refused then, either the first one was applied or
 * somebody else was quicker; which of them is told by the nonce in what is said about the value. That may have been
 * replaced since: then the chain of what replaced what tells, and where that is broken, an UnknownOutcomeError says that
 * nobody knows. A store that is full answers, and may have made the change nevertheless: then a look tells.
 *
 * @module
 */

import {
  type Compare,
  type Etcd,
  EtcdError,
  InvalidArgumentError,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
} from '../../src/index.ts';
import { isFull, mayPass } from '../contender.ts';
import { UnknownOutcomeError } from '../errors.ts';
import { elapsed } from '../patience.ts';
import { throwIfFired } from '../waiting.ts';
import { ConfigConflictError } from './errors.ts';
import { type ConfigKeys, lastAbout, stagedOf, versionOf } from './keys.ts';

/** How to send a change. */
export interface ChangeOptions {
  /** Ends the call when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** How long the call may take in all, in milliseconds. Default 10000. */
  readonly timeoutMs?: number | undefined;
}

/** What there is of a configuration, at one revision. */
export interface Seen {
  readonly current: KeyValue<string> | undefined;
  readonly about: KeyValue<string> | undefined;
  readonly staged: KeyValue<string> | undefined;
  /** The versions that are kept, without their values; in the order of their revisions. */
  readonly versions: readonly KeyValue<string>[];
  readonly revision: Revision;
}

type LookOps = readonly [
  Op<KeyValue<string> | undefined>,
  Op<KeyValue<string> | undefined>,
  Op<KeyValue<string> | undefined>,
  Op<RangeResult<string>>,
];

function lookOps(etcd: Etcd, keys: ConfigKeys): LookOps {
  const { op } = etcd;
  return [
    op.get(keys.key),
    op.get(keys.about),
    op.get(keys.staged),
    op.range({ prefix: keys.versions }, { keysOnly: true }),
  ];
}

/** Reads what there is: one round trip. */
export async function look(etcd: Etcd, keys: ConfigKeys, options: ChangeOptions = {}): Promise<Seen> {
  const done = await etcd.txn({ then: lookOps(etcd, keys) }, options);
  if (!done.succeeded) throw new TypeError('without conditions there is no other branch');
  const [current, about, staged, { kvs: versions }] = done.results;
  return { current, about, staged, versions, revision: done.revision };
}

/** The revision of the value; 0 when there is none. */
export function revisionIn({ current }: Seen): Revision {
  return current?.modRevision ?? (0n as Revision);
}

/** One change. */
export interface Change {
  /** For messages: `publishing config/limits`. */
  readonly what: string;
  /** What was seen: it is made on nothing else. */
  readonly on: Seen;
  readonly then: readonly Op<unknown>[];
  /** What tells it from every other: in what is said about the value, or in the candidate. */
  readonly nonce: string;
  /** Whether it writes the value, and so what is said about it. */
  readonly writesValue: boolean;
  /** Whether it is as good as made when this is there: for a change that leaves nothing to tell it by. */
  readonly isMade?: ((seen: Seen) => boolean) | undefined;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const RETRY_MS = { first: 20, max: 2_000 };

/**
 * Makes a change. @returns the revision that made it.
 *
 * @throws ConfigConflictError somebody else was quicker: it is not done, nor will be. UnknownOutcomeError nobody knows.
 * EtcdError with `applied: 'no'`.
 */
export async function makeChange(
  etcd: Etcd,
  keys: ConfigKeys,
  change: Change,
  { signal, timeoutMs = DEFAULT_TIMEOUT_MS }: ChangeOptions,
): Promise<Revision> {
  if (!(timeoutMs > 0)) throw new InvalidArgumentError('timeoutMs is not a positive number');
  const { clock } = etcd;
  const deadlineAt = clock.now() + timeoutMs;
  const conditions = unchanged(etcd, keys, change.on);
  let unsure = false;
  for (let tries = 0; ; tries++) {
    try {
      throwIfFired(signal);
      const leftMs = Math.max(1, deadlineAt - clock.now());
      const spec = { if: conditions, then: change.then, else: lookOps(etcd, keys) };
      const done = await etcd.txn(spec, { signal, timeoutMs: Math.min(leftMs, TRY_MS) });
      if (done.succeeded) return done.revision;
      const [current, about, staged, { kvs: versions }] = done.results;
      const seen: Seen = { current, about, staged, versions, revision: done.revision };
      const mine = unsure ? await whatBecame(etcd, keys, change, seen, signal) : undefined;
      if (mine !== undefined) return mine;
      throw conflict(keys, change.on, seen);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      if (isFull(error)) return settleFull(etcd, keys, change, { error, unsure, signal });
      unsure ||= error.applied === 'maybe';
      const over = signal?.aborted || clock.now() >= deadlineAt;
      if (over || !mayPass(error)) throw unsure ? new UnknownOutcomeError(change.what, { cause: error }) : error;
      const boundMs = Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** Math.min(tries, 16));
      await elapsed(clock, Math.min(boundMs * (0.5 + etcd.random() / 2), deadlineAt - clock.now()), signal);
    }
  }
}

/**
 * After the answer that the store is full: the revision of the change if it was made. etcd makes the one with which the
 * quota is overstepped, and refuses it all the same; sent again it would only be refused.
 *
 * @throws EtcdError `no-space` it is not made, nor will be. UnknownOutcomeError one before it may still be on its way, or
 * there was no way to look.
 */
async function settleFull(
  etcd: Etcd,
  keys: ConfigKeys,
  change: Change,
  {
    error,
    unsure,
    signal,
  }: { readonly error: EtcdError; readonly unsure: boolean; readonly signal: AbortSignal | undefined },
): Promise<Revision> {
  const { message, etcdCode, endpoint, attempts } = error;
  const seen = await look(etcd, keys, { signal, timeoutMs: TRY_MS }).catch(() => undefined);
  if (seen === undefined) throw new UnknownOutcomeError(change.what, { cause: error });
  const mine = await whatBecame(etcd, keys, change, seen, signal);
  if (mine !== undefined) return mine;
  if (unsure) throw new UnknownOutcomeError(change.what, { cause: error });
  throw new EtcdError('no-space', message, { etcdCode, endpoint, attempts, applied: 'no', cause: error });
}

/** How long one try may take: an answer that is lost must not use up the whole time. */
const TRY_MS = 3_000;

function unchanged(etcd: Etcd, keys: ConfigKeys, { current, about, staged }: Seen): Compare[] {
  return [
    etcd.key(keys.key).unchangedSince(current),
    etcd.key(keys.about).unchangedSince(about),
    etcd.key(keys.staged).unchangedSince(staged),
  ];
}

/**
 * After an answer that was lost, and a refusal: the revision of the change if it was made, undefined if it never will be.
 *
 * @throws UnknownOutcomeError neither can be told.
 */
async function whatBecame(
  etcd: Etcd,
  keys: ConfigKeys,
  { what, on, nonce, writesValue, isMade }: Change,
  seen: Seen,
  signal: AbortSignal | undefined,
): Promise<Revision | undefined> {
  if (isMade?.(seen)) return seen.revision;
  const said = lastAbout(seen.about);
  if (said?.nonce === nonce) return seen.about?.modRevision;
  if (stagedOf(seen.staged)?.nonce === nonce) return seen.staged?.modRevision;
  // Nobody has published anything since, so we have not either: somebody has used another tool.
  if (seen.about?.modRevision === on.about?.modRevision && seen.staged?.modRevision === on.staged?.modRevision) {
    return undefined;
  }
  // What stands there now replaced what we had seen: no other value was in between.
  if (writesValue && said?.replaced === revisionIn(on)) return undefined;
  const later = await etcd.range({ from: keys.version(revisionIn(on)), to: `${keys.versions}~` }, { signal });
  for (const kv of later.kvs) {
    const version = versionOf(kv);
    if (version?.about?.nonce === nonce) return keys.revisionOf(kv.key);
  }
  throw new UnknownOutcomeError(what);
}

/** The error for a change that was made on something else than is there. */
function conflict(keys: ConfigKeys, expected: Seen, seen: Seen): ConfigConflictError {
  const [was, is] = [revisionIn(expected), revisionIn(seen)];
  const why =
    was !== is
      ? `it is at revision ${is}, and ${was} was expected`
      : 'its candidate was staged, changed or taken away meanwhile';
  return new ConfigConflictError(keys.key, why, is, seen.staged?.modRevision);
}
