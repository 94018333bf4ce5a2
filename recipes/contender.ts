/**
 * One try to get something that others want too: a key in a queue of keys.
 *
 * Every lock, leadership and permit stands on this. A contender's key is its place in the
 * queue; the place is the revision that created the key. What it guarantees:
 *
 * 1. `enter` has a definite outcome. When no answer came, the same transaction is sent
 *    again: the key has a nonce of its own, so it is either ours or not there.
 * 2. Whatever way the try ends, the key goes. What cannot be deleted at once is deleted in
 *    the background; should a delayed request bring it back after that, it is deleted
 *    again. At the latest it goes with the session's lease.
 * 3. Nothing is decided by a watch: it only says when to look. What decides is a
 *    transaction that compares the key's create revision.
 * 4. A place, once had, is not given up because the cluster is away for a while: only the
 *    session's end, the signal, or a refusal ends a look.
 *
 * Source: the queue of keys is that of etcd's `concurrency` package and of ZooKeeper's
 * lock recipe; the retry under one nonce is Curator's "protection".
 *
 * @module
 */

import {
  AbortError,
  CompactedError,
  type Compare,
  type ErrorCode,
  EtcdError,
  type Op,
  type OpResults,
  type RangeResult,
  type Revision,
  type Target,
  type TxnResult,
  type Watcher,
} from '../src/index.ts';
import { whileWaiting } from '../src/telemetry/recipes.ts';
import { LostError } from './errors.ts';
import { ownerText, participantKey } from './names.ts';
import { patiently } from './patience.ts';
import type { Session } from './session.ts';
import { pause, sessionEnd } from './waiting.ts';

/** How to enter the queue. */
export interface EnterOptions {
  /** The prefix of the queue's keys. */
  readonly prefix: string;
  /** What the key holds. Default: who we are. */
  readonly value?: string | Uint8Array | undefined;
  /** Ends the try. */
  readonly signal?: AbortSignal | undefined;
  /** Further conditions for entering at all. */
  readonly if?: readonly Compare[] | undefined;
  /** What else to do on entering, before the look. */
  readonly also?: readonly Op<unknown>[] | undefined;
  /** What to read in the transaction that enters, after the key was put, or instead of it. */
  readonly look: (key: string) => Op<RangeResult<string>>;
}

/** How entering went. */
export type EnterResult =
  | {
      readonly entered: true;
      readonly contender: Contender;
      /** What was seen on entering; undefined when the answer to that was lost. */
      readonly seen: RangeResult<string> | undefined;
    }
  | {
      readonly entered: false;
      readonly seen: RangeResult<string>;
      /** Whether a try without an answer may still be applied; its key is deleted then, but not what was done along with it. */
      readonly mayStillEnter: boolean;
    };

/**
 * How leaving went. `absent`: the key was gone before, and not by our doing. `unknown`: the
 * session ended first, and the key goes with its lease.
 */
export type Removal = 'deleted' | 'absent' | 'unknown';

/** How long after the last try to enter a request may still be on its way somewhere. */
const STRAGGLER_MS = 60_000;

/** Failures that another try does not mend; all others may pass. */
const LASTING: ReadonlySet<ErrorCode> = new Set([
  'closed',
  'cluster-mismatch',
  'invalid-argument',
  'lease-lost',
  'lease-not-found',
  'permission-denied',
  'request-too-large',
  'tls',
  'unauthenticated',
  'unsupported',
]);

/** A place in a queue; see the module's text. */
export class Contender {
  readonly session: Session;
  readonly key: string;
  /** The revision that created the key: the place in the queue, and the fencing token. */
  readonly token: Revision;
  readonly #ambiguous: boolean;
  #left: Promise<Removal> | undefined;

  private constructor(session: Session, key: string, token: Revision, ambiguous: boolean) {
    this.session = session;
    this.key = key;
    this.token = token;
    this.#ambiguous = ambiguous;
  }

  /**
   * Takes a place in the queue: one round trip.
   *
   * @throws LostError when the session is lost; EtcdError when the cluster refuses, when it
   * could not be reached at all, and when the signal fires. Nothing is left then, or is
   * being cleaned up.
   */
  static async enter(session: Session, options: EnterOptions): Promise<EnterResult> {
    session.assertAlive();
    const { etcd } = session;
    const key = participantKey(options.prefix, session.id);
    const look = options.look(key);
    const put = etcd.op.put(key, options.value ?? ownerText(session.owner), { lease: session.lease });
    const then: readonly Op<unknown>[] = [put, ...(options.also ?? []), look];
    const spec = {
      if: [etcd.key(key).missing, ...(options.if ?? [])],
      then,
      else: [etcd.op.get(key), look],
    } as const;
    let ambiguous = false;
    for (let tries = 0; ; tries++) {
      try {
        const done = await etcd.txn(spec, { signal: options.signal });
        if (done.succeeded) {
          const contender = new Contender(session, key, done.revision, ambiguous);
          return { entered: true, contender, seen: done.results.at(-1) as RangeResult<string> };
        }
        const [own, seen] = done.results;
        // An earlier try was applied after all. What it saw went with its answer.
        if (own !== undefined) {
          return { entered: true, contender: new Contender(session, key, own.createRevision, true), seen: undefined };
        }
        // The earlier try may still be on its way, to be applied when nobody knows of it any more.
        if (ambiguous) await abandon(session, key);
        return { entered: false, seen, mayStillEnter: ambiguous };
      } catch (error) {
        ambiguous ||= error instanceof EtcdError && error.applied === 'maybe';
        // What may have been applied is asked for until it is known, also of a cluster that is away by now.
        if (ambiguous && mayPass(error) && !isFull(error) && !options.signal?.aborted && session.alive) {
          await pause(session, tries, options.signal);
          continue;
        }
        if (ambiguous) await abandon(session, key);
        throw await explain(session, error);
      }
    }
  }

  /**
   * Goes on with a key that entered before, under this session's lease, by an object that is
   * gone: one round trip, which also looks. Its own value is what was last written to it.
   *
   * @throws LostError when there is no such key any more, or it hangs on another lease, and
   * when the session is lost; EtcdError. The key stays as it is then.
   */
  static async resume(
    session: Session,
    key: string,
    token: Revision,
    { signal, look }: Pick<EnterOptions, 'signal' | 'look'>,
  ): Promise<{ readonly contender: Contender; readonly value: string; readonly seen: RangeResult<string> }> {
    const { etcd } = session;
    // Nobody knows how the former object fared when it entered.
    const contender = new Contender(session, key, token, true);
    const own = etcd.key(key).lease.equals(session.lease);
    const done = await contender.tryWhileHeld([own], [etcd.op.get(key), look(key)], [], signal);
    const [kv, seen] = done.succeeded ? done.results : [];
    if (kv === undefined || seen === undefined) throw new LostError('the place in the queue', 'key-gone');
    return { contender, value: kv.value, seen };
  }

  /**
   * What must hold in a transaction for the place to be ours: the key is still the one that
   * entered, and it still hangs on a lease. Somebody who writes to it without one
   * (`etcdctl put`) takes it out of the queue in the eyes of all others, though it is still
   * the key that entered.
   */
  get conditions(): readonly Compare[] {
    const key = this.session.etcd.key(this.key);
    return [key.createRevision.equals(this.token), key.lease.notEquals(0n)];
  }

  /**
   * Looks at the queue, if we are still in it: one round trip, and the only thing that
   * decides. Tries again while the cluster cannot be reached.
   *
   * @throws LostError when our key is gone, or the session is over; AbortError when the
   * signal fires; EtcdError when the cluster refuses.
   */
  async confirm(look: Op<RangeResult<string>>, signal?: AbortSignal): Promise<RangeResult<string>> {
    const [seen] = await this.whileHeld([look], signal);
    return seen;
  }

  /**
   * Does something at the store if we are still in the queue. It is sent until it was
   * answered, so it must come to the same when it is done twice.
   *
   * @throws what {@link Contender.confirm} throws.
   */
  async whileHeld<const Ops extends readonly Op<unknown>[]>(ops: Ops, signal?: AbortSignal): Promise<OpResults<Ops>> {
    const done = await this.tryWhileHeld([], ops, [], signal);
    if (!done.succeeded) throw new LostError('the place in the queue', 'key-gone');
    return done.results;
  }

  /** Like {@link Contender.whileHeld}, with further conditions and what to do when one of them, or our key, fails. */
  async tryWhileHeld<const Then extends readonly Op<unknown>[], const Else extends readonly Op<unknown>[]>(
    conditions: readonly Compare[],
    then: Then,
    otherwise: Else,
    signal?: AbortSignal,
  ): Promise<TxnResult<Then, Else>> {
    const { session } = this;
    for (let tries = 0; ; tries++) {
      this.assertSession();
      try {
        const spec = { if: [...this.conditions, ...conditions], then, else: otherwise };
        const done = await session.etcd.txn<Then, Else>(spec, { signal });
        this.assertSession();
        return done;
      } catch (error) {
        if (signal?.aborted || !session.alive || !mayPass(error)) throw await explain(session, error);
        await pause(session, tries, signal);
      }
    }
  }

  /** @throws LostError when the session is lost or closed. */
  assertSession(): void {
    if (!this.session.alive) throw lost(this.session);
  }

  /**
   * Leaves the queue: deletes the key, if it is still ours. Resolves when that is certain,
   * or when the session is over, which amounts to the same.
   *
   * @throws EtcdError when the cluster refuses to delete it; it goes with the session then.
   */
  leave(): Promise<Removal> {
    this.#left ??= removeForGood(this.session, this.key, this.#ambiguous);
    return this.#left;
  }

  /** Says that a transaction has deleted the key, ours or another's: there is nothing to leave any more. */
  left(): void {
    if (this.#left !== undefined) return;
    this.#left = Promise.resolve('deleted');
    // From our own creation on: the deletion may be older than whatever told us of it.
    if (this.#ambiguous) void guardAgainstStraggler(this.session, this.key, (this.token + 1n) as Revision);
  }
}

/** Whether a failure may be gone at the next try. */
export function mayPass(error: unknown): boolean {
  return error instanceof EtcdError && !LASTING.has(error.code);
}

/**
 * Whether a failure says that the store is full. The request was answered, so it is not on its way any more; yet it may
 * have been applied, and sent again it would only be refused. A read tells, and a delete mends.
 */
export function isFull(error: unknown): boolean {
  return error instanceof EtcdError && error.code === 'no-space';
}

function lost(session: Session, cause: unknown = sessionEnd(session)): LostError {
  return new LostError('the place in the queue', 'session', { cause });
}

/** The error that says why: a lease that the server does not know is a session that is lost. */
async function explain(session: Session, error: unknown): Promise<unknown> {
  if (error instanceof LostError) return error;
  if (error instanceof EtcdError && error.code === 'lease-not-found') {
    // Asking for it makes the session itself notice, and all who stand on it.
    if (session.lease.alive) await session.lease.keepAliveOnce().catch(() => {});
    return lost(session, error);
  }
  return session.alive ? error : lost(session);
}

/** Cleans up after a try to enter whose outcome is unknown: waits for a while, and goes on in the background. */
function abandon(session: Session, key: string): Promise<void> {
  return patiently(session.clock, removeForGood(session, key, true));
}

/**
 * Deletes a key of ours until that is certain or its lease is gone. The key has a nonce, so
 * no condition is needed: it is nobody else's.
 */
async function removeForGood(session: Session, key: string, mayComeBack: boolean): Promise<Removal> {
  let unsure = false;
  for (let tries = 0; session.lease.alive; tries++) {
    try {
      const { deleted, revision } = await session.etcd.delete(key);
      if (mayComeBack) void guardAgainstStraggler(session, key, (revision + 1n) as Revision);
      return deleted > 0 || unsure ? 'deleted' : 'absent';
    } catch (error) {
      if (!session.lease.alive) break;
      if (!mayPass(error)) throw error;
      unsure ||= (error as EtcdError).applied === 'maybe';
      await pause(session, tries, undefined);
    }
  }
  return 'unknown';
}

/** Deletes the key again should a request that was delayed somewhere create it after all, at revision `from` or later. */
async function guardAgainstStraggler(session: Session, key: string, from: Revision): Promise<void> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  const timer = session.clock.after(STRAGGLER_MS, abort, { background: true });
  session.signal.addEventListener('abort', abort, { once: true });
  try {
    for await (const event of session.etcd.watch(key, { from, only: 'put', resync: true, signal: stop.signal })) {
      if (event.type === 'put' && event.kv.createRevision >= from) await removeForGood(session, key, false);
    }
  } catch {
    // The time is up, or the session is over: either way there is nothing left to guard.
  } finally {
    timer.cancel();
    session.signal.removeEventListener('abort', abort);
  }
}

/** Something to watch for one change. */
export interface Change {
  readonly target: Target;
  /** Which kind of change. Default: both. */
  readonly only?: 'put' | 'delete' | undefined;
}

/**
 * Waits until one of some keys is deleted, from a revision on. Resolves also when the
 * history was compacted, since all it says is: look again.
 *
 * @throws what ended the watch otherwise: the signal's AbortError, or a refusal.
 */
export function untilDeleted(
  session: Session,
  targets: readonly Target[],
  from: Revision,
  signal: AbortSignal,
): Promise<void> {
  return untilChanged(
    session,
    targets.map((target) => ({ target, only: 'delete' })),
    from,
    signal,
  );
}

/** Like {@link untilDeleted}, for whichever kind of change. */
export async function untilChanged(
  session: Session,
  awaited: readonly Change[],
  from: Revision,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) throw new AbortError('the wait is over', { cause: signal.reason });
  await whileWaiting(async () => {
    const watchers = awaited.map(({ target, only }) => session.etcd.watch(target, { from, only, signal }));
    try {
      await Promise.race(watchers.map(anyChange));
    } finally {
      for (const watcher of watchers) watcher.close();
    }
  });
}

async function anyChange(watcher: Watcher): Promise<void> {
  try {
    for await (const _change of watcher) return;
  } catch (error) {
    if (!(error instanceof CompactedError)) throw error;
  }
}
