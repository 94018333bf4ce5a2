/**
 * One's own place in a group: kept until one leaves, or the session ends.
 *
 * Invariants:
 * 1. What is to be in the store is known here (`#data`); every change goes through one queue,
 *    so an update and a return after a deletion cannot overtake each other.
 * 2. A key that was deleted behind our back is put again, as a new place; it is never put
 *    again after leaving.
 * 3. What was said last stays: an update that was delayed on its way is refused if it comes
 *    after a later one (own-value.ts).
 *
 * @module
 */

import { type Codec, type Compare, checkedSignal } from '../../src/index.ts';
import { Contender, mayPass } from '../contender.ts';
import { LostError } from '../errors.ts';
import { Held } from '../held.ts';
import { isParticipant } from '../names.ts';
import { OwnValue } from '../own-value.ts';
import type { Session, SessionUser } from '../session.ts';
import { NEWEST_TWO, untilTurn } from '../turn.ts';
import { pause, sessionEnd, type WaitOptions, waiting } from '../waiting.ts';

/** What a member is made of. @internal */
export interface MemberSettings<In> {
  readonly id: string;
  /** Where the keys under its id are. */
  readonly prefix: string;
  readonly data: In;
  readonly codec: Codec<unknown, In>;
}

/** A member of a group, as its own program has it. Dispose of it to leave. */
export class Member<In> implements AsyncDisposable, SessionUser {
  readonly id: string;
  readonly #session: Session;
  readonly #prefix: string;
  readonly #codec: Codec<unknown, In>;
  readonly #signal: ReturnType<typeof checkedSignal>;
  readonly #stop = new AbortController();
  readonly #cleanUps: (() => void)[] = [];
  #data: In;
  #contender: Contender;
  #own: OwnValue;
  #held: Held;
  #queue: Promise<unknown> = Promise.resolve();
  #lost: LostError | undefined;
  #left: Promise<void> | undefined;

  private constructor(session: Session, settings: MemberSettings<In>, contender: Contender) {
    this.id = settings.id;
    this.#session = session;
    this.#prefix = settings.prefix;
    this.#codec = settings.codec;
    this.#data = settings.data;
    this.#contender = contender;
    this.#own = new OwnValue(contender);
    this.#signal = checkedSignal(() => void this.#check());
    this.#held = this.#hold(contender);
    this.#cleanUps.push(session.use(this));
    const onSession = (): void => void this.#check();
    session.signal.addEventListener('abort', onSession, { once: true });
    this.#cleanUps.push(() => session.signal.removeEventListener('abort', onSession));
  }

  /** Joins; see `Membership.join`. @internal */
  static async join<In>(session: Session, settings: MemberSettings<In>, signal: AbortSignal): Promise<Member<In>> {
    const contender = await enter(session, settings, signal);
    try {
      return new Member(session, settings, contender);
    } catch (error) {
      void contender.leave().catch(() => {});
      throw error;
    }
  }

  /** Its key in the store; another one after it was deleted and put again. */
  get key(): string {
    return this.#contender.key;
  }

  /** What it says of itself. */
  get data(): In {
    return this.#data;
  }

  /**
   * Fires when it is a member no more: it has left, or its session is over; the reason is a
   * {@link LostError}. Reading its `aborted` looks at the clock.
   */
  get signal(): AbortSignal {
    this.#check();
    return this.#signal.signal;
  }

  /** Whether others see it, as far as can be told here: not after a deletion, until it has come back. */
  get present(): boolean {
    return this.#check() === undefined && this.#held.held;
  }

  /** The conditions, for transactions, that it is a member at this moment. While it comes back they do not hold. */
  get conditions(): readonly Compare[] {
    return this.#contender.conditions;
  }

  /** Resolves when no update and no return after a deletion is under way: what {@link Member.conditions} says is true then. @internal */
  async settled(): Promise<void> {
    await this.#queue;
  }

  /**
   * Changes what it says of itself; given a function, from what it said before. Only its own
   * key is written, if it is still there; one that was deleted meanwhile is put again, with
   * the new data. One round trip; several calls are done in their order.
   *
   * @throws LostError when it is a member no more; WaitTimeoutError after `timeoutMs`
   * (default: no limit) and AbortError when `signal` fires: the data may be either then.
   */
  update(data: In | ((before: In) => In), options: WaitOptions = {}): Promise<void> {
    return this.#enqueue(async () => {
      this.#assertMember();
      using wait = this.#waiting(options);
      const next = typeof data === 'function' ? (data as (before: In) => In)(this.#data) : data;
      const value = this.#codec.encode(next);
      this.#data = next;
      try {
        if (this.#held.held) {
          await this.#own.write(value, wait.signal);
        } else {
          await this.#comeBack(wait.signal);
        }
      } catch (error) {
        if (!(error instanceof LostError && error.reason === 'key-gone' && this.#session.alive)) {
          this.#assertMember();
          throw wait.reason(`the update of the member ${this.id}`, error);
        }
        await this.#comeBack(wait.signal);
      }
    });
  }

  /** Leaves the group: resolves when nothing of it is left in the store. Can be called twice. */
  leave(): Promise<void> {
    this.#left ??= this.#leave(new LostError(`the membership of ${this.id}`, 'released'));
    return this.#left;
  }

  /** For the session's end: leaves. */
  release(): Promise<void> {
    return this.leave();
  }

  /** Leaves; see {@link Member.leave}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }

  async #leave(lost: LostError): Promise<void> {
    this.#lose(lost);
    await this.#queue;
    await this.#held[Symbol.asyncDispose]();
  }

  #hold(contender: Contender): Held {
    const held = new Held(`the membership of ${this.id}`, contender);
    held.signal.addEventListener('abort', () => void this.#onGone(held.signal.reason), { once: true });
    return held;
  }

  /** The key is gone: puts it again, unless that is what was wanted. */
  async #onGone(reason: unknown): Promise<void> {
    if (!(reason instanceof LostError) || reason.reason !== 'key-gone') return;
    await this.#enqueue(async () => {
      for (let tries = 0; this.#check() === undefined && !this.#held.held; tries++) {
        try {
          await this.#comeBack(this.#stop.signal);
        } catch (error) {
          if (this.#check() !== undefined) return;
          if (!mayPass(error) && !(error instanceof LostError)) {
            this.#lose(new LostError(`the membership of ${this.id}`, 'key-gone', { cause: error }));
            return;
          }
          await pause(this.#session, tries, this.#stop.signal);
        }
      }
    });
  }

  async #comeBack(signal: AbortSignal): Promise<void> {
    const settings = { id: this.id, prefix: this.#prefix, data: this.#data, codec: this.#codec };
    const contender = await enter(this.#session, settings, signal);
    await this.#held[Symbol.asyncDispose]();
    this.#contender = contender;
    this.#own = new OwnValue(contender);
    this.#held = this.#hold(contender);
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {});
    return done;
  }

  #waiting({ signal, timeoutMs }: WaitOptions) {
    const { signal: stop } = this.#stop;
    return waiting(this.#session, { timeoutMs, signal: signal === undefined ? stop : AbortSignal.any([signal, stop]) });
  }

  #assertMember(): void {
    const lost = this.#check();
    if (lost !== undefined) throw lost;
  }

  #check(): LostError | undefined {
    if (this.#lost === undefined && !this.#session.lease.alive) {
      this.#lose(new LostError(`the membership of ${this.id}`, 'session', { cause: sessionEnd(this.#session) }));
    }
    return this.#lost;
  }

  #lose(lost: LostError): void {
    if (this.#lost !== undefined) return;
    this.#lost = lost;
    for (const cleanUp of this.#cleanUps) cleanUp();
    this.#signal.abort(lost);
    this.#stop.abort(lost);
  }
}

/** Puts a key under an id, and waits until no older one is there. Nothing is left when it fails. */
async function enter<In>(session: Session, settings: MemberSettings<In>, signal: AbortSignal): Promise<Contender> {
  const { prefix, data, codec } = settings;
  const look = () => session.etcd.op.range({ prefix }, NEWEST_TWO);
  const entry = await Contender.enter(session, { prefix, value: codec.encode(data), signal, look });
  if (!entry.entered) throw new TypeError('a group has no condition of entry');
  const { contender, seen } = entry;
  try {
    await untilTurn(contender, { prefix, blocks: (kv) => isParticipant(kv, prefix) }, seen, signal);
    return contender;
  } catch (error) {
    await contender.leave().catch(() => {});
    throw error;
  }
}
