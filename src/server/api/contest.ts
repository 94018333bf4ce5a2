/**
 * Who comes first: the queue of keys that locks and elections are.
 *
 * Each contender has a key `<name>/<lease in hex>` on a lease; the one that was created first has what all want. The
 * same lease comes back to the same key. Programs that use etcd's `concurrency` package, and this package's recipes,
 * stand in the same queues.
 *
 * - A contender waits for the one right before it, so that the end of one wakes one; and for its own key, without which
 *   there is nothing to wait for. Then it makes sure that its key is still there: it is not enough to be alone.
 * - One that gives up leaves no key behind: a key that nobody knows of would get its turn and never end it. But it
 *   leaves the key alone if another call of the same lease is still waiting, or has got what it waited for.
 * - Whether a key was written is always found out, also if the caller is gone.
 *
 * Source: etcd's `concurrency` API (api_concurrency_reference_v3), and servers 3.5 as observed.
 *
 * @module
 */

import type { TxnRequest } from '../../protocol/generated/etcdserverpb.ts';
import {
  CompareResult,
  CompareTarget,
  RangeRequestSortOrder as SortOrder,
  RangeRequestSortTarget as SortTarget,
} from '../../protocol/generated/etcdserverpb.ts';
import { bytesEqual, concatBytes, NO_BYTES, prefixEnd, toBytes, toLatin1 } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import type { ServingMember } from '../member/serving.ts';
import { type KeyString, type KvRecord, recordValue } from '../mvcc/record.ts';
import type { OpResult } from '../mvcc/txn.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import { freeLeaseId } from './lease-id.ts';
import type { LocalKv } from './local-kv.ts';
import { untilDeleted } from './local-watch.ts';

/** TTL of a lease for those who bring none, in seconds. Nobody renews it. */
const LEASE_SECONDS = 60;
/** How long after a failed try to take a key away the next one is, in ms. */
const RETRY_MS = 1_000;

/** Who comes, and with what. */
export interface Contender {
  readonly name: Uint8Array;
  /** 0: one is made. */
  readonly lease: bigint;
  /** What the key is to hold; undefined: nothing, and what it holds already is left alone. */
  readonly value?: Uint8Array | undefined;
  /** What to refuse with if the key is gone before its turn. */
  readonly lost: Refusal;
}

/** A place in the queue: the first one. */
export interface Place {
  readonly key: Uint8Array;
  readonly lease: bigint;
  /** Revision at which its key was created: its fencing token. */
  readonly createRevision: number;
  /** Of the store when it took its place in the queue. */
  readonly enteredAt: number;
  /** Of the store when it was found to be the first. */
  readonly firstAt: number;
}

type Entered = Omit<Place, 'firstAt'> & {
  readonly id: KeyString;
  readonly prefix: Uint8Array;
  /** Whether this call wrote the key. */
  readonly created: boolean;
  readonly isFirst: boolean;
  /** Whether the lease was made for this call. */
  readonly ownLease: boolean;
};

/** The calls that want one key. */
interface Calls {
  count: number;
  granted: boolean;
}

/** The range of all keys of a name, of which the first created one is wanted. */
export function firstOf(name: Uint8Array) {
  const key = prefixOf(name);
  const order = { sortTarget: SortTarget.CREATE, sortOrder: SortOrder.ASCEND, limit: 1n };
  return { key, rangeEnd: prefixEnd(key), ...order };
}

/** A condition: that a key was created at a revision; 0: that it is not there. */
export function createdAt(key: Uint8Array, createRevision: bigint) {
  return { key, target: CompareTarget.CREATE, result: CompareResult.EQUAL, createRevision };
}

export class Contest {
  readonly #member: ServingMember;
  readonly #random: () => number;
  readonly #calls = new Map<KeyString, Calls>();

  constructor(member: ServingMember, random: () => number) {
    this.#member = member;
    this.#random = random;
  }

  /** Enters the queue, and waits to be the first. */
  async win(kv: LocalKv, contender: Contender): Promise<Place> {
    const entered = await this.#enter(kv, contender);
    // It has been the first before this call.
    if (entered.isFirst && !entered.created) return { ...entered, firstAt: entered.enteredAt };
    const calls = this.#calls.get(entered.id) ?? { count: 0, granted: false };
    calls.count += 1;
    this.#calls.set(entered.id, calls);
    try {
      const firstAt = await this.#turn(kv, entered, contender.lost);
      calls.granted = true;
      return { ...entered, firstAt };
    } finally {
      calls.count -= 1;
      if (calls.count === 0) {
        this.#calls.delete(entered.id);
        if (!calls.granted) void this.#remove(entered);
      }
    }
  }

  async #enter(kv: LocalKv, { name, lease: given, value, lost }: Contender): Promise<Entered> {
    const ownLease = given === 0n;
    const lease = ownLease ? freeLeaseId(this.#member, this.#random) : given;
    if (ownLease) await kv.grant(lease, LEASE_SECONDS);
    const prefix = prefixOf(name);
    const key = concatBytes(prefix, toBytes(lease.toString(16)));
    try {
      const txn = await kv.txn(entryOf(name, key, lease, value ?? NO_BYTES));
      const { succeeded: created, revision, results } = txn;
      const own = created ? undefined : foundIn(results[0]);
      const createRevision = own?.createRevision ?? revision;
      if (own && value && !bytesEqual(recordValue(own), value)) {
        await proclaim(kv, { key, lease, createRevision: BigInt(createRevision), value, lost });
      }
      const isFirst = (foundIn(results[1])?.createRevision ?? createRevision) === createRevision;
      const place = { key, lease, createRevision, enteredAt: revision };
      return { ...place, id: toLatin1(key), prefix, created, isFirst, ownLease };
    } catch (error) {
      if (ownLease) void this.#revoke(lease);
      throw error;
    }
  }

  /** @returns Revision of the store when it was found to be the first. */
  async #turn(kv: LocalKv, entered: Entered, lost: Refusal): Promise<number> {
    const { key, createRevision, isFirst, enteredAt } = entered;
    kv.throwIfAborted();
    if (isFirst) return enteredAt;
    for (;;) {
      // The watch begins in the same turn of the event loop as the look.
      const before = this.#before(entered);
      if (before === undefined) break;
      await untilDeleted(this.#member.state.watches, [before, entered.id], kv.signal);
      kv.throwIfAborted();
    }
    const { records, revision } = await kv.range({ key });
    if (records[0]?.createRevision !== createRevision) throw new RpcError(lost);
    kv.throwIfAborted();
    return revision;
  }

  /** The key right before ours; undefined if there is none, or ours is gone. */
  #before({ id, prefix, createRevision }: Entered): KeyString | undefined {
    const { store } = this.#member.state;
    if (store.get(id)?.createRevision !== createRevision) return undefined;
    const found = store.range({ key: toLatin1(prefix), end: toLatin1(prefixEnd(prefix)) }, 0, 0);
    if (typeof found === 'string') return undefined;
    let before: KvRecord | undefined;
    for (const record of found.records) {
      if (record.createRevision < createRevision && record.createRevision > (before?.createRevision ?? 0))
        before = record;
    }
    return before?.key;
  }

  /** Takes a key away that nobody waits with any more, for as long as it takes. */
  async #remove({ id, key, lease, createRevision, ownLease }: Entered): Promise<void> {
    if (ownLease) await this.#revoke(lease);
    const compare = [createdAt(key, BigInt(createRevision))];
    const txn: Init<TxnRequest> = { compare, success: [{ requestDeleteRange: { key } }] };
    while (this.#member.state.store.get(id)?.createRevision === createRevision) {
      try {
        await this.#member.propose({ txn }, { actor: this.#member.state.auth.self() });
      } catch (error) {
        if (!(error instanceof RpcError) || error.refusal === Refusals.Stopped) return;
        await new Promise<void>((resolve) => this.#member.after(RETRY_MS, resolve));
      }
    }
  }

  async #revoke(lease: bigint): Promise<void> {
    try {
      await this.#member.propose({ leaseRevoke: { ID: lease } }, { actor: this.#member.state.auth.self() });
    } catch {
      // It ends by itself.
    }
  }
}

/** Writes what a leader has to say. @throws RpcError `lost`, if the key is not the leader's any more. */
export async function proclaim(
  kv: LocalKv,
  leader: {
    readonly key: Uint8Array;
    /** 0: the one that the key is on. */
    readonly lease: bigint;
    readonly createRevision: bigint;
    readonly value: Uint8Array;
    readonly lost: Refusal;
  },
): Promise<number> {
  const { key, lease, createRevision, value, lost } = leader;
  const requestPut = { key, value, lease, ignoreLease: lease === 0n };
  const compare = [createdAt(key, createRevision)];
  const { succeeded, revision } = await kv.txn({ compare, success: [{ requestPut }] }, kv.signal);
  if (!succeeded) throw new RpcError(lost);
  return revision;
}

/** Makes a key unless it is there, and tells of it and of the first one. */
function entryOf(name: Uint8Array, key: Uint8Array, lease: bigint, value: Uint8Array): Init<TxnRequest> {
  const first = { requestRange: firstOf(name) };
  return {
    compare: [createdAt(key, 0n)],
    success: [{ requestPut: { key, value, lease } }, first],
    failure: [{ requestRange: { key } }, first],
  };
}

function foundIn(result: OpResult | undefined): KvRecord | undefined {
  return result?.type === 'range' ? result.found.records[0] : undefined;
}

function prefixOf(name: Uint8Array): Uint8Array {
  return concatBytes(name, toBytes('/'));
}
