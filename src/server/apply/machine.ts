/**
 * The deterministic state machine of a member: what a committed entry of the log does.
 *
 * All members apply the same entries in the same order, and must come to the same state: so an entry's effect depends on
 * the entry and the state before it, and on nothing else. Three things are a member's own and never get into what is
 * shared: the time (when leases end where it is the primary), the size of its backend (whether it wants the alarm), and
 * who waits for a result.
 *
 * The order for each request: who asks, and may they; then what alarms forbid; then the request itself. It is etcd's
 * order but for one hole: while an alarm is raised, servers of etcd 3.5 don't ask again who may.
 *
 * Obligations of the caller: entries come in the order of the log, each once or, after a restart, again from any point
 * on (what is applied already is passed over); an image is of the state between two entries; raft is given each
 * `confChange` as it is here; {@link StateMachine.sweep} is called until it has nothing left; nothing is applied while
 * {@link StateMachine.restore} is underway, or between {@link StateMachine.prepare} and what it gives. After an
 * {@link ApplyError} the member has to stop.
 *
 * @module
 */
import { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { Access } from '../auth/access.ts';
import { AuthStore } from '../auth/store.ts';
import type { TokenProvider } from '../auth/tokens.ts';
import { Lessor } from '../lease/lessor.ts';
import { hashKv } from '../mvcc/hash.ts';
import type { KeyString } from '../mvcc/record.ts';
import { KvStore, type LeaseBook, type RevisionError } from '../mvcc/store.ts';
import { WatchHub } from '../mvcc/watch.ts';
import type { ConfChange } from '../raft/conf-change.ts';
import type { Entry } from '../raft/types.ts';
import type { BackendState } from '../snapshot/backend-state.ts';
import { alarmRefusal } from './alarm-rules.ts';
import { AlarmBook } from './alarms.ts';
import { applyConfChange } from './conf-changes.ts';
import { ApplyError } from './errors.ts';
import { CompactHashes } from './hashes.ts';
import { Membership } from './membership.ts';
import type { Outcome } from './outcome.ts';
import { type Occasion, type Parts, type RequestKind, refused } from './parts.ts';
import { costOf, QuotaGate, sizeInUse } from './quota.ts';
import { applyRequest, kindsOf } from './requests.ts';
import type { AppliedState, KvHash } from './state.ts';
import { applyV2Request, readV2Request } from './v2-request.ts';

/** How a state machine is set up. */
export interface StateMachineOptions {
  /** Is told of logins, and of whose tokens are void. */
  readonly tokens: TokenProvider;
  /** The least TTL of a lease, in seconds. */
  readonly minTtlSeconds: number;
  /** How often the primary tells what is left of leases, in ms. Default: never. */
  readonly checkpointMs?: number | undefined;
  /** How large the backend may be; 0: 2 GiB; negative: no limit. */
  readonly quotaBytes: number;
  /** How many learners there may be at a time; all members have to agree. Default: 1. */
  readonly maxLearners?: number | undefined;
  /** This member, which wants to know when it is removed. */
  readonly memberId?: bigint | undefined;
}

/** What an entry came to. */
export interface AppliedEntry {
  /** The number that its proposer gave it; 0: nobody waits for it. */
  readonly requestId: bigint;
  /** What it asked for; undefined if it is no request of version 3. */
  readonly kind?: RequestKind | undefined;
  /** Undefined if there was nothing to apply: the entry is empty, or was applied before. */
  readonly outcome: Outcome | undefined;
  /** For raft, if it is a change of configuration; of nobody if it was refused. */
  readonly confChange?: ConfChange | undefined;
  /** An alarm that this member has to raise now. The entry was applied all the same. */
  readonly wantsAlarm?: 'NOSPACE' | undefined;
  /** Whether it has removed this member. */
  readonly removedSelf?: boolean | undefined;
}

const NOTHING: AppliedEntry = { requestId: 0n, outcome: undefined };

const UNREADABLE: AppliedEntry = {
  requestId: 0n,
  outcome: refused({ text: 'etcdserver: an entry of the log that is no request', grpcCode: GrpcCode.UNKNOWN }),
};

export class StateMachine implements AppliedState {
  /** Decides what still fits; for who proposes. */
  readonly quota: QuotaGate;
  readonly #memberId: bigint | undefined;
  readonly #parts: Parts;
  #index = 0;
  #term = 0;
  /** The most that was in use since the last defragmentation. */
  #sizeBytes = 0;

  constructor({ tokens, minTtlSeconds, checkpointMs, quotaBytes, maxLearners, memberId }: StateMachineOptions) {
    this.quota = new QuotaGate(quotaBytes);
    this.#memberId = memberId;
    const lessor = new Lessor({ minTtlSeconds, checkpointMs });
    const store = new KvStore(lessor);
    const auth = new AuthStore(tokens);
    this.#parts = {
      store,
      watches: new WatchHub(store),
      lessor,
      auth,
      access: new Access(auth, lessor),
      tokens,
      alarms: new AlarmBook(),
      members: new Membership(maxLearners),
      hashes: new CompactHashes(),
    };
    this.defragment();
  }

  get store(): KvStore {
    return this.#parts.store;
  }

  get watches(): WatchHub {
    return this.#parts.watches;
  }

  get lessor(): Lessor {
    return this.#parts.lessor;
  }

  get auth(): AuthStore {
    return this.#parts.auth;
  }

  get access(): Access {
    return this.#parts.access;
  }

  get alarms(): AlarmBook {
    return this.#parts.alarms;
  }

  get members(): Membership {
    return this.#parts.members;
  }

  get index(): number {
    return this.#index;
  }

  get term(): number {
    return this.#term;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get sizeInUseBytes(): number {
    return sizeInUse(this.store, this.lessor.size);
  }

  /**
   * Applies the next entry.
   *
   * @param now Monotonic time in ms, for leases.
   * @throws {@link ApplyError} for what this version can't apply. The state is as before.
   */
  apply(entry: Entry, now: number): AppliedEntry {
    if (entry.index <= this.#index) return NOTHING;
    if (entry.index > this.#index + 1) throw new ApplyError(entry.index, `the last one was ${this.#index}`);
    const applied = entry.type === 'EntryNormal' ? this.#normal(entry, now) : this.#confChange(entry);
    this.#index = entry.index;
    this.#term = entry.term;
    this.#sizeBytes = Math.max(this.#sizeBytes, this.sizeInUseBytes);
    return applied;
  }

  /**
   * Does some of the work that compactions have left: their hashes, and then freeing memory.
   *
   * @param limit Records to look at, at most.
   * @returns Whether more is left.
   */
  sweep(limit: number): boolean {
    return this.#parts.hashes.step(limit) || this.store.sweep(limit);
  }

  /** Gives back what was freed: the size is what is in use, from now on. */
  defragment(): void {
    this.#sizeBytes = this.sizeInUseBytes;
  }

  hashKv(revision: number): KvHash | RevisionError {
    const { store, hashes } = this.#parts;
    if (revision > store.revision) return 'future';
    const made = revision === 0 ? undefined : hashes.get(revision);
    if (made) return made;
    if (revision > 0 && revision < store.compactRevision) return 'compacted';
    // Before the first revision there is nothing, and that has a hash too.
    const hash = hashKv(store, revision === 0 ? store.revision : revision);
    return { hash, compactRevision: store.compactRevision };
  }

  /** The hashes that the last compactions have left, oldest first. */
  compactHashes(): readonly (KvHash & { readonly revision: number })[] {
    return this.#parts.hashes.list();
  }

  rows(): BackendState {
    const { auth, alarms, lessor, members } = this.#parts;
    const { enabled, revision, users, roles } = auth.rows();
    return {
      consistentIndex: BigInt(this.#index),
      term: BigInt(this.#term),
      ...members.rows(),
      leases: lessor.rows(),
      alarms: alarms.list(),
      authEnabled: enabled,
      authRevision: revision,
      users,
      roles,
    };
  }

  /** {@link prepare}, and then becomes it. */
  async restore(state: BackendState, load: (leases: LeaseBook) => KvStore | Promise<KvStore>): Promise<void> {
    (await this.prepare(state, load))();
  }

  /**
   * Loads an image beside what is there; if that fails nothing has changed.
   *
   * @param load Reads the keys, and tells which of them hang on leases.
   * @returns Becomes what the image says, index and term too. Watchers read on from there; no lease ends here until this
   *   is the primary again; all tokens are void.
   */
  async prepare(state: BackendState, load: (leases: LeaseBook) => KvStore | Promise<KvStore>): Promise<() => void> {
    const book = new RestoringBook(this.lessor);
    const store = await load(book);
    return () => this.#become(state, store, book);
  }

  #become(state: BackendState, store: KvStore, book: RestoringBook): void {
    const { lessor, auth, alarms, members, hashes, watches } = this.#parts;
    lessor.restore(state.leases, book.finish());
    auth.restore({
      enabled: state.authEnabled,
      revision: state.authRevision,
      users: [...state.users],
      roles: [...state.roles],
    });
    alarms.restore(state.alarms);
    members.restore(state);
    hashes.clear();
    this.#parts.store = store;
    this.#index = Number(state.consistentIndex);
    this.#term = Number(state.term);
    this.defragment();
    watches.reset(store);
  }

  #normal(entry: Entry, now: number): AppliedEntry {
    if (entry.data.length === 0) return NOTHING;
    const request = decode(entry.data);
    if (!request) return this.#version2(entry);
    const requestId = request.header?.ID || request.ID;
    const fits = this.quota.admits(costOf(request), this.#sizeBytes);
    const kind = kindOf(request, entry.index);
    const outcome = this.#request(kind, request, { index: entry.index, now });
    // Once the alarm is raised, what has a cost is refused.
    return { requestId, kind, outcome, wantsAlarm: fits || outcome.type === 'refused' ? undefined : 'NOSPACE' };
  }

  #request(kind: RequestKind, request: InternalRaftRequest, occasion: Occasion): Outcome {
    const refusal = this.access.checkEntry(request) ?? alarmRefusal(this.alarms, request);
    return refusal ? refused(refusal) : applyRequest(this.#parts, kind, request, occasion);
  }

  #version2(entry: Entry): AppliedEntry {
    const request = readV2Request(entry.data);
    if (!request) return UNREADABLE;
    applyV2Request(this.members, request);
    return { requestId: request.id, outcome: { type: 'cluster-change' } };
  }

  #confChange(entry: Entry): AppliedEntry {
    const { removed, ...applied } = applyConfChange(this.members, entry);
    return { ...applied, removedSelf: removed !== undefined && removed === this.#memberId };
  }
}

/** Keeps what it is told until the leases are there, and passes on what comes later. */
class RestoringBook implements LeaseBook {
  readonly #lessor: Lessor;
  #alive: { readonly key: KeyString; readonly lease: bigint }[] | undefined = [];

  constructor(lessor: Lessor) {
    this.#lessor = lessor;
  }

  attach(lease: bigint, key: KeyString): void {
    if (this.#alive) this.#alive.push({ key, lease });
    else this.#lessor.attach(lease, key);
  }

  detach(lease: bigint, key: KeyString): void {
    this.#lessor.detach(lease, key);
  }

  finish(): Iterable<{ readonly key: KeyString; readonly lease: bigint }> {
    const alive = this.#alive ?? [];
    this.#alive = undefined;
    return alive;
  }
}

function kindOf(request: InternalRaftRequest, index: number): RequestKind {
  const [kind, ...others] = kindsOf(request);
  if (!kind) throw new ApplyError(index, 'a request of a kind that this version does not know');
  if (others.length > 0) throw new ApplyError(index, 'more than one request');
  return kind;
}

function decode(data: Uint8Array): InternalRaftRequest | undefined {
  try {
    return InternalRaftRequest.decode(data);
  } catch {
    return undefined;
  }
}
