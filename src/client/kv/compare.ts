/**
 * Conditions of a transaction.
 *
 * @module
 */

import { CompareResult, CompareTarget, type Compare as WireCompare } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import type { ByteRange } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { KeyValue } from './key-value.ts';
import { type LeaseRef, leaseIdOf } from './options.ts';

/** One condition of a transaction. Make it from `etcd.key(…)` or `etcd.keys(…)`. */
export interface Compare {
  /** @internal */
  readonly wire: Init<WireCompare>;
}

/** Something about a key that a condition can be made of. */
export interface Comparable<T> {
  /** Holds when it is `expected`. */
  equals(expected: T): Compare;
  /** Holds when it is something else. */
  notEquals(expected: T): Compare;
  /** Holds when it is greater; values are compared byte by byte. */
  greaterThan(expected: T): Compare;
  /** Holds when it is less; values are compared byte by byte. */
  lessThan(expected: T): Compare;
}

/**
 * Conditions on a key, or on every key of a range: then each of them must hold for all.
 *
 * A key that is not there compares as one whose numbers are all 0. Its value equals
 * nothing and differs from nothing: every condition on it is false. A range without keys
 * compares like a key that is not there. All conditions of a transaction, nested ones
 * too, look at the store as it was before the transaction.
 */
export class Subject<In> {
  readonly #range: ByteRange;
  readonly #encode: (value: In) => Uint8Array;

  /** @internal */
  constructor(range: ByteRange, encode: (value: In) => Uint8Array) {
    this.#range = range;
    this.#encode = encode;
  }

  /** The number of puts since the key was created; 0 when it is not there. */
  get version(): Comparable<bigint> {
    return this.#comparable(CompareTarget.VERSION, (version: bigint) => ({ version: integer('version', version) }));
  }

  /** The revision that created the key; 0 when it is not there. */
  get createRevision(): Comparable<Revision | 0n> {
    return this.#comparable(CompareTarget.CREATE, (createRevision: bigint) => ({
      createRevision: integer('createRevision', createRevision),
    }));
  }

  /** The revision of the key's last change; 0 when it is not there. */
  get modRevision(): Comparable<Revision | 0n> {
    return this.#comparable(CompareTarget.MOD, (modRevision: bigint) => ({
      modRevision: integer('modRevision', modRevision),
    }));
  }

  /** The value's bytes. */
  get value(): Comparable<In> {
    return this.#comparable(CompareTarget.VALUE, (value: In) => ({ value: this.#encode(value) }));
  }

  /** The lease the key hangs on; 0 when it hangs on none, or is not there. */
  get lease(): Comparable<LeaseRef | 0n> {
    return this.#comparable(CompareTarget.LEASE, (lease: LeaseRef | 0n) => ({ lease: leaseIdOf(lease) }));
  }

  /** The key is there; for a range: every key in it is, and there is one. */
  get exists(): Compare {
    return this.createRevision.greaterThan(0n);
  }

  /** The key is not there; for a range: it has no keys. */
  get missing(): Compare {
    return this.createRevision.equals(0n);
  }

  /** The key is as it was read: not changed, deleted or created since. `undefined` is a key that was not there. */
  unchangedSince(read: KeyValue<unknown> | undefined): Compare {
    return this.modRevision.equals(read?.modRevision ?? 0n);
  }

  #comparable<T>(target: CompareTarget, field: (expected: T) => Init<WireCompare>): Comparable<T> {
    const { key, end: rangeEnd } = this.#range;
    const compare =
      (result: CompareResult) =>
      (expected: T): Compare => ({
        wire: { key, rangeEnd, target, result, ...field(expected) },
      });
    return {
      equals: compare(CompareResult.EQUAL),
      notEquals: compare(CompareResult.NOT_EQUAL),
      greaterThan: compare(CompareResult.GREATER),
      lessThan: compare(CompareResult.LESS),
    };
  }
}

function integer(name: string, expected: bigint): bigint {
  if (typeof expected === 'bigint' && BigInt.asIntN(64, expected) === expected) return expected;
  throw new InvalidArgumentError(`${name} can only be compared with a bigint of 64 bits`);
}
