/**
 * Leaving without a request lost: how, and at which signals of the process.
 *
 * @module
 */

import { type Clock, InvalidArgumentError } from '../../../src/index.ts';
import { elapsed, patiently } from '../../patience.ts';

/** How to drain. */
export interface DrainOptions {
  /**
   * How long the news takes to spread, in milliseconds: from the mark `draining` on, so long requests may still come, and
   * are to be answered. Default 2000.
   */
  readonly propagationMs?: number | undefined;
  /**
   * Called when nothing new is to be expected; resolves when what was begun has ended, as `server.close` does. What it
   * throws is not looked at. The signal fires when it is not waited for any longer.
   */
  readonly inFlight?: ((signal: AbortSignal) => unknown) | undefined;
  /** How long that may take, in milliseconds. Default 10,000. */
  readonly inFlightTimeoutMs?: number | undefined;
}

const DEFAULT_PROPAGATION_MS = 2_000;
const DEFAULT_IN_FLIGHT_MS = 10_000;

/** @throws InvalidArgumentError */
export function checkDrainOptions({ propagationMs = 0, inFlightTimeoutMs = 0 }: DrainOptions): void {
  for (const [name, value] of Object.entries({ propagationMs, inFlightTimeoutMs })) {
    if (!(value >= 0)) throw new InvalidArgumentError(`${name} is not a number from 0 on`);
  }
}

/** Waits for the news to spread, and for what is in flight to end. Never rejects; ends at once when `skip` fires. */
export async function waitForQuiet(clock: Clock, options: DrainOptions, skip: AbortSignal): Promise<void> {
  const { propagationMs = DEFAULT_PROPAGATION_MS, inFlightTimeoutMs = DEFAULT_IN_FLIGHT_MS, inFlight } = options;
  await elapsed(clock, propagationMs, skip);
  if (inFlight === undefined || skip.aborted) return;
  const over = new AbortController();
  const ended = (async () => inFlight(over.signal))().catch(() => {});
  const skipped = elapsed(clock, inFlightTimeoutMs, skip, over.signal);
  await patiently(clock, Promise.race([ended, skipped]), inFlightTimeoutMs);
  over.abort();
}

/** The part of `process` that is needed here. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
  listenerCount(signal: NodeJS.Signals): number;
  kill(pid: number, signal: NodeJS.Signals): unknown;
  readonly pid: number;
}

/** How many listeners on a source are from here, by signal. */
const ours = new WeakMap<SignalSource, Map<NodeJS.Signals, number>>();

/** Counts listeners of ours. @returns How many there are then. */
function counted(source: SignalSource, signal: NodeJS.Signals, more: number): number {
  const counts = ours.get(source) ?? new Map<NodeJS.Signals, number>();
  ours.set(source, counts);
  const count = (counts.get(signal) ?? 0) + more;
  counts.set(signal, count);
  return count;
}

/**
 * Does some work at the first of some signals. While nobody else listens for that signal it would have ended the process;
 * then it does so when the work is done. Where the program has listeners of its own, its end is theirs. Others of ours
 * are not: each raises the signal again when its work is done, which those that are still at work ignore, so it is the
 * last one that ends the process.
 *
 * @returns what takes the listeners off again; to be called by the end of the work at the latest.
 */
export function atSignals(
  signals: readonly NodeJS.Signals[],
  work: () => Promise<unknown>,
  source: SignalSource = process,
): () => void {
  let begun = false;
  const listeners = new Map(signals.map((signal) => [signal, () => void onSignal(signal)]));
  const takeOff = (): void => {
    for (const [signal, listener] of listeners) {
      source.off(signal, listener);
      counted(source, signal, -1);
    }
    listeners.clear();
  };
  // A second signal while the work is under way is not to cut it short: it comes from the same hand, or has another name.
  const onSignal = async (signal: NodeJS.Signals): Promise<void> => {
    if (begun) return;
    begun = true;
    const alone = source.listenerCount(signal) <= counted(source, signal, 0);
    await work().catch(() => {});
    takeOff();
    if (alone) source.kill(source.pid, signal);
  };
  for (const [signal, listener] of listeners) {
    source.on(signal, listener);
    counted(source, signal, 1);
  }
  return takeOff;
}
