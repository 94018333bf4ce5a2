/**
 * The health of every member, asked in parallel.
 *
 * A member that does not answer is data and not an error: that is what one looks for. No
 * step needs a leader or a quorum except the list of alarms, which then is missing.
 *
 * @module
 */

import { Maintenance } from '../../protocol/generated/etcdserverpb.ts';
import type { MemberId } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { abortError } from '../connection/failures.ts';
import { EtcdError, UnavailableError } from '../errors.ts';
import { type Alarm, AlarmApi } from './alarms.ts';
import { Budget } from './budget.ts';
import type { ClusterApi, ClusterMember } from './cluster.ts';
import { clientEndpoints, endpointsOf } from './member-address.ts';
import { type MemberStatus, toStatus } from './status.ts';
import { STATUS_TRAITS } from './traits.ts';

/** One member's health. */
export interface MemberHealth {
  readonly member: ClusterMember;
  /** Where it answered, or was asked last; undefined for one that has no client URL yet. */
  readonly endpoint: string | undefined;
  /** Whether it answered, knows a leader, and has no alarm of its own. */
  readonly healthy: boolean;
  readonly isLeader: boolean;
  readonly isLearner: boolean;
  /** All it said; undefined when it did not answer. */
  readonly status: MemberStatus | undefined;
  /** How many Raft entries it is behind the member that is furthest; undefined when it did not answer. */
  readonly raftLag: number | undefined;
  /** Its own alarms; empty too when the list of alarms could not be had. */
  readonly alarms: readonly Alarm[];
  /** Why it did not answer. */
  readonly error: EtcdError | undefined;
}

/** A cluster's health. */
export interface ClusterHealth {
  /** Whether every member is healthy and no alarm is on. */
  readonly healthy: boolean;
  /** Whether a majority of the voting members answer and agree on a leader. */
  readonly hasQuorum: boolean;
  /** The leader they agree on. */
  readonly leaderId: MemberId | undefined;
  /** In the order of their ids. */
  readonly members: readonly MemberHealth[];
  /** The alarms that are on; undefined when they could not be listed, as without a quorum. */
  readonly alarms: readonly Alarm[] | undefined;
  /** Why they could not be listed. */
  readonly alarmsError: EtcdError | undefined;
}

/** Five seconds for all of it. */
export const HEALTH_TIMEOUT_MS = 5_000;

/** The list of members is one step, their status another. */
const LIST_SHARE = 0.5;

/**
 * Asks the client's endpoints for the members, then every member for its status and one for
 * the alarms. A member is reached at this client's own endpoint for it, if there is one, and
 * else at the URLs it advertises. The time is {@link HEALTH_TIMEOUT_MS} unless given; a member
 * that is down uses it up.
 *
 * @throws EtcdError when no endpoint of the client tells who the members are, or the signal fires.
 */
export async function readHealth(caller: Caller, cluster: ClusterApi, options: CallOptions): Promise<ClusterHealth> {
  const budget = new Budget(caller.clock, options, HEALTH_TIMEOUT_MS);
  const members = await listMembers(caller, cluster, options, budget);
  const [statuses, alarms] = await Promise.all([
    Promise.all(members.map((member) => askMember(caller, member, budget))),
    new AlarmApi(caller).list({ ...budget.next(), endpoint: undefined }).then(
      ({ alarms }) => ({ alarms, error: undefined }),
      (error: unknown) => ({ alarms: undefined, error: asData(error) }),
    ),
  ]);
  // Aborted calls have become data on the way here; the caller wants no health made of them.
  if (options.signal?.aborted) throw abortError(options.signal);
  return assess(members, statuses, alarms.alarms, alarms.error);
}

/** Without a leader the pool has no member to offer, so each endpoint is asked by name; the first answer counts. */
async function listMembers(
  caller: Caller,
  cluster: ClusterApi,
  options: CallOptions,
  budget: Budget,
): Promise<readonly ClusterMember[]> {
  const endpoints = options.endpoint === undefined ? clientEndpoints(caller) : [options.endpoint];
  const timeoutMs = budget.leftMs * LIST_SHARE;
  const lists = endpoints.map((endpoint) =>
    cluster.members({ ...budget.next({ endpoint, timeoutMs }), linearizable: false }),
  );
  try {
    return (await Promise.any(lists)).members;
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error;
  }
}

/** What one member answered. */
export interface Answer {
  readonly endpoint: string | undefined;
  readonly status?: MemberStatus | undefined;
  readonly error?: EtcdError | undefined;
}

/** Asks a member for its status at each place it may be reached, until it answers. Rejects with nothing but bugs. */
export async function askMember(caller: Caller, member: ClusterMember, budget: Budget): Promise<Answer> {
  const endpoints = endpointsOf(caller, member);
  let last: Answer = {
    endpoint: undefined,
    error: new UnavailableError('the member has not started: it has no client URL'),
  };
  for (const [index, endpoint] of endpoints.entries()) {
    try {
      const timeoutMs = budget.leftMs / (endpoints.length - index);
      const wire = await caller.unary(Maintenance.status, {}, STATUS_TRAITS, budget.next({ endpoint, timeoutMs }));
      const status = toStatus(wire);
      if (status.header.memberId === member.id) return { endpoint, status };
      last = { endpoint, error: new UnavailableError('another member answers there', { endpoint }) };
    } catch (error) {
      last = { endpoint, error: asData(error) };
    }
  }
  return last;
}

function assess(
  members: readonly ClusterMember[],
  answers: readonly Answer[],
  alarms: readonly Alarm[] | undefined,
  alarmsError: EtcdError | undefined,
): ClusterHealth {
  const committed = answers.reduce(
    (max, { status }) => (status && status.raftIndex > max ? status.raftIndex : max),
    0n,
  );
  const health = members.map((member, index): MemberHealth => {
    const { endpoint, status, error } = answers[index] as Answer;
    const own = (alarms ?? []).filter(({ memberId }) => memberId === member.id);
    return {
      member,
      endpoint,
      healthy: status?.leaderId !== undefined && own.length === 0,
      isLeader: status?.isLeader ?? false,
      isLearner: member.isLearner,
      status,
      raftLag: status && Math.max(0, Number(committed - status.raftAppliedIndex)),
      alarms: own,
      error,
    };
  });
  const leaderId = agreedLeader(health);
  return {
    healthy: leaderId !== undefined && health.every(({ healthy }) => healthy) && alarms?.length === 0,
    hasQuorum: leaderId !== undefined,
    leaderId,
    members: health,
    alarms,
    alarmsError,
  };
}

/** The leader that more than half of the voting members name. */
function agreedLeader(health: readonly MemberHealth[]): MemberId | undefined {
  const voters = health.filter(({ isLearner }) => !isLearner);
  const votes = new Map<MemberId, number>();
  for (const { status } of voters) {
    if (status?.leaderId === undefined) continue;
    const count = (votes.get(status.leaderId) ?? 0) + 1;
    votes.set(status.leaderId, count);
    if (count > voters.length / 2) return status.leaderId;
  }
  return undefined;
}

function asData(error: unknown): EtcdError {
  if (error instanceof EtcdError) return error;
  throw error;
}
