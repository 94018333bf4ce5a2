/**
 * The barrier: while it is held, everybody who comes waits; when it opens, all go on.
 *
 * Keys: `<name>/holder/<lease>-<nonce>`, on the holder's session's lease: the barrier is
 * shut while that key is there. `<name>/closed`, without a lease, shuts it for good, until
 * somebody opens it ({@link Barrier.close}). Only one of the two is there at a time; both
 * transactions demand that neither is. `<name>/receipts/…` hang on the lease of whoever
 * closed, and make certain what became of it (receipts.ts).
 *
 * Round trips: hold 1, also when it is refused, and then without a write; release 1. A wait
 * costs 1 when the barrier is open, otherwise 1 and a watch of the holder's key, and none
 * after it. Close 1, open 1 (2 without a token).
 *
 * Guaranteed: a wait ends well only when whoever held the barrier at its first look does
 * not hold it any more: by release, by opening, by an operator who deleted the key, or
 * because its session is over. It then does so even if the barrier has been shut again
 * since, so a barrier that opens for a moment lets all through who waited. A watch that
 * ends, and history that is compacted, only mean another look. Not guaranteed: that the
 * holder has done its work; when its process dies the barrier opens with its session. Where
 * that must not be, close the barrier for good, and open it when the work is done.
 *
 * All who wait are woken at once, since that is what a barrier is for.
 *
 * Source: the barrier of ZooKeeper's recipes and of etcd's `experimental/recipes`; the
 * lease and the token are ours.
 *
 * @module
 */

import {
  type CallOptions,
  CompactedError,
  type Compare,
  EtcdError,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
} from '../src/index.ts';
import { acquiring, doing } from '../src/telemetry/recipes.ts';
import { Contender, mayPass } from './contender.ts';
import { HeldByAnotherError } from './errors.ts';
import { Held, runHeld } from './held.ts';
import { failure } from './line.ts';
import { isParticipant, type Owner, ownerText, parseOwner, recipePrefix } from './names.ts';
import { type Attempt, Receipts } from './receipts.ts';
import type { Session } from './session.ts';
import { pause, type WaitOptions, waiting } from './waiting.ts';

/** Who has shut a barrier. */
export interface BarrierHolder {
  readonly key: string;
  /** The revision that shut it; what {@link Barrier.open} takes. */
  readonly token: Revision;
  /** Whether it stays shut without its holder's session: see {@link Barrier.close}. */
  readonly permanent: boolean;
  /** Who it is, if it said so. */
  readonly owner: Owner | undefined;
}

/** How to open a barrier that was closed for good. */
export interface OpenBarrierOptions extends WaitOptions {
  /** Opens it only if it is still the same closing. Default: whoever closed it. */
  readonly token?: Revision | undefined;
}

/**
 * A barrier that sessions share by its name.
 *
 * @example
 * ```ts
 * const barrier = new Barrier(session, 'migration');
 * await barrier.run(async (held) => migrate(held.signal));   // the others wait meanwhile:
 * await barrier.wait({ timeoutMs: 60_000 });
 * ```
 */
export class Barrier {
  readonly name: string;
  readonly #session: Session;
  readonly #prefix: string;
  readonly #holders: string;
  readonly #closed: string;
  readonly #receipts: Receipts;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
    this.#prefix = recipePrefix(name);
    this.#holders = `${this.#prefix}holder/`;
    this.#closed = `${this.#prefix}closed`;
    this.#receipts = new Receipts(session, `${this.#prefix}receipts/`);
  }

  /**
   * Shuts the barrier, until the handle is released or the session is over.
   *
   * @throws HeldByAnotherError when it is shut already; WaitTimeoutError, AbortError and
   * LostError (the session) with nothing done.
   */
  hold(options: WaitOptions = {}): Promise<Held> {
    return acquiring(this.#session.etcd, this.#traced, () => this.#hold(options));
  }

  async #hold(options: WaitOptions): Promise<Held> {
    using wait = waiting(this.#session, options);
    let contender: Contender | undefined;
    try {
      let free = this.#free();
      for (;;) {
        const entry = await Contender.enter(this.#session, {
          prefix: this.#holders,
          if: free,
          signal: wait.signal,
          look: () => this.#look(),
        });
        if (entry.entered) {
          contender = entry.contender;
          return new Held(this.#title, contender);
        }
        this.#assertOpen(entry.seen);
        // Keys on leases that are nobody's: enter if nothing has come since they were seen.
        free = this.#free(entry.seen.revision);
      }
    } catch (error) {
      if (contender !== undefined) await wait.patiently(contender.leave());
      throw wait.reason(this.#title, error);
    }
  }

  /**
   * Shuts the barrier, does some work, and opens it. The signal fires when the barrier is
   * not held any more before the work is done.
   *
   * @throws what `work` throws; LostError when it was lost before; what {@link Barrier.hold} throws.
   */
  async run<T>(work: (held: Held, signal: AbortSignal) => Promise<T>, options: WaitOptions = {}): Promise<T> {
    const held = await this.hold(options);
    return runHeld(held, () => work(held, held.signal));
  }

  /**
   * Waits until the barrier is open; resolves at once when it is.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost or closed.
   */
  wait(options: WaitOptions = {}): Promise<void> {
    return doing(this.#session.etcd, { ...this.#traced, verb: 'wait' }, () => this.#wait(options));
  }

  async #wait(options: WaitOptions): Promise<void> {
    using wait = waiting(this.#session, options);
    try {
      let awaited: Revision | undefined;
      for (;;) {
        const { seen, revision } = await this.#receipts.look([this.#look()] as const, wait.signal);
        const holder = this.#holder(seen[0]);
        if (holder === undefined) return;
        // Not the one that was seen first: it was open in between.
        if (awaited !== undefined && holder.createRevision !== awaited) return;
        awaited = holder.createRevision;
        if (await this.#deleted(holder.key, (revision + 1n) as Revision, wait.signal)) return;
      }
    } catch (error) {
      throw wait.reason(this.#title, error);
    }
  }

  /**
   * Shuts the barrier for good: it stays shut when the session is over, until
   * {@link Barrier.open}. Returns the token.
   *
   * @throws HeldByAnotherError when it is shut already; WaitTimeoutError, AbortError,
   * LostError and EtcdError with nothing done; UnknownOutcomeError when no answer came to the
   * question either: then it is opened again should it turn out to have been shut.
   */
  async close(options: WaitOptions = {}): Promise<Revision> {
    using wait = waiting(this.#session, options);
    const { etcd, owner } = this.#session;
    const value = ownerText(owner);
    const attempt = (known?: Revision): Attempt => ({
      receipt: 'closed',
      if: this.#free(known),
      then: [etcd.op.put(this.#closed, value)],
    });
    try {
      const done = await this.#receipts.run(
        {
          what: `closing ${this.#title}`,
          look: [this.#look()] as const,
          first: attempt(),
          next: ([seen], revision) => (this.#holder(seen) === undefined ? attempt(revision) : undefined),
          late: async (_receipt, token) => void (await this.open({ token })),
        },
        wait.signal,
      );
      if (done.done) return done.revision;
      this.#assertOpen(done.seen[0]);
      throw new TypeError('neither closed nor refused');
    } catch (error) {
      throw failure(wait, this.#title, error);
    }
  }

  /**
   * Opens a barrier that was closed for good. Says whether it was closed; with a `token`,
   * whether that closing was still in force. One that is held is opened by its holder only.
   *
   * @throws WaitTimeoutError, AbortError, LostError; try again then, which does no harm.
   */
  async open({ token, ...options }: OpenBarrierOptions = {}): Promise<boolean> {
    using wait = waiting(this.#session, options);
    const { etcd } = this.#session;
    try {
      const which = token ?? (await etcd.get(this.#closed, { signal: wait.signal }))?.createRevision;
      if (which === undefined) return false;
      let unsure = false;
      for (let tries = 0; ; tries++) {
        try {
          const spec = {
            if: [etcd.key(this.#closed).createRevision.equals(which)],
            then: [etcd.op.delete(this.#closed)],
          };
          const done = await etcd.txn(spec, { signal: wait.signal });
          return done.succeeded || unsure;
        } catch (error) {
          if (wait.signal.aborted || !mayPass(error)) throw error;
          unsure ||= error instanceof EtcdError && error.applied === 'maybe';
          await pause(this.#session, tries, wait.signal);
        }
      }
    } catch (error) {
      throw wait.reason(this.#title, error);
    }
  }

  /** Who has shut the barrier; undefined while it is open. */
  async holder(options: CallOptions = {}): Promise<BarrierHolder | undefined> {
    const kv = this.#holder(await this.#session.etcd.range({ prefix: this.#prefix }, options));
    return (
      kv && { key: kv.key, token: kv.createRevision, permanent: kv.key === this.#closed, owner: parseOwner(kv.value) }
    );
  }

  /** What must hold to shut it; with `known`, given that nobody had at that revision. */
  #free(known?: Revision): Compare[] {
    const { etcd } = this.#session;
    const holders = etcd.keys({ prefix: this.#holders });
    const nobody =
      known === undefined ? holders.lease.equals(0n) : holders.modRevision.lessThan((known + 1n) as Revision);
    return [nobody, etcd.key(this.#closed).missing];
  }

  #look(): Op<RangeResult<string>> {
    return this.#session.etcd.op.range({ prefix: this.#prefix });
  }

  #holder({ kvs }: RangeResult<string>): KeyValue<string> | undefined {
    return kvs.find((kv) => kv.key === this.#closed || isParticipant(kv, this.#holders));
  }

  /** @throws HeldByAnotherError */
  #assertOpen(seen: RangeResult<string>): void {
    const holder = this.#holder(seen);
    if (holder !== undefined) throw new HeldByAnotherError(this.#title, parseOwner(holder.value));
  }

  /** Waits until a key is deleted. False: that can't be told any more, look again. */
  async #deleted(key: string, from: Revision, signal: AbortSignal): Promise<boolean> {
    try {
      for await (const event of this.#session.etcd.watch(key, { from, only: 'delete', signal })) {
        if (event.type === 'delete') return true;
      }
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
    }
    return false;
  }

  get #traced(): { readonly recipe: string; readonly name: string } {
    return { recipe: 'Barrier', name: this.name };
  }

  get #title(): string {
    return `the barrier ${this.name}`;
  }
}
