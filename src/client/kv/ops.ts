/**
 * Operations of a transaction. Each knows how to read its own part of the answer, which
 * is what gives a transaction's result its types.
 *
 * @module
 */

import type { Key } from '../../protocol/keys.ts';
import type { Codec } from './codec.ts';
import type { KeyValue } from './key-value.ts';
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
} from './options.ts';
import type { DeleteResult, PutResult, RangeResult, View } from './results.ts';
import { type Target, toByteRange, toKeyBytes } from './target.ts';
import { type Op, readTxn, type TxnResult, type TxnSpec, txnRequest, wrongAnswer } from './txn.ts';

/** Reads inside a transaction have no options of consistency: the transaction decides. */
export type TxnRangeOptions = Omit<RangeOptions, 'serializable'>;

/** Makes the operations of a keyspace. */
export class Ops<V, In> {
  readonly #prefix: Uint8Array;
  readonly #codec: Codec<V, In>;
  readonly #view: View<V>;

  /** @internal */
  constructor(prefix: Uint8Array, codec: Codec<V, In>, view: View<V>) {
    this.#prefix = prefix;
    this.#codec = codec;
    this.#view = view;
  }

  /** Reads one key. */
  get(key: Key, options: Pick<GetOptions, 'revision'> = {}): Op<KeyValue<V> | undefined> {
    return {
      wire: { requestRange: getRequest(toKeyBytes(key, this.#prefix), options) },
      read: (response) => this.#view.optional(part(response?.responseRange).kvs[0]),
    };
  }

  /** Reads many keys. */
  range(target: Target, options: TxnRangeOptions = {}): Op<RangeResult<V>> {
    return {
      wire: { requestRange: rangeRequest(toByteRange(target, this.#prefix), options) },
      read: (response) => this.#view.range(part(response?.responseRange)),
    };
  }

  /** Writes one key. A key may be written only once in a transaction. */
  put(key: Key, value: In, options: PutOptions = {}): Op<PutResult<V>> {
    return {
      wire: { requestPut: putRequest(toKeyBytes(key, this.#prefix), this.#codec.encode(value), options) },
      read: (response) => this.#view.put(part(response?.responsePut)),
    };
  }

  /** Changes a key's lease and leaves its value alone. The key must exist, or the transaction fails. */
  touch(key: Key, options: TouchOptions = {}): Op<PutResult<V>> {
    return {
      wire: { requestPut: touchRequest(toKeyBytes(key, this.#prefix), options) },
      read: (response) => this.#view.put(part(response?.responsePut)),
    };
  }

  /** Deletes keys. */
  delete(target: Target, options: DeleteOptions = {}): Op<DeleteResult<V>> {
    return {
      wire: { requestDeleteRange: deleteRequest(toByteRange(target, this.#prefix), options) },
      read: (response) => this.#view.delete(part(response?.responseDeleteRange)),
    };
  }

  /** A transaction inside the transaction. Its conditions, too, see the store as it was before the outer one. */
  txn<const Then extends readonly Op<unknown>[] = [], const Else extends readonly Op<unknown>[] = []>(
    spec: TxnSpec<Then, Else>,
  ): Op<TxnResult<Then, Else>> {
    return {
      wire: { requestTxn: txnRequest(spec) },
      read: (response) => readTxn(spec, part(response?.responseTxn)),
    };
  }
}

function part<T>(response: T | undefined): T {
  if (response === undefined) throw wrongAnswer('maybe');
  return response;
}
