/**
 * What is held, as the store has it: one key. Handles ({@link Held}) are what programs see
 * of it; most holdings have one handle, a lock that was entered again has several.
 *
 * Invariants:
 * 1. Lost once, lost for good, and every handle hears of it before anything else is done.
 * 2. The key goes when the last handle is given up, and when the holding is lost while the
 *    session lives. With the session's loss, one that hangs on a lease of its own
 *    ({@link HoldingOptions.lease}) is left to that, and keeps others away until it has run
 *    out.
 * 3. The watch of the own key is an early warning and a letter box. Nothing is decided by
 *    it, and its end means nothing.
 *
 * @module
 */

import { CompactedError, type LiveLease, type Revision } from '../src/index.ts';
import { type Contender, mayPass, type Removal } from './contender.ts';
import { type LossReason, LostError } from './errors.ts';
import { patiently } from './patience.ts';
import type { Session, SessionUser } from './session.ts';
import { sessionEnd } from './waiting.ts';

/** How something is held. */
export interface HoldingOptions {
  /**
   * A lease of its own that the key hangs on instead of the session's, so that it outlasts
   * the session by the difference of their times to live.
   */
  readonly lease?: LiveLease | undefined;
  /** Told when somebody has written to the own key: its new value. Must not throw. */
  readonly onValue?: ((value: string) => void) | undefined;
}

/** How long the end of a session waits for what runs under the holding, before the key is given up all the same. */
const DRAIN_MS = 4_000;

/** @internal */
export class Holding implements SessionUser {
  readonly name: string;
  readonly contender: Contender;
  readonly session: Session;
  readonly #lease: LiveLease | undefined;
  readonly #onValue: ((value: string) => void) | undefined;
  readonly #handles = new Map<object, (lost: LostError) => void>();
  readonly #running = new Set<Promise<unknown>>();
  readonly #stopWatching = new AbortController();
  readonly #cleanUps: (() => void)[] = [];
  #lost: LostError | undefined;
  #left: Promise<Removal> | undefined;

  constructor(name: string, contender: Contender, { lease, onValue }: HoldingOptions = {}) {
    this.name = name;
    this.contender = contender;
    this.session = contender.session;
    this.#lease = lease;
    this.#onValue = onValue;
    this.#cleanUps.push(this.session.use(this));
    for (const { signal } of lease === undefined ? [this.session] : [this.session, lease]) {
      const onLost = (): void => void this.check();
      signal.addEventListener('abort', onLost, { once: true });
      this.#cleanUps.push(() => signal.removeEventListener('abort', onLost));
    }
    void this.#watchOwnKey();
  }

  /** How many handles have not been given up. */
  get handles(): number {
    return this.#handles.size;
  }

  /** How long it is certainly held without another keepalive, in milliseconds. */
  remainingMs(): number {
    return Math.min(this.session.remainingMs(), this.#lease?.remainingMs() ?? Number.POSITIVE_INFINITY);
  }

  /** Why it is lost, by the clock, now; undefined while it is held. */
  check(): LostError | undefined {
    if (this.#lost === undefined) {
      if (!this.session.lease.alive) this.lose('session', sessionEnd(this.session));
      else if (this.#lease?.alive === false) this.lose('session', this.#lease.signal.reason);
    }
    return this.#lost;
  }

  /** Adds a handle. */
  join(handle: object, onLost: (lost: LostError) => void): void {
    this.#handles.set(handle, onLost);
  }

  /** Takes a handle off; with the last, the key goes. Says how that went; undefined while others hold on. */
  async part(handle: object): Promise<Removal | undefined> {
    this.#handles.delete(handle);
    if (this.#handles.size > 0) return undefined;
    this.lose('released');
    return this.#leave();
  }

  /** Declares it lost; only the first time counts. */
  lose(reason: LossReason, cause?: unknown): void {
    if (this.#lost !== undefined) return;
    this.#lost = new LostError(this.name, reason, cause === undefined ? undefined : { cause });
    for (const cleanUp of this.#cleanUps) cleanUp();
    this.#stopWatching.abort();
    for (const onLost of this.#handles.values()) onLost(this.#lost);
    if (reason === 'released') return;
    // What is left of the key must not block others, unless that is what its lease is for. A refusal leaves it to the
    // session's end; who releases later is told of it then.
    if (this.#lease === undefined || reason === 'key-gone') this.#leave().catch(() => {});
    else this.#lease.stop();
  }

  /** Keeps the key, when the session is closed, until `work` is done. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }

  /** For the session's end: stops what runs under it, then gives the key up. */
  async release(): Promise<void> {
    this.lose('released');
    if (this.#running.size > 0) await patiently(this.session.clock, Promise.allSettled(this.#running), DRAIN_MS);
    await this.#leave();
  }

  #leave(): Promise<Removal> {
    this.#left ??= this.#takeAway();
    return this.#left;
  }

  async #takeAway(): Promise<Removal> {
    try {
      return await this.contender.leave();
    } finally {
      // Nothing hangs on it any more. Should this fail, it runs out.
      if (this.#lease !== undefined) void this.#lease[Symbol.asyncDispose]();
    }
  }

  /** Notices when the key is deleted behind our back, or written to. */
  async #watchOwnKey(): Promise<void> {
    const { signal } = this.#stopWatching;
    const { session, contender } = this;
    let from = (contender.token + 1n) as Revision;
    while (!signal.aborted) {
      try {
        for await (const event of session.etcd.watch(contender.key, { from, signal })) {
          if (event.type === 'delete') return this.lose('key-gone');
          if (event.type !== 'put') continue;
          // Without a lease it counts for nobody any more, see Contender.conditions.
          if (event.kv.lease === undefined) return this.lose('key-gone');
          this.#onValue?.(event.kv.value);
        }
        return;
      } catch (error) {
        if (signal.aborted || !(error instanceof CompactedError)) return;
        const looked = await this.#lookAfterCompaction();
        if (looked === undefined) return;
        from = (looked + 1n) as Revision;
      }
    }
  }

  async #lookAfterCompaction(): Promise<Revision | undefined> {
    const { session, contender } = this;
    try {
      const [seen] = await contender.whileHeld([session.etcd.op.range(contender.key)], this.#stopWatching.signal);
      const [own] = seen.kvs;
      if (own !== undefined) this.#onValue?.(own.value);
      return seen.revision;
    } catch (error) {
      if (error instanceof LostError && error.reason === 'key-gone') this.lose('key-gone');
      // Guards and the session still tell; only this early warning is gone.
      else if (mayPass(error)) this.check();
      return undefined;
    }
  }
}
