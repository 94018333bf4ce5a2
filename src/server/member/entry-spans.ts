/**
 * Spans of the work on entries: of those that carry the name of a trace.
 *
 * Entries that were in the log when the member started were worked on before, so applying them again is no part of any
 * trace. A member that was away works on its entries late, and its spans say so.
 *
 * @module
 */
import { ETCD } from '../../telemetry/semconv.ts';
import type { Entry } from '../raft/index.ts';
import { type EntryTracing, memberAttributes, type WorkAttributes, type WorkName, type WorkSpan } from '../tracing.ts';
import { linkOf } from './trace-link.ts';

export interface EntrySpansOptions {
  readonly tracing: EntryTracing;
  readonly memberId: bigint;
  /** Last entry of the log at the start. */
  readonly since: number;
}

/** See the head of this file. */
export class EntrySpans {
  readonly #tracing: EntryTracing;
  readonly #member: WorkAttributes;
  readonly #since: number;
  /** At the leader, by index: entries that are not known to be on a quorum yet. Ascending. */
  readonly #replicating = new Map<number, WorkSpan>();
  /** Of writes that are underway. */
  readonly #writing = new Set<readonly WorkSpan[]>();

  constructor({ tracing, memberId, since }: EntrySpansOptions) {
    this.#tracing = tracing;
    this.#member = memberAttributes(memberId);
    this.#since = since;
  }

  /** Entries are on their way to the disk. @returns Their spans, for {@link EntrySpans.written}; undefined: there are none. */
  writing(entries: readonly Entry[]): readonly WorkSpan[] | undefined {
    let spans: WorkSpan[] | undefined;
    for (const entry of entries) {
      const span = this.#begin('wal.sync', entry);
      if (span === undefined) continue;
      span.set({ [ETCD.walEntries]: entries.length });
      spans ??= [];
      spans.push(span);
    }
    if (spans) this.#writing.add(spans);
    return spans;
  }

  /** They are durable. */
  written(spans: readonly WorkSpan[]): void {
    this.#writing.delete(spans);
    for (const span of spans) span.end();
  }

  /** The leader has entries to send. */
  replicating(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const span = this.#begin('raft.replicate', entry);
      if (span !== undefined) this.#replicating.set(entry.index, span);
    }
  }

  /** Everything up to an entry is on a quorum. */
  committed(index: number): void {
    for (const [at, span] of this.#replicating) {
      if (at > index) return;
      this.#replicating.delete(at);
      span.end();
    }
  }

  /** This member leads no more: what becomes of its entries others decide. */
  abandon(): void {
    for (const span of this.#replicating.values()) span.end('not-leader');
    this.#replicating.clear();
  }

  /** The member ends. */
  stop(): void {
    this.abandon();
    for (const spans of this.#writing) for (const span of spans) span.end('stopped');
    this.#writing.clear();
  }

  /** An entry is about to be applied. To be ended by the caller. */
  applying(entry: Entry): WorkSpan | undefined {
    return entry.index > this.#since ? this.#begin('apply', entry) : undefined;
  }

  #begin(name: WorkName, { data, index, term, type }: Entry): WorkSpan | undefined {
    const link = type === 'EntryNormal' ? linkOf(data) : undefined;
    if (link === undefined) return undefined;
    return this.#tracing.begin(name, link, { ...this.#member, [ETCD.raftIndex]: index, [ETCD.raftTerm]: term });
  }
}
