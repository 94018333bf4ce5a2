/**
 * Reads the store for one attempt of a transaction.
 *
 * Invariants:
 * 1. Where reads are pinned, all of them show the store at one revision, the base: the
 *    store's own at the first read, which asks the leader. Later reads name that revision,
 *    so any member can answer them; one that has not got there yet is asked again by way
 *    of the leader. (Go's STM panics there: etcd #11963.)
 * 2. Reads that are begun in one turn go out as one.
 *
 * @module
 */

import {
  EtcdError,
  type Keyspace,
  type RangeOptions,
  type RangeResult,
  type Revision,
  type Target,
} from '../../src/index.ts';

/** What the store holds, as bytes. */
export type Store = Keyspace<Uint8Array, string | Uint8Array>;

/** What reads are made with. */
export interface ReaderContext {
  readonly store: Store;
  /** The most operations in one list of a transaction. */
  readonly maxOps: number;
  /** Ends the reads. */
  readonly signal: AbortSignal;
}

/** How to read. */
export interface ReaderOptions {
  /** Whether all reads show one revision. */
  readonly pins: boolean;
  /** Whether a read that is not pinned may come from a member that lags behind. */
  readonly stale: boolean;
  /** The revision to read at. Default: the store's at the first read. */
  readonly base: Revision | undefined;
}

/** Thrown inside an attempt that has no chance any more. */
export class Restart extends EtcdError {
  constructor(why: string, options: { readonly cause?: unknown } = {}) {
    super('aborted', `this attempt of the transaction is over, the next begins: ${why}`, options);
  }
}

interface Fetch {
  readonly target: Target;
  readonly options: RangeOptions;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

/** What was read. */
export interface Answer {
  readonly result: RangeResult<Uint8Array>;
  /** The revision it shows. */
  readonly revision: Revision;
}

interface Answers {
  readonly results: readonly RangeResult<Uint8Array>[];
  readonly revision: Revision;
}

export class SnapshotReader {
  readonly #context: ReaderContext;
  readonly #pins: boolean;
  readonly #stale: boolean;
  #queue: Fetch[] = [];
  #base: Revision | undefined;
  #settingBase: Promise<unknown> | undefined;
  #doomed: Restart | undefined;

  constructor(context: ReaderContext, { pins, stale, base }: ReaderOptions) {
    this.#context = context;
    this.#pins = pins;
    this.#stale = stale;
    if (pins) this.#base = base;
  }

  /** Why nothing can be read any more; undefined while it can. */
  get doomed(): Restart | undefined {
    return this.#doomed;
  }

  /** The revision that all reads show; undefined before the first, and where they need not. */
  get base(): Revision | undefined {
    return this.#base;
  }

  /** Puts a read in line: all reads of one turn go out as one. */
  read(target: Target, options: RangeOptions): Promise<Answer> {
    if (this.#doomed !== undefined) return Promise.reject(this.#doomed);
    return new Promise((resolve, reject) => {
      this.#queue.push({ target, options, resolve, reject });
      if (this.#queue.length === 1) queueMicrotask(() => void this.#flush());
    });
  }

  async #flush(): Promise<void> {
    const batch = this.#queue;
    this.#queue = [];
    for (let from = 0; from < batch.length; from += this.#context.maxOps) {
      const part = batch.slice(from, from + this.#context.maxOps);
      try {
        const { results, revision } = await this.#ask(part);
        for (const [index, { resolve }] of part.entries()) {
          resolve({ result: results[index] as RangeResult<Uint8Array>, revision });
        }
      } catch (error) {
        for (const { reject } of part) reject(error);
      }
    }
  }

  async #ask(part: readonly Fetch[]): Promise<Answers> {
    if (!this.#pins) return this.#send(part, undefined, this.#stale);
    while (this.#base === undefined && this.#settingBase !== undefined) await this.#settingBase;
    if (this.#base !== undefined) {
      const { results } = await this.#sendPinned(part, this.#base);
      return { results, revision: this.#base };
    }
    const first = this.#send(part, undefined, false);
    this.#settingBase = first.then(
      ({ revision }) => {
        this.#base = revision;
      },
      () => {
        this.#settingBase = undefined;
      },
    );
    return first;
  }

  async #sendPinned(part: readonly Fetch[], base: Revision): Promise<Answers> {
    try {
      try {
        return await this.#send(part, base, true);
      } catch (error) {
        // The member has not got there yet; asked for a linearizable read, it waits until it has.
        if (!(error instanceof EtcdError && error.code === 'future-revision')) throw error;
        return await this.#send(part, base, false);
      }
    } catch (error) {
      if (!(error instanceof EtcdError && error.code === 'compacted')) throw error;
      this.#doomed ??= new Restart('the revision it reads at has been compacted', { cause: error });
      throw this.#doomed;
    }
  }

  async #send(part: readonly Fetch[], revision: Revision | undefined, serializable: boolean): Promise<Answers> {
    const { store, signal } = this.#context;
    const [only] = part;
    if (only !== undefined && part.length === 1) {
      const result = await store.range(only.target, { ...only.options, revision, serializable, signal });
      return { results: [result], revision: result.revision };
    }
    const ops = part.map(({ target, options }) => store.op.range(target, { ...options, revision }));
    const done = await store.txn({ then: ops }, { signal });
    return { results: done.results as readonly RangeResult<Uint8Array>[], revision: done.revision };
  }
}
