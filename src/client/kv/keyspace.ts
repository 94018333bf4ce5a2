/**
 * A part of the store under one prefix, with one codec: what users read, write and watch
 * through. The client itself is the keyspace without a prefix.
 *
 * @module
 */

import { KV } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { concatBytes, type Key } from '../../protocol/keys.ts';
import { Informer, type InformerOptions } from '../cache/informer.ts';
import type { CallOptions } from '../call-options.ts';
import type { ClientContext } from '../context.ts';
import type { WatchOptions } from '../watch/options.ts';
import type { Watcher } from '../watch/watcher.ts';
import { canCoalesce } from './coalesce.ts';
import type { Codec } from './codec.ts';
import { Subject } from './compare.ts';
import type { KeyValue } from './key-value.ts';
import { Ops } from './ops.ts';
import {
  type DeleteOptions,
  deleteRequest,
  type GetOptions,
  getRequest,
  type PutOptions,
  putRequest,
  type RangeOptions,
  rangeRequest,
  type TouchOptions,
  touchRequest,
  type WithCall,
} from './options.ts';
import { type DeleteResult, type PutResult, type RangeResult, View } from './results.ts';
import { type ScanOptions, scanPages } from './scan.ts';
import { bytesOf, type Target, toByteRange, toKeyBytes } from './target.ts';
import {
  checkTxn,
  linearizableTxn,
  type Op,
  readTxn,
  type TxnResult,
  type TxnSpec,
  txnRequest,
  txnTraits,
} from './txn.ts';
import { type IncrementOptions, increment, type SwapResult } from './update.ts';

/**
 * Keys under a prefix, their values read and written by one codec. Every key that goes in
 * or comes out is without the prefix; `from` and "all" stay inside it.
 *
 * @typeParam V What values are when they are read.
 * @typeParam In What they are when they are written; the same unless the codec's schema transforms.
 */
export class Keyspace<V = string, In = V> {
  /** Operations for {@link Keyspace.txn}. */
  readonly op: Ops<V, In>;
  readonly #context: ClientContext;
  readonly #prefix: Uint8Array;
  readonly #codec: Codec<V, In>;
  readonly #view: View<V>;

  /** @internal */
  constructor(context: ClientContext, prefix: Uint8Array, codec: Codec<V, In>) {
    this.#context = context;
    this.#prefix = prefix;
    this.#codec = codec;
    this.#view = new View(codec, prefix.length);
    this.op = new Ops(prefix, codec, this.#view);
  }

  /** The prefix that all keys of this keyspace carry in the store. */
  get prefix(): Uint8Array {
    return new Uint8Array(this.#prefix);
  }

  /** A keyspace inside this one. Its codec is this one's unless another is given. */
  keyspace(prefix: Key): Keyspace<V, In>;
  keyspace<W, WIn>(prefix: Key, codec: Codec<W, WIn>): Keyspace<W, WIn>;
  keyspace(prefix: Key, codec: Codec<unknown, never> = this.#codec): Keyspace<unknown, never> {
    return new Keyspace(this.#context, concatBytes(this.#prefix, bytesOf(prefix, 'the prefix')), codec);
  }

  /**
   * Reads one key; `undefined` when it is not there. One round trip.
   *
   * @throws InvalidArgumentError for an empty key; CompactedError, or EtcdError
   * `future-revision`, for a `revision` that is too old or too new; EtcdError when nobody
   * has answered by the deadline. A value that its codec cannot read throws when it is looked at.
   */
  async get(key: Key, options: WithCall<GetOptions> = {}): Promise<KeyValue<V> | undefined> {
    const bytes = toKeyBytes(key, this.#prefix);
    const { gets, reader } = this.#context;
    const shared =
      gets !== undefined && canCoalesce(options) && options.revision === undefined && !options.serializable;
    const { kvs } = shared
      ? reader.saw(await gets.get(bytes, options.signal))
      : await reader.range(getRequest(bytes, options), options);
    return this.#view.optional(kvs[0]);
  }

  /**
   * Reads many keys in one answer. For a range of unknown size use {@link Keyspace.scan}.
   *
   * @throws what {@link Keyspace.get} throws.
   */
  async range(target: Target, options: WithCall<RangeOptions> = {}): Promise<RangeResult<V>> {
    const request = rangeRequest(toByteRange(target, this.#prefix), options);
    return this.#view.range(await this.#context.reader.range(request, options));
  }

  /** The number of keys; none of them is sent. @throws what {@link Keyspace.get} throws. */
  async count(target: Target, options: WithCall<GetOptions> = {}): Promise<number> {
    const { count } = await this.range(target, { ...options, countOnly: true });
    return count;
  }

  /**
   * Reads any number of keys in their order, page by page, all at one revision.
   *
   * @throws CompactedError when that revision is compacted before the end is reached.
   */
  async *scan(target: Target, options: ScanOptions = {}): AsyncGenerator<KeyValue<V>, void, void> {
    for await (const page of scanPages(this.#context.caller, toByteRange(target, this.#prefix), options)) {
      for (const wire of page.kvs) yield this.#view.keyValue(wire);
    }
  }

  /**
   * Writes one key.
   *
   * @throws EtcdError with `applied: 'maybe'` when no answer came: it is never sent twice.
   */
  async put(key: Key, value: In, options: WithCall<PutOptions> = {}): Promise<PutResult<V>> {
    const request = putRequest(toKeyBytes(key, this.#prefix), this.#codec.encode(value), options);
    const { puts, caller, reader } = this.#context;
    const answer = await (puts !== undefined && canCoalesce(options)
      ? puts.put(request, options.signal)
      : caller.unary(KV.put, request, WRITE, options));
    return this.#view.put(reader.saw(answer));
  }

  /**
   * Changes a key's lease and leaves its value alone.
   *
   * @throws EtcdError with `etcdCode: 'KeyNotFound'` when the key is not there.
   */
  async touch(key: Key, options: WithCall<TouchOptions> = {}): Promise<PutResult<V>> {
    const request = touchRequest(toKeyBytes(key, this.#prefix), options);
    const { caller, reader } = this.#context;
    return this.#view.put(reader.saw(await caller.unary(KV.put, request, WRITE, options)));
  }

  /**
   * Deletes keys, all in one revision; those that are not there are none. One round trip.
   *
   * @throws EtcdError with `applied: 'maybe'` when no answer came: it is never sent twice.
   */
  async delete(target: Target, options: WithCall<DeleteOptions> = {}): Promise<DeleteResult<V>> {
    const request = deleteRequest(toByteRange(target, this.#prefix), options);
    const { caller, reader } = this.#context;
    return this.#view.delete(reader.saw(await caller.unary(KV.deleteRange, request, WRITE, options)));
  }

  /** Conditions on a key, for {@link Keyspace.txn}. */
  key(key: Key): Subject<In> {
    return this.keys(key);
  }

  /** Conditions that must hold for every key of a range, for {@link Keyspace.txn}. */
  keys(target: Target): Subject<In> {
    return new Subject(toByteRange(target, this.#prefix), (value) => this.#codec.encode(value));
  }

  /**
   * Does several things at once, if conditions hold.
   *
   * @example
   * ```ts
   * const done = await etcd.txn({
   *   if: [etcd.key('a').version.equals(0n)],
   *   then: [etcd.op.put('a', '1')],
   *   else: [etcd.op.get('a')],
   * });
   * ```
   * @throws InvalidArgumentError when a list is longer than the server takes, or a key is written twice;
   * EtcdError with `applied: 'maybe'` when no answer came: one that can write is never sent twice.
   */
  async txn<const Then extends readonly Op<unknown>[] = [], const Else extends readonly Op<unknown>[] = []>(
    spec: TxnSpec<Then, Else>,
    options: CallOptions = {},
  ): Promise<TxnResult<Then, Else>> {
    const { caller, reader, limits } = this.#context;
    const request = linearizableTxn(txnRequest(spec));
    checkTxn(request, limits.maxTxnOps);
    return readTxn(spec, reader.saw(await caller.unary(KV.txn, request, txnTraits(request), options)));
  }

  /**
   * Writes a key if it is still as it was read: `read` is what {@link Keyspace.get}
   * answered, `undefined` for a key that must not be there. One round trip. When it is not,
   * nothing is written, and the answer is what is there.
   *
   * @throws EtcdError with `applied: 'maybe'` when no answer came: read, and try again.
   */
  async putIfUnchanged(
    key: Key,
    read: KeyValue<V> | undefined,
    value: In,
    options: WithCall<PutOptions> = {},
  ): Promise<SwapResult<V>> {
    const { signal, timeoutMs, endpoint, requireLeader, ...put } = options;
    const result = await this.txn(
      {
        if: [this.key(key).unchangedSince(read)],
        then: [this.op.put(key, value, put)],
        else: [this.op.get(key)],
      },
      { signal, timeoutMs, endpoint, requireLeader },
    );
    const { revision } = result;
    return result.succeeded ? { swapped: true, revision } : { swapped: false, current: result.results[0], revision };
  }

  /**
   * Adds to a counter and answers with the sum; a key that is not there counts as 0. The
   * value is a decimal integer in text, whatever the keyspace's codec is. One round trip for
   * a key that is missing or is what this client made of it last, else two, and more while
   * others count too.
   *
   * @throws EtcdError with `applied: 'maybe'` when no answer came: whether it counted is then unknown.
   */
  increment(key: Key, options: IncrementOptions = {}): Promise<bigint> {
    return increment(this.#context, toKeyBytes(key, this.#prefix), options);
  }

  /**
   * Watches keys: every change, once, in order, for as long as the loop runs, whatever
   * happens to connections, members and tokens meanwhile.
   *
   * @example
   * ```ts
   * for await (const event of etcd.watch({ prefix: 'users/' })) {
   *   if (event.type === 'put') console.log(event.kv.key, event.kv.value);
   * }
   * ```
   */
  watch(target: Target, options: WatchOptions = {}): Watcher<V> {
    return this.#context.watches.watch(toByteRange(target, this.#prefix), options, this.#view);
  }

  /** A copy of some keys in memory that follows the store: reads cost nothing. See {@link Informer}. */
  cache(target: Target, options: InformerOptions<V> = {}): Informer<V> {
    return new Informer(this.#context, toByteRange(target, this.#prefix), options, this.#view);
  }

  /** The store's revision now, by a linearizable read of one round trip. @throws what {@link Keyspace.get} throws. */
  async revision(options: CallOptions = {}): Promise<Revision> {
    // Any key will do, and one that the keyspace's users may read is the likeliest to be allowed.
    const key = this.#prefix.length === 0 ? Uint8Array.of(0) : this.#prefix;
    const answer = await this.#context.reader.range({ key, countOnly: true }, options);
    return (answer.header?.revision ?? 0n) as Revision;
  }
}

const WRITE = { kind: 'write' } as const;
