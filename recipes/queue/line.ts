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

import { CompactedError, type Keyspace, type Revision, type Target, type WatchEvent } from '../../src/index.ts';
import { Contender } from '../contender.ts';
import { UnknownOutcomeError } from '../errors.ts';
import { isParticipant } from '../names.ts';
import type { Session } from '../session.ts';
import { NEWEST_TWO, untilTurn } from '../turn.ts';
import type { Wait } from '../waiting.ts';

/** What a consumer waits for. */
export interface Awaited {
  /** Keys of which one has to be put. */
  readonly target: Target;
  /** From which revision on. */
  readonly from: Revision;
  /** When to look again even if nothing is put, in milliseconds. Default: never. */
  readonly dueInMs?: number | undefined;
}

/** A try to take something: it was taken, or what to wait for. */
export type Attempted<R> = { readonly taken: R; readonly revision: Revision } | { readonly awaited: Awaited };

/** How to take something out of a queue of `V`. */
export interface Taking<R, V> {
  /** What is taken, for messages. */
  readonly what: string;
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
    const turn = { prefix: taking.waiters, blocks: (kv: Parameters<typeof isParticipant>[0]) => isParticipant(kv, taking.waiters) };
    await untilTurn(place, turn, entry.seen, wait.signal);
    let hint: WatchEvent<V> | undefined;
    for (;;) {
      // Whatever was put since the last look is told by the watch, so nothing is looked at twice.
      hint = await untilAwaited(session, taking.items, attempted.awaited, place, wait.signal);
      attempted = await taking.attempt(place, hint);
      if (!('taken' in attempted)) continue;
      place.left(attempted.revision);
      return attempted.taken;
    }
  } catch (error) {
    if (place !== undefined) await wait.patiently(place.leave());
    throw error instanceof UnknownOutcomeError ? error : wait.reason(taking.what, error);
  }
}

/**
 * Waits until something is put, the time comes, or our place in the line is gone. Resolves
 * with what was put; also, with nothing, when the history was compacted: look again then.
 *
 * @throws what ended the watch otherwise.
 */
export async function untilAwaited<V>(
  session: Session,
  items: Keyspace<V, never>,
  { target, from, dueInMs }: Awaited,
  place: Contender,
  signal: AbortSignal,
): Promise<WatchEvent<V> | undefined> {
  const puts = items.watch(target, { from, only: 'put', signal });
  const own = session.etcd.watch(place.key, { from: (place.token + 1n) as Revision, only: 'delete', signal });
  const first = async <T>(watcher: AsyncIterable<T>): Promise<T | undefined> => {
    try {
      for await (const event of watcher) return event;
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
    }
    return undefined;
  };
  const alarm = dueInMs === undefined ? undefined : after(session, dueInMs);
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

function after(session: Session, delayMs: number): { readonly rings: Promise<undefined>; cancel(): void } {
  let cancel!: () => void;
  const rings = new Promise<undefined>((resolve) => {
    const timer = session.clock.after(Math.min(Math.max(delayMs, 1), LONGEST_SLEEP_MS), () => resolve(undefined));
    cancel = () => {
      timer.cancel();
      resolve(undefined);
    };
  });
  return { rings, cancel };
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
    throw signal.reason;
  }
}
