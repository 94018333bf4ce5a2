/**
 * Waits that end: by what is waited for, a time limit, a signal, or the session's loss.
 *
 * @module
 */

import { InvalidArgumentError } from '../src/index.ts';
import { LostError, WaitTimeoutError } from './errors.ts';
import type { Session } from './session.ts';

/** How long to wait. */
export interface WaitOptions {
  /** Ends the wait when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** The longest wait, in milliseconds. Default: no limit. */
  readonly timeoutMs?: number | undefined;
}

/** A wait under way. */
export interface Wait extends Disposable {
  /** Fires when the wait is over, for whichever reason. */
  readonly signal: AbortSignal;
  /** The error to throw for a wait that failed with `error`: the time limit and the session's loss go first. */
  reason(what: string, error: unknown): unknown;
  /** Waits for a cleaning up, but not for ever: it goes on by itself. */
  patiently(cleaning: Promise<void>): Promise<void>;
}

/** How long a call that has failed waits for its own cleaning up. */
const CLEANING_MS = 2_000;

/** Begins a wait. @throws LeaseLostError when the session is lost, the signal's reason when it has fired. */
export function waiting(session: Session, { signal, timeoutMs }: WaitOptions): Wait {
  if (timeoutMs !== undefined && !(timeoutMs > 0)) {
    throw new InvalidArgumentError(`timeoutMs ${timeoutMs} is not a positive number`);
  }
  session.assertAlive();
  signal?.throwIfAborted();
  const stop = new AbortController();
  let timedOut = false;
  const timer =
    timeoutMs === undefined
      ? undefined
      : session.clock.after(timeoutMs, () => {
          timedOut = true;
          stop.abort(new DOMException('the time limit has passed', 'TimeoutError'));
        });
  const onSignal = (): void => stop.abort(signal?.reason);
  const onSession = (): void => stop.abort(session.lease.signal.reason);
  signal?.addEventListener('abort', onSignal, { once: true });
  session.signal.addEventListener('abort', onSession, { once: true });
  return {
    signal: stop.signal,
    reason(what, error) {
      if (!session.lease.alive) return new LostError(what, 'session', { cause: session.lease.signal.reason });
      return timedOut ? new WaitTimeoutError(what, timeoutMs ?? 0) : error;
    },
    patiently: (cleaning) =>
      new Promise((resolve) => {
        const limit = session.clock.after(CLEANING_MS, resolve, { background: true });
        cleaning.then(resolve, resolve).finally(() => limit.cancel());
      }),
    [Symbol.dispose]() {
      timer?.cancel();
      signal?.removeEventListener('abort', onSignal);
      session.signal.removeEventListener('abort', onSession);
    },
  };
}
