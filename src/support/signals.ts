/**
 * Waiting that ends: by a result, by a deadline, or by a signal.
 *
 * @module
 */

import type { Clock } from './clock.ts';

/** What a wait can be called off by, like a signal and lighter: an `AbortSignal` costs more than many a call. */
export interface Cancellation {
  /** Whether it is called off. */
  readonly aborted: boolean;
  /** As the function of this name, once it is sure that `aborted` is false. */
  onAbort(callback: () => void): () => void;
}

/**
 * What waits for each signal. A signal that a program's calls share gets one listener from
 * us, however many calls there are: Node warns of a leak from the eleventh on.
 */
const waiting = new WeakMap<AbortSignal, Waiting>();

class Waiting {
  readonly callbacks = new Set<() => void>();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  add(callback: () => void): void {
    if (this.callbacks.size === 0) this.#signal.addEventListener('abort', this, { once: true });
    this.callbacks.add(callback);
  }

  delete(callback: () => void): void {
    if (this.callbacks.delete(callback) && this.callbacks.size === 0) this.#signal.removeEventListener('abort', this);
  }

  /** The listener itself. */
  handleEvent(): void {
    // One that another takes off meanwhile is not called, as with listeners of their own.
    for (const callback of [...this.callbacks]) if (this.callbacks.delete(callback)) callback();
  }
}

/**
 * Calls `callback` when the signal fires (at once when it has); it must not throw. Returns
 * what takes it off again.
 */
export function onAbort(signal: AbortSignal | Cancellation | undefined, callback: () => void): () => void {
  if (signal === undefined) return noop;
  if (signal.aborted) {
    callback();
    return noop;
  }
  if ('onAbort' in signal) return signal.onAbort(callback);
  let callbacks = waiting.get(signal);
  if (callbacks === undefined) {
    callbacks = new Waiting(signal);
    waiting.set(signal, callbacks);
  }
  callbacks.add(callback);
  return () => callbacks.delete(callback);
}

function noop(): void {}

/**
 * Waits `delayMs`, or less when a signal fires: then resolves at once, since the caller
 * looks at its signals anyway and knows what to throw.
 */
export function sleep(clock: Clock, delayMs: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    const cleanups: (() => void)[] = [];
    const done = (): void => {
      for (const cleanup of cleanups) cleanup();
      resolve();
    };
    const timer = clock.after(delayMs, done);
    cleanups.push(() => timer.cancel());
    for (const signal of signals) cleanups.push(onAbort(signal, done));
  });
}

/** A promise with its handles outside. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

/** Makes a {@link Deferred}. Its rejection is never reported as unhandled: whoever awaits it sees it. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  promise.catch(noop);
  return { promise, resolve, reject };
}
