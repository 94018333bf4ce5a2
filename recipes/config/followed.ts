/**
 * Keys that are followed for as long as the program runs.
 *
 * The client's informer lists and watches, survives lost members and compaction, and gives up only on what trying again
 * will not mend by itself: a permission that is missing, a password that is refused. An operator may mend that, and then a
 * program must not have to be started anew: so here another informer follows the one that has ended, after a while. What
 * was known stays known. Only a client that is closed ends it.
 *
 * @module
 */

import { type Etcd, EtcdError, type Informer, type KeyValue, type Revision, type Target } from '../../src/index.ts';
import { elapsed } from '../patience.ts';

/** Between two informers: the first, doubled from one to the next up to the most. */
const REOPEN_MS = { first: 500, max: 30_000 };

/** What is told. */
export interface FollowedListener {
  /** The keys have changed, or were listed. Must not throw. */
  changed(): void;
  /** They are not followed for now, or not any more if `isFinal`. Must not throw. */
  failed(error: EtcdError, isFinal: boolean): void;
}

/** See the head of this file. */
export class Followed implements AsyncDisposable {
  readonly #etcd: Etcd;
  readonly #target: Target;
  readonly #listener: FollowedListener;
  readonly #stop = new AbortController();
  /** The one whose keys are shown: a new one not before its first list. */
  #shown: Informer<string> | undefined;
  #staleSince: number | undefined;
  #error: EtcdError | undefined;
  #failures = 0;
  readonly #running: Promise<void>;

  constructor(etcd: Etcd, target: Target, listener: FollowedListener) {
    this.#etcd = etcd;
    this.#target = target;
    this.#listener = listener;
    this.#staleSince = etcd.clock.now();
    this.#running = this.#run();
  }

  /** Up to which revision all is known; 0 before the first list. */
  get revision(): Revision {
    return this.#shown?.revision ?? (0n as Revision);
  }

  /** Since when what is known may be old, in ms by the client's clock; undefined while changes arrive as they happen. */
  get staleSince(): number | undefined {
    return this.#staleSince ?? this.#shown?.staleSince;
  }

  /** Why the keys are not followed for now; undefined while they are, and while the client just cannot reach etcd. */
  get error(): EtcdError | undefined {
    return this.#error;
  }

  /** A key as it is known. */
  get(key: string): KeyValue<string> | undefined {
    return this.#shown?.get(key);
  }

  /** All keys as they are known, in their order. */
  *[Symbol.iterator](): IterableIterator<KeyValue<string>> {
    if (this.#shown !== undefined) yield* this.#shown;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { clock } = this.#etcd;
    while (!signal.aborted) {
      const error = await this.#follow();
      if (error === undefined || signal.aborted) return;
      const isFinal = error.code === 'closed';
      this.#staleSince ??= this.#shown?.staleSince ?? clock.now();
      this.#error = error;
      this.#listener.failed(error, isFinal);
      if (isFinal) return;
      const boundMs = Math.min(REOPEN_MS.max, REOPEN_MS.first * 2 ** Math.min(this.#failures++, 16));
      await elapsed(clock, boundMs * (0.5 + this.#etcd.random() / 2), signal);
    }
  }

  /** Follows until that ends. @returns Why, unless it was closed. */
  async #follow(): Promise<EtcdError | undefined> {
    const informer: Informer<string> = this.#etcd.cache(this.#target, {
      signal: this.#stop.signal,
      onChanges: () => {
        this.#shown = informer;
        this.#staleSince = undefined;
        this.#error = undefined;
        this.#failures = 0;
        this.#listener.changed();
      },
    });
    try {
      await using _open = informer;
      // There is nothing to be done here: this waits for the end.
      for await (const _revision of informer.revisions()) {
      }
    } catch (error) {
      return error instanceof EtcdError
        ? error
        : new EtcdError('server', 'the keys cannot be followed', { cause: error });
    }
    return undefined;
  }

  /** Stops following; what is known stays. */
  async close(): Promise<void> {
    this.#staleSince ??= this.staleSince ?? this.#etcd.clock.now();
    this.#stop.abort();
    await this.#running;
  }

  /** See {@link Followed.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
