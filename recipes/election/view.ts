/**
 * Who leads, as anybody can see it: no session is needed to look.
 *
 * Keys: `<name>/<lease>-<nonce>` for each candidate, with what it stands for as the value;
 * the oldest leads. Compatible with Go's `concurrency.Election` and `etcdctl elect`.
 *
 * What is seen is true of a revision, and may be over when it is read. To act on it is to
 * put it into a transaction: `etcd.key(leader.key).createRevision.equals(leader.term)`.
 *
 * @module
 */

import type { CallOptions, Etcd, KeyValue, LeaseId, Revision } from '../../src/index.ts';
import { following } from '../following.ts';
import { isParticipant, type NameOptions, recipePrefix } from '../names.ts';

/** Somebody leads. */
export interface ElectionLeader {
  readonly kind: 'leader';
  /** The term: the revision of the election. Grows from leader to leader. */
  readonly term: Revision;
  /** The leader's key. */
  readonly key: string;
  /** What the leader has proclaimed last. Bytes that are not UTF-8 show as U+FFFD. */
  readonly value: string;
  /** The revision of that. */
  readonly revision: Revision;
}

/** Nobody leads. */
export interface ElectionVacancy {
  readonly kind: 'vacant';
  /** The revision at which that was seen. */
  readonly revision: Revision;
}

/** How an election stands. */
export type ElectionState = ElectionLeader | ElectionVacancy;

/** Somebody who leads, or would. */
export interface ElectionCandidate {
  readonly key: string;
  /** The place in the queue, smaller is earlier; the term, once it leads. */
  readonly token: Revision;
  /** What it stands for. */
  readonly value: string;
  /** The lease that its key hangs on. */
  readonly lease: LeaseId | undefined;
}

/** An election, for those who only look. */
export class ElectionView {
  readonly name: string;
  /** Where the candidates' keys are. */
  readonly prefix: string;
  protected readonly etcd: Etcd;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(etcd: Etcd, name: string, options: NameOptions = {}) {
    this.etcd = etcd;
    this.name = name;
    this.prefix = recipePrefix(name, options);
  }

  /** Who leads; undefined when nobody does. One round trip. */
  async leader(options: CallOptions = {}): Promise<ElectionLeader | undefined> {
    const read = (limit?: number) =>
      this.etcd.range({ prefix: this.prefix }, { ...options, sort: { by: 'createRevision' }, limit });
    // Nearly always the first key is the one; the whole queue is read only if it has to be.
    const few = await read(FIRST_LOOK);
    const leader = oldest(few.kvs, this.prefix) ?? (few.more ? oldest((await read()).kvs, this.prefix) : undefined);
    return leader && toLeader(leader);
  }

  /** All candidates in their order: the first one leads. One round trip. */
  async candidates(options: CallOptions = {}): Promise<ElectionCandidate[]> {
    const range = { ...options, sort: { by: 'createRevision' } } as const;
    const { kvs } = await this.etcd.range({ prefix: this.prefix }, range);
    return kvs
      .filter((kv) => isParticipant(kv, this.prefix))
      .map((kv) => ({ key: kv.key, token: kv.createRevision, value: textOf(kv), lease: kv.lease }));
  }

  /**
   * How the election stands, now and whenever that changes: a new leader, a vacancy, another
   * value proclaimed, in the order in which it happened. A slow reader is told how it stands
   * when it comes back, and not what was in between. A candidate shows as the leader from the
   * moment it is the oldest, which can be before it knows it itself.
   *
   * The loop ends only by leaving it, or by throwing.
   *
   * @example
   * ```ts
   * for await (const state of new ElectionView(etcd, 'scheduler').observe({ signal })) {
   *   console.log(state.kind === 'leader' ? `${state.value} leads term ${state.term}` : 'nobody leads');
   * }
   * ```
   * @throws AbortError when the signal fires, ClosedError when the client is closed,
   * EtcdError when the cluster refuses for good.
   */
  async *observe(options: Pick<CallOptions, 'signal'> = {}): AsyncGenerator<ElectionState, void, void> {
    let told: ElectionState | undefined;
    for await (const { kvs, revision } of following(this.etcd, this.prefix, options.signal)) {
      const leader = oldest(kvs, this.prefix);
      const state: ElectionState = leader === undefined ? { kind: 'vacant', revision } : toLeader(leader);
      if (told !== undefined && same(told, state)) continue;
      told = state;
      yield state;
    }
  }
}

const FIRST_LOOK = 10;

/** The candidate that leads. */
function oldest(kvs: readonly KeyValue<string>[], prefix: string): KeyValue<string> | undefined {
  let found: KeyValue<string> | undefined;
  for (const kv of kvs) {
    if ((found === undefined || kv.createRevision < found.createRevision) && isParticipant(kv, prefix)) found = kv;
  }
  return found;
}

/** A candidate that is the oldest, as the others see it. @internal */
export function toLeader(kv: KeyValue<string>): ElectionLeader {
  return { kind: 'leader', term: kv.createRevision, key: kv.key, value: textOf(kv), revision: kv.modRevision };
}

/** Leaders in other languages may proclaim bytes; that must not end an observer's loop. */
function textOf(kv: KeyValue<string>): string {
  const { buffer, byteOffset, byteLength } = kv.valueBytes;
  return Buffer.from(buffer, byteOffset, byteLength).toString('utf8');
}

function same(a: ElectionState, b: ElectionState): boolean {
  if (a.kind === 'leader' && b.kind === 'leader') {
    return a.term === b.term && a.key === b.key && a.revision === b.revision;
  }
  return a.kind === b.kind;
}
