/**
 * A transaction as the program sees it.
 *
 * @module
 */

import { type Codec, type Key, type PutOptions, type Revision, type Target, utf8 } from '../../src/index.ts';
import type { Attempt } from './attempt.ts';
import { boundsOf, keyBelow } from './bounds.ts';

/** How to read a range in a transaction. */
export interface StmRangeOptions {
  /** At most so many keys. Default: all, which a server's limit of 128 conditions bounds. */
  readonly limit?: number | undefined;
  /** The order of the keys. Default ascending. */
  readonly order?: 'ascending' | 'descending' | undefined;
}

/** A key and its value in a transaction. */
export interface StmEntry<V> {
  /** Without the prefix of {@link StmTransaction.keyspace}. */
  readonly key: string;
  /** The same as bytes, for keys that are not UTF-8. */
  readonly keyBytes: Uint8Array;
  readonly value: V;
}

/** How to write in a transaction. */
export type StmPutOptions = Pick<PutOptions, 'lease' | 'ignoreLease'>;

/**
 * What a transaction reads and writes through. Reads show its own writes; writes are kept
 * until the commit. It belongs to one attempt: when that is over, every call on it fails.
 *
 * Reads that are begun in the same turn (`Promise.all`) take one round trip together.
 */
export class StmTransaction<V = string, In = string | Uint8Array> {
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  readonly #attempt: Attempt;
  readonly #prefix: Uint8Array;
  readonly #codec: Codec<V, In>;

  /** Internal: made by {@link stm}. */
  constructor(attempt: Attempt, number: number, prefix: Uint8Array, codec: Codec<V, In>) {
    this.#attempt = attempt;
    this.attempt = number;
    this.#prefix = prefix;
    this.#codec = codec;
  }

  /** Fires when the transaction is to end without a commit: give it along to whatever else the work waits for. */
  get signal(): AbortSignal {
    return this.#attempt.signal;
  }

  /** Reads one key; `undefined` when it is not there. */
  async get(key: Key): Promise<V | undefined> {
    const value = await this.#attempt.get(keyBelow(this.#prefix, key));
    return value === undefined ? undefined : this.#codec.decode(value);
  }

  /** The revision of a key's last change in the store, whatever this transaction has written; 0 when it is not there. */
  async revision(key: Key): Promise<Revision | 0n> {
    const { kv } = await this.#attempt.read(keyBelow(this.#prefix, key));
    return kv?.modRevision ?? 0n;
  }

  /**
   * Reads a range. At the levels that check their reads, the commit fails when any of its
   * keys was changed or deleted, and when a key was added to it.
   */
  async range(target: Target, { limit, order = 'ascending' }: StmRangeOptions = {}): Promise<StmEntry<V>[]> {
    const rows = await this.#attempt.range(boundsOf(this.#prefix, target), limit, order);
    return rows.map(({ key, value }) => {
      const keyBytes = key.subarray(this.#prefix.length);
      return { key: Buffer.from(keyBytes).toString('utf8'), keyBytes, value: this.#codec.decode(value) };
    });
  }

  /** Writes one key at the commit. The last write of a key counts. */
  put(key: Key, value: In, { lease, ignoreLease }: StmPutOptions = {}): void {
    this.#attempt.write(keyBelow(this.#prefix, key), this.#codec.encode(value), { lease, ignoreLease });
  }

  /** Deletes one key at the commit. */
  delete(key: Key): void {
    this.#attempt.write(keyBelow(this.#prefix, key), undefined);
  }

  /** The same transaction below a prefix, with a codec of its own. Default: this one's. */
  keyspace(prefix: Key): StmTransaction<V, In>;
  keyspace<W, WIn>(prefix: Key, codec: Codec<W, WIn>): StmTransaction<W, WIn>;
  keyspace(prefix: Key, codec: Codec<unknown, never> = this.#codec): StmTransaction<unknown, never> {
    const whole = Buffer.concat([this.#prefix, utf8.encode(prefix)]);
    return new StmTransaction(this.#attempt, this.attempt, whole, codec);
  }
}
