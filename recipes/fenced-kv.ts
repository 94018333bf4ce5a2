/**
 * Keys and values, for as long as something is held.
 *
 * Every call is one transaction whose condition is the holder's own key, with the create
 * revision that made it the holder: so the store decides, at the very revision of the
 * write, and a process that was suspended or cut off meanwhile writes nothing any more. The
 * same goes for reads: what is read here was so while it was held.
 *
 * Source: fencing, as in Kleppmann, "How to do distributed locking", 2016; with etcd no
 * outside store has to remember the highest token, since the condition is in the write.
 *
 * @module
 */

import type {
  CallOptions,
  Codec,
  DeleteOptions,
  DeleteResult,
  GetOptions,
  Key,
  Keyspace,
  KeyValue,
  Op,
  Ops,
  PutOptions,
  PutResult,
  RangeResult,
  Target,
  TxnRangeOptions,
  TxnResult,
  TxnSpec,
  WithCall,
} from '../src/index.ts';
import type { Held } from './held.ts';

/**
 * A keyspace of which every call is done only while something is held. All calls throw
 * LostError, with nothing done, when it is not, and what the same call of a
 * {@link Keyspace} throws. Each is one round trip.
 */
export class FencedKv<V = string, In = V> {
  readonly #held: Held;
  readonly #keyspace: Keyspace<V, In>;

  /** What is held, and the keys to read and write under it. */
  constructor(held: Held, keyspace: Keyspace<V, In>) {
    this.#held = held;
    this.#keyspace = keyspace;
  }

  /** Operations for {@link FencedKv.txn}. */
  get op(): Ops<V, In> {
    return this.#keyspace.op;
  }

  /** Reads one key; `undefined` when it is not there. @throws what {@link Held.guard} throws. */
  get(key: Key, options: WithCall<Pick<GetOptions, 'revision'>> = {}): Promise<KeyValue<V> | undefined> {
    return this.#do(this.op.get(key, options), options);
  }

  /** Reads many keys. @throws what {@link Held.guard} throws. */
  range(target: Target, options: WithCall<TxnRangeOptions> = {}): Promise<RangeResult<V>> {
    return this.#do(this.op.range(target, options), options);
  }

  /** Writes one key. @throws what {@link Held.guard} throws. */
  put(key: Key, value: In, options: WithCall<PutOptions> = {}): Promise<PutResult<V>> {
    return this.#do(this.op.put(key, value, options), options);
  }

  /** Deletes keys. @throws what {@link Held.guard} throws. */
  delete(target: Target, options: WithCall<DeleteOptions> = {}): Promise<DeleteResult<V>> {
    return this.#do(this.op.delete(target, options), options);
  }

  /** Does several things at once, if conditions hold; see {@link Keyspace.txn}. @throws what {@link Held.guard} throws. */
  txn<const Then extends readonly Op<unknown>[] = [], const Else extends readonly Op<unknown>[] = []>(
    spec: TxnSpec<Then, Else>,
    options: CallOptions = {},
  ): Promise<TxnResult<Then, Else>> {
    return this.#held.guard(spec, options);
  }

  /** The keys below a prefix, fenced like these. Their codec is the same unless another is given. */
  keyspace(prefix: Key): FencedKv<V, In>;
  keyspace<W, WIn>(prefix: Key, codec: Codec<W, WIn>): FencedKv<W, WIn>;
  keyspace<W, WIn>(prefix: Key, codec?: Codec<W, WIn>): FencedKv<V, In> | FencedKv<W, WIn> {
    if (codec === undefined) return new FencedKv(this.#held, this.#keyspace.keyspace(prefix));
    return new FencedKv(this.#held, this.#keyspace.keyspace(prefix, codec));
  }

  async #do<R>(op: Op<R>, options: CallOptions): Promise<R> {
    const done = await this.#held.guard({ then: [op] }, options);
    if (!done.succeeded) throw new TypeError('without conditions there is no other branch');
    return done.results[0];
  }
}
