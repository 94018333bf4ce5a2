/**
 * The mutex: one holder at a time, in the order of arrival.
 *
 * Keys: `<name>/<lease>-<nonce>`, each hanging on its session's lease; the oldest holds.
 * Compatible with Go's `concurrency.Mutex` and `etcdctl lock`, in both directions.
 *
 * Round trips: acquire 1 when nobody is ahead; otherwise 1, a watch of the key just ahead
 * (so a release wakes one waiter), and 1 to confirm. Release 1. A `tryAcquire` that fails
 * writes nothing.
 *
 * A lock alone does not keep two processes apart: one that was suspended does not know
 * what it missed. What must not happen twice goes through `guard()`, or takes the token
 * along.
 *
 * @module
 */

import type { CallOptions, KeyValue, Op, RangeResult, Revision } from '../src/index.ts';
import { Contender, untilDeleted } from './contender.ts';
import { Held } from './held.ts';
import { type Owner, parseOwner, recipePrefix } from './names.ts';
import type { Session } from './session.ts';
import { type WaitOptions, waiting } from './waiting.ts';

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
  | { readonly acquired: false; readonly holder: MutexContender | undefined };

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

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
    this.#prefix = recipePrefix(name);
  }

  /**
   * Waits for the lock and takes it.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost meanwhile. Nothing of the try is left then.
   */
  async acquire(options: WaitOptions = {}): Promise<Held> {
    using wait = waiting(this.#session, options);
    const look = (): Op<RangeResult<string>> => this.#session.etcd.op.range({ prefix: this.#prefix }, NEWEST_TWO);
    let contender: Contender | undefined;
    try {
      const entry = await Contender.enter(this.#session, { prefix: this.#prefix, signal: wait.signal, look });
      if (!entry.entered) throw new TypeError('a mutex has no condition of entry');
      contender = entry.contender;
      await this.#untilFirst(contender, entry.seen, wait.signal);
      return new Held(`the lock ${this.name}`, contender);
    } catch (error) {
      if (contender !== undefined) await wait.patiently(contender.leave());
      throw wait.reason(`the lock ${this.name}`, error);
    }
  }

  async #untilFirst(contender: Contender, entered: RangeResult<string> | undefined, signal: AbortSignal): Promise<void> {
    const { token, key } = contender;
    const older = { maxCreateRevision: (token - 1n) as Revision };
    const nearest = this.#session.etcd.op.range({ prefix: this.#prefix }, { ...NEWEST, ...older });
    const all = this.#session.etcd.op.range({ prefix: this.#prefix }, { ...NEWEST, ...older, limit: undefined });
    let seen = entered ?? (await contender.confirm(nearest, signal));
    for (;;) {
      let next = seen.kvs.find((kv) => isContender(kv) && kv.createRevision < token);
      // What is nearest may be a key that has strayed here: then look at all of them.
      if (next === undefined && seen.more) {
        seen = await contender.confirm(all, signal);
        next = seen.kvs.find(isContender);
      }
      if (next === undefined) return;
      await untilDeleted(this.#session, [next.key, key], (seen.revision + 1n) as Revision, signal);
      seen = await contender.confirm(nearest, signal);
    }
  }

  /** Takes the lock if nobody holds it or waits for it; one round trip, and no write when it fails. */
  async tryAcquire(options: CallOptions = {}): Promise<TryAcquireResult> {
    const { etcd } = this.#session;
    const queue = { prefix: this.#prefix };
    const entry = await Contender.enter(this.#session, {
      prefix: this.#prefix,
      signal: options.signal,
      // No key hangs on a lease: nobody is in the queue, whatever else may have strayed there.
      if: [etcd.keys(queue).lease.equals(0n)],
      look: () => etcd.op.range(queue, OLDEST),
    });
    if (entry.entered) return { acquired: true, lock: new Held(`the lock ${this.name}`, entry.contender) };
    const holder = entry.seen.kvs.find(isContender);
    return { acquired: false, holder: holder && toContender(holder) };
  }

  /** Runs something under the lock; the signal fires when the lock is lost. */
  async run<T>(work: (lock: Held, signal: AbortSignal) => Promise<T>, options: WaitOptions = {}): Promise<T> {
    await using lock = await this.acquire(options);
    return await work(lock, lock.signal);
  }

  /** Who holds the lock, first, and who waits for it, in order. */
  async contenders(options: CallOptions = {}): Promise<MutexContender[]> {
    const { kvs } = await this.#session.etcd.range(
      { prefix: this.#prefix },
      { ...options, sort: { by: 'createRevision' } },
    );
    return kvs.filter(isContender).map(toContender);
  }
}

/**
 * Whether a key is somebody's place in the queue: those hang on leases. A key that does not
 * was put there by mistake (`orders/last` beside a lock called `orders`); it holds nothing.
 */
function isContender(kv: KeyValue<string>): boolean {
  return kv.lease !== undefined;
}

const NEWEST = { sort: { by: 'createRevision', order: 'descending' }, limit: 1 } as const;
const NEWEST_TWO = { ...NEWEST, limit: 2 } as const;
const OLDEST = { sort: { by: 'createRevision' }, limit: 10 } as const;

function toContender(kv: KeyValue<string>): MutexContender {
  return { key: kv.key, token: kv.createRevision, owner: parseOwner(kv.value) };
}

/**
 * Takes several locks, all or none, without deadlock: always in the order of their names,
 * whatever order they are asked for in. `timeoutMs` is for all of them together.
 *
 * @throws what {@link Mutex.acquire} throws; then none is held.
 */
export async function acquireAll(
  session: Session,
  names: readonly string[],
  options: WaitOptions = {},
): Promise<AsyncDisposable & { readonly locks: readonly Held[] }> {
  using wait = waiting(session, options);
  const locks: Held[] = [];
  const releaseAll = async (): Promise<void> => {
    await Promise.all(locks.map((lock) => lock[Symbol.asyncDispose]()));
  };
  try {
    for (const name of [...new Set(names)].sort()) {
      locks.push(await new Mutex(session, name).acquire({ signal: wait.signal }));
    }
  } catch (error) {
    await releaseAll();
    throw wait.reason(`the locks ${names.join(', ')}`, error);
  }
  return { locks, [Symbol.asyncDispose]: releaseAll };
}
