/**
 * Defragmenting a whole cluster while it works.
 *
 * A member that defragments answers nothing, so: one at a time; the leader last, since each
 * time it falls silent the others elect a new one; none while the others could not carry on
 * without it; and none before the one ahead of it has caught up. Who leads is asked before
 * each step, for it may change on the way.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/maintenance/#defragmentation
 *
 * @module
 */

import { formatId } from '../../protocol/int64.ts';
import { sleep } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { abortError } from '../connection/failures.ts';
import { DeadlineError, EtcdError, InvalidArgumentError, UnavailableError } from '../errors.ts';
import { Budget } from './budget.ts';
import type { ClusterMember } from './cluster.ts';
import { askMember, type ClusterHealth, HEALTH_TIMEOUT_MS, type MemberHealth } from './health.ts';

/** What became of one member. */
export interface DefragmentStep {
  readonly member: ClusterMember;
  readonly endpoint: string | undefined;
  /** `skipped` for a learner, which refuses. */
  readonly outcome: 'defragmented' | 'failed' | 'skipped';
  /** The size of its database file before; undefined when it did not say. */
  readonly bytesBefore: number | undefined;
  /** And after, when it had recovered. */
  readonly bytesAfter: number | undefined;
  /** Why it failed. */
  readonly error: EtcdError | undefined;
  /** How many members are done with, this one included. */
  readonly done: number;
  /** How many members there are. */
  readonly total: number;
}

/** How to defragment a cluster. */
export interface DefragmentAllOptions extends Omit<CallOptions, 'endpoint'> {
  /** How long each member may take. Default: `DEFRAGMENT_TIMEOUT_MS`, ten minutes. */
  readonly timeoutMs?: number | undefined;
  /** How long a member may take afterwards to catch up with the others. Default 60,000. */
  readonly settleTimeoutMs?: number | undefined;
  /**
   * Whether to go on with the next member after one failed. Never past a point where the
   * cluster would lose its quorum. Default false.
   */
  readonly continueOnError?: boolean | undefined;
  /** Called after each member. What it throws ends the work. */
  readonly onStep?: ((step: DefragmentStep) => void) | undefined;
}

const SETTLE_TIMEOUT_MS = 60_000;
const POLL_MS = 200;

type Look = (options: CallOptions) => Promise<ClusterHealth>;
type Defragment = (options: CallOptions & { readonly endpoint: string }) => Promise<void>;

/**
 * Defragments every voting member, one after the other, the leader last.
 *
 * @returns a step for each member, in the order of the work.
 * @throws EtcdError of the first member that failed, unless `continueOnError`; `onStep` has
 *   told what was done before. AbortError when the signal fires; a member that has begun
 *   goes on by itself.
 */
export async function defragmentAll(
  caller: Caller,
  options: DefragmentAllOptions,
  look: Look,
  defragment: Defragment,
): Promise<readonly DefragmentStep[]> {
  const { continueOnError = false, onStep, settleTimeoutMs = SETTLE_TIMEOUT_MS, ...call } = options;
  if (!(settleTimeoutMs > 0))
    throw new InvalidArgumentError(`settleTimeoutMs ${settleTimeoutMs} is not a positive number`);
  const steps: DefragmentStep[] = [];
  for (;;) {
    const health = await look({ signal: call.signal, requireLeader: call.requireLeader });
    const rest = health.members.filter(({ member }) => !steps.some((step) => step.member.id === member.id));
    const next = rest.find(({ isLeader }) => !isLeader) ?? rest[0];
    if (next === undefined) return steps;
    const step = await takeStep(caller, health, next, { ...call, settleTimeoutMs }, defragment);
    steps.push({ ...step, done: steps.length + 1, total: steps.length + rest.length });
    onStep?.(steps.at(-1) as DefragmentStep);
    if (step.error !== undefined && !continueOnError) throw step.error;
  }
}

type StepResult = Omit<DefragmentStep, 'done' | 'total'>;

async function takeStep(
  caller: Caller,
  health: ClusterHealth,
  { member, endpoint, status, isLearner, error }: MemberHealth,
  options: Omit<CallOptions, 'endpoint'> & { readonly settleTimeoutMs: number },
  defragment: Defragment,
): Promise<StepResult> {
  const bytesBefore = status?.dbSizeBytes;
  const about = { member, endpoint, bytesBefore };
  if (isLearner) return { ...about, outcome: 'skipped', bytesAfter: undefined, error: undefined };
  const { settleTimeoutMs, ...call } = options;
  try {
    if (endpoint === undefined || status === undefined)
      throw error ?? new UnavailableError('the member does not answer');
    checkOthers(health, member);
    await defragment({ ...call, endpoint });
    const bytesAfter = await settled(caller, health, member, settleTimeoutMs, call.signal);
    return { ...about, outcome: 'defragmented', bytesAfter, error: undefined };
  } catch (failure) {
    if (!(failure instanceof EtcdError)) throw failure;
    return { ...about, outcome: 'failed', bytesAfter: undefined, error: failure };
  }
}

/** @throws UnavailableError when members are down and those left besides this one would be no quorum. */
function checkOthers({ members }: ClusterHealth, { id }: ClusterMember): void {
  const voters = members.filter(({ isLearner }) => !isLearner);
  const others = voters.filter(({ member }) => member.id !== id);
  const up = others.filter(({ status }) => status?.leaderId !== undefined);
  const quorum = Math.floor(voters.length / 2) + 1;
  // One or two members never have a quorum to spare: with nothing wrong, that is no reason not to begin.
  if (up.length === others.length || up.length >= quorum) return;
  const down = others.filter((other) => !up.includes(other)).map(({ member }) => member.name || formatId(member.id));
  throw new UnavailableError(`defragmenting now would cost the cluster its quorum: not healthy are ${down.join(', ')}`);
}

/**
 * Waits until a member answers, knows a leader, and has applied all that was committed when
 * the wait began. Returns the size of its database.
 */
async function settled(
  caller: Caller,
  health: ClusterHealth,
  member: ClusterMember,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const wait = new Budget(caller.clock, { signal }, timeoutMs);
  const others = health.members.map((other) => other.member).filter(({ id }) => id !== member.id);
  let target: bigint | undefined;
  let cause: EtcdError | undefined;
  while (wait.leftMs > 0) {
    if (signal?.aborted) throw abortError(signal);
    const look = new Budget(caller.clock, { signal }, Math.min(HEALTH_TIMEOUT_MS, wait.leftMs));
    target ??= await committedBy(caller, others, look);
    const { status, error } = await askMember(caller, member, look);
    cause = error;
    if (status?.leaderId !== undefined && status.raftAppliedIndex >= target) return status.dbSizeBytes;
    await sleep(caller.clock, Math.min(POLL_MS, wait.leftMs), signal);
  }
  if (signal?.aborted) throw abortError(signal);
  const what = `the member ${member.name} did not recover within ${Math.round(timeoutMs)} ms of its defragmentation`;
  throw new DeadlineError(what, { endpoint: cause?.endpoint, cause });
}

async function committedBy(caller: Caller, members: readonly ClusterMember[], look: Budget): Promise<bigint> {
  const answers = await Promise.all(members.map((member) => askMember(caller, member, look)));
  return answers.reduce((max, { status }) => (status && status.raftIndex > max ? status.raftIndex : max), 0n);
}
