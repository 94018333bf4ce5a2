/**
 * The double barrier: so many begin together, and end together.
 *
 * Keys: `<name>/<lease>-<nonce>` for each participant, hanging on its session's lease; there
 * are no others, so nothing outlives the participants. Its value says who it is, and once
 * it has begun, its round; and once it wants to end, that it has left. A round is called by
 * the revision that created the oldest of its keys, so later rounds have greater numbers.
 *
 * Begin: whoever enters sees in the same transaction who is there. If those who are in no
 * round are enough, it opens one for the oldest of them: one transaction that demands that
 * each of them is as it was seen, and writes the round into all their keys. So a round
 * begins with `count` live places or not at all, no matter who opens it, or how often.
 * Each one watches only its own key, and is woken once, by its own round.
 *
 * End: one transaction marks the own key and sees who is still inside. The last one deletes
 * all keys of the round, and each of the others is woken by its own, and looks. A
 * participant that dies inside counts as gone when its session ends; for that the oldest of
 * those that have left keeps watch, and each of the others watches the one before it.
 *
 * Round trips: enter 1, for the last one 2; nothing after the wake-up. Leave 1, a wait, and 1
 * to make sure; for the last one 2.
 *
 * Guaranteed: `enter` returns only after all `count` places of the round stood in the store
 * at one revision; `leave` returns only when none of them is inside any more. A dead
 * session, a deleted key, a watch that ends and compacted history are never taken for
 * either. Not guaranteed: that all are still alive when `enter` returns.
 *
 * Who comes late waits for the next round, unless it asks to be refused. Who gives up
 * waiting is as if it had never come; should its round begin at that moment, it counts as
 * one that died inside.
 *
 * The count is limited by what one transaction holds: 127 with the server's and the
 * client's defaults (`maxTxnOps`).
 *
 * Source: ZooKeeper's double barrier; rounds instead of one shared `ready` key are ours.
 *
 * @module
 */

import {
  CompactedError,
  InvalidArgumentError,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
} from '../src/index.ts';
import { acquiring, doing, whileWaiting } from '../src/telemetry/recipes.ts';
import { Contender, mayPass, untilChanged } from './contender.ts';
import { LostError, RecipeError } from './errors.ts';
import { Held, runHeld } from './held.ts';
import { isParticipant, ownerText, recipePrefix } from './names.ts';
import type { Session } from './session.ts';
import { pause, type WaitOptions, waiting } from './waiting.ts';

/** How a {@link DoubleBarrier} works. */
export interface DoubleBarrierOptions {
  /** How many begin together. Must be the same for all who use the name. */
  readonly count: number;
}

/** How to enter. */
export interface EnterBarrierOptions extends WaitOptions {
  /**
   * What to do when a round is under way, or enough others were first: wait for the next
   * round, or be refused. Default `wait`.
   */
  readonly whenLate?: 'wait' | 'refuse' | undefined;
}

/** A participant's key, read. */
interface Place {
  readonly kv: KeyValue<string>;
  readonly fields: object;
  /** The round it is in; undefined while it waits for one. */
  readonly round: Revision | undefined;
  /** Whether it waits for the others to leave. */
  readonly left: boolean;
}

/** Being inside. Its `signal` fires when the own place is lost; the others' fate it does not tell. */
export class BarrierRound extends Held {
  /** Which round; the same for all of it, and greater than those before. */
  readonly round: Revision;
  readonly #barrier: string;
  readonly #prefix: string;
  #leaving: Promise<void> | undefined;

  /** Internal: made by {@link DoubleBarrier}. */
  constructor(barrier: string, contender: Contender, prefix: string, round: Revision) {
    super(titleOf(barrier), contender);
    this.#barrier = barrier;
    this.#prefix = prefix;
    this.round = round;
  }

  /**
   * Leaves, and waits until all others of the round have. (`release()` leaves without
   * waiting.) A second call gets the first one's answer.
   *
   * @throws LostError when the place had been lost before, or is lost meanwhile;
   * WaitTimeoutError and AbortError when the others take too long: it has left all the same.
   */
  leave(options: WaitOptions = {}): Promise<void> {
    const { etcd } = Held.holdingOf(this).session;
    this.#leaving ??= doing(etcd, { ...traced(this.#barrier), verb: 'leave' }, () => this.#leave(options));
    return this.#leaving;
  }

  async #leave(options: WaitOptions): Promise<void> {
    this.assertHeld();
    const holding = Held.holdingOf(this);
    const { contender, session } = holding;
    using wait = waiting(session, options);
    // From here on the key's deletion is what is waited for.
    holding.lose('released');
    try {
      await this.#untilAllLeft(contender, session, wait.signal);
      contender.left();
    } catch (error) {
      await wait.patiently(contender.leave());
      throw wait.reason(this.name, error);
    }
  }

  async #untilAllLeft(contender: Contender, session: Session, signal: AbortSignal): Promise<void> {
    const { etcd } = session;
    const look = etcd.op.range({ prefix: this.#prefix });
    let seen = await this.#mark(contender, look, signal);
    for (;;) {
      const members = placesOf(seen, this.#prefix).filter(({ round }) => round === this.round);
      const inside = members.filter(({ left }) => !left);
      if (inside.length === 0) return await this.#finish(session, members, signal);
      if (!members.some(({ kv }) => kv.key === contender.key)) throw new LostError(this.name, 'key-gone');
      const ahead = members.findLast(({ kv, left }) => left && kv.createRevision < contender.token);
      const awaited = ahead === undefined ? inside : [ahead];
      const targets = [contender.key, ...awaited.map(({ kv }) => kv.key)];
      const changes = targets.map((target) => ({ target, only: 'delete' }) as const);
      await untilChanged(session, changes, (seen.revision + 1n) as Revision, signal);
      // Whether the own key is there is for the next turn to judge: its end may be the good one.
      const { results } = await contender.tryWhileHeld([], [look], [look], signal);
      seen = results[0];
    }
  }

  async #mark(contender: Contender, look: Op<RangeResult<string>>, signal: AbortSignal): Promise<RangeResult<string>> {
    const { etcd } = contender.session;
    const value = ownerText(contender.session.owner, { round: String(this.round), left: true });
    const mark = etcd.op.put(contender.key, value, { ignoreLease: true });
    const done = await contender.tryWhileHeld([], [mark, look], [look], signal);
    return done.succeeded ? done.results[1] : done.results[0];
  }

  /** Takes away the keys of those who have left, which is what they wait for. */
  async #finish(session: Session, members: Place[], signal: AbortSignal): Promise<void> {
    if (members.length === 0) return;
    const { etcd } = session;
    const deletes = members.map(({ kv }) => etcd.op.delete(kv.key));
    for (let tries = 0; ; tries++) {
      try {
        await etcd.txn<Op<unknown>[]>({ then: deletes }, { signal });
        return;
      } catch (error) {
        if (signal.aborted || !session.alive || !mayPass(error)) throw error;
        await pause(session, tries, signal);
      }
    }
  }
}

/**
 * A double barrier that sessions share by its name. One object can enter many times.
 *
 * @example
 * ```ts
 * const barrier = new DoubleBarrier(session, 'load-test', { count: 5 });
 * await using round = await barrier.enter({ timeoutMs: 60_000 });
 * await work(round.signal);
 * await round.leave({ timeoutMs: 60_000 });
 * ```
 */
export class DoubleBarrier {
  readonly name: string;
  readonly count: number;
  readonly #session: Session;
  readonly #prefix: string;

  /** @throws InvalidArgumentError for an empty name, or a count that is not from 1 to what a transaction holds. */
  constructor(session: Session, name: string, { count }: DoubleBarrierOptions) {
    const most = session.etcd.maxTxnOps - 1;
    if (!Number.isSafeInteger(count) || count < 1 || count > most) {
      throw new InvalidArgumentError(`count ${count} is not a whole number from 1 to ${most}`);
    }
    this.#session = session;
    this.name = name;
    this.count = count;
    this.#prefix = recipePrefix(name);
  }

  /**
   * Waits until `count` have come, and begins with them.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost or the key is deleted meanwhile; RecipeError
   * `held-by-another` when it is late and asked to be refused. Nothing of it is left then.
   */
  enter(options: EnterBarrierOptions = {}): Promise<BarrierRound> {
    const which = { ...traced(this.name), verb: 'enter', holding: 'round' };
    return acquiring(this.#session.etcd, which, () => this.#enter(options));
  }

  async #enter(options: EnterBarrierOptions): Promise<BarrierRound> {
    using wait = waiting(this.#session, options);
    let contender: Contender | undefined;
    try {
      const entry = await Contender.enter(this.#session, {
        prefix: this.#prefix,
        signal: wait.signal,
        look: () => this.#look(),
      });
      if (!entry.entered) throw new TypeError('a double barrier has no condition of entry');
      contender = entry.contender;
      const seen = entry.seen ?? (await contender.confirm(this.#look(), wait.signal));
      if (options.whenLate === 'refuse') this.#assertInTime(contender, seen);
      const round = await this.#untilBegun(contender, seen, wait.signal);
      return new BarrierRound(this.name, contender, this.#prefix, round);
    } catch (error) {
      if (contender !== undefined) await wait.patiently(contender.leave());
      throw wait.reason(this.#title, error);
    }
  }

  /**
   * Does some work together with the others: enters, works, and leaves with them.
   *
   * @throws what `work` throws, after leaving without waiting; LostError when the place was
   * lost before the work was done; what enter and leave throw. `timeoutMs` is for each of these.
   */
  async run<T>(
    work: (round: BarrierRound, signal: AbortSignal) => Promise<T>,
    options: EnterBarrierOptions = {},
  ): Promise<T> {
    const round = await this.enter(options);
    return runHeld(round, async () => {
      const result = await work(round, round.signal);
      await round.leave(options);
      return result;
    });
  }

  async #untilBegun(contender: Contender, entered: RangeResult<string>, signal: AbortSignal): Promise<Revision> {
    let seen = entered;
    for (;;) {
      const places = placesOf(seen, this.#prefix);
      const own = places.find(({ kv }) => kv.key === contender.key);
      if (own === undefined) throw new LostError(this.#title, 'key-gone');
      if (own.round !== undefined) return own.round;
      const waiters = places.filter(({ round }) => round === undefined);
      if (waiters.length >= this.count) {
        seen = await this.#begin(contender, waiters.slice(0, this.count), signal);
        continue;
      }
      const from = (seen.revision + 1n) as Revision;
      const round = await whileWaiting(() => this.#untilMarked(contender, from, signal));
      if (round !== undefined) return round;
      seen = await contender.confirm(this.#look(), signal);
    }
  }

  /** Begins a round with these, if each of them is as it was seen. Sent twice, it is done once. */
  async #begin(contender: Contender, members: readonly Place[], signal: AbortSignal): Promise<RangeResult<string>> {
    const { etcd } = this.#session;
    const round = String(members[0]?.kv.createRevision);
    const unchanged = members.map(({ kv }) => etcd.key(kv.key).unchangedSince(kv));
    const marks = members.map(({ kv, fields }) =>
      etcd.op.put(kv.key, JSON.stringify({ ...fields, round }), { ignoreLease: true }),
    );
    const then: readonly Op<unknown>[] = [...marks, this.#look()];
    const done = await contender.tryWhileHeld(unchanged, then, [this.#look()], signal);
    return done.results.at(-1) as RangeResult<string>;
  }

  /** Waits until the own key is in a round. Undefined: that can't be told any more, look again. */
  async #untilMarked(contender: Contender, from: Revision, signal: AbortSignal): Promise<Revision | undefined> {
    try {
      for await (const event of this.#session.etcd.watch(contender.key, { from, signal })) {
        if (event.type === 'delete') throw new LostError(this.#title, 'key-gone');
        const round = event.type === 'put' ? toPlace(event.kv).round : undefined;
        contender.assertSession();
        if (round !== undefined) return round;
      }
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
    }
    return undefined;
  }

  /** @throws RecipeError when a round is under way, or enough others wait for one. */
  #assertInTime(contender: Contender, seen: RangeResult<string>): void {
    const others = placesOf(seen, this.#prefix).filter(({ kv }) => kv.createRevision < contender.token);
    if (others.length < this.count && others.every(({ round }) => round === undefined)) return;
    throw new RecipeError('held-by-another', `${this.#title} has ${others.length} others in it`);
  }

  #look(): Op<RangeResult<string>> {
    return this.#session.etcd.op.range({ prefix: this.#prefix });
  }

  get #title(): string {
    return titleOf(this.name);
  }
}

function titleOf(name: string): string {
  return `the double barrier ${name}`;
}

function traced(name: string): { readonly recipe: string; readonly name: string } {
  return { recipe: 'DoubleBarrier', name };
}

/** The participants, the oldest first. */
function placesOf({ kvs }: RangeResult<string>, prefix: string): Place[] {
  const places = kvs.filter((kv) => isParticipant(kv, prefix)).map(toPlace);
  return places.sort((a, b) => (a.kv.createRevision < b.kv.createRevision ? -1 : 1));
}

function toPlace(kv: KeyValue<string>): Place {
  const fields = parse(kv.value);
  const round = typeof fields.round === 'string' && /^\d{1,19}$/.test(fields.round) ? BigInt(fields.round) : undefined;
  return { kv, fields, round: round as Revision | undefined, left: fields.left === true };
}

function parse(text: string): { readonly round?: unknown; readonly left?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}
