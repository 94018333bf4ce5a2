/**
 * Crashes at every point, programs and disks that stand still, clocks that run wrong.
 */
import type { Member } from '../cluster/member.ts';
import { CRASH_POINTS } from '../cluster/ready-loop.ts';
import type { FaultAction, FaultContext } from './fault.ts';
import { leaderOrAny } from './network-faults.ts';

const MS = 1000;

/** A program ends between two events. */
export const crash: FaultAction = (context) => {
  const member = leaderOrAny(context);
  if (!member.running) return undefined;
  member.crash();
  return `crash ${member.ordinal}`;
};

/** A program ends inside its Ready loop, the next time that it comes there. */
export const crashPoint: FaultAction = (context) => {
  const member = leaderOrAny(context);
  if (!member.running) return undefined;
  member.crashPoint = context.random.pick(CRASH_POINTS);
  return `crash ${member.ordinal} ${member.crashPoint}`;
};

/** All programs end at once. */
export const blackout: FaultAction = ({ cluster, random }) => {
  // Now and then, or nothing else would ever happen.
  if (random.chance(0.6)) return undefined;
  for (const member of cluster.present) member.crash();
  return 'blackout';
};

/** A member is away for so long that it needs a snapshot when it comes back. */
export const outage: FaultAction = (context) => {
  const { random } = context;
  const member = leaderOrAny(context);
  if (!member.running) return undefined;
  member.downUntilUs = context.cluster.scheduler.nowUs + random.between(1000, 4000) * MS;
  member.crash();
  return `outage of ${member.ordinal}`;
};

/** A program stands still: no ticks, and what reaches it waits. It may catch up on its ticks all at once. */
export const pause: FaultAction = (context) => {
  const { random, cluster, electionUs } = context;
  const member = leaderOrAny(context);
  const { process } = member;
  if (!process.alive || process.paused) return undefined;
  process.pause();
  const missed = random.chance(0.3) ? random.between(1, 2 * cluster.options.electionTicks) : 0;
  context.later(random.between(electionUs / 4, 6 * electionUs), () => {
    if (!process.paused) return undefined;
    process.resume();
    for (let tick = 0; tick < missed && process.alive; tick += 1) member.tick();
    return `resume ${member.ordinal}, ${missed} ticks late`;
  });
  return `pause ${member.ordinal}`;
};

/** A clock runs at another rate from now on. */
export const skew: FaultAction = ({ cluster, random }) => {
  const member = random.pick(cluster.present);
  const { skew: most } = cluster.options;
  member.setRate(1 + (most * random.between(-100, 100)) / 100);
  return `skew of ${member.ordinal}`;
};

/** A disk stands still. */
export const stall: FaultAction = (context) => {
  const { random, cluster, electionUs } = context;
  const member = leaderOrAny(context);
  member.disk.stallUntil(cluster.scheduler.nowUs + random.between(electionUs / 2, 8 * electionUs));
  return `stall of disk ${member.ordinal}`;
};

/** A state machine stands still, now and then for so long that configurations pass it by. */
export const slowApply: FaultAction = (context) => {
  const { random, cluster, electionUs } = context;
  const member = leaderOrAny(context);
  const mostUs = (random.chance(0.3) ? 30 : 4) * electionUs;
  member.applyStalledUntilUs = cluster.scheduler.nowUs + random.between(electionUs / 2, mostUs);
  return `stall of state machine ${member.ordinal}`;
};

/** Starts a program again some time after it has ended. */
export function restartLater({ cluster, random, later }: FaultContext, member: Member): void {
  const { nowUs } = cluster.scheduler;
  const delayUs = Math.max(random.between(1, 300) * MS, member.downUntilUs - nowUs);
  later(delayUs, () => {
    if (member.destroyed || member.running) return undefined;
    member.start();
    return `restart ${member.ordinal}`;
  });
}
