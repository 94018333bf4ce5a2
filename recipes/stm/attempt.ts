/**
 * One attempt of a transaction: what it has read, what it wants to write, and the
 * conditions under which that is still right.
 *
 * Invariants:
 * 1. An attempt is used once. What was left over of an earlier one cannot leak into the
 *    next: after its end every call on it fails.
 * 2. Whatever was read has a condition in the commit, what was not there included.
 *
 * Why the conditions of a range are enough. Let R be the revision at which the range was
 * read and K the keys it held. (a) The compare of the whole range, `mod revision < R + 1`,
 * holds for every key that is there at the commit: so none was put since R, and each of
 * them, not having been put since, was there at R and is unchanged; what is there now is a
 * part of K. (b) The compares of each key of K, `mod revision = m`, hold: each is still
 * there; K is a part of what is there now. So the two are the same, values included. (a)
 * alone would miss a delete, since a compare says nothing of keys that are gone; (b) alone
 * would miss an insert. Both see the same state, the one before the commit. A range that
 * was cut by a limit is guarded as far as its last key: what comes after cannot change it.
 * The price: one condition for each key, and 128 are what a server takes in all.
 *
 * @module
 */

import {
  ClosedError,
  type Compare,
  InvalidArgumentError,
  type KeyValue,
  type Op,
  type PutOptions,
  type RangeOptions,
  type RangeResult,
  type Revision,
} from '../../src/index.ts';
import { after, type Bounds, isWithin, toTarget } from './bounds.ts';
import { type ReaderContext, Restart, SnapshotReader } from './snapshot-reader.ts';

/** How far a transaction is kept apart from others; see `StmOptions.isolation`. */
export type Isolation = 'serializable-snapshot' | 'serializable' | 'repeatable-reads' | 'read-committed';

/** What an attempt works with. */
export interface AttemptContext extends ReaderContext {
  readonly isolation: Isolation;
}

/** How a range is read. */
export interface RangeSpec {
  readonly bounds: Bounds;
  readonly limit: number | undefined;
  readonly order: 'ascending' | 'descending';
}

/** A key and its value, as the transaction sees it. */
export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** The reads of an attempt that failed, as the store answered them when it did: the next one starts with them. */
export interface Prefetch {
  readonly revision: Revision;
  readonly kvs: ReadonlyMap<string, KeyValue<Uint8Array> | undefined>;
  readonly ranges: ReadonlyMap<string, RangeResult<Uint8Array>>;
}

interface Read {
  readonly key: Uint8Array;
  readonly kv: KeyValue<Uint8Array> | undefined;
  /** Whether it was seen in a range, and so is read again with that. */
  readonly listed: boolean;
}

interface RangeRead {
  readonly spec: RangeSpec;
  /** What of the range the answer speaks for. */
  readonly covered: Bounds;
  readonly revision: Revision;
  readonly kvs: readonly KeyValue<Uint8Array>[];
}

interface Write {
  readonly key: Uint8Array;
  /** Undefined for a delete. */
  readonly value: Uint8Array | undefined;
  readonly options: PutOptions;
}

/** What a commit is made of, but for the marker. */
export interface CommitParts {
  readonly conditions: readonly Compare[];
  readonly writes: readonly Op<unknown>[];
  /** The reads once more, for the case that a condition fails; {@link Attempt.compareReads} reads the answers. */
  readonly rereads: readonly Op<RangeResult<Uint8Array>>[];
}

export class Attempt {
  readonly signal: AbortSignal;
  readonly #context: AttemptContext;
  readonly #prefetch: Prefetch | undefined;
  readonly #reads = new Map<string, Read>();
  readonly #ranges = new Map<string, RangeRead>();
  readonly #writes = new Map<string, Write>();
  readonly #underWay = new Map<string, Promise<Read>>();
  readonly #reader: SnapshotReader;
  #doomed: Restart | undefined;
  #over = false;

  constructor(context: AttemptContext, retry: boolean, prefetch: Prefetch | undefined) {
    this.#context = context;
    this.signal = context.signal;
    const pins = context.isolation === 'serializable-snapshot' || context.isolation === 'serializable';
    this.#prefetch = prefetch;
    // A member that lags behind would give a retry the same old answer.
    this.#reader = new SnapshotReader(context, { pins, stale: !retry, base: prefetch?.revision });
  }

  /** Why it has no chance; undefined while it has one. */
  get doomed(): Restart | undefined {
    return this.#doomed ?? this.#reader.doomed;
  }

  /** Whether there is nothing to commit: no writes, and every read shows the same revision or needs no check. */
  get isDone(): boolean {
    const checked = this.#context.isolation === 'repeatable-reads' && this.#reads.size + this.#ranges.size > 0;
    return this.#writes.size === 0 && !checked;
  }

  /** Whether there is something to write. */
  get writes(): boolean {
    return this.#writes.size > 0;
  }

  /** The revision that all reads show; undefined before the first, and at levels where they need not. */
  get base(): Revision | undefined {
    return this.#reader.base;
  }

  /** Refuses everything from now on. */
  close(): void {
    this.#over = true;
  }

  /** Reads a key, own writes first. */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#assertOpen();
    const written = this.#writes.get(nameOf(key));
    if (written !== undefined) return written.value;
    return (await this.read(key)).kv?.value;
  }

  /** Reads a key as the store has it. Two reads of one key are one. */
  read(key: Uint8Array): Promise<Read> {
    this.#assertOpen();
    const name = nameOf(key);
    const known = this.#reads.get(name);
    if (known !== undefined) return Promise.resolve(known);
    if (this.#prefetch?.kvs.has(name)) return Promise.resolve(this.#note(key, this.#prefetch.kvs.get(name), false));
    let read = this.#underWay.get(name);
    if (read === undefined) {
      read = this.#reader
        .read(key, {})
        .then(({ result }) => this.#note(key, result.kvs[0], false))
        .finally(() => this.#underWay.delete(name));
      this.#underWay.set(name, read);
    }
    return read;
  }

  /** Reads a range, own writes included. */
  async range(bounds: Bounds, limit: number | undefined, order: 'ascending' | 'descending'): Promise<Row[]> {
    this.#assertOpen();
    if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
      throw new InvalidArgumentError(`limit ${limit} is not a positive whole number`);
    }
    const own = [...this.#writes.values()].filter(({ key }) => isWithin(key, bounds));
    // Each key that is deleted here may take the place of one that is to be shown.
    const hidden = own.filter(({ value }) => value === undefined).length;
    const spec = { bounds, limit: limit === undefined ? undefined : limit + hidden, order };
    const { kvs } = this.#ranges.get(idOf(spec)) ?? (await this.#readRange(spec));
    const ours = new Set(own.map(({ key }) => nameOf(key)));
    const rows: Row[] = kvs
      .filter((kv) => !ours.has(nameOf(kv.keyBytes)))
      .map((kv) => ({ key: kv.keyBytes, value: kv.value }));
    for (const { key, value } of own) if (value !== undefined) rows.push({ key, value });
    const sign = order === 'ascending' ? 1 : -1;
    rows.sort((a, b) => sign * Buffer.compare(a.key, b.key));
    return limit === undefined ? rows : rows.slice(0, limit);
  }

  /** Notes a write for the commit; `undefined` is a delete. The last write of a key counts. */
  write(key: Uint8Array, value: Uint8Array | undefined, options: PutOptions = {}): void {
    this.#assertOpen();
    this.#writes.set(nameOf(key), { key, value, options });
  }

  /** What to commit. @throws InvalidArgumentError when it is more than the server takes. */
  commitParts(reserved: { readonly lists: number; readonly nesting: number }): CommitParts {
    const { store, maxOps } = this.#context;
    const conditions = this.#conditions();
    const writes = [...this.#writes.values()].map(({ key, value, options }) =>
      value === undefined ? store.op.delete(key) : store.op.put(key, value, options),
    );
    const most = maxOps - reserved.lists - reserved.nesting;
    const needed = Math.max(conditions.length, writes.length);
    if (needed > most) {
      throw new InvalidArgumentError(
        `the transaction has ${conditions.length} conditions and ${writes.length} writes; ` +
          `of each, ${most} are what the server's limit of ${maxOps} operations leaves it`,
      );
    }
    const rereads = [
      ...[...this.#reads.values()].filter(({ listed }) => !listed).map(({ key }) => store.op.range(key)),
      ...[...this.#ranges.values()].map(({ spec }) => store.op.range(toTarget(spec.bounds), rangeOptions(spec))),
    ];
    // They serve the next attempt only, so a transaction that is near the limit goes without.
    return { conditions, writes, rereads: rereads.length <= most ? rereads : [] };
  }

  /** Reads the answers to the rereads: what the next attempt may start with, and which keys have changed. */
  compareReads(answers: readonly RangeResult<Uint8Array>[], revision: Revision): { next: Prefetch; changed: string[] } {
    const kvs = new Map<string, KeyValue<Uint8Array> | undefined>();
    const ranges = new Map<string, RangeResult<Uint8Array>>();
    const changed = new Set<string>();
    const rest = answers.values();
    for (const [name, { kv, listed }] of this.#reads) {
      if (listed) continue;
      const answer = rest.next().value;
      if (answer === undefined) break;
      const [now] = answer.kvs;
      kvs.set(name, now);
      if (now?.modRevision !== kv?.modRevision) changed.add(name);
    }
    for (const [id, { kvs: before }] of this.#ranges) {
      const answer = rest.next().value;
      if (answer === undefined) break;
      ranges.set(id, answer);
      for (const kv of answer.kvs) kvs.set(nameOf(kv.keyBytes), kv);
      for (const name of difference(before, answer.kvs)) changed.add(name);
    }
    return { next: { revision, kvs, ranges }, changed: [...changed].map(textOf) };
  }

  #conditions(): Compare[] {
    const { store, isolation } = this.#context;
    if (isolation === 'read-committed') return [];
    const conditions: Compare[] = [];
    for (const { key, kv } of this.#reads.values()) conditions.push(store.key(key).unchangedSince(kv));
    for (const { covered, revision } of this.#ranges.values()) {
      conditions.push(store.keys(toTarget(covered)).modRevision.lessThan((revision + 1n) as Revision));
    }
    if (isolation === 'serializable-snapshot' && this.base !== undefined) {
      const next = (this.base + 1n) as Revision;
      for (const [name, { key }] of this.#writes) {
        // A key that was read is held to more than that already.
        if (!this.#reads.has(name)) conditions.push(store.key(key).modRevision.lessThan(next));
      }
    }
    return conditions;
  }

  async #readRange(spec: RangeSpec): Promise<RangeRead> {
    const id = idOf(spec);
    const fetched = this.#prefetch?.ranges.get(id);
    const { result, revision } =
      fetched === undefined || this.#prefetch === undefined
        ? await this.#reader.read(toTarget(spec.bounds), rangeOptions(spec))
        : { result: fetched, revision: this.#prefetch.revision };
    const { kvs, more } = result;
    const read = { spec, kvs, revision, covered: more ? upTo(spec, kvs) : spec.bounds };
    this.#ranges.set(id, read);
    for (const kv of kvs) this.#note(kv.keyBytes, kv, true);
    return read;
  }

  /** Remembers what was read first of a key. Another answer later means that it has changed in between. */
  #note(key: Uint8Array, kv: KeyValue<Uint8Array> | undefined, listed: boolean): Read {
    const name = nameOf(key);
    const first = this.#reads.get(name);
    if (first === undefined) {
      const read = { key, kv, listed };
      this.#reads.set(name, read);
      return read;
    }
    if (first.kv?.modRevision !== kv?.modRevision && this.#context.isolation !== 'read-committed') {
      this.#doomed ??= new Restart('a key changed between two reads of it');
    }
    return first;
  }

  #assertOpen(): void {
    if (this.#over) throw new ClosedError('this attempt of the transaction');
    if (this.doomed !== undefined) throw this.doomed;
  }
}

/** One character for each byte: equal names are equal keys. */
function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

function textOf(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

function idOf({ bounds: { start, end }, limit, order }: RangeSpec): string {
  return [start.toString('hex'), end?.toString('hex') ?? '', limit ?? '', order].join(' ');
}

function rangeOptions({ limit, order }: RangeSpec): RangeOptions {
  return order === 'ascending' ? { limit } : { limit, sort: { by: 'key', order } };
}

/** The part of a range that an answer speaks for when its limit has left keys out. */
function upTo({ bounds, order }: RangeSpec, kvs: readonly KeyValue<Uint8Array>[]): Bounds {
  const last = kvs.at(-1);
  if (last === undefined) return bounds;
  if (order === 'descending') return { start: Buffer.from(last.keyBytes), end: bounds.end };
  return { start: bounds.start, end: after(last.keyBytes) };
}

/** The names of keys that were put or deleted between two answers. */
function difference(before: readonly KeyValue<Uint8Array>[], now: readonly KeyValue<Uint8Array>[]): string[] {
  const revisions = new Map(before.map((kv) => [nameOf(kv.keyBytes), kv.modRevision]));
  const changed: string[] = [];
  for (const kv of now) {
    const name = nameOf(kv.keyBytes);
    if (revisions.get(name) !== kv.modRevision) changed.push(name);
    revisions.delete(name);
  }
  return [...changed, ...revisions.keys()];
}
