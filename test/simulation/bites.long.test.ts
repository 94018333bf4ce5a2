/**
 * The simulator finds what it is there to find: with one rule broken, a batch of seeds shows a violation; with the rule
 * in place, the same seeds are clean.
 */
import { describe, expect, it } from 'vitest';
import { NO_LIMIT } from '../../src/server/raft/index.ts';
import { runBatch } from './batch.ts';
import * as broken from './broken.ts';
import type { Member } from './cluster/member.ts';
import { type Fault, type Options, optionsOf } from './options.ts';
import type { Invariant } from './oracle/violation.ts';
import { type RunOptions, simulate } from './simulation.ts';

interface Bite {
  readonly rule: string;
  readonly breaks: (member: Member) => void;
  /** What may be found: the first sign depends on the seed. */
  readonly found: readonly Invariant[];
  /** Found within so many seeds. */
  readonly seeds: number;
  /** What the runs are made of; they are shorter than most. */
  readonly change?: (options: Options) => Options;
}

const short = (options: Options): Options => ({ ...options, durationUs: 4_000_000 });
const async = (options: Options): Options => ({ ...short(options), storage: 'async' });
const faults = (options: Options, ...kinds: readonly Fault[]): Options => ({
  ...options,
  durationUs: 8_000_000,
  faults: kinds,
  faultEveryUs: 500_000,
});

/** One entry at a time, so that leaders are cut off between an old entry and their own first one. */
const oneByOne = (options: Options): Options => ({
  ...faults(options, 'divergence', 'limits', 'reorder', 'drop', 'crash'),
  founders: 3,
  limits: {
    maxSizePerMessage: 0,
    maxCommittedSizePerReady: NO_LIMIT,
    maxUncommittedSize: NO_LIMIT,
    maxInflightMessages: 1,
    maxInflightBytes: NO_LIMIT,
  },
});

/** Two voters that are to be one, and messages that don't arrive. */
const pair = (options: Options): Options => ({
  ...faults(options, 'membership', 'one-way', 'isolate', 'drop', 'compaction'),
  founders: 2,
  preVote: true,
  checkQuorum: true,
  stepDownOnRemoval: true,
  network: { ...options.network, dropChance: 0.25 },
});

const BITES: readonly Bite[] = [
  {
    rule: 'a sync makes durable',
    breaks: broken.skipsSyncs,
    found: ['S8 durable before sent', 'S6 committed on a quorum'],
    seeds: 5,
  },
  {
    rule: 'a leader commits entries of its own term alone',
    breaks: broken.commitsOldTerms,
    found: ['S4 leader completeness', 'S5 state machine safety'],
    seeds: 20,
    change: oneByOne,
  },
  {
    rule: 'a leader commits what a quorum has',
    breaks: broken.commitsWithoutQuorum,
    found: ['S6 committed on a quorum'],
    seeds: 5,
  },
  { rule: 'one vote in a term', breaks: broken.votesTwice, found: ['S7 monotone state'], seeds: 20 },
  {
    rule: 'votes wait for the disk',
    breaks: broken.votesBeforeDurable,
    found: ['S8 durable before sent'],
    seeds: 5,
    change: async,
  },
  {
    rule: 'acknowledgements wait for the disk',
    breaks: broken.acknowledgesBeforeDurable,
    found: ['S8 durable before sent', 'S6 committed on a quorum'],
    seeds: 5,
    change: async,
  },
  {
    rule: 'a read waits for a quorum',
    breaks: broken.readsWithoutQuorum,
    found: ['S10 fresh reads'],
    seeds: 40,
    change: (options) => ({ ...faults(options, 'isolate', 'partition'), founders: 3 }),
  },
  {
    rule: 'a read waits for an entry of its leader',
    breaks: broken.readsBeforeOwnCommit,
    found: ['S10 fresh reads'],
    seeds: 40,
  },
  {
    rule: 'a leader that was removed reads through the one voter that is left',
    breaks: broken.readsAfterRemoval,
    found: ['S10 fresh reads'],
    seeds: 40,
    change: (options) => ({ ...pair(options), stepDownOnRemoval: false, checkQuorum: false, readShare: 0.5 }),
  },
  {
    rule: 'who was removed tells those who ask for its vote what is committed',
    breaks: broken.refusesInSilence,
    found: ['liveness'],
    seeds: 40,
    change: pair,
  },
  {
    rule: 'an append fits what comes before it',
    breaks: broken.ignoresPreviousEntry,
    found: ['S3 log matching'],
    seeds: 40,
  },
  {
    rule: 'one change of configuration at a time',
    breaks: broken.allowsManyChanges,
    found: ['S9 one change at a time'],
    seeds: 40,
    change: (options) => faults(options, 'membership', 'joint', 'slow-apply'),
  },
  {
    rule: 'nobody stands for election with a change that is not applied',
    breaks: broken.campaignsUnapplied,
    found: ['S1 election safety', 'S4 leader completeness'],
    seeds: 40,
    change: (options) => ({
      ...faults(options, 'joint', 'slow-apply', 'isolate', 'membership', 'campaign', 'partition'),
      founders: 3,
    }),
  },
  {
    rule: 'a heartbeat keeps followers from standing for election',
    breaks: broken.ignoresHeartbeats,
    found: ['liveness'],
    seeds: 5,
    change: (options) => ({ ...short(options), preVote: false, checkQuorum: false }),
  },
  {
    rule: 'a leader keeps its log',
    breaks: broken.replacesOwnTail,
    found: ['S2 leader append-only'],
    seeds: 10,
  },
  {
    rule: 'every committed entry is applied',
    breaks: broken.losesCommitted,
    found: ['S5 state machine safety'],
    seeds: 10,
  },
  {
    rule: 'terms only grow',
    breaks: broken.forgetsTerm,
    found: ['S7 monotone state', 'S8 durable before sent'],
    seeds: 10,
  },
  {
    rule: 'limits are kept',
    breaks: broken.ignoresLimits,
    found: ['S12 quotas'],
    seeds: 40,
    change: (options) => ({ ...short(options), faults: ['limits', 'drop', 'reorder'] }),
  },
];

/** The first seed whose run breaks a rule, and which one. */
function firstViolation(
  seeds: number,
  change: (options: Options) => Options,
  run: RunOptions,
): { readonly seed: number; readonly invariant: Invariant } | undefined {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const { violation } = simulate(change(optionsOf(seed)), run);
    if (violation) return { seed, invariant: violation.invariant };
  }
  return undefined;
}

describe('the simulator finds it where', () => {
  it.each(BITES)('$rule, and this is broken', ({ breaks, found, seeds, change = short }) => {
    const violation = firstViolation(seeds, change, { started: breaks });
    expect(found).toContain(violation?.invariant);
    expect(runBatch({ seeds: violation?.seed ?? 0, firstSeed: 1, change })).toMatchObject({ violations: 0 });
  });

  it('members that were removed disturb the others, without pre-votes and check of the quorum', () => {
    const churn = (options: Options): Options => ({
      ...faults(options, 'membership', 'isolate', 'drop'),
      founders: 5,
    });
    const open = (options: Options): Options => ({ ...churn(options), preVote: false, checkQuorum: false });
    const guarded = (options: Options): Options => ({
      ...churn(options),
      preVote: true,
      checkQuorum: true,
      stepDownOnRemoval: true,
    });
    const run: RunOptions = { stopsRemoved: false };
    const violation = firstViolation(20, open, run);
    expect(violation?.invariant).toBe('liveness');
    expect(runBatch({ seeds: violation?.seed ?? 0, firstSeed: 1, change: guarded, run })).toMatchObject({
      violations: 0,
    });
  });

  it('reads trust a lease: a leader that is cut off serves them for longer than others wait to elect another', () => {
    const leased = (options: Options): Options => ({
      ...faults(options, 'isolate'),
      founders: 3,
      preVote: true,
      checkQuorum: true,
      reads: 'lease',
    });
    expect(firstViolation(20, leased, {})?.invariant).toBe('S11 fresh lease reads');
    const safe = (options: Options): Options => ({ ...leased(options), reads: 'safe' });
    expect(runBatch({ seeds: 20, firstSeed: 1, change: safe })).toMatchObject({ violations: 0 });
  });
});
