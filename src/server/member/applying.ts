/**
 * Committed entries, as they are applied: who is told of what comes of each.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';
import { ETCD } from '../../telemetry/semconv.ts';
import type { StateMachine } from '../apply/machine.ts';
import type { ConfChange, Entry, RawNode } from '../raft/index.ts';
import type { EntrySpans } from './entry-spans.ts';
import { MemberRemovedError } from './errors.ts';
import type { ResolvedOptions } from './options.ts';
import type { Peers } from './peers.ts';
import type { Proposals } from './proposals.ts';
import type { Space } from './space.ts';

/** For how many ticks a member that was removed goes on: so others hear that it was. */
const FAREWELL_TICKS = 10;

export interface ApplyingOptions {
  readonly clock: Clock;
  readonly options: Pick<ResolvedOptions, 'observe' | 'heartbeatMs'>;
  readonly state: StateMachine;
  readonly node: RawNode;
  readonly peers: Peers;
  readonly proposals: Proposals;
  readonly space: Space;
  /** Default: nothing is traced. */
  readonly spans?: EntrySpans | undefined;
  /** This member leads, and has applied all that its predecessors did. May be said more than once in a term. */
  readonly begunTerm: (term: number) => void;
  readonly failed: (error: unknown) => void;
}

/** See the head of this file. */
export class Applying {
  readonly #options: ApplyingOptions;
  #farewell: Timer | undefined;

  constructor(options: ApplyingOptions) {
    this.#options = options;
  }

  /** Applies the next entry. */
  apply(entry: Entry): void {
    const { clock, options, state, node, proposals, space, spans, begunTerm } = this.#options;
    const { observe } = options;
    const span = spans?.applying(entry);
    const now = clock.now();
    const { requestId, kind, outcome, confChange, wantsAlarm, removedSelf } = state.apply(entry, now);
    if (span) {
      span.set({ [ETCD.requestKind]: kind ?? 'none', [ETCD.revision]: state.store.revision });
      span.end();
    }
    if (observe.appliedEntry) {
      observe.appliedEntry(clock.now() - now, entry.index, kind, outcome?.type !== 'refused');
    }
    if (confChange) this.#changeConfiguration(confChange, entry.index);
    // An empty entry: a leader begins its term with one.
    else if (entry.data.length === 0 && node.raft.role === 'StateLeader' && node.raft.term === entry.term) {
      begunTerm(entry.term);
    }
    if (wantsAlarm) space.alarm();
    if (outcome && requestId !== 0n) {
      proposals.applied(requestId, outcome, entry.index, entry.term, state.store.revision);
    }
    if (removedSelf) this.#sayFarewell();
  }

  /** The member ends. */
  stop(): void {
    this.#farewell?.cancel();
  }

  #changeConfiguration(change: ConfChange, index: number): void {
    const { node, peers } = this.#options;
    // With an image that is on its way the core has a later configuration already.
    if (index > (node.raft.log.unstable.snapshot?.index ?? 0)) node.applyConfChange(change);
    peers.membersChanged();
  }

  /** It is out. Others may not know yet that this was decided. */
  #sayFarewell(): void {
    const { clock, options, failed } = this.#options;
    const removed = (): void => failed(new MemberRemovedError());
    this.#farewell ??= clock.after(FAREWELL_TICKS * options.heartbeatMs, removed, { background: true });
  }
}
