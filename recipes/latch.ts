/**
 * The countdown latch: shut until so many things have happened, and open from then on.
 *
 * Keys: `<name>/remaining`, how many are still to happen, in decimal text; `<name>/open`,
 * written by the transaction that brings it to 0; `<name>/done/<id>` for each participant
 * that counted down under an id. All without a lease, since what has happened stays so when
 * whoever did it is gone. `<name>/receipts/…` hang on sessions' leases, and make certain
 * what became of each call (receipts.ts).
 *
 * Round trips: create 1. Count down 2 the first time an object does it, then 1 as long as
 * nobody else does; 1 more for each time somebody was quicker. Wait 1; while it is shut a
 * watch of `open` and of the count's deletion, so nobody is woken before the end, and 1 to
 * look then.
 *
 * Guaranteed: each call of `countDown` that returned has counted once, or under an id that
 * had counted before, not again; a lost answer never makes it two; the count never goes
 * below 0, and never up. Not guaranteed, by contract: that the latch opens when a
 * participant dies before it has counted down. Give waits a time limit, and participants an
 * id, so that they can be started again and count once.
 *
 * All who wait are woken at once, since that is what a latch is for.
 *
 * A latch is for one use. It stays until {@link Latch.delete}; another use is another name.
 *
 * Source: `CountDownLatch` of java.util.concurrent and Redisson's; the ids are ours.
 *
 * @module
 */

import {
  type CallOptions,
  CompactedError,
  DecodeError,
  InvalidArgumentError,
  type KeyValue,
  type Op,
  type Revision,
  type Watcher,
} from '../src/index.ts';
import { doing, whileWaiting } from '../src/telemetry/recipes.ts';
import { RecipeError } from './errors.ts';
import { failure } from './line.ts';
import { recipePrefix } from './names.ts';
import { type Attempt, Receipts } from './receipts.ts';
import type { Session } from './session.ts';
import { type WaitOptions, waiting } from './waiting.ts';

/** How to count down. */
export interface CountDownOptions extends WaitOptions {
  /**
   * Who counts down: one id counts once, however often and from whichever process it is
   * said. Default: each call counts.
   */
  readonly id?: string | undefined;
}

/**
 * A latch that sessions share by its name.
 *
 * @example
 * ```ts
 * const loaded = new Latch(session, 'load-2026-11');
 * await loaded.create(3);
 * await loaded.countDown({ id: 'customers' });      // in three workers
 * await loaded.wait({ timeoutMs: 60_000 });         // in whoever needs them all
 * ```
 */
export class Latch {
  readonly name: string;
  readonly #session: Session;
  readonly #prefix: string;
  readonly #remaining: string;
  readonly #open: string;
  readonly #receipts: Receipts;
  #known: string | undefined;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
    this.#prefix = recipePrefix(name);
    this.#remaining = `${this.#prefix}remaining`;
    this.#open = `${this.#prefix}open`;
    this.#receipts = new Receipts(session, `${this.#prefix}receipts/`);
  }

  /**
   * Makes the latch, if there is none of the name; one that is there stays as it is. Returns
   * how many are still to happen.
   *
   * @throws InvalidArgumentError for a count that is no whole number of at least 1;
   * WaitTimeoutError, AbortError, LostError, EtcdError with nothing done; UnknownOutcomeError.
   */
  async create(count: number, options: WaitOptions = {}): Promise<number> {
    if (!Number.isSafeInteger(count) || count < 1) {
      throw new InvalidArgumentError(`count ${count} is not a whole number of at least 1`);
    }
    using wait = waiting(this.#session, options);
    const { etcd } = this.#session;
    try {
      const done = await this.#receipts.run(
        {
          what: `making ${this.#title}`,
          look: [etcd.op.get(this.#remaining)] as const,
          first: {
            receipt: 'created',
            if: [etcd.key(this.#remaining).missing],
            then: [etcd.op.put(this.#remaining, String(count)), etcd.op.delete(this.#open)],
          },
          next: () => undefined,
        },
        wait.signal,
      );
      return done.done ? count : this.#count(done.seen[0]);
    } catch (error) {
      throw failure(wait, this.#title, error);
    }
  }

  /**
   * Says that one of the things has happened. Returns how many are left; 0 also for a latch
   * that was open before.
   *
   * @throws RecipeError `lost` when there is no such latch; WaitTimeoutError, AbortError,
   * LostError, EtcdError with nothing done; UnknownOutcomeError when that is not known: with
   * an `id`, say it again.
   */
  async countDown({ id, ...options }: CountDownOptions = {}): Promise<number> {
    using wait = waiting(this.#session, options);
    const { etcd } = this.#session;
    const mark = id === undefined ? undefined : `${this.#prefix}done/${recipePrefix(id)}`;
    const attempt = (text: string): Attempt => {
      const left = parse(text) - 1;
      return {
        receipt: String(left),
        if: [etcd.key(this.#remaining).value.equals(text), ...(mark === undefined ? [] : [etcd.key(mark).missing])],
        then: [
          etcd.op.put(this.#remaining, String(left)),
          ...(mark === undefined ? [] : [etcd.op.put(mark, '')]),
          ...(left === 0 ? [etcd.op.put(this.#open, '')] : []),
        ],
      };
    };
    const look: readonly Op<KeyValue<string> | undefined>[] = [
      this.#remaining,
      ...(mark === undefined ? [] : [mark]),
    ].map((key) => etcd.op.get(key));
    try {
      const done = await this.#receipts.run(
        {
          what: `counting down ${this.#title}`,
          look,
          first: this.#known === undefined || this.#known === '0' ? undefined : attempt(this.#known),
          next: ([remaining, counted]) => {
            const shut = remaining !== undefined && isCount(remaining.value) && remaining.value !== '0';
            return shut && counted === undefined ? attempt(remaining.value) : undefined;
          },
        },
        wait.signal,
      );
      if (done.done) {
        this.#known = done.receipt;
        return parse(done.receipt);
      }
      return this.#count(done.seen[0]);
    } catch (error) {
      throw failure(wait, this.#title, error);
    }
  }

  /**
   * Waits until everything has happened; resolves at once when it has, and also when the latch
   * was taken away after it had opened.
   *
   * @throws RecipeError `lost` when there is no such latch, or it is deleted before it opens;
   * WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal` fires,
   * LostError when the session is lost or closed.
   */
  wait(options: WaitOptions = {}): Promise<void> {
    const which = { recipe: 'Latch', name: this.name, verb: 'wait' };
    return doing(this.#session.etcd, which, () => this.#wait(options));
  }

  async #wait(options: WaitOptions): Promise<void> {
    using wait = waiting(this.#session, options);
    const { etcd } = this.#session;
    let awaited: Revision | undefined;
    let opened = false;
    try {
      for (;;) {
        const { seen, revision } = await this.#receipts.look([etcd.op.get(this.#remaining)] as const, wait.signal);
        const same = awaited === undefined || seen[0]?.createRevision === awaited;
        // Whoever was quicker may have taken it away already, or made another of the name.
        if (!same && opened) return;
        if (this.#count(same ? seen[0] : undefined) === 0) return;
        awaited = seen[0]?.createRevision;
        opened = await whileWaiting(() => this.#untilOpenOrGone((revision + 1n) as Revision, wait.signal));
      }
    } catch (error) {
      throw wait.reason(this.#title, error);
    }
  }

  /** How many are still to happen; undefined when there is no such latch. */
  async remaining(options: CallOptions = {}): Promise<number | undefined> {
    const kv = await this.#session.etcd.get(this.#remaining, options);
    return kv && this.#count(kv);
  }

  /** Takes the latch away; those who wait for it are told. Can be done twice. */
  async delete(options: WaitOptions = {}): Promise<void> {
    using wait = waiting(this.#session, options);
    const { etcd } = this.#session;
    try {
      await this.#receipts.run(
        {
          what: `deleting ${this.#title}`,
          look: [] as const,
          first: {
            receipt: 'deleted',
            if: [],
            then: [
              etcd.op.delete(this.#remaining),
              etcd.op.delete(this.#open),
              etcd.op.delete({ prefix: `${this.#prefix}done/` }),
            ],
          },
          next: () => undefined,
        },
        wait.signal,
      );
      this.#known = undefined;
    } catch (error) {
      throw failure(wait, this.#title, error);
    }
  }

  /** Waits until the latch opens or is taken away, and says whether it had opened, as far as history tells. */
  async #untilOpenOrGone(from: Revision, signal: AbortSignal): Promise<boolean> {
    const { etcd } = this.#session;
    const open = etcd.watch(this.#open, { from, only: 'put', signal });
    const gone = etcd.watch(this.#remaining, { from, only: 'delete', prevKv: true, signal });
    const first = async (watcher: Watcher): Promise<boolean> => {
      try {
        for await (const event of watcher) {
          return event.type === 'put' || (event.type === 'delete' && event.previous?.value === '0');
        }
      } catch (error) {
        if (!(error instanceof CompactedError)) throw error;
      }
      return false;
    };
    try {
      return await Promise.race([first(open), first(gone)]);
    } finally {
      open.close();
      gone.close();
    }
  }

  /** @throws RecipeError when it is not there, DecodeError when it is no count. */
  #count(kv: KeyValue<string> | undefined): number {
    this.#known = undefined;
    if (kv === undefined) throw new RecipeError('lost', `${this.#title} does not exist`);
    if (!isCount(kv.value)) throw new DecodeError(`the count of ${this.#title} is not a number`);
    this.#known = kv.value;
    return parse(kv.value);
  }

  get #title(): string {
    return `the latch ${this.name}`;
  }
}

function isCount(text: string): boolean {
  return /^(?:0|[1-9]\d{0,14})$/.test(text);
}

function parse(text: string): number {
  return Number(text);
}
