/**
 * What the leader sees to, beside its followers: that leases end, the version of the cluster, that all have the same
 * keys, and compactions that nobody has to ask for.
 *
 * It begins when the first entry of the leader's own term is applied: then it knows all that its predecessors did. It
 * ends as soon as the member leads no more.
 *
 * @module
 */
import { AlarmRequestAlarmAction, AlarmType } from '../../protocol/generated/etcdserverpb.ts';
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { StateMachine } from '../apply/machine.ts';
import type { V2Put } from '../apply/v2-request.ts';
import { ClusterVersion } from './cluster-version.ts';
import { Compactor } from './compactor.ts';
import { Corruption } from './corruption.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { ResolvedOptions } from './options.ts';
import type { Peers } from './peers.ts';

export interface LeaderDutiesOptions {
  readonly id: bigint;
  readonly options: ResolvedOptions;
  readonly state: StateMachine;
  readonly peers: Peers;
  readonly leases: LeaseKeeper;
  readonly propose: (request: Init<InternalRaftRequest>) => Promise<unknown>;
  readonly proposeV2: (put: V2Put) => Promise<unknown>;
  readonly linearize: (signal: AbortSignal) => Promise<void>;
  /** Fires when the member ends. */
  readonly ending: AbortSignal;
}

/** See the head of this file. */
export class LeaderDuties {
  readonly #options: LeaderDutiesOptions;
  readonly #version: ClusterVersion;
  readonly #corruption: Corruption;
  #compactor: Compactor | undefined;
  /** Term for which they were taken up. */
  #term = 0;
  #leading = false;

  constructor(fields: LeaderDutiesOptions) {
    const { id, options, state, peers, propose, proposeV2, linearize, ending } = fields;
    const { clock, version } = options;
    this.#options = fields;
    this.#version = new ClusterVersion({
      id,
      version,
      clock,
      members: state.members,
      versions: () => peers.versions(),
      propose,
      proposeV2,
    });
    this.#corruption = new Corruption({
      id,
      clock,
      state,
      peers,
      periodicMs: options.corruptCheckMs,
      compactHashMs: options.compactHashCheckMs,
      linearize,
      alarm: (memberID) =>
        propose({ alarm: { action: AlarmRequestAlarmAction.ACTIVATE, memberID, alarm: AlarmType.CORRUPT } }),
      ending,
    });
  }

  /** The member takes part from now on. */
  begin(): void {
    const { options, state, propose } = this.#options;
    const { clock, autoCompaction: policy } = options;
    if (!policy) return;
    const revision = (): number | undefined => (this.#leading ? state.store.revision : undefined);
    const compact = (to: number): Promise<unknown> => propose({ compaction: { revision: BigInt(to) } });
    this.#compactor = new Compactor({ clock, policy, revision, compact });
  }

  /** Before it takes part: whether it may. @throws CorruptDataError */
  checkInitially(): Promise<void> {
    return this.#corruption.checkInitially();
  }

  /**
   * An entry of a term was applied by its leader.
   *
   * @returns Whether it was the first one of them.
   */
  lead(term: number): boolean {
    if (term === this.#term) return false;
    this.#term = term;
    this.#leading = true;
    this.#options.leases.promote();
    this.#version.lead();
    this.#corruption.lead();
    return true;
  }

  /** The member does not lead any more. */
  depose(): void {
    this.#leading = false;
    this.#options.leases.demote();
    this.#version.stop();
    this.#corruption.stop();
  }

  stop(): void {
    this.#compactor?.stop();
    this.#version.stop();
    this.#corruption.stop();
  }
}
