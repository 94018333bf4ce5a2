/**
 * Learning how far quiet watchers are.
 *
 * A server reports the progress of one watcher by itself, every ten minutes unless
 * configured; it reports that of all watchers of a stream when asked. The answer to the
 * question is only to be trusted on servers with `orderedProgress`: older ones answer at
 * once, ahead of events that are still to come (etcd #15220, #17507). A server does not
 * answer at all while a watcher of the stream has not caught up, so one who wants to know
 * has to ask again and again, and watchers that are far behind run on another stream.
 *
 * @module
 */

import { KV } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import { unsupportedError } from '../capabilities.ts';
import type { Caller } from '../connection/caller.ts';
import { abortError, deadlineError } from '../connection/failures.ts';
import type { ProgressSource, RevisionWaiter, Subscription } from './subscription.ts';

/** How long to wait: `timeoutMs` and the signal bound the whole wait. */
export type ProgressOptions = Pick<CallOptions, 'signal' | 'timeoutMs'>;

const FIRST_ASK_MS = 100;
const MAX_ASK_MS = 2_000;

/** Asks on behalf of all who wait, once per stream and round. */
export class ProgressRounds {
  readonly #clock: Clock;
  readonly #waiting = new Map<RevisionWaiter, Subscription>();
  #timer: Timer | undefined;
  #delayMs = FIRST_ASK_MS;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Asks on the subscription's stream until `leave` is called; rejects the waiter where asking is no use. */
  join(waiter: RevisionWaiter, subscription: Subscription): void {
    this.#waiting.set(waiter, subscription);
    this.#delayMs = FIRST_ASK_MS;
    ask(waiter, subscription)?.requestProgress();
    this.#timer?.cancel();
    this.#schedule();
  }

  leave(waiter: RevisionWaiter): void {
    this.#waiting.delete(waiter);
    if (this.#waiting.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #schedule(): void {
    this.#timer = this.#clock.after(this.#delayMs, () => {
      const streams = new Set<ProgressSource | undefined>();
      for (const [waiter, subscription] of this.#waiting) streams.add(ask(waiter, subscription));
      for (const stream of streams) stream?.requestProgress();
      this.#delayMs = Math.min(MAX_ASK_MS, this.#delayMs * 2);
      this.#schedule();
    });
  }
}

/** The stream to ask on, if there is one. */
function ask(waiter: RevisionWaiter, { lane, nextRevision }: Subscription): ProgressSource | undefined {
  const stream = lane?.stream;
  if (stream === undefined || nextRevision > waiter.target) return undefined;
  if (stream.ordersProgress) return stream;
  const { name: endpoint, facts } = stream.member;
  waiter.reject(unsupportedError('orderedProgress', facts.version, { endpoint }));
  return undefined;
}

/**
 * Waits until a watcher has everything that was in the store when this was called. A read
 * of the store tells which revision that is; events at or above it end the wait as well as
 * a progress report.
 *
 * @throws UnsupportedError, DeadlineError, AbortError, or what ended the watch.
 */
export async function awaitProgress(
  caller: Caller,
  rounds: ProgressRounds,
  subscription: Subscription,
  options: ProgressOptions,
): Promise<Revision> {
  const { signal, timeoutMs = caller.timeoutMs } = options;
  if (signal?.aborted) throw abortError(signal);
  const deadlineAt = caller.clock.now() + timeoutMs;
  const { key } = subscription.range;
  // One key, not the range: only the revision in the header matters, and counting a range costs the server.
  const { header } = await caller.unary(KV.range, { key, countOnly: true }, { kind: 'read' }, { signal, timeoutMs });
  const waiter = subscription.waitFor(header?.revision ?? 0n);
  const timer = caller.clock.after(deadlineAt - caller.clock.now(), () => waiter.reject(deadlineError(timeoutMs, {})));
  const offAbort = onAbort(signal, () => waiter.reject(abortError(signal as AbortSignal)));
  rounds.join(waiter, subscription);
  try {
    return await waiter.promise;
  } finally {
    rounds.leave(waiter);
    subscription.stopWaiting(waiter);
    offAbort();
    timer.cancel();
  }
}
