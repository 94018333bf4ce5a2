/**
 * The read-write mutex: any number of readers, or one writer, in the order of arrival.
 *
 * Keys: `<name>/read/<lease>-<nonce>` and `<name>/write/<lease>-<nonce>`, each hanging on
 * its session's lease. A reader waits for the writers that came before it, a writer for
 * everybody who did. So readers that come after a waiting writer wait behind it: writers do
 * not starve, and neither do readers. Give a mutex and a read-write mutex different names.
 *
 * Round trips: acquiring 1 when nobody is in the way, for readers and writers; otherwise 1,
 * a watch of the nearest key in the way, and 1 to confirm. A release wakes those who get
 * the lock by it: one writer, or all the readers up to the next writer. A writer that waits
 * for several readers looks once for each of them that is the nearest at its time. Release 1.
 * A try that fails costs 1 and writes nothing.
 *
 * Guaranteed: at any revision, if a writer's `guard()` passes, no other's does. A writer's
 * token is greater than that of every reader and writer before it, a reader's greater than
 * that of every writer before it; tokens of readers that hold at the same time say nothing
 * about each other. Not guaranteed: what no lock can, see mutex.ts.
 *
 * A writer may become a reader without letting another writer in between
 * ({@link WriteLock.downgrade}). A reader cannot become a writer: two that tried would wait
 * for each other for ever. Release, acquire the write lock, and read again.
 *
 * Source: the order is that of etcd's `experimental/recipes` RWMutex and of ZooKeeper's
 * shared locks; downgrade but no upgrade as in Curator's `InterProcessReadWriteLock`, where
 * here the writer's own place becomes the reader's, so that nobody can step in between.
 *
 * @module
 */

import type { CallOptions, Compare, KeyValue, Revision } from '../src/index.ts';
import { type Asking, acquiring, type RecipeName } from '../src/telemetry/recipes.ts';
import { Contender } from './contender.ts';
import { LostError } from './errors.ts';
import { Held, runHeld } from './held.ts';
import { isParticipant, type Owner, ownerText, parseOwner, recipePrefix } from './names.ts';
import { patiently } from './patience.ts';
import type { Session } from './session.ts';
import { tryEnter } from './try-enter.ts';
import { NEWEST_TWO, untilTurn } from './turn.ts';
import { throwIfFired, type WaitOptions, waiting } from './waiting.ts';

/** To read, or to write. */
export type RWMode = 'read' | 'write';

/** Somebody who holds the lock, or waits for it. */
export interface RWContender {
  readonly key: string;
  /** What it holds, or waits for. */
  readonly mode: RWMode;
  /** The token: smaller is earlier. */
  readonly token: Revision;
  /** Who it is, if it said so. */
  readonly owner: Owner | undefined;
}

/** How a try went. */
export type TryResult<Lock> =
  | { readonly acquired: true; readonly lock: Lock }
  | { readonly acquired: false; readonly holder: RWContender };

/** The lock, held by a writer. */
export class WriteLock extends Held {
  /**
   * As of every {@link Held}; and besides, that the key has not been written to since its
   * creation. A downgrade does that: what was sent by the writer and comes late must not be
   * done while others read.
   */
  override get conditions(): readonly Compare[] {
    const key = Held.holdingOf(this).session.etcd.key(this.key);
    return [...super.conditions, key.version.equals(1n)];
  }

  /**
   * Goes on as a reader, without letting another writer in between; readers that wait right
   * behind get in. This handle is released then; the reader's has the same token. One round
   * trip.
   *
   * @throws LostError when the lock is not held any more. AbortError when `signal` fires and
   * EtcdError when the cluster refuses: the lock is given up then, since readers may be in
   * already. A signal that has fired before the call changes nothing.
   */
  async downgrade({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<Held> {
    this.assertHeld();
    throwIfFired(signal);
    const holding = Held.holdingOf(this);
    const { contender, session } = holding;
    const { etcd } = session;
    const value = ownerText(session.owner, { mode: 'read' });
    try {
      await contender.whileHeld([etcd.op.put(this.key, value, { ignoreLease: true })], signal);
    } catch (error) {
      if (error instanceof LostError) holding.lose(error.reason, error.cause);
      this.assertHeld();
      // It may have been done, or be done when a request arrives late: nobody may go on as the only one.
      await patiently(session.clock, this.release());
      throw error;
    }
    // The reader's handle first: the key goes with the last one.
    const reader = new Held(this.name.replace(WRITE_NAME, READ_NAME), holding);
    await this.release();
    return reader;
  }
}

const READ_NAME = 'the read lock';
const WRITE_NAME = 'the write lock';

/**
 * A lock for many readers or one writer, shared by its name.
 *
 * @example
 * ```ts
 * const config = new RWMutex(session, 'config');
 * await using lock = await config.acquireRead({ timeoutMs: 5_000 });
 * ```
 */
export class RWMutex {
  readonly name: string;
  readonly #session: Session;
  readonly #prefix: string;
  readonly #writers: string;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
    this.#prefix = recipePrefix(name);
    this.#writers = `${this.#prefix}write/`;
  }

  /**
   * Waits until no writer is ahead, and joins the readers.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost or the key is deleted meanwhile. Nothing of the
   * try is left then.
   */
  acquireRead(options: WaitOptions = {}): Promise<Held> {
    return this.#acquire('read', Held, options);
  }

  /** Waits until nobody is ahead, and is the writer. @throws like {@link RWMutex.acquireRead}. */
  acquireWrite(options: WaitOptions = {}): Promise<WriteLock> {
    return this.#acquire('write', WriteLock, options);
  }

  /** Joins the readers if no writer holds the lock or waits for it; says who does otherwise. */
  tryAcquireRead(options: WaitOptions = {}): Promise<TryResult<Held>> {
    return this.#tryAcquire('read', Held, options);
  }

  /** Is the writer if nobody holds the lock or waits for it; says who does otherwise. */
  tryAcquireWrite(options: WaitOptions = {}): Promise<TryResult<WriteLock>> {
    return this.#tryAcquire('write', WriteLock, options);
  }

  /** Runs something as a reader. @throws what `work` throws; LostError when the lock was lost before it was done. */
  async runRead<T>(work: (lock: Held, signal: AbortSignal) => Promise<T>, options: WaitOptions = {}): Promise<T> {
    const lock = await this.acquireRead(options);
    return runHeld(lock, () => work(lock, lock.signal));
  }

  /** Runs something as the writer. @throws what `work` throws; LostError when the lock was lost before it was done. */
  async runWrite<T>(work: (lock: WriteLock, signal: AbortSignal) => Promise<T>, options: WaitOptions = {}): Promise<T> {
    const lock = await this.acquireWrite(options);
    return runHeld(lock, () => work(lock, lock.signal));
  }

  /** Who holds the lock and who waits for it, in the order of their coming. */
  async contenders(options: CallOptions = {}): Promise<RWContender[]> {
    const sort = { by: 'createRevision' } as const;
    const { kvs } = await this.#session.etcd.range({ prefix: this.#prefix }, { ...options, sort });
    return kvs.filter(this.#isContender).map((kv) => this.#toContender(kv));
  }

  #acquire<Lock extends Held>(mode: RWMode, Handle: HandleOf<Lock>, options: WaitOptions): Promise<Lock> {
    const which = this.#traced(mode, 'acquire');
    return acquiring(this.#session.etcd, which, (asking) => this.#ask(mode, Handle, options, asking));
  }

  async #ask<Lock>(mode: RWMode, Handle: HandleOf<Lock>, options: WaitOptions, asking: Asking): Promise<Lock> {
    using wait = waiting(this.#session, options);
    const what = this.#title(mode);
    const { prefix, queue, blocks } = this.#rule(mode);
    let contender: Contender | undefined;
    try {
      const entry = await Contender.enter(this.#session, {
        prefix,
        signal: wait.signal,
        look: () => this.#session.etcd.op.range({ prefix: queue }, NEWEST_TWO),
      });
      if (!entry.entered) throw new TypeError('a lock has no condition of entry');
      contender = entry.contender;
      // The queue of a reader holds writers alone; that of a writer its own key too.
      if (entry.seen !== undefined) asking.position(entry.seen.count - (mode === 'read' ? 0 : 1));
      // A reader is let in by a downgrade too, which is a put.
      const on = mode === 'read' ? 'any' : 'delete';
      await untilTurn(contender, { prefix: queue, blocks, on }, entry.seen, wait.signal);
      return new Handle(what, contender);
    } catch (error) {
      if (contender !== undefined) await wait.patiently(contender.leave());
      throw wait.reason(what, error);
    }
  }

  async #tryAcquire<Lock extends Held>(
    mode: RWMode,
    Handle: HandleOf<Lock>,
    options: WaitOptions,
  ): Promise<TryResult<Lock>> {
    let holder: KeyValue<string> | undefined;
    const lock = await acquiring(this.#session.etcd, this.#traced(mode, 'tryAcquire'), async () => {
      using wait = waiting(this.#session, options);
      const what = this.#title(mode);
      let contender: Contender | undefined;
      try {
        const entry = await tryEnter(this.#session, { ...this.#rule(mode), signal: wait.signal });
        if (!entry.entered) {
          holder = entry.holder;
          return undefined;
        }
        contender = entry.contender;
        return new Handle(what, contender);
      } catch (error) {
        if (contender !== undefined) await wait.patiently(contender.leave());
        throw wait.reason(what, error);
      }
    });
    if (lock !== undefined) return { acquired: true, lock };
    if (holder === undefined) throw new TypeError('neither entered nor refused');
    return { acquired: false, holder: this.#toContender(holder) };
  }

  #traced(mode: RWMode, verb: string): RecipeName {
    return { recipe: 'RWMutex', name: this.name, verb, attributes: { 'etcd.rwmutex.mode': mode } };
  }

  /** Where the own key goes, and whose keys are in the way. */
  #rule(mode: RWMode): { prefix: string; queue: string; blocks: (kv: KeyValue<string>) => boolean } {
    if (mode === 'write') return { prefix: this.#writers, queue: this.#prefix, blocks: this.#isContender };
    const blocks = (kv: KeyValue<string>): boolean => this.#isContender(kv) && this.#modeOf(kv) === 'write';
    return { prefix: `${this.#prefix}read/`, queue: this.#writers, blocks };
  }

  #title(mode: RWMode): string {
    return `${mode === 'read' ? READ_NAME : WRITE_NAME} ${this.name}`;
  }

  #toContender(kv: KeyValue<string>): RWContender {
    return { key: kv.key, mode: this.#modeOf(kv), token: kv.createRevision, owner: parseOwner(kv.value) };
  }

  #modeOf(kv: KeyValue<string>): RWMode {
    return kv.key.startsWith(this.#writers) && !isDowngraded(kv.value) ? 'write' : 'read';
  }

  readonly #isContender = (kv: KeyValue<string>): boolean =>
    isParticipant(kv, this.#writers) || isParticipant(kv, `${this.#prefix}read/`);
}

type HandleOf<Lock> = new (name: string, contender: Contender) => Lock;

function isDowngraded(value: string): boolean {
  try {
    return (JSON.parse(value) as { readonly mode?: unknown } | null)?.mode === 'read';
  } catch {
    return false;
  }
}
