/**
 * A configuration as a running program has it: always the last good value.
 *
 * It is listed and then watched from the very revision of the list, so no change in between is missed; when etcd is away
 * the value stays, and `staleSince` says so; when the history that the watch needs has been compacted, it is listed again.
 * A value that is wrong is reported and not used, on all of these ways. Listeners are told of good values only, one after
 * another, the newest last; whoever changes a value several times in one moment is told the last.
 *
 * Source of the faults that it does not have: go-zero's configurator keeps the failed value and calls its listeners; the
 * one of kratos watches from "now", after its list; APISIX #12834 loses on a full list what it had kept on a watch.
 *
 * @module
 */

import { inspect } from 'node:util';
import { ClosedError, type Etcd, type EtcdError, InvalidArgumentError, type Revision } from '../../src/index.ts';
import { WaitTimeoutError } from '../errors.ts';
import { throwIfFired } from '../waiting.ts';
import { type ConfigChange, ConfigChangeFeed } from './change-feed.ts';
import type { ConfigError } from './errors.ts';
import { Followed } from './followed.ts';
import type { ConfigKeys } from './keys.ts';
import { type ConfigSource, type GoodValue, LastGood } from './last-good.ts';
import { type ConfigText, redacted } from './text.ts';

/** How to follow a configuration. */
export interface OpenConfigOptions {
  /**
   * The name of this instance, which decides whether it is among those who try a candidate. It should outlive a restart.
   * Default: the host's name.
   */
  readonly instance?: string | undefined;
  /** How long to wait for the first good value, in milliseconds. Default 10000. */
  readonly timeoutMs?: number | undefined;
  /** Closes it when it fires, and ends the wait for the first value. */
  readonly signal?: AbortSignal | undefined;
}

/** Told of each good value, at once. It may be asynchronous; nobody waits for it. */
export type ConfigListener<T> = (value: T, previous: T | undefined) => unknown;

/** Told of what is wrong: a value that is not used, keys that cannot be followed, a listener that threw. */
export type ConfigErrorListener = (error: unknown) => void;

const READY_TIMEOUT_MS = 10_000;

/** What a live configuration is made of. */
export interface LiveConfigParts<T> {
  readonly keys: ConfigKeys;
  readonly text: ConfigText<T, never>;
  readonly instance: string;
  readonly fallback: { readonly value: T } | undefined;
}

/** A configuration that is followed. Dispose of it when it is no longer needed. */
export class LiveConfig<T> implements AsyncDisposable {
  readonly key: string;
  readonly #parts: LiveConfigParts<T>;
  readonly #state: LastGood<T>;
  readonly #followed: Followed;
  readonly #listeners = new Set<ConfigListener<T>>();
  readonly #errorListeners = new Set<ConfigErrorListener>();
  readonly #feeds = new Set<ConfigChangeFeed<T>>();
  /** Looks whether the wait for the first value is over; undefined when nobody waits. */
  #onTaken: (() => void) | undefined;
  #closed: unknown;
  #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => void this.close();

  private constructor(etcd: Etcd, parts: LiveConfigParts<T>) {
    this.#parts = parts;
    this.key = parts.keys.key;
    this.#state = new LastGood(this.key, parts.text, parts);
    this.#followed = new Followed(etcd, parts.keys.live, {
      changed: () => this.#changed(),
      failed: (error, isFinal) => this.#failed(error, isFinal),
    });
  }

  /** @internal */
  static async open<T>(etcd: Etcd, parts: LiveConfigParts<T>, options: OpenConfigOptions): Promise<LiveConfig<T>> {
    const { signal, timeoutMs = READY_TIMEOUT_MS } = options;
    if (!(timeoutMs > 0)) throw new InvalidArgumentError('timeoutMs is not a positive number');
    throwIfFired(signal);
    const live = new LiveConfig(etcd, parts);
    try {
      await live.#firstValue(etcd, timeoutMs, signal);
      // Until this line it may have fired unseen.
      throwIfFired(signal);
    } catch (error) {
      await live.close();
      throw error;
    }
    signal?.addEventListener('abort', live.#onAbort, { once: true });
    live.#signal = signal;
    return live;
  }

  /** The last good value. The same object until there is another one. */
  get value(): T {
    return this.#good.value;
  }

  /** The revision that wrote the value; 0 for the default. */
  get revision(): Revision {
    return this.#good.revision;
  }

  /** Where the value comes from. */
  get source(): ConfigSource {
    return this.#good.source;
  }

  /**
   * Since when the value may be old, in milliseconds by the client's clock, because etcd cannot be reached or does not let
   * us read; undefined while changes arrive as they happen.
   */
  get staleSince(): number | undefined {
    return this.#followed.staleSince;
  }

  /**
   * What is wrong now: a ConfigError when the store holds a value that is not used (or none, without a default), an
   * EtcdError when etcd refuses. Undefined when the value is what the store holds, as far as that is known.
   */
  get lastError(): ConfigError | EtcdError | undefined {
    return this.#state.error ?? this.#followed.error;
  }

  /** The value as people may see it: without secrets. */
  redacted(): unknown {
    return redacted(this.value, this.#parts.text.secrets);
  }

  /**
   * Calls a function for each good value from now on, in their order and at once. What it throws is told to those of
   * {@link LiveConfig.onError}, and keeps nothing from going on.
   *
   * @returns what takes it off again.
   */
  onChange(listener: ConfigListener<T>): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Calls a function for everything that is found wrong from now on, once for each: a value that is not used, a refusal of
   * etcd, what a listener threw. What it throws itself is lost.
   *
   * @returns what takes it off again.
   */
  onError(listener: ConfigErrorListener): () => void {
    this.#errorListeners.add(listener);
    return () => void this.#errorListeners.delete(listener);
  }

  /** The good values from now on; a slow reader is told the latest. Ends when it is closed; throws when the client is. */
  changes(): AsyncIterableIterator<ConfigChange<T>> {
    const feed: ConfigChangeFeed<T> = new ConfigChangeFeed(() => this.#feeds.delete(feed));
    if (this.#closed === undefined) this.#feeds.add(feed);
    else feed.end();
    return feed;
  }

  get #good(): GoodValue<T> {
    const { good } = this.#state;
    // Nobody gets hold of one before there is a value.
    if (good === undefined) throw new TypeError('there is no value yet');
    return good;
  }

  #changed(): void {
    const { keys } = this.#parts;
    const current = this.#followed.get(keys.key);
    const { changed, newError } = this.#state.take({ current, staged: this.#followed.get(keys.staged) });
    if (newError !== undefined) this.#report(newError);
    if (changed !== undefined) this.#tell(changed.previous);
    this.#onTaken?.();
  }

  #tell(previous: T | undefined): void {
    const { value } = this.#good;
    for (const listener of [...this.#listeners]) {
      // One before it may have taken it off.
      if (!this.#listeners.has(listener)) continue;
      try {
        const done = listener(value, previous);
        if (done instanceof Promise) done.catch((error: unknown) => this.#report(error));
      } catch (error) {
        this.#report(error);
      }
    }
    for (const feed of this.#feeds) feed.push({ name: this.key, current: value, previous });
  }

  #report(error: unknown): void {
    for (const listener of [...this.#errorListeners]) {
      try {
        listener(error);
      } catch {
        // There is nobody left to tell.
      }
    }
  }

  #failed(error: EtcdError, isFinal: boolean): void {
    this.#report(error);
    if (isFinal) this.#end(error);
    this.#onTaken?.();
  }

  /** Waits for a good value; says why when there is none in time. */
  async #firstValue(etcd: Etcd, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    let over!: () => void;
    const found = new Promise<void>((resolve) => {
      over = resolve;
    });
    const timer = etcd.clock.after(timeoutMs, over);
    signal?.addEventListener('abort', over, { once: true });
    this.#onTaken = () => {
      if (this.#state.good !== undefined || this.#followed.error !== undefined) over();
    };
    await found;
    this.#onTaken = undefined;
    timer.cancel();
    signal?.removeEventListener('abort', over);
    throwIfFired(signal);
    if (this.#state.good !== undefined) return;
    throw this.lastError ?? new WaitTimeoutError(`the configuration ${this.key}`, timeoutMs);
  }

  #end(error: unknown): void {
    if (this.#closed !== undefined) return;
    this.#closed = error ?? new ClosedError('the configuration');
    this.#signal?.removeEventListener('abort', this.#onAbort);
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
  }

  /** Stops following. The value can still be read. */
  async close(): Promise<void> {
    this.#end(undefined);
    await this.#followed.close();
  }

  /** Stops following; see {@link LiveConfig.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Shows in `console.log` which one it is, and not what it says. */
  [inspect.custom](): string {
    return `LiveConfig ${JSON.stringify(this.key)} revision=${this.#state.good?.revision ?? 'none'}`;
  }
}
