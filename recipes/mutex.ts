/**
 * The mutex: one holder at a time, in the order of arrival.
 *
 * Keys: `<name>/<lease>-<nonce>`, each hanging on its session's lease; the oldest holds.
 * Compatible with Go's `concurrency.Mutex` and `etcdctl lock`, in both directions; where the
 * name has a slash, with `rawName` (names.ts).
 *
 * Round trips: acquire 1 when nobody is ahead; otherwise 1, a watch of the key just ahead
 * (so a release wakes one waiter), and 1 to confirm. Release 1. A `tryAcquire` that fails
 * costs 1 and writes nothing. A lock delay adds 2 to each acquisition.
 *
 * Guaranteed: at any revision of the store at most one holder's `guard()` passes; tokens
 * grow from holder to holder; whoever came first is served first; a try that ends, however
 * it ends, leaves no key behind (that of a process that dies goes with its session).
 *
 * Not guaranteed: that two processes never believe to hold it at the same moment. One that
 * was suspended does not know what it missed. What must not happen twice goes through
 * `guard()`, or takes the token along. Nor is it quick: measured on etcd 3.5, one member
 * without fsync on the same two-core machine, acquiring and releasing takes 2.4 ms when
 * nobody else wants it, and it changes hands 120 times a second with 10 contenders, 460
 * times with 100 (a watch that begins behind the store's revision waits up to 100 ms for
 * the server's next round of catching up). To guard what changes that often etcd is the
 * wrong tool.
 *
 * Source: the queue of keys is etcd's `concurrency.Mutex`; lock delay is Consul's, the
 * request to release Curator's, re-entrance as in `InterProcessMutex`.
 *
 * @module
 */

import {
  type CallOptions,
  InvalidArgumentError,
  type KeyValue,
  type LiveLease,
  type Op,
  type RangeResult,
  type Revision,
} from '../src/index.ts';
import { type Asking, acquiring } from '../src/telemetry/recipes.ts';
import { Contender } from './contender.ts';
import { Held, type HoldingOptions, runHeld } from './held.ts';
import { isParticipant, type NameOptions, type Owner, ownerText, parseOwner, recipePrefix } from './names.ts';
import { heldHere, holdingHere } from './reentrance.ts';
import { LISTENS, type ReleaseRequest, requestReader, withRequest } from './release-requests.ts';
import type { Session } from './session.ts';
import { tryEnter } from './try-enter.ts';
import { NEWEST_TWO, untilTurn } from './turn.ts';
import { type Wait, type WaitOptions, waiting } from './waiting.ts';

/** What a {@link Mutex} does besides. */
export interface MutexOptions extends NameOptions {
  /**
   * Whether work under {@link Mutex.run} may take the same lock again. Inside the work, and
   * what it calls, `acquire`, `tryAcquire` and `run` then return at once, with another
   * handle of the same lock; it is free when all handles are released. Default false: the
   * work would wait for itself.
   */
  readonly reentrant?: boolean | undefined;
  /**
   * How long at least nobody gets the lock after its holder's session ran out (the holder
   * crashed, was cut off, stalled), in whole seconds: time for what it had under way
   * elsewhere to come to an end. Default 0. At most it is half of the session's time to live
   * and half of itself longer. The store decides it: the holder's key outlives the session,
   * which Go's and etcdctl's contenders respect too. A release, and the deletion of the key
   * by an operator, end it at once.
   */
  readonly lockDelaySeconds?: number | undefined;
}

/** How to acquire. */
export interface AcquireOptions extends WaitOptions {
  /**
   * Told when somebody asks the holder to give the lock up ({@link Mutex.requestRelease}),
   * once for each request. Should return soon, and release the lock when that suits the work.
   */
  readonly onReleaseRequested?: ((request: ReleaseRequest, lock: Held) => void) | undefined;
}

/** Somebody who holds the lock, or waits for it. */
export interface MutexContender {
  readonly key: string;
  /** The token: smaller is earlier. */
  readonly token: Revision;
  /** Who it is, if it said so: Go's and etcdctl's keys don't. */
  readonly owner: Owner | undefined;
}

/** How {@link Mutex.tryAcquire} went. */
export type TryAcquireResult =
  | { readonly acquired: true; readonly lock: Held }
  | { readonly acquired: false; readonly holder: MutexContender };

/** How {@link Mutex.requestRelease} went. */
export interface ReleaseRequestResult {
  /** Whether there is a holder that listens, and was asked. */
  readonly asked: boolean;
  /** Who holds the lock, if anybody does. */
  readonly holder: MutexContender | undefined;
}

/**
 * A lock that many sessions can share by its name. One object can be used for many
 * acquisitions, at once or one after another; each is a contender of its own.
 *
 * @example
 * ```ts
 * await using lock = await new Mutex(session, 'orders').acquire({ timeoutMs: 5_000 });
 * await lock.guard({ then: [etcd.op.put('orders/last', '17')] });
 * ```
 */
export class Mutex {
  readonly name: string;
  readonly #session: Session;
  readonly #prefix: string;
  readonly #reentrant: boolean;
  readonly #lockDelaySeconds: number;

  /**
   * @param name With a `/` or `%` it is another lock than etcdctl's and Go's of that name, unless `rawName` is true.
   * @throws InvalidArgumentError for an empty name, or a delay that is no whole number of seconds.
   */
  constructor(session: Session, name: string, options: MutexOptions = {}) {
    const { reentrant = false, lockDelaySeconds = 0 } = options;
    if (!Number.isSafeInteger(lockDelaySeconds) || lockDelaySeconds < 0) {
      throw new InvalidArgumentError(`lockDelaySeconds ${lockDelaySeconds} is not a whole number of at least 0`);
    }
    this.#session = session;
    this.name = name;
    this.#prefix = recipePrefix(name, options);
    this.#reentrant = reentrant;
    this.#lockDelaySeconds = lockDelaySeconds;
  }

  /**
   * Waits for the lock and takes it.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost or the key is deleted meanwhile. Nothing of the
   * try is left then.
   */
  async acquire(options: AcquireOptions = {}): Promise<Held> {
    const again = this.#enterAgain();
    if (again !== undefined) return again;
    using wait = waiting(this.#session, options);
    const look = (): Op<RangeResult<string>> => this.#session.etcd.op.range({ prefix: this.#prefix }, NEWEST_TWO);
    const lock = await this.#settle(wait, options, 'acquire', async (keep, asking) => {
      const entry = await Contender.enter(this.#session, {
        prefix: this.#prefix,
        value: this.#value(options),
        signal: wait.signal,
        look,
      });
      if (!entry.entered) throw new TypeError(NO_CONDITION);
      keep(entry.contender);
      if (entry.seen !== undefined) asking.position(entry.seen.count - 1);
      const turn = { prefix: this.#prefix, blocks: this.#isContender };
      await untilTurn(entry.contender, turn, entry.seen, wait.signal);
      return entry.contender;
    });
    if (lock === undefined) throw new TypeError(NO_CONDITION);
    return lock;
  }

  /**
   * Takes the lock if nobody holds it or waits for it; says who holds it otherwise.
   *
   * @throws WaitTimeoutError, AbortError and LostError like {@link Mutex.acquire}.
   */
  async tryAcquire(options: AcquireOptions = {}): Promise<TryAcquireResult> {
    const again = this.#enterAgain();
    if (again !== undefined) return { acquired: true, lock: again };
    using wait = waiting(this.#session, options);
    let holder: KeyValue<string> | undefined;
    const lock = await this.#settle(wait, options, 'tryAcquire', async (keep) => {
      const entry = await tryEnter(this.#session, {
        prefix: this.#prefix,
        queue: this.#prefix,
        blocks: this.#isContender,
        value: this.#value(options),
        signal: wait.signal,
      });
      if (entry.entered) keep(entry.contender);
      else holder = entry.holder;
      return entry.entered ? entry.contender : undefined;
    });
    if (lock !== undefined) return { acquired: true, lock };
    if (holder === undefined) throw new TypeError('neither entered nor refused');
    return { acquired: false, holder: toContender(holder) };
  }

  /**
   * Runs something under the lock, and releases it when that is done. The signal fires when
   * the lock is lost.
   *
   * @throws what `work` throws; LostError when the lock was lost before the work was done;
   * what {@link Mutex.acquire} throws.
   */
  async run<T>(work: (lock: Held, signal: AbortSignal) => Promise<T>, options: AcquireOptions = {}): Promise<T> {
    const lock = await this.acquire(options);
    const inside = (): Promise<T> => work(lock, lock.signal);
    return runHeld(lock, this.#reentrant ? () => holdingHere(this.#session, this.#prefix, lock, inside) : inside);
  }

  /** Who holds the lock, first, and who waits for it, in order. */
  async contenders(options: CallOptions = {}): Promise<MutexContender[]> {
    const { kvs } = await this.#queue(options);
    return kvs.filter(this.#isContender).map(toContender);
  }

  /**
   * Asks the holder to give the lock up. It hears of it if it acquired with
   * `onReleaseRequested`, and decides for itself. Two round trips.
   *
   * @throws EtcdError with `applied: 'maybe'` when no answer came; asking twice does no harm.
   */
  async requestRelease(
    options: CallOptions & { readonly reason?: string | undefined } = {},
  ): Promise<ReleaseRequestResult> {
    const { reason, ...call } = options;
    const { etcd, owner } = this.#session;
    for (;;) {
      const kv = (await this.#queue(call)).kvs.find(this.#isContender);
      const holder = kv && toContender(kv);
      const value = kv && withRequest(kv.value, owner, reason);
      if (kv === undefined || value === undefined) return { asked: false, holder };
      const put = etcd.op.put(kv.key, value, { ignoreLease: true });
      const done = await etcd.txn({ if: [etcd.key(kv.key).unchangedSince(kv)], then: [put] }, call);
      if (done.succeeded) return { asked: true, holder };
    }
  }

  /** Gets a place by `take`, and makes the lock out of it; whatever fails, the place that was kept goes. */
  #settle(wait: Wait, options: AcquireOptions, verb: string, take: Take): Promise<Held | undefined> {
    const which = { recipe: 'Mutex', name: this.name, verb };
    return acquiring(this.#session.etcd, which, (asking) => this.#ask(wait, options, asking, take));
  }

  async #ask(wait: Wait, options: AcquireOptions, asking: Asking, take: Take): Promise<Held | undefined> {
    let kept: Contender | undefined;
    let lease: LiveLease | undefined;
    try {
      const contender = await take((place) => {
        kept = place;
      }, asking);
      if (contender === undefined) return undefined;
      lease = await this.#outliveSession(contender, wait.signal);
      return this.#held(contender, { lease }, options);
    } catch (error) {
      if (kept !== undefined) await wait.patiently(kept.leave());
      void lease?.[Symbol.asyncDispose]();
      throw wait.reason(`the lock ${this.name}`, error);
    }
  }

  #held(contender: Contender, holding: HoldingOptions, { onReleaseRequested }: AcquireOptions): Held {
    const name = `the lock ${this.name}`;
    if (onReleaseRequested === undefined) return new Held(name, contender, holding);
    const onValue = requestReader((request) => onReleaseRequested(request, lock));
    const lock: Held = new Held(name, contender, { ...holding, onValue });
    return lock;
  }

  /** For a lock delay: hangs the key on a lease that outlasts the session's. The place stays the same. */
  async #outliveSession(contender: Contender, signal: AbortSignal): Promise<LiveLease | undefined> {
    if (this.#lockDelaySeconds === 0) return undefined;
    const { etcd, lease: own } = this.#session;
    // Its last renewal may be a third of its time to live older than the session's.
    const ttlSeconds = Math.ceil((own.ttlSeconds + this.#lockDelaySeconds) * 1.5);
    const lease = await etcd.lease({ ttlSeconds, signal });
    try {
      await contender.whileHeld([etcd.op.touch(contender.key, { lease })], signal);
      return lease;
    } catch (error) {
      void lease[Symbol.asyncDispose]();
      throw error;
    }
  }

  #enterAgain(): Held | undefined {
    const outer = this.#reentrant ? heldHere(this.#session, this.#prefix) : undefined;
    const holding = outer && Held.holdingOf(outer);
    // Work that was started inside and went on after the end: it is a contender like any other.
    if (holding === undefined || holding.handles === 0) return undefined;
    const lost = holding.check();
    if (lost !== undefined) throw lost;
    return new Held(`the lock ${this.name}`, holding);
  }

  #value({ onReleaseRequested }: AcquireOptions): string {
    return ownerText(this.#session.owner, onReleaseRequested && LISTENS);
  }

  #queue(options: CallOptions): Promise<RangeResult<string>> {
    return this.#session.etcd.range({ prefix: this.#prefix }, { ...options, sort: { by: 'createRevision' } });
  }

  readonly #isContender = (kv: KeyValue<string>): boolean => isParticipant(kv, this.#prefix);
}

/** Gets a place and waits for its turn; `keep` notes whose key is to go if that fails. */
type Take = (keep: (contender: Contender) => void, asking: Asking) => Promise<Contender | undefined>;

const NO_CONDITION = 'a mutex has no condition of entry';

function toContender(kv: KeyValue<string>): MutexContender {
  return { key: kv.key, token: kv.createRevision, owner: parseOwner(kv.value) };
}
