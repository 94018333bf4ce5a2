/**
 * Why a request that is in the log got no result in time, as etcd tells it apart.
 *
 * The client can't know from it whether the request was done; an operator can see what to look at.
 *
 * Source: etcd's servers 3.5 as observed.
 *
 * @module
 */
import type { Members } from '../apply/state.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import type { LeaderWatch } from './leader-watch.ts';
import type { Peers } from './peers.ts';

/** What is looked at. */
export interface TimeoutView {
  readonly id: bigint;
  readonly electionMs: number;
  readonly leader: Pick<LeaderWatch, 'leader' | 'electedAt'>;
  readonly members: Members;
  readonly peers: Pick<Peers, 'connectedSince'>;
}

/** What a request is refused with that has begun at `startedAt`, and whose time is over. */
export function timeoutRefusal({ id, electionMs, leader, members, peers }: TimeoutView, startedAt: number): Refusal {
  const { electedAt } = leader;
  // It takes so long, at most, until a leader is missed and another one is there.
  if (startedAt < electedAt && startedAt > electedAt - 2 * electionMs) return Refusals.TimeoutLeaderFail;
  const throughout = (other: bigint): boolean =>
    other === id || (peers.connectedSince(other) ?? Number.POSITIVE_INFINITY) <= startedAt;
  if (leader.leader === 0n) return Refusals.Timeout;
  if (leader.leader !== id) return throughout(leader.leader) ? Refusals.Timeout : Refusals.TimeoutConnectionLost;
  const list = members.list();
  const connected = list.filter((member) => throughout(member.id)).length;
  return connected > list.length / 2 ? Refusals.Timeout : Refusals.TimeoutConnectionLost;
}
