/**
 * Handing over the leadership.
 *
 * Only the leader takes the request, and who that is may change between asking and sending.
 * A member that is no longer the leader refuses, which is as good as never having asked.
 *
 * @module
 */

import { Maintenance } from '../../protocol/generated/etcdserverpb.ts';
import { formatId, type MemberId } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { EtcdError, UnavailableError } from '../errors.ts';
import { checkMemberId } from '../ids.ts';
import { Budget } from './budget.ts';
import type { ClusterApi } from './cluster.ts';
import { endpointsOf } from './member-address.ts';
import { LOCAL_WRITE, STATUS_TRAITS } from './traits.ts';

/** How often a leader that has just lost its office may send us on. */
const MAX_CHANGES = 3;

/** @throws EtcdError */
export async function moveLeader(
  caller: Caller,
  cluster: ClusterApi,
  target: MemberId,
  options: CallOptions,
  defaultTimeoutMs: number,
): Promise<void> {
  checkMemberId(target);
  const budget = new Budget(caller.clock, options, defaultTimeoutMs);
  if (options.endpoint !== undefined) return send(caller, target, budget, options.endpoint);
  for (let change = 0; ; change++) {
    const { leader } = await caller.unary(Maintenance.status, {}, STATUS_TRAITS, budget.next());
    if (leader === target) return;
    try {
      return await send(caller, target, budget, await addressOf(caller, cluster, leader as MemberId, budget));
    } catch (error) {
      const moved = error instanceof EtcdError && error.etcdCode === 'NotLeader';
      if (!moved || change + 1 >= MAX_CHANGES) throw error;
    }
  }
}

async function send(caller: Caller, target: MemberId, budget: Budget, endpoint: string): Promise<void> {
  await caller.unary(Maintenance.moveLeader, { targetID: target }, LOCAL_WRITE, budget.next({ endpoint }));
}

async function addressOf(caller: Caller, cluster: ClusterApi, leader: MemberId, budget: Budget): Promise<string> {
  const { members } = await cluster.members({ ...budget.next(), linearizable: false });
  const member = members.find(({ id }) => id === leader);
  const endpoint = member && endpointsOf(caller, member)[0];
  if (endpoint !== undefined) return endpoint;
  throw new UnavailableError(
    leader === 0n ? 'the cluster has no leader' : `the leader ${formatId(leader)} has no known client URL`,
  );
}
