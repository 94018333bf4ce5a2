/**
 * Runs that are after one thing: all that the thing needs, often, and nothing that gets in its way. The rest is as a
 * seed draws it.
 */
import type { MemberSimOptions } from './options.ts';

const MS = 1000;

/**
 * Power fails in the midst of a write, and again in the first write of the next starts, so that what one failure has
 * torn lies under what the next one tears.
 *
 * What matters is that the second write differs from the first. A follower that comes back gets the same entries as
 * before, but in one piece: so there have to be many small messages in one sync, each with a commit index between its
 * entries and the next one's. Hence slow disks, many clients who don't act in step, values of a sector or two, and
 * enough members that there are followers who follow somebody while others are down.
 */
export function tornTails(options: MemberSimOptions): MemberSimOptions {
  return {
    ...options,
    durationUs: 15_000 * MS,
    founders: 5,
    heartbeatMs: 20,
    electionMs: 200,
    segmentBytes: 200_000,
    checkpointMs: undefined,
    corruptCheckMs: undefined,
    initialCorruptCheck: false,
    disk: { minSyncUs: 15 * MS, jitterUs: 30 * MS, slowChance: 0, slowUs: 0 },
    clients: 32,
    thinkUs: 15 * MS,
    readShare: 0.2,
    maxValueBytes: 800,
    watchers: 1,
    lessees: 0,
    faults: ['flaky-power'],
    faultEveryUs: 250 * MS,
  };
}
