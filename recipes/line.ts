/**
 * Consumers that wait stand in line, and one event wakes one of them.
 *
 * Each waiting consumer has a key in `waiters/`, on its session's lease; the oldest is
 * first. Only the first watches the items, so an item that comes wakes nobody else; the
 * others watch the key just ahead of their own. Whoever takes an item deletes its own key
 * in the same transaction, and that wakes the next. So each consumer is woken twice at
 * most for an item: to be first, and by the item.
 *
 * The line is a courtesy that keeps consumers from racing each other. Who gets an item is
 * decided by the transaction that takes it, and by nothing else.
 *
 * @module
 */

import {
  AbortError,
  type Clock,
  CompactedError,
  type Keyspace,
  type Revision,
  type Target,
  type Timer,
  type WatchEvent,
} from '../src/index.ts';
import { whileWaiting } from '../src/telemetry/recipes.ts';
import { Contender } from './contender.ts';
import { UnknownOutcomeError } from './errors.ts';
import { isParticipant } from './names.ts';
import type { Session } from './session.ts';
import { NEWEST_TWO, untilTurn } from './turn.ts';
import type { Wait } from './waiting.ts';

/** What a consumer waits for. */
export interface Awaited {
  /** Keys of which one has to be put. */
  readonly target: Target;
  /** From which revision on. */
  readonly from: Revision;
  /** How long until it is time to look again even if nothing is put, in milliseconds, as of now. Default: never. */
  readonly dueInMs?: (() => number) | undefined;
}

/** A try to take something: it was taken, or what to wait for. */
export type Attempted<R> =
  | { readonly taken: R }
  | {
      readonly awaited: Awaited;
      /** Whether there was something, and others were quicker or come first. */
      readonly contended: boolean;
    };

/** How to take something out of a queue of `V`. */
export interface Taking<R, V> {
  /** Where those in line have their keys. */
  readonly waiters: string;
  /** Where items are put. */
  readonly items: Keyspace<V, never>;
  /**
   * Tries once. `place` is the consumer's place in the line, which whatever takes an item has
   * to delete in the same transaction; without it, those in line go first. `hint` is what
   * was put while waiting.
   */
  attempt(place: Contender | undefined, hint: WatchEvent<V> | undefined): Promise<Attempted<R>>;
}

/** Takes something, in line if need be. */
export async function takeInTurn<R, V>(session: Session, wait: Wait, taking: Taking<R, V>): Promise<R> {
  let place: Contender | undefined;
  try {
    let attempted = await taking.attempt(undefined, undefined);
    if ('taken' in attempted) return attempted.taken;
    const entry = await Contender.enter(session, {
      prefix: taking.waiters,
      signal: wait.signal,
      look: () => session.etcd.op.range({ prefix: taking.waiters }, NEWEST_TWO),
    });
    if (!entry.entered) throw new TypeError('the line has no condition of entry');
    place = entry.contender;
    const turn = {
      prefix: taking.waiters,
      blocks: (kv: Parameters<typeof isParticipant>[0]) => isParticipant(kv, taking.waiters),
    };
    await untilTurn(place, turn, entry.seen, wait.signal);
    // Those ahead may have left items, or have taken what was seen.
    const wasFirst = entry.seen?.kvs.every(({ key }) => key === entry.contender.key);
    if (!wasFirst || attempted.contended) attempted = await taking.attempt(place, undefined);
    let hint: WatchEvent<V> | undefined;
    for (;;) {
      if ('taken' in attempted) {
        place.left();
        return attempted.taken;
      }
      // Whatever was put since the last look is told by the watch, so nothing is looked at twice.
      hint = await untilAwaited(session, taking.items, attempted.awaited, place, wait.signal);
      attempted = await taking.attempt(place, hint);
    }
  } catch (error) {
    if (place !== undefined) await wait.patiently(place.leave());
    throw error;
  }
}

/** The error of a wait that has failed: one whose outcome is unknown stays that, whatever ended the wait. */
export function failure(wait: Wait, what: string, error: unknown): unknown {
  return error instanceof UnknownOutcomeError ? error : wait.reason(what, error);
}

/**
 * Waits until something is put, the time comes, or our place in the line is gone. Resolves
 * with what was put; also, with nothing, when the history was compacted: look again then.
 *
 * @throws what ended the watch otherwise.
 */
export function untilAwaited<V>(
  session: Session,
  items: Keyspace<V, never>,
  awaited: Awaited,
  place: Contender,
  signal: AbortSignal,
): Promise<WatchEvent<V> | undefined> {
  return whileWaiting(() => firstAwaited(session, items, awaited, place, signal));
}

async function firstAwaited<V>(
  session: Session,
  items: Keyspace<V, never>,
  { target, from, dueInMs }: Awaited,
  place: Contender,
  signal: AbortSignal,
): Promise<WatchEvent<V> | undefined> {
  const puts = items.watch(target, { from, only: 'put', signal });
  const own = session.etcd.watch(place.key, { from, only: 'delete', signal });
  const first = async <T>(watcher: AsyncIterable<T>): Promise<T | undefined> => {
    try {
      for await (const event of watcher) return event;
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
    }
    return undefined;
  };
  const alarm = dueInMs && alarmAt(session.clock, dueInMs);
  try {
    return await Promise.race([first(puts), first(own).then(() => undefined), ...(alarm ? [alarm.rings] : [])]);
  } finally {
    alarm?.cancel();
    puts.close();
    own.close();
  }
}

/** Nobody sleeps longer than this without a look at the wall clock, which may have been set. */
const LONGEST_SLEEP_MS = 30_000;

/** Rings when the time has come. @internal */
export function alarmAt(clock: Clock, dueInMs: () => number): { readonly rings: Promise<undefined>; cancel(): void } {
  let timer: Timer | undefined;
  const rings = new Promise<undefined>((resolve) => {
    const look = (): void => {
      const leftMs = dueInMs();
      if (leftMs <= 0) resolve(undefined);
      else timer = clock.after(Math.min(Math.ceil(leftMs), LONGEST_SLEEP_MS), look);
    };
    look();
  });
  return { rings, cancel: () => timer?.cancel() };
}

/** Lets the calls of one object go one after another, in the order they were made. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Waits for its turn. The turn lasts until what is returned is disposed of. @throws the signal's reason when it fires first. */
  async take(signal: AbortSignal): Promise<Disposable> {
    const before = this.#last;
    let done!: () => void;
    this.#last = new Promise((resolve) => {
      done = resolve;
    });
    const turn = { [Symbol.dispose]: done };
    let onAbort: (() => void) | undefined;
    const aborted = new Promise<'aborted'>((resolve) => {
      onAbort = () => resolve('aborted');
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
    const which = await Promise.race([before, aborted]);
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    if (which !== 'aborted') return turn;
    // Whoever comes after us still has to wait for those before us.
    void before.then(done);
    throw new AbortError('the signal has fired', { cause: signal.reason });
  }
}
