/**
 * Configurations of one kind below a prefix: a value for each route, tenant or feature.
 *
 * Each key stands for itself: it is validated alone, has its own last good value, history and candidate, and one that is
 * wrong keeps the others from nothing. There is no value made of several keys: they change at different revisions, so no
 * program would ever know that it has parts which fit together. What belongs together goes into one value.
 *
 * A key that is deleted is gone. One that becomes wrong keeps its last good value, also over a full list; one that never
 * was good is not there, and is told among the errors.
 *
 * @module
 */

import { hostname } from 'node:os';
import { type Etcd, type EtcdError, InvalidArgumentError, type KeyValue, type Revision } from '../../src/index.ts';
import { WaitTimeoutError } from '../errors.ts';
import { throwIfFired } from '../waiting.ts';
import { type ConfigChange, ConfigChangeFeed } from './change-feed.ts';
import { Config, type ConfigOptions } from './config.ts';
import type { ConfigError } from './errors.ts';
import { Followed } from './followed.ts';
import { ConfigKeys } from './keys.ts';
import { type GoodValue, LastGood } from './last-good.ts';
import type { OpenConfigOptions } from './live-config.ts';
import { ConfigText } from './text.ts';

/** What each configuration of a tree is. */
export type ConfigTreeOptions<T, In = T> = Omit<ConfigOptions<T, In>, 'default'>;

/** Configurations of one kind below a prefix, each under a name. */
export class ConfigTree<T = unknown, In = T> {
  readonly prefix: string;
  readonly #etcd: Etcd;
  readonly #options: ConfigTreeOptions<T, In>;

  /** @throws InvalidArgumentError for a prefix that is empty or has a `#`. */
  constructor(etcd: Etcd, prefix: string, options: ConfigTreeOptions<T, In> = {}) {
    this.prefix = new ConfigKeys(prefix).key;
    this.#etcd = etcd;
    this.#options = options;
  }

  /** One of them, to publish it and look at its history. */
  config(name: string): Config<T, In> {
    if (name === '') throw new InvalidArgumentError('the name is empty');
    return new Config(this.#etcd, `${this.prefix}${name}`, this.#options);
  }

  /** Follows all of them; resolves after the first list, be it empty. @throws EtcdError, WaitTimeoutError. */
  open(options: OpenConfigOptions = {}): Promise<LiveConfigTree<T>> {
    const text = new ConfigText(this.#options) as ConfigText<T, never>;
    return LiveConfigTree.open(this.#etcd, this.prefix, text, options);
  }
}

const READY_TIMEOUT_MS = 10_000;

/** All configurations of a tree, followed. Dispose of it when it is no longer needed. */
export class LiveConfigTree<T> implements AsyncDisposable {
  readonly prefix: string;
  readonly #text: ConfigText<T, never>;
  readonly #instance: string;
  readonly #followed: Followed;
  readonly #states = new Map<string, LastGood<T>>();
  readonly #feeds = new Set<ConfigChangeFeed<T>>();
  readonly #ready: { resolve: () => void; promise: Promise<void> };
  #isListed = false;
  #closed = false;
  #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => void this.close();

  private constructor(etcd: Etcd, prefix: string, text: ConfigText<T, never>, instance: string) {
    this.prefix = prefix;
    this.#text = text;
    this.#instance = instance;
    let resolve!: () => void;
    const promise = new Promise<void>((done) => {
      resolve = done;
    });
    this.#ready = { resolve, promise };
    this.#followed = new Followed(
      etcd,
      { prefix },
      {
        changed: () => this.#changed(),
        failed: (error, isFinal) => {
          if (isFinal) this.#end(error);
          this.#ready.resolve();
        },
      },
    );
  }

  /** @internal */
  static async open<T>(
    etcd: Etcd,
    prefix: string,
    text: ConfigText<T, never>,
    { signal, instance = hostname(), timeoutMs = READY_TIMEOUT_MS }: OpenConfigOptions,
  ): Promise<LiveConfigTree<T>> {
    if (!(timeoutMs > 0)) throw new InvalidArgumentError('timeoutMs is not a positive number');
    throwIfFired(signal);
    const live = new LiveConfigTree(etcd, prefix, text, instance);
    const timer = etcd.clock.after(timeoutMs, live.#ready.resolve);
    signal?.addEventListener('abort', live.#ready.resolve, { once: true });
    await live.#ready.promise;
    timer.cancel();
    signal?.removeEventListener('abort', live.#ready.resolve);
    if (!live.#isListed || signal?.aborted) {
      await live.close();
      throwIfFired(signal);
      throw live.#followed.error ?? new WaitTimeoutError(`the list of ${prefix}`, timeoutMs);
    }
    signal?.addEventListener('abort', live.#onAbort, { once: true });
    live.#signal = signal;
    return live;
  }

  /** A value by its name; undefined when there is none that was ever good. */
  get(name: string): GoodValue<T> | undefined {
    return this.#states.get(name)?.good;
  }

  /** The names of all that have a good value, sorted. */
  get names(): readonly string[] {
    return [...this.#states].flatMap(([name, { good }]) => (good === undefined ? [] : [name])).sort();
  }

  /** What is wrong now, by name: values in the store that are not used. */
  get errors(): ReadonlyMap<string, ConfigError> {
    const wrong = [...this.#states].flatMap(([name, { error }]) =>
      error === undefined ? [] : [[name, error] as const],
    );
    return new Map(wrong);
  }

  /** Up to which revision all is known. */
  get revision(): Revision {
    return this.#followed.revision;
  }

  /** Since when values may be old, in milliseconds by the client's clock; undefined while changes arrive as they happen. */
  get staleSince(): number | undefined {
    return this.#followed.staleSince;
  }

  /** Why the keys are not followed for now, if etcd refuses. */
  get lastError(): EtcdError | undefined {
    return this.#followed.error;
  }

  /** What changes from now on; a slow reader is told the latest of each name. Ends when it is closed. */
  changes(): AsyncIterableIterator<ConfigChange<T>> {
    const feed: ConfigChangeFeed<T> = new ConfigChangeFeed(() => this.#feeds.delete(feed));
    if (this.#closed) feed.end();
    else this.#feeds.add(feed);
    return feed;
  }

  #changed(): void {
    const found = new Map<string, { current: KeyValue<string> | undefined; staged: KeyValue<string> | undefined }>();
    for (const kv of this.#followed) {
      const [name = '', kind, ...rest] = kv.key.slice(this.prefix.length).split('#');
      if (name === '' || rest.length > 0) continue;
      const stored = found.get(name) ?? { current: undefined, staged: undefined };
      if (kind === undefined) found.set(name, { ...stored, current: kv });
      else if (kind === 'staged') found.set(name, { ...stored, staged: kv });
    }
    for (const [name, state] of this.#states) {
      if (found.has(name)) continue;
      this.#states.delete(name);
      if (state.good !== undefined) this.#tell({ name, current: undefined, previous: state.good.value });
    }
    for (const [name, stored] of found) {
      const state = this.#states.get(name) ?? this.#newState(name);
      const before = state.good?.value;
      const { changed } = state.take(stored);
      if (stored.current === undefined && state.good?.source !== 'staged') {
        // A candidate for others is all there is of it.
        this.#states.delete(name);
        if (before !== undefined) this.#tell({ name, current: undefined, previous: before });
      } else if (changed !== undefined) this.#tell({ name, current: state.good?.value, previous: changed.previous });
    }
    this.#isListed = true;
    this.#ready.resolve();
  }

  #newState(name: string): LastGood<T> {
    const options = { instance: this.#instance, fallback: undefined };
    const state = new LastGood(`${this.prefix}${name}`, this.#text, options);
    this.#states.set(name, state);
    return state;
  }

  #tell(change: ConfigChange<T>): void {
    for (const feed of this.#feeds) feed.push(change);
  }

  #end(error: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
  }

  /** Stops following. What is known can still be read. */
  async close(): Promise<void> {
    this.#end(undefined);
    await this.#followed.close();
  }

  /** Stops following; see {@link LiveConfigTree.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
