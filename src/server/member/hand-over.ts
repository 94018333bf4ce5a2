/**
 * Leadership given to another member.
 *
 * Asked for by an operator, or done by a leader that stops: then the others need not wait for an election timeout. What
 * it waits for is that this member itself follows the other one; a transfer that does not get there within the time is
 * forgotten by the core.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Clock } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import type { Members } from '../apply/state.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { Changes } from './changes.ts';
import type { Peers } from './peers.ts';

export interface HandOverOptions {
  /** This member. */
  readonly id: bigint;
  readonly members: Members;
  readonly peers: Peers;
  readonly clock: Clock;
  /** Tells when the leader may be another one. */
  readonly changes: Changes;
  /** The leader as this member knows it. */
  readonly leader: () => bigint;
  readonly transfer: (to: MemberId) => void;
  /** How long a transfer that was asked for may take, in ms. */
  readonly timeoutMs: number;
  /** How long a leader that stops waits for it, in ms. */
  readonly electionMs: number;
  /** Fires when the member ends. */
  readonly ending: AbortSignal;
}

/** See the head of this file. */
export class HandOver {
  readonly #options: HandOverOptions;

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  /**
   * Hands over to a member, and waits until it leads.
   *
   * @throws RpcError `NotLeader`, `BadLeaderTransferee`, `TimeoutLeaderTransfer`, `Stopped`, `Canceled`.
   */
  async to(id: bigint, signal?: AbortSignal): Promise<void> {
    const { members, transfer, clock, changes, leader, timeoutMs, ending } = this.#options;
    if (leader() !== this.#options.id) throw new RpcError(Refusals.NotLeader);
    const target = members.get(id);
    if (!target || target.isLearner) throw new RpcError(Refusals.BadLeaderTransferee);
    if (id === this.#options.id) return;
    transfer(id as MemberId);
    const endsAt = clock.now() + timeoutMs;
    while (leader() !== id) {
      if (ending.aborted) throw new RpcError(Refusals.Stopped);
      if (signal?.aborted) throw new RpcError(Refusals.Canceled);
      const leftMs = endsAt - clock.now();
      if (leftMs <= 0) throw new RpcError(Refusals.TimeoutLeaderTransfer);
      await changes.next(leftMs, signal);
    }
  }

  /**
   * Hands over to whoever has been connected for longest, if anybody is. Never rejects: if it fails, the others elect a
   * leader as they do after a crash.
   */
  async toLongestConnected(): Promise<void> {
    const { id: own, members, peers, clock, electionMs, ending } = this.#options;
    const since = ({ id }: BackendMember): number => peers.connectedSince(id) ?? Number.POSITIVE_INFINITY;
    const others = members.list().filter(({ id, isLearner }) => id !== own && !isLearner);
    const [heir] = others.toSorted((a, b) => since(a) - since(b));
    if (!heir || since(heir) === Number.POSITIVE_INFINITY) return;
    const limit = new AbortController();
    const timer = clock.after(electionMs, () => limit.abort(), { background: true });
    const unlisten = onAbort(ending, () => limit.abort());
    await this.to(heir.id, limit.signal).catch(() => {});
    unlisten();
    timer.cancel();
  }
}
