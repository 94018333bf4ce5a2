/**
 * Requests on their way through the log, and those who wait for them.
 *
 * A request waits for a leader, then for its entry to be applied; for no longer than the request timeout in all. One
 * that ends while it waits for a leader has surely not been done; of one that is in the log nobody knows until it is
 * applied.
 *
 * This is the hot path: requests are encoded once, those of one turn go into the log together, and one timer serves all
 * of them, since they all wait equally long and so run out in the order in which they came.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import { type Cancellation, onAbort } from '../../support/signals.ts';
import { ETCD } from '../../telemetry/semconv.ts';
import type { Outcome } from '../apply/outcome.ts';
import { encodeV2Put, type V2Put } from '../apply/v2-request.ts';
import { NOBODY } from '../auth/store.ts';
import { type ConfChangeSingle, confChangeEntry, type Entry, proposal } from '../raft/index.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { WorkSpan } from '../tracing.ts';
import { encodeProposal } from './proposal-bytes.ts';
import type { RequestIds } from './request-ids.ts';
import type { Proposed, ProposeOptions } from './serving.ts';
import { withLink } from './trace-link.ts';

/** How far applying may lag behind before new requests are refused. */
const MAX_LAG = 5_000;

export interface ProposalsOptions {
  /** Whether there is room for an encoded request. */
  readonly admits: (data: Uint8Array) => boolean;
  readonly clock: Clock;
  readonly ids: RequestIds;
  readonly timeoutMs: number;
  /** Bytes of an encoded request. */
  readonly maxRequestBytes: number;
  /** Why a request that was begun at some time, and is in the log, has no result. */
  readonly timeoutOf: (startedAt: number) => Refusal;
  /** Committed entries that are not applied. */
  readonly lag: () => number;
  /** Asks for {@link Proposals.flush}. */
  readonly wake: () => void;
}

interface Waiter {
  readonly resolve: (proposed: Proposed) => void;
  readonly reject: (error: RpcError) => void;
  readonly endsAt: number;
  unlisten: (() => void) | undefined;
  readonly span: WorkSpan | undefined;
}

/** See the head of this file. */
export class Proposals {
  readonly #options: ProposalsOptions;
  /** By request id, in the order in which they run out. */
  readonly #waiters = new Map<bigint, Waiter>();
  /** What waits to be given to the core. */
  #entries: Entry[] = [];
  #entryIds: bigint[] = [];
  #timer: Timer | undefined;
  #stopped: Refusal | undefined;
  #failed = 0;

  constructor(options: ProposalsOptions) {
    this.#options = options;
  }

  /** How many wait. */
  get pending(): number {
    return this.#waiters.size;
  }

  /** How many ended without a result. */
  get failed(): number {
    return this.#failed;
  }

  /** @throws RpcError see {@link ServingMember.propose}. */
  propose(request: Init<InternalRaftRequest>, { actor, signal, span: parent }: ProposeOptions = {}): Promise<Proposed> {
    const id = this.#options.ids.next();
    const { username, revision: authRevision } = actor ?? NOBODY;
    const data = encodeProposal(request, { ID: id, username, authRevision });
    if (data.length > this.#options.maxRequestBytes) return Promise.reject(new RpcError(Refusals.RequestTooLarge));
    if (!this.#options.admits(data)) return Promise.reject(new RpcError(Refusals.NoSpace));
    const refusal = this.#refusal(signal);
    if (refusal) return Promise.reject(new RpcError(refusal));
    const span = parent?.begin('raft.propose');
    const link = span?.link;
    // After its size was looked at: what is refused must not depend on who keeps a trace.
    return this.#enter(id, proposal(link ? withLink(data, link) : data), signal, span);
  }

  /** Proposes one of the requests of version 2 that there are. Small, and so never refused for its size. */
  proposeV2(put: V2Put): Promise<Proposed> {
    const id = this.#options.ids.next();
    const refusal = this.#refusal(undefined);
    if (refusal) return Promise.reject(new RpcError(refusal));
    return this.#enter(id, proposal(encodeV2Put(id, put)), undefined);
  }

  /** Proposes a change of one member. */
  proposeChange(change: ConfChangeSingle, context: Uint8Array, signal?: AbortSignal): Promise<Proposed> {
    const id = this.#options.ids.next();
    const refusal = this.#refusal(signal);
    if (refusal) return Promise.reject(new RpcError(refusal));
    return this.#enter(id, confChangeEntry({ ...change, id, context }), signal);
  }

  /**
   * Gives what waits to the core: to be called when there is a leader.
   *
   * @param step false if the core has not taken them.
   */
  flush(step: (entries: readonly Entry[]) => boolean): void {
    if (this.#entries.length === 0) return;
    const entries = this.#entries;
    const ids = this.#entryIds;
    this.#entries = [];
    this.#entryIds = [];
    if (step(entries)) return;
    for (const id of ids) this.#end(id, Refusals.ProposalDropped);
  }

  /** Whether there is anything to {@link flush}. */
  get hasEntries(): boolean {
    return this.#entries.length > 0;
  }

  /** An entry was applied. Nobody here may wait for it. */
  applied(id: bigint, outcome: Outcome, index: number, term: number, revision: number): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    this.#waiters.delete(id);
    waiter.unlisten?.();
    waiter.span?.set({ [ETCD.raftIndex]: index, [ETCD.raftTerm]: term });
    waiter.span?.end();
    if (outcome.type === 'refused') waiter.reject(new RpcError(outcome.refusal));
    else waiter.resolve({ result: outcome, index, term, revision });
  }

  /** Ends all waiting, now and from now on. */
  stop(refusal: Refusal = Refusals.Stopped): void {
    this.#stopped = refusal;
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const id of [...this.#waiters.keys()]) this.#end(id, refusal);
    this.#entries = [];
    this.#entryIds = [];
  }

  /** Why nothing can be proposed now, if so. */
  #refusal(signal: AbortSignal | Cancellation | undefined): Refusal | undefined {
    if (this.#stopped) return this.#stopped;
    if (this.#options.lag() > MAX_LAG) return Refusals.TooManyRequests;
    return signal?.aborted ? Refusals.Canceled : undefined;
  }

  #enter(id: bigint, entry: Entry, signal: AbortSignal | Cancellation | undefined, span?: WorkSpan): Promise<Proposed> {
    const { clock, timeoutMs, wake } = this.#options;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { resolve, reject, endsAt: clock.now() + timeoutMs, unlisten: undefined, span };
      if (signal) waiter.unlisten = onAbort(signal, () => this.#end(id, Refusals.Canceled));
      this.#waiters.set(id, waiter);
      this.#entries.push(entry);
      this.#entryIds.push(id);
      if (this.#timer === undefined) this.#arm(timeoutMs);
      wake();
    });
  }

  #end(id: bigint, refusal: Refusal): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    this.#waiters.delete(id);
    waiter.unlisten?.();
    this.#failed += 1;
    const at = this.#entryIds.indexOf(id);
    if (at >= 0) {
      this.#entries.splice(at, 1);
      this.#entryIds.splice(at, 1);
    }
    waiter.span?.end('no-result');
    waiter.reject(new RpcError(refusal));
  }

  #arm(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => this.#expire(), { background: true });
  }

  #expire(): void {
    this.#timer = undefined;
    const now = this.#options.clock.now();
    const unsent = new Set(this.#entryIds);
    const { timeoutMs, timeoutOf } = this.#options;
    for (const [id, { endsAt }] of this.#waiters) {
      if (endsAt > now) {
        this.#arm(endsAt - now);
        return;
      }
      this.#end(id, unsent.has(id) ? Refusals.DeadlineExceeded : timeoutOf(endsAt - timeoutMs));
    }
  }
}
