/**
 * Makes changes of who is in the cluster: checked here, and then put into the log.
 *
 * How far a learner is only the leader knows, so that is where one is promoted.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import type { Members } from '../apply/state.ts';
import type { RawNode } from '../raft/index.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { AtLeader } from './at-leader.ts';
import { type ClusterView, checkChange, planChange } from './member-changes.ts';
import type { Peers } from './peers.ts';
import type { Proposals } from './proposals.ts';
import type { MemberChange } from './serving.ts';

export interface ReconfigureOptions {
  readonly id: bigint;
  readonly clock: Clock;
  readonly members: Members;
  readonly node: RawNode;
  readonly atLeader: AtLeader;
  readonly peers: Peers;
  readonly proposals: Proposals;
  /** Whether quorums are guarded. */
  readonly strict: boolean;
}

/** See the head of this file. */
export class Reconfigure {
  readonly #options: ReconfigureOptions;

  constructor(options: ReconfigureOptions) {
    this.#options = options;
  }

  /** @returns The members after the change. @throws RpcError */
  change(asked: MemberChange, signal: AbortSignal | undefined): Promise<readonly BackendMember[]> {
    if (asked.type !== 'promote') return this.#make(asked, signal);
    const { atLeader, peers } = this.#options;
    const here = (): Promise<readonly BackendMember[]> => this.#make(asked, signal);
    return atLeader.ask({ here, there: (leader) => peers.promote(leader, asked.id, signal) }, signal);
  }

  /** Makes a learner a voter, if this member leads. @throws RpcError */
  promoteHere(id: bigint, signal: AbortSignal): Promise<readonly BackendMember[]> {
    const { atLeader } = this.#options;
    return atLeader.ask({ here: () => this.#make({ type: 'promote', id }, signal) }, signal);
  }

  async #make(asked: MemberChange, signal: AbortSignal | undefined): Promise<readonly BackendMember[]> {
    const { strict, proposals } = this.#options;
    const now = this.#view();
    const refusal = checkChange(asked, now, strict);
    if (refusal) throw new RpcError(refusal);
    const { change, context } = planChange(asked, now);
    const { result } = await proposals.proposeChange(change, context, signal);
    if (result.type !== 'members') throw new RpcError(Refusals.MemberNotFound);
    return result.members;
  }

  #view(): ClusterView {
    const { id: self, clock, members, node, peers } = this.#options;
    const connectedSince = (id: bigint): number | undefined => peers.connectedSince(id);
    return { self, now: clock.now(), members, connectedSince, progress: node.status().progress };
  }
}
