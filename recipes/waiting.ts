/**
 * Waits that end: by what is waited for, a time limit, a signal, or the session's end.
 *
 * @module
 */

import { AbortError, type Clock, InvalidArgumentError, LeaseLostError } from '../src/index.ts';
import { LostError, WaitTimeoutError } from './errors.ts';
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

/** How long a call that has failed waits for its own cleaning up. */
const CLEANING_MS = 2_000;

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
  if (signal?.aborted) throw new AbortError('the signal has fired', { cause: signal.reason });
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

/** Waits until something is done or has failed, but at most `limitMs`, by default two seconds; it goes on by itself. */
export function patiently(clock: Clock, work: Promise<unknown>, limitMs: number = CLEANING_MS): Promise<void> {
  return new Promise((resolve) => {
    const limit = clock.after(limitMs, resolve);
    const done = (): void => {
      limit.cancel();
      resolve();
    };
    work.then(done, done);
  });
}

/** Why a session is over: what its lease says, or that its own program closes it. */
export function sessionEnd(session: Session): unknown {
  return session.lease.alive ? new LeaseLostError(session.id, 'revoked') : session.lease.signal.reason;
}
