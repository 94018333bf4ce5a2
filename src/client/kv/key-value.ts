/**
 * What is read from the store: a key, its value, and their history in numbers.
 *
 * @module
 */

import { inspect } from 'node:util';
import type { KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import type { LeaseId, Revision } from '../../protocol/int64.ts';
import { viewAsBuffer } from '../../protocol/keys.ts';
import type { Codec } from './codec.ts';

/**
 * One version of a key.
 *
 * `value` is decoded when it is first read, so that one unreadable value spoils neither a
 * range nor a watch: only reading it throws. {@link KeyValue.valueBytes} never does.
 */
export class KeyValue<V = string> {
  readonly #wire: WireKeyValue;
  readonly #codec: Codec<V, never>;
  readonly #prefixLength: number;
  #key: string | undefined;
  #value: { readonly decoded: V } | undefined;

  /** @internal */
  constructor(wire: WireKeyValue, codec: Codec<V, never>, prefixLength: number) {
    this.#wire = wire;
    this.#codec = codec;
    this.#prefixLength = prefixLength;
  }

  /** @internal */
  get wire(): WireKeyValue {
    return this.#wire;
  }

  /** The key as text, without the keyspace's prefix. Bytes that are not UTF-8 show as U+FFFD; see `keyBytes`. */
  get key(): string {
    this.#key ??= viewAsBuffer(this.#wire.key).toString('utf8', this.#prefixLength);
    return this.#key;
  }

  /** The key's bytes, without the keyspace's prefix. */
  get keyBytes(): Uint8Array {
    return this.#wire.key.subarray(this.#prefixLength);
  }

  /**
   * The value, by the keyspace's codec.
   *
   * @throws DecodeError when the codec cannot read it.
   */
  get value(): V {
    this.#value ??= { decoded: this.#codec.decode(this.#wire.value) };
    return this.#value.decoded;
  }

  /** The value's bytes: a view into the message they came in, so copy what is to be kept. */
  get valueBytes(): Uint8Array {
    return this.#wire.value;
  }

  /** The revision that created this generation of the key. */
  get createRevision(): Revision {
    return this.#wire.createRevision as Revision;
  }

  /** The revision of the last change. */
  get modRevision(): Revision {
    return this.#wire.modRevision as Revision;
  }

  /** How many times it was put since it was created; 1 for a new key. */
  get version(): bigint {
    return this.#wire.version;
  }

  /** The lease it hangs on, if any: the key goes when the lease does. */
  get lease(): LeaseId | undefined {
    return this.#wire.lease === 0n ? undefined : (this.#wire.lease as LeaseId);
  }

  /** Shows the key and the numbers in `console.log`, and of the value no more than its size. */
  [inspect.custom](): string {
    const lease = this.lease === undefined ? '' : ` lease=${BigInt.asUintN(64, this.lease).toString(16)}`;
    const size = this.#wire.value.length;
    return `KeyValue ${JSON.stringify(this.key)} (${size} bytes) mod=${this.modRevision} version=${this.version}${lease}`;
  }
}
