/**
 * What one seed makes of a run: everything that can be chosen is drawn, so that a batch of seeds covers combinations
 * that nobody thought of ("swarm" testing).
 *
 * The numbers are drawn whether or not their class of faults is in the mix, and the mix is applied when the options
 * are used: so a class can be taken out of a failing run without changing what the others do.
 *
 * Source: Groce et al., "Swarm Testing" (ISSTA 2012).
 */
import { NO_LIMIT, type RaftConfig, type ReadMode } from '../../src/server/raft/index.ts';
import type { DiskOptions } from './world/disk.ts';
import type { NetworkOptions } from './world/network.ts';
import { type Random, Sfc32 } from './world/random.ts';

/** Kinds of trouble, each of which can be left out. */
export const FAULTS = [
  // The network, all the time.
  'drop',
  'duplicate',
  'slow-messages',
  'reorder',
  // The network, for a while.
  'partition',
  'isolate',
  'one-way',
  'bridge',
  'hold',
  // Machines and programs.
  'crash',
  'crash-point',
  'blackout',
  'outage',
  'pause',
  'skew',
  // Disks and state machines.
  'harsh-crash',
  'slow-disk',
  'stall',
  'slow-apply',
  'compaction',
  'snapshot-trouble',
  // What an operator or a server asks for.
  'membership',
  'joint',
  'transfer',
  'forget-leader',
  'campaign',
  'unreachable',
  // Shapes that are rare otherwise.
  'divergence',
  'limits',
] as const;

export type Fault = (typeof FAULTS)[number];

export interface Limits {
  readonly maxSizePerMessage: number;
  readonly maxCommittedSizePerReady: number;
  readonly maxUncommittedSize: number;
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
}

export interface Options {
  readonly seed: number;
  /** How long faults happen. */
  readonly durationUs: number;
  /** Voters that found the cluster. */
  readonly founders: number;
  /** How members write: all in one way, or each as it is drawn. */
  readonly storage: 'sync' | 'async' | 'mixed';
  readonly tickMs: number;
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Clocks run at most by so much too fast or too slow. */
  readonly skew: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly stepDownOnRemoval: boolean;
  readonly reads: ReadMode;
  readonly disableProposalForwarding: boolean;
  readonly limits: Limits;
  /** Whether the Ready loop waits until committed entries are applied, or only hands them over. */
  readonly waitsForApply: boolean;
  readonly applyDelayUs: number;
  /** Whether members keep their state machine on disk, or make it anew from snapshot and log. */
  readonly keepsState: boolean;
  /** Entries from one snapshot to the next, and entries that stay behind it. */
  readonly snapshotEvery: number;
  readonly snapshotKeeps: number;
  /**
   * Whether a snapshot that goes to another member is made at that moment, as etcd does it. If not, a new one is made
   * after each change of configuration: who is not in a snapshot's configuration can do nothing with it.
   */
  readonly snapshotsOnDemand: boolean;
  readonly network: NetworkOptions;
  readonly disk: DiskOptions;
  readonly clientEveryUs: number;
  /** Share of requests that read. */
  readonly readShare: number;
  readonly maxPayloadBytes: number;
  readonly faults: readonly Fault[];
  /** Mean time between two faults of one class. */
  readonly faultEveryUs: number;
}

const MS = 1000;

/** The options that a seed stands for. */
export function optionsOf(seed: number): Options {
  const random = new Sfc32(seed).fork('options');
  const electionTicks = random.pick([5, 10, 10, 20]);
  const preVote = random.chance(0.75);
  return {
    seed,
    durationUs: random.between(5000, 12_000) * MS,
    founders: random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]),
    storage: random.pick(['sync', 'async', 'mixed']),
    tickMs: 10,
    electionTicks,
    heartbeatTicks: random.pick([1, 1, 1, 2, Math.floor(electionTicks / 3)]),
    skew: random.pick([0.02, 0.1, 0.3]),
    preVote,
    checkQuorum: preVote ? random.chance(0.9) : random.chance(0.4),
    stepDownOnRemoval: random.chance(0.7),
    reads: 'safe',
    disableProposalForwarding: random.chance(0.1),
    limits: drawLimits(random.fork('limits')),
    waitsForApply: random.chance(0.6),
    applyDelayUs: random.pick([1, 5, 50, 200]) * MS,
    keepsState: random.chance(0.3),
    snapshotEvery: random.between(5, 50),
    snapshotKeeps: random.pick([0, 0, 1, 5, 20]),
    snapshotsOnDemand: random.chance(0.5),
    network: drawNetwork(random.fork('network')),
    disk: drawDisk(random.fork('disk')),
    clientEveryUs: random.pick([2, 5, 10, 20]) * MS,
    readShare: random.pick([0.1, 0.3, 0.5]),
    maxPayloadBytes: random.pick([8, 16, 64]),
    faults: drawFaults(random.fork('faults')),
    faultEveryUs: random.between(500, 4000) * MS,
  };
}

/** The same without one class of faults. */
export function without(options: Options, removed: Fault): Options {
  return { ...options, faults: options.faults.filter((fault) => fault !== removed) };
}

function drawFaults(random: Random): readonly Fault[] {
  const share = random.pick([0.3, 0.6, 0.9]);
  // Tiny limits slow everything down, so they come more rarely.
  return FAULTS.filter((fault) => random.chance(fault === 'limits' ? 1 / 3 : share));
}

function drawLimits(random: Random): Limits {
  const maxSizePerMessage = random.pick([0, 40, 100, NO_LIMIT]);
  const bytes = random.pick([200, 1000, NO_LIMIT]);
  return {
    maxSizePerMessage,
    maxCommittedSizePerReady: random.pick([1, 60, 300, NO_LIMIT]),
    maxUncommittedSize: random.pick([20, 100, 1000, NO_LIMIT]),
    maxInflightMessages: random.pick([1, 2, 4, 16]),
    maxInflightBytes: maxSizePerMessage === NO_LIMIT ? NO_LIMIT : bytes,
  };
}

function drawNetwork(random: Random): NetworkOptions {
  return {
    dropChance: random.pick([0.005, 0.02, 0.1, 0.25]),
    duplicateChance: random.pick([0.01, 0.05, 0.2]),
    minDelayUs: random.pick([100, 300, 1000]),
    jitterUs: random.pick([200, 1000, 5000, 20_000]),
    slowChance: random.pick([0.001, 0.01, 0.05]),
    slowUs: random.pick([50, 300, 2000]) * MS,
    ordered: random.chance(0.3),
  };
}

function drawDisk(random: Random): DiskOptions {
  return {
    minSyncUs: random.pick([50, 200, 1000]),
    jitterUs: random.pick([100, 1000, 5000]),
    slowChance: random.pick([0.01, 0.05, 0.2]),
    slowUs: random.pick([10, 50, 300]) * MS,
    harsh: true,
  };
}

const NO_LIMITS: Limits = {
  maxSizePerMessage: NO_LIMIT,
  maxCommittedSizePerReady: NO_LIMIT,
  maxUncommittedSize: NO_LIMIT,
  maxInflightMessages: 256,
  maxInflightBytes: NO_LIMIT,
};

/** The options as the mix of faults leaves them. Without compaction no snapshot is ever made. */
export function effective(options: Options): Options {
  const has = (fault: Fault): boolean => options.faults.includes(fault);
  const { network, disk } = options;
  return {
    ...options,
    limits: has('limits') ? options.limits : NO_LIMITS,
    skew: has('skew') ? options.skew : 0,
    applyDelayUs: has('slow-apply') ? options.applyDelayUs : 0,
    snapshotEvery: has('compaction') ? options.snapshotEvery : NO_LIMIT,
    network: {
      ...network,
      dropChance: has('drop') ? network.dropChance : 0,
      duplicateChance: has('duplicate') ? network.duplicateChance : 0,
      slowChance: has('slow-messages') ? network.slowChance : 0,
      jitterUs: has('reorder') ? network.jitterUs : Math.min(network.jitterUs, 1000),
      ordered: has('reorder') ? network.ordered : true,
    },
    disk: { ...disk, slowChance: has('slow-disk') ? disk.slowChance : 0, harsh: has('harsh-crash') },
  };
}

/** What of the options is for the core. */
export function raftOptions(options: Options): Omit<RaftConfig, 'id' | 'storage' | 'random' | 'asyncStorageWrites'> {
  const { electionTicks, heartbeatTicks, preVote, checkQuorum, stepDownOnRemoval, reads } = options;
  const { disableProposalForwarding, limits } = options;
  return {
    electionTicks,
    heartbeatTicks,
    preVote,
    checkQuorum,
    stepDownOnRemoval,
    refusalsTellCommit: true,
    reads,
    disableProposalForwarding,
    ...limits,
  };
}
