/**
 * What reads and writes answer.
 *
 * @module
 */

import type { DeleteRangeResponse, PutResponse, RangeResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import type { Codec } from './codec.ts';
import { KeyValue } from './key-value.ts';

/** Many keys, read at one revision. */
export interface RangeResult<V> {
  readonly kvs: readonly KeyValue<V>[];
  /** How many keys the range holds, whatever `limit` and the revision filters left out. */
  readonly count: number;
  /** Whether `limit` left keys out. */
  readonly more: boolean;
  /** The store's revision when the answer was made: read and watch on from here. */
  readonly revision: Revision;
}

/** A key was written. */
export interface PutResult<V> {
  /** The revision of the write. */
  readonly revision: Revision;
  /** What the key was before; only with `prevKv`, and only if it was there. */
  readonly previous: KeyValue<V> | undefined;
}

/** Keys were deleted. */
export interface DeleteResult<V> {
  /** The revision of the deletion, or the store's own when there was nothing to delete. */
  readonly revision: Revision;
  /** How many keys were deleted. */
  readonly deleted: number;
  /** What was deleted, in the order of the keys; empty without `prevKv`. */
  readonly previous: readonly KeyValue<V>[];
}

/** How a keyspace sees the store: its codec, and how much of each key is its prefix. */
export class View<V> {
  readonly codec: Codec<V, never>;
  readonly prefixLength: number;

  constructor(codec: Codec<V, never>, prefixLength: number) {
    this.codec = codec;
    this.prefixLength = prefixLength;
  }

  keyValue(wire: WireKeyValue): KeyValue<V> {
    return new KeyValue(wire, this.codec, this.prefixLength);
  }

  optional(wire: WireKeyValue | undefined): KeyValue<V> | undefined {
    return wire === undefined ? undefined : this.keyValue(wire);
  }

  // Inside a transaction every part of the answer has a header with just the revision.
  range({ kvs, count, more, header }: RangeResponse): RangeResult<V> {
    return {
      kvs: kvs.map((wire) => this.keyValue(wire)),
      count: Number(count),
      more,
      revision: (header?.revision ?? 0n) as Revision,
    };
  }

  put({ header, prevKv }: PutResponse): PutResult<V> {
    return { revision: (header?.revision ?? 0n) as Revision, previous: this.optional(prevKv) };
  }

  delete({ header, deleted, prevKvs }: DeleteRangeResponse): DeleteResult<V> {
    return {
      revision: (header?.revision ?? 0n) as Revision,
      deleted: Number(deleted),
      previous: prevKvs.map((wire) => this.keyValue(wire)),
    };
  }
}
