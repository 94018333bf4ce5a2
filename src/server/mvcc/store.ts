/**
 * Keys with all their versions since the last compaction.
 *
 * Each write transaction that changes something takes the next revision; what it changes is numbered within it. A
 * delete leaves a mark. Reads are of now or of any revision that is not compacted, and always of whole transactions
 * (a transaction's own reads see its own writes). The store is in memory, does nothing by itself and knows no clock:
 * the log makes it durable, whoever applies the log calls it.
 *
 * Three structures share the records: the index (newest version of each key, older ones chained behind it), the log
 * (all records in the order of their revisions, for watchers that catch up, hashes and snapshots), and the chains
 * themselves. {@link compact} cuts at once; {@link sweep} frees the memory behind it in steps of any size, so that a
 * large store never stands still.
 *
 * Source: etcd, "Data model" (learning/data_model) and its key-value API guarantees.
 *
 * @module
 */
import { fromLatin1 } from '../../protocol/keys.ts';
import { BACKEND_KEY_BYTES } from './backend-key.ts';
import { AFTER_ALL_KEYS, type OrderedMap, orderedMap } from './ordered-map.ts';
import { encodeRecord, encodeTombstone, type KeyString, KvRecord } from './record.ts';
import type { KvRows } from './restore.ts';

/** Why a revision can't be read. */
export type RevisionError = 'compacted' | 'future';

/** A range of keys: one key if `end` is empty; without upper bound if `end` is one zero character. */
export interface KeyRange {
  readonly key: KeyString;
  readonly end: KeyString;
}

export interface RangeResult {
  /** The first `limit` records, in the order of their keys. */
  readonly records: readonly KvRecord[];
  /** How many keys there are, whatever the limit. */
  readonly count: number;
}

/** Is told which keys hang on which lease. */
export interface LeaseBook {
  attach(lease: bigint, key: KeyString): void;
  detach(lease: bigint, key: KeyString): void;
}

/** How often something was done, for metrics; it starts anew with each store. */
export interface OperationCounts {
  range: number;
  put: number;
  delete: number;
  /** Transactions of more than one operation. */
  txn: number;
}

const NO_LEASES: LeaseBook = { attach: () => {}, detach: () => {} };

/** No key was ever written: where revisions start. */
const FIRST_REVISION = 1;

export class KvStore {
  readonly operations: OperationCounts = { range: 0, put: 0, delete: 0, txn: 0 };
  #index: OrderedMap<KvRecord> = orderedMap();
  #log: KvRecord[] = [];
  #recordBytes = 0;
  #revision = FIRST_REVISION;
  #compactRevision = -1;
  #sweep: Sweep | undefined;
  readonly #leases: LeaseBook;

  constructor(leases: LeaseBook = NO_LEASES) {
    this.#leases = leases;
  }

  /**
   * A store from the rows of etcd's backend. Its revision is that of the last row, or of the compaction if that is
   * higher; what the compaction has left to free is left to {@link sweep}. Leases are told of their keys in order.
   *
   * @param compactRevision The highest revision whose compaction was begun; -1 if none was.
   */
  static restore(rows: KvRows, compactRevision: number, leases: LeaseBook = NO_LEASES): KvStore {
    const store = new KvStore(leases);
    store.#index = rows.index;
    store.#log = rows.log;
    for (const record of rows.log) store.#recordBytes += rowBytes(record);
    store.#revision = Math.max(FIRST_REVISION, rows.log.at(-1)?.main ?? 0, compactRevision);
    store.#compactRevision = compactRevision;
    if (compactRevision >= 0) store.#sweep = { revision: compactRevision, next: 0, kept: [], freedBytes: 0 };
    rows.index.forEach(({ lease }, key) => {
      if (lease !== 0n) leases.attach(lease, key);
    });
    return store;
  }

  /** Revision of the last write; 1 before the first. */
  get revision(): number {
    return this.#revision;
  }

  /** What was before this revision can't be read any more; -1 if nothing was compacted. */
  get compactRevision(): number {
    return this.#compactRevision;
  }

  /** How many records there are, marks of deletes among them. */
  get recordCount(): number {
    return this.#log.length;
  }

  /** Size of all records as rows of etcd's backend, in bytes; it shrinks when a sweep has ended. */
  get recordBytes(): number {
    return this.#recordBytes;
  }

  /** How many keys the index knows: also those that are deleted, until a compaction has forgotten them. */
  get keyCount(): number {
    return this.#index.size;
  }

  /** Whether a compaction has left something to {@link sweep}. */
  get sweeping(): boolean {
    return this.#sweep !== undefined;
  }

  /**
   * Reads a range at a revision; 0 or less reads now.
   *
   * @param limit Records wanted at most; 0 or less: all.
   */
  range(range: KeyRange, revision: number, limit: number): RangeResult | RevisionError {
    this.operations.range += 1;
    return this.#range(range, revision, limit, this.#revision);
  }

  #range(range: KeyRange, revision: number, limit: number, current: number): RangeResult | RevisionError {
    if (revision > current) return 'future';
    const at = revision <= 0 ? Number.POSITIVE_INFINITY : revision;
    if (at < this.#compactRevision) return 'compacted';
    return this.#collect(range, at, limit);
  }

  /** The newest record of a key, unless it is deleted. */
  get(key: KeyString): KvRecord | undefined {
    const record = this.#index.get(key);
    return record?.isTombstone ? undefined : record;
  }

  /** Begins a transaction. It has to be ended before the next one begins, and can't be undone: check first. */
  write(): WriteTxn {
    return new WriteTxn(this.#index, this.#revision + 1, {
      leases: this.#leases,
      operations: this.operations,
      range: (range, revision, limit, current) => this.#range(range, revision, limit, current),
      commit: (records) => {
        this.#revision += 1;
        for (const record of records) {
          this.#log.push(record);
          this.#recordBytes += rowBytes(record);
        }
      },
    });
  }

  /**
   * Forbids reads before `revision`. The newest version of each key up to there stays, with one exception: the mark of
   * a delete stays only if it is of that very revision, for watchers that start there.
   */
  compact(revision: number): RevisionError | undefined {
    if (revision <= this.#compactRevision) return 'compacted';
    if (revision > this.#revision) return 'future';
    this.#compactRevision = revision;
    // A sweep that is underway starts again: what it has looked at may have to go now.
    this.#sweep = { revision, next: 0, kept: [], freedBytes: 0 };
    return undefined;
  }

  /**
   * Frees what the last compaction has left behind, `limit` records of it at most.
   *
   * @returns Whether more is left.
   */
  sweep(limit: number): boolean {
    const sweep = this.#sweep;
    if (!sweep) return false;
    const end = Math.min(this.#log.length, sweep.next + limit);
    for (; sweep.next < end; sweep.next += 1) {
      const record = this.#log[sweep.next] as KvRecord;
      if (record.main > sweep.revision) break;
      if (keptBy(record, sweep.revision)) {
        record.previous = undefined;
        sweep.kept.push(record);
        continue;
      }
      sweep.freedBytes += rowBytes(record);
      if (record.until > sweep.revision) this.#forget(record);
    }
    const rest = this.#log[sweep.next];
    if (rest && rest.main <= sweep.revision) return true;
    this.#log = [...sweep.kept, ...this.#log.slice(sweep.next)];
    this.#recordBytes -= sweep.freedBytes;
    this.#sweep = undefined;
    return false;
  }

  /** All records of revisions from `from` up to and including `to`, in their order. They must not be compacted. */
  *history(from: number, to: number): Iterable<KvRecord> {
    const log = this.#log;
    for (let at = firstFrom(log, from); at < log.length; at += 1) {
      const record = log[at] as KvRecord;
      if (record.main > to) return;
      yield record;
    }
  }

  /**
   * The records that a compaction at its revision leaves and all later ones, as of the call: for hashes and snapshots.
   * They can be iterated again and again while writes, compactions and sweeps go on, and stay the same.
   */
  surviving(): Iterable<KvRecord> {
    // The log is only ever added to or replaced; and whatever is superseded later was visible at this compaction.
    const log = this.#log;
    const { length } = log;
    const compacted = this.#compactRevision;
    return {
      *[Symbol.iterator]() {
        for (let at = 0; at < length; at += 1) {
          const record = log[at] as KvRecord;
          if (record.main > compacted || keptBy(record, compacted)) yield record;
        }
      },
    };
  }

  #collect({ key, end }: KeyRange, at: number, limit: number): RangeResult {
    if (end === '') {
      const record = visibleAt(this.#index.get(key), at);
      return record ? { records: [record], count: 1 } : { records: [], count: 0 };
    }
    const records: KvRecord[] = [];
    let count = 0;
    const wanted = limit > 0 ? limit : Number.POSITIVE_INFINITY;
    this.#index.forRange(key, end === '\0' ? AFTER_ALL_KEYS : end, false, (_key, head) => {
      const record = visibleAt(head, at);
      if (!record) return;
      count += 1;
      if (count <= wanted) records.push(record);
    });
    return { records, count };
  }

  /** Takes the mark of a delete out of its key's chain, and the key out of the index if nothing else is left of it. */
  #forget(tombstone: KvRecord): void {
    let later = this.#index.get(tombstone.key);
    if (later === tombstone) {
      this.#index.delete(tombstone.key);
      return;
    }
    while (later && later.previous !== tombstone) later = later.previous;
    if (later) later.previous = undefined;
  }
}

interface Sweep {
  readonly revision: number;
  /** Where in the log it goes on. */
  next: number;
  readonly kept: KvRecord[];
  /** Size of those that go. */
  freedBytes: number;
}

function rowBytes({ isTombstone, bytes }: KvRecord): number {
  return BACKEND_KEY_BYTES + (isTombstone ? 1 : 0) + bytes.length;
}

/** Whether a compaction keeps a record that is not after it. */
function keptBy(record: KvRecord, revision: number): boolean {
  return record.until > revision && (!record.isTombstone || record.main === revision);
}

function visibleAt(head: KvRecord | undefined, at: number): KvRecord | undefined {
  let record = head;
  while (record && record.main > at) record = record.previous;
  return record === undefined || record.isTombstone ? undefined : record;
}

/** Where in the log the first record of `revision` or later is. */
function firstFrom(log: readonly KvRecord[], revision: number): number {
  let low = 0;
  for (let high = log.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if ((log[middle] as KvRecord).main < revision) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a transaction needs of its store. */
interface TxnStore {
  readonly leases: LeaseBook;
  readonly operations: OperationCounts;
  readonly range: (range: KeyRange, revision: number, limit: number, current: number) => RangeResult | RevisionError;
  readonly commit: (records: readonly KvRecord[]) => void;
}

/** One write transaction. What it changed counts once it has ended; its own reads see it before. */
export class WriteTxn {
  /** Revision that it has if it changes something. */
  readonly revision: number;
  readonly #index: OrderedMap<KvRecord>;
  readonly #store: TxnStore;
  readonly #records: KvRecord[] = [];
  #operations = 0;

  constructor(index: OrderedMap<KvRecord>, revision: number, store: TxnStore) {
    this.#index = index;
    this.revision = revision;
    this.#store = store;
  }

  /** What it has changed so far, in order. */
  get records(): readonly KvRecord[] {
    return this.#records;
  }

  /** Revision as its own reads see it: its own once it has changed something. */
  get current(): number {
    return this.changed ? this.revision : this.revision - 1;
  }

  /** {@link KvStore.range}, with what this transaction has written so far. */
  range(range: KeyRange, revision: number, limit: number): RangeResult | RevisionError {
    this.#count('range');
    return this.#store.range(range, revision, limit, this.current);
  }

  /** Whether something was changed so far. */
  get changed(): boolean {
    return this.#records.length > 0;
  }

  put(keyBytes: Uint8Array, text: KeyString, value: Uint8Array, lease: bigint): KvRecord {
    this.#count('put');
    const before = this.#index.get(text);
    // All versions share one text.
    const key = before?.key ?? text;
    const alive = before !== undefined && !before.isTombstone;
    const createRevision = alive ? before.createRevision : this.revision;
    const version = alive ? before.version + 1 : 1;
    const main = this.revision;
    const sub = this.#records.length;
    const bytes = encodeRecord({ key: keyBytes, value, createRevision, main, version, lease });
    return this.#add(new KvRecord({ key, main, sub, createRevision, version, lease, bytes, previous: before }));
  }

  /** @returns The records that were deleted, in the order of their keys. */
  deleteRange({ key, end }: KeyRange): readonly KvRecord[] {
    this.#count('delete');
    const found: KvRecord[] = [];
    const one = end === '' ? this.#index.get(key) : undefined;
    if (one && !one.isTombstone) found.push(one);
    if (end !== '') {
      this.#index.forRange(key, end === '\0' ? AFTER_ALL_KEYS : end, false, (_key, head) => {
        if (!head.isTombstone) found.push(head);
      });
    }
    for (const previous of found) {
      const mark = { main: this.revision, sub: this.#records.length, createRevision: 0, version: 0, lease: 0n };
      const bytes = encodeTombstone(fromLatin1(previous.key));
      this.#add(new KvRecord({ ...mark, key: previous.key, bytes, previous }));
    }
    return found;
  }

  /**
   * Ends it.
   *
   * @returns What it changed, in order; nothing if it changed nothing, and then it takes no revision.
   */
  end(): readonly KvRecord[] {
    if (this.changed) this.#store.commit(this.#records);
    if (this.#operations > 1) this.#store.operations.txn += 1;
    return this.#records;
  }

  #count(kind: 'range' | 'put' | 'delete'): void {
    this.#store.operations[kind] += 1;
    this.#operations += 1;
  }

  #add(record: KvRecord): KvRecord {
    const { key, lease, previous } = record;
    if (previous) {
      previous.until = this.revision;
      if (previous.lease !== 0n) this.#store.leases.detach(previous.lease, key);
    }
    if (lease !== 0n) this.#store.leases.attach(lease, key);
    this.#index.set(key, record);
    this.#records.push(record);
    return record;
  }
}
