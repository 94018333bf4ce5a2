/**
 * Waits that end: by what is waited for, a time limit, a signal, or the session's end.
 *
 * @module
 */

import { defaultMaxListeners, getMaxListeners, setMaxListeners } from 'node:events';
import { AbortError, InvalidArgumentError, LeaseLostError } from '../src/index.ts';
import { LostError, WaitTimeoutError } from './errors.ts';
import { elapsed, patiently } from './patience.ts';
import type { Session } from './session.ts';

/** How long to wait. */
export interface WaitOptions {
  /** Ends the wait when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** The longest wait, in milliseconds. Default: no limit. */
  readonly timeoutMs?: number | undefined;
}

/** A wait under way. A session that is closed ends it first, and waits until it is disposed of. */
export interface Wait extends Disposable {
  /** Fires when the wait is over, for whichever reason. */
  readonly signal: AbortSignal;
  /** The error to throw for a wait that failed with `error`: the session's end and the time limit go first. */
  reason(what: string, error: unknown): unknown;
  /** Waits for a cleaning up, but not for ever: it goes on by itself. */
  patiently(cleaning: Promise<unknown>): Promise<void>;
}

/** @throws AbortError when the signal has fired. */
export function throwIfFired(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError('the signal has fired', { cause: signal.reason });
}

/**
 * Begins a wait.
 *
 * @throws LeaseLostError when the session is lost or closed, AbortError when the signal has
 * fired, InvalidArgumentError for a time limit that is none.
 */
export function waiting(session: Session, { signal, timeoutMs }: WaitOptions): Wait {
  if (timeoutMs !== undefined && !(timeoutMs > 0)) {
    throw new InvalidArgumentError(`timeoutMs ${timeoutMs} is not a positive number`);
  }
  session.assertAlive();
  throwIfFired(signal);
  const stop = new AbortController();
  const { clock } = session;
  let timedOut = false;
  const timer =
    timeoutMs === undefined
      ? undefined
      : clock.after(timeoutMs, () => {
          timedOut = true;
          stop.abort(new DOMException('the time limit has passed', 'TimeoutError'));
        });
  const onSignal = (): void => stop.abort(signal?.reason);
  const onSession = (): void => stop.abort(sessionEnd(session));
  if (signal !== undefined) expectMany(signal);
  signal?.addEventListener('abort', onSignal, { once: true });
  session.signal.addEventListener('abort', onSession, { once: true });
  let over!: () => void;
  const disposed = new Promise<void>((resolve) => {
    over = resolve;
  });
  const leaveSession = session.use({
    release() {
      onSession();
      return disposed;
    },
  });
  return {
    signal: stop.signal,
    reason(what, error) {
      if (!session.alive) return new LostError(what, 'session', { cause: sessionEnd(session) });
      return timedOut ? new WaitTimeoutError(what, timeoutMs ?? 0) : error;
    },
    patiently: (cleaning) => patiently(clock, cleaning),
    [Symbol.dispose]() {
      timer?.cancel();
      signal?.removeEventListener('abort', onSignal);
      session.signal.removeEventListener('abort', onSession);
      leaveSession();
      over();
    },
  };
}

/** Between two tries of a call that failed: the first, doubled from try to try up to the most. */
const RETRY_MS = { first: 20, max: 2_000 };

/** Waits between two tries: longer from try to try, with jitter, and never past the signal or the session's end. */
export function pause(session: Session, tries: number, signal: AbortSignal | undefined): Promise<void> {
  const bound = Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** Math.min(tries, 16));
  return elapsed(session.clock, bound * (0.5 + session.etcd.random() / 2), signal, session.signal);
}

/** Why a session is over: what its lease says, or that its own program closes it. */
export function sessionEnd(session: Session): unknown {
  return session.lease.alive ? new LeaseLostError(session.id, 'revoked') : session.lease.signal.reason;
}

/** From so many listeners on a program's signal, Node may well warn of a leak. */
const MANY_LISTENERS = 1_500;

/** One signal ends a hundred waits as well as one, when a program shuts down for instance. That is no leak. */
export function expectMany(signal: AbortSignal): void {
  if (limitOf(signal) === defaultMaxListeners) setMaxListeners(MANY_LISTENERS, signal);
}

/** The limit that Node warns above. Of a signal without one (0), such as a lease's own, Node cannot tell it: it throws. */
function limitOf(signal: AbortSignal): number {
  try {
    return getMaxListeners(signal);
  } catch {
    return 0;
  }
}
