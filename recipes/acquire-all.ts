/**
 * Several locks at once, all or none, without deadlock.
 *
 * They are always taken in the order of their names, whatever order they are asked for in,
 * so no two callers can each hold what the other waits for. That holds among callers of
 * {@link acquireAll}; one who takes a second lock by hand while holding one is on their own.
 *
 * Round trips: those of each mutex, one after another.
 *
 * @module
 */

import type { Held } from './held.ts';
import { Mutex } from './mutex.ts';
import type { Session } from './session.ts';
import { type WaitOptions, waiting } from './waiting.ts';

/** Several locks that are held together. */
export interface HeldLocks extends AsyncDisposable {
  /** The locks, in the order of their names. */
  readonly locks: readonly Held[];
  /** Fires when one of them is lost. Ask each lock's own signal where reading `aborted` has to be right after a stall. */
  readonly signal: AbortSignal;
  /** @throws LostError when one of them is not held any more. */
  assertHeld(): void;
  /** Gives all of them up. @throws LostError when one had been lost before. */
  release(): Promise<void>;
}

/**
 * Takes several locks, all or none. A name that is given twice counts once. `timeoutMs` is
 * for all of them together; a lock that is lost while the next is waited for ends the wait.
 *
 * @throws what {@link Mutex.acquire} throws; then none is held.
 */
export async function acquireAll(
  session: Session,
  names: readonly string[],
  options: WaitOptions = {},
): Promise<HeldLocks> {
  const ordered = [...new Set(names)].sort();
  const mutexes = ordered.map((name) => new Mutex(session, name));
  using wait = waiting(session, options);
  const locks: Held[] = [];
  try {
    for (const mutex of mutexes) {
      const signal = AbortSignal.any([wait.signal, ...locks.map((lock) => lock.signal)]);
      locks.push(await mutex.acquire({ signal }));
      for (const lock of locks) lock.assertHeld();
    }
  } catch (error) {
    const lost = locks.find((lock) => !lock.held)?.signal.reason as unknown;
    await Promise.allSettled(locks.map((lock) => lock[Symbol.asyncDispose]()));
    throw wait.reason(`the locks ${ordered.join(', ')}`, lost ?? error);
  }
  return together(locks);
}

function together(locks: readonly Held[]): HeldLocks {
  const release = async (): Promise<void> => {
    const outcomes = await Promise.allSettled(locks.map((lock) => lock.release()));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  };
  return {
    locks,
    signal: AbortSignal.any(locks.map((lock) => lock.signal)),
    assertHeld() {
      for (const lock of locks) lock.assertHeld();
    },
    release,
    async [Symbol.asyncDispose]() {
      await Promise.all(locks.map((lock) => lock[Symbol.asyncDispose]()));
    },
  };
}
