/**
 * What one seed makes of a run of whole members; see `../options.ts`, which does the same for the core alone.
 */
import type { LinkOptions } from '../../../src/testing/links.ts';
import { type Random, Sfc32 } from '../world/random.ts';

/** Kinds of trouble, each of which can be left out. */
export const MEMBER_FAULTS = [
  // The network, all the time.
  'drop',
  'duplicate',
  'slow-messages',
  'reorder',
  'lost-replies',
  // The network, for a while.
  'partition',
  'isolate',
  'one-way',
  // Machines and programs.
  'crash',
  'kill',
  'crash-point',
  'blackout',
  'outage',
  'stop',
  'pause',
  'skew',
  // Disks.
  'harsh-crash',
  'bit-flips',
  'slow-disk',
  'stall',
  'disk-full',
  'disk-failure',
  // What members and operators do.
  'images',
  'compaction',
  'membership',
  'transfer',
  // Machines again; last, so that the others are drawn as they were before there was this one.
  'flaky-power',
] as const;

export type MemberFault = (typeof MEMBER_FAULTS)[number];

export interface MachineDiskOptions {
  readonly minSyncUs: number;
  /** At most so much comes on top of `minSyncUs`. */
  readonly jitterUs: number;
  /** Chance that a sync takes up to `slowUs` more. */
  readonly slowChance: number;
  readonly slowUs: number;
}

export interface MemberSimOptions {
  readonly seed: number;
  /** How long faults happen. */
  readonly durationUs: number;
  readonly founders: number;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** Clocks run at most by so much too fast or too slow. */
  readonly skew: number;
  /** Entries from one image to the next, and entries that stay in memory behind it. */
  readonly snapshotCount: number;
  readonly catchUpEntries: number;
  readonly segmentBytes: number;
  /** How often what is left of leases is put into the log; undefined: never. */
  readonly checkpointMs: number | undefined;
  /** How often the leader compares the keys of all members; undefined: never. */
  readonly corruptCheckMs: number | undefined;
  /** Whether a member compares its keys with those of others before it starts. */
  readonly initialCorruptCheck: boolean;
  /** Whether changes of members are checked for the quorum's sake. */
  readonly strictReconfigCheck: boolean;
  readonly link: LinkOptions;
  readonly disk: MachineDiskOptions;
  readonly clients: number;
  /** Mean time between a client's answer and its next request. */
  readonly thinkUs: number;
  readonly readShare: number;
  readonly keys: number;
  readonly maxValueBytes: number;
  readonly watchers: number;
  /** Clients that keep leases. */
  readonly lessees: number;
  readonly faults: readonly MemberFault[];
  /** Mean time between two faults of one class. */
  readonly faultEveryUs: number;
}

const MS = 1000;

/** The options that a seed stands for. */
export function memberOptionsOf(seed: number): MemberSimOptions {
  const random = new Sfc32(seed).fork('members');
  const heartbeatMs = random.pick([10, 20, 50, 100]);
  return {
    seed,
    durationUs: random.between(4000, 10_000) * MS,
    founders: random.pick([1, 2, 3, 3, 3, 3, 4, 5]),
    heartbeatMs,
    electionMs: heartbeatMs * random.pick([5, 10, 10]),
    skew: random.pick([0.001, 0.01, 0.05]),
    snapshotCount: random.pick([10, 25, 60, 150]),
    catchUpEntries: random.pick([0, 1, 5, 20, 100]),
    segmentBytes: random.pick([1500, 4000, 20_000]),
    checkpointMs: random.chance(0.5) ? random.pick([200, 500, 1000]) : undefined,
    corruptCheckMs: random.chance(0.3) ? random.pick([300, 1000]) : undefined,
    initialCorruptCheck: random.chance(0.2),
    strictReconfigCheck: random.chance(0.5),
    link: drawLink(random.fork('network')),
    disk: drawDisk(random.fork('disk')),
    clients: random.pick([2, 4, 8]),
    thinkUs: random.pick([1, 5, 20]) * MS,
    readShare: random.pick([0.2, 0.4, 0.6]),
    keys: random.pick([2, 5, 20]),
    maxValueBytes: random.pick([0, 700, 3000]),
    watchers: random.pick([1, 2, 4]),
    lessees: random.pick([0, 1, 3, 6]),
    faults: drawFaults(random.fork('faults')),
    faultEveryUs: random.between(500, 3000) * MS,
  };
}

/** The same without one class of faults. */
export function withoutFault(options: MemberSimOptions, removed: MemberFault): MemberSimOptions {
  return { ...options, faults: options.faults.filter((fault) => fault !== removed) };
}

/** The options as the mix of faults leaves them. */
export function effectiveMembers(options: MemberSimOptions): MemberSimOptions {
  const has = (fault: MemberFault): boolean => options.faults.includes(fault);
  const { link, disk } = options;
  return {
    ...options,
    skew: has('skew') ? options.skew : 0,
    snapshotCount: has('images') ? options.snapshotCount : 1_000_000,
    link: {
      ...link,
      dropChance: has('drop') ? link.dropChance : 0,
      breakChance: has('drop') ? link.breakChance : 0,
      duplicateChance: has('duplicate') ? link.duplicateChance : 0,
      slowChance: has('slow-messages') ? link.slowChance : 0,
      ordered: has('reorder') ? link.ordered : true,
    },
    disk: { ...disk, slowChance: has('slow-disk') ? disk.slowChance : 0 },
  };
}

function drawFaults(random: Random): readonly MemberFault[] {
  const share = random.pick([0.2, 0.4, 0.7]);
  return MEMBER_FAULTS.filter((fault) => random.chance(fault === 'images' ? 0.8 : share));
}

function drawLink(random: Random): LinkOptions {
  return {
    minDelayMs: random.pick([0.1, 0.5, 2]),
    jitterMs: random.pick([0.2, 1, 5]),
    dropChance: random.pick([0.005, 0.02, 0.1]),
    duplicateChance: random.pick([0.01, 0.05, 0.2]),
    slowChance: random.pick([0.001, 0.01]),
    slowMs: random.pick([50, 300, 2000]),
    ordered: random.chance(0.3),
    breakChance: random.pick([0.01, 0.1, 0.3]),
  };
}

function drawDisk(random: Random): MachineDiskOptions {
  return {
    minSyncUs: random.pick([50, 200, 1000]),
    jitterUs: random.pick([100, 1000, 5000]),
    slowChance: random.pick([0.01, 0.05]),
    slowUs: random.pick([10, 50, 300]) * MS,
  };
}
