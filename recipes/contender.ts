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
 *
 * Source: the queue of keys is that of etcd's `concurrency` package and of ZooKeeper's
 * lock recipe; the retry under one nonce is Curator's "protection".
 *
 * @module
 */

import {
  ClosedError,
  type Compare,
  CompactedError,
  EtcdError,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
  type Target,
} from '../src/index.ts';
import { LostError } from './errors.ts';
import { ownerText, participantKey } from './names.ts';
import type { Session } from './session.ts';

/** How to enter the queue. */
export interface EnterOptions {
  /** The prefix of the queue's keys. */
  readonly prefix: string;
  /** What the key holds. Default: who we are. */
  readonly value?: string | undefined;
  /** Ends the try. */
  readonly signal?: AbortSignal | undefined;
  /** Further conditions for entering at all. */
  readonly if?: readonly Compare[] | undefined;
  /** What to read in the transaction that enters. */
  readonly look: (key: string) => Op<RangeResult<string>>;
}

/** How entering went. */
export type EnterResult =
  | { readonly entered: true; readonly contender: Contender; readonly seen: RangeResult<string> | undefined }
  | { readonly entered: false; readonly seen: RangeResult<string> };

/** Pauses between tries whose outcome is unknown, and between tries to delete. */
const RETRY_MS = { first: 20, max: 2_000 };

/** How long after the last try to enter a request may still be on its way somewhere. */
const STRAGGLER_MS = 60_000;

export class Contender {
  readonly session: Session;
  readonly key: string;
  /** The revision that created the key: the place in the queue, and the fencing token. */
  readonly token: Revision;
  readonly #ambiguous: boolean;
  #left: Promise<void> | undefined;

  private constructor(session: Session, key: string, token: Revision, ambiguous: boolean) {
    this.session = session;
    this.key = key;
    this.token = token;
    this.#ambiguous = ambiguous;
  }

  /** Takes a place in the queue: one round trip. */
  static async enter(session: Session, options: EnterOptions): Promise<EnterResult> {
    session.assertAlive();
    const { etcd } = session;
    const key = participantKey(options.prefix, session.id);
    const look = options.look(key);
    const put = etcd.op.put(key, options.value ?? ownerText(session.owner), { lease: session.lease });
    const spec = {
      if: [etcd.key(key).missing, ...(options.if ?? [])],
      then: [put, look],
      else: [etcd.op.get(key), look],
    } as const;
    let ambiguous = false;
    for (let tries = 0; ; tries++) {
      try {
        const done = await etcd.txn(spec, { signal: options.signal });
        if (done.succeeded) {
          const contender = new Contender(session, key, done.revision, ambiguous);
          return { entered: true, contender, seen: done.results[1] };
        }
        const [own, seen] = done.results;
        if (own === undefined) return { entered: false, seen };
        // An earlier try was applied after all. What it saw went with its answer.
        return { entered: true, contender: new Contender(session, key, own.createRevision, true), seen: undefined };
      } catch (error) {
        const unknown = error instanceof EtcdError && error.applied === 'maybe';
        ambiguous ||= unknown;
        const over = options.signal?.aborted || !session.alive || !unknown;
        if (over && ambiguous) void removeForGood(session, key, true);
        if (over) throw session.lease.alive ? error : lost('the place in the queue', session);
        await pause(session, tries, options.signal);
      }
    }
  }

  /** A condition for transactions: the key is still the one that entered. */
  get held(): Compare {
    return this.session.etcd.key(this.key).createRevision.equals(this.token);
  }

  /**
   * Looks at the queue, if we are still in it: one round trip, and the only thing that
   * decides.
   *
   * @throws LostError when our key is gone.
   */
  async confirm(look: Op<RangeResult<string>>, signal?: AbortSignal): Promise<RangeResult<string>> {
    const { etcd } = this.session;
    this.assertSession();
    const done = await etcd.txn({ if: [this.held], then: [look] }, { signal });
    this.assertSession();
    if (!done.succeeded) throw new LostError('the place in the queue', 'key-gone');
    return done.results[0];
  }

  /** @throws LostError when the session is lost. */
  assertSession(): void {
    if (!this.session.alive) throw lost('the place in the queue', this.session);
  }

  /**
   * Leaves the queue: deletes the key, if it is still ours. Resolves when that is certain,
   * or when the session is over, which amounts to the same.
   */
  leave(): Promise<void> {
    this.#left ??= removeForGood(this.session, this.key, this.#ambiguous);
    return this.#left;
  }
}

function lost(what: string, session: Session): LostError {
  return new LostError(what, 'session', { cause: session.lease.signal.reason });
}

/**
 * Deletes a key of ours until that is certain or its lease is gone. The key has a nonce, so
 * no condition is needed: it is nobody else's.
 */
async function removeForGood(session: Session, key: string, mayComeBack: boolean): Promise<void> {
  for (let tries = 0; session.lease.alive; tries++) {
    try {
      const { revision } = await session.etcd.delete(key);
      if (mayComeBack) void guardAgainstStraggler(session, key, (revision + 1n) as Revision);
      return;
    } catch (error) {
      if (error instanceof ClosedError) return;
      await pause(session, tries, undefined);
    }
  }
}

/** Deletes the key again should a request that was delayed somewhere create it after all. */
async function guardAgainstStraggler(session: Session, key: string, from: Revision): Promise<void> {
  const stop = new AbortController();
  const timer = session.clock.after(STRAGGLER_MS, () => stop.abort(), { background: true });
  const signal = AbortSignal.any([stop.signal, session.signal]);
  try {
    for await (const event of session.etcd.watch(key, { from, only: 'put', resync: true, signal })) {
      if (event.type === 'put') await session.etcd.delete(key);
    }
  } catch {
    // The time is up, or the session is over: either way there is nothing left to guard.
  } finally {
    timer.cancel();
  }
}

async function pause(session: Session, tries: number, signal: AbortSignal | undefined): Promise<void> {
  const bound = Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** tries);
  const delayMs = bound * (0.5 + Math.random() / 2);
  await new Promise<void>((resolve) => {
    const timer = session.clock.after(delayMs, done, { background: true });
    const both = signal === undefined ? session.signal : AbortSignal.any([signal, session.signal]);
    both.addEventListener('abort', done, { once: true });
    function done(): void {
      timer.cancel();
      both.removeEventListener('abort', done);
      resolve();
    }
  });
}

/**
 * Waits until one of some keys is deleted, from a revision on. Resolves also when the
 * history was compacted, since all it says is: look again.
 *
 * @throws what ended the watch otherwise: the signal's AbortError, or a refusal.
 */
export async function untilDeleted(
  session: Session,
  targets: readonly Target[],
  from: Revision,
  signal: AbortSignal,
): Promise<void> {
  const watchers = targets.map((target) => session.etcd.watch(target, { from, only: 'delete', signal }));
  try {
    await Promise.race(
      watchers.map(async (watcher) => {
        try {
          for await (const _gone of watcher) return;
        } catch (error) {
          if (!(error instanceof CompactedError)) throw error;
        }
      }),
    );
  } finally {
    for (const watcher of watchers) watcher.close();
  }
}

/** The first key of a queue, the one whose turn it is. */
export function first(seen: RangeResult<string>): KeyValue<string> | undefined {
  return seen.kvs[0];
}
