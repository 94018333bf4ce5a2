import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../../src/protocol/int64.ts';
import { type Configuration, confStateOf, isJoint } from '../../../../src/server/raft/tracker/configuration.ts';
import { Progress } from '../../../../src/server/raft/tracker/progress.ts';
import { Tracker } from '../../../../src/server/raft/tracker/tracker.ts';
import { id, ids } from '../support.ts';

interface Members {
  readonly incoming: readonly number[];
  readonly outgoing?: readonly number[];
  readonly learners?: readonly number[];
}

function tracker({ incoming, outgoing = [], learners = [] }: Members, limits = { messages: 4, bytes: 100 }): Tracker {
  const made = new Tracker({ maxInflightMessages: limits.messages, maxInflightBytes: limits.bytes });
  const configuration: Configuration = {
    voters: { incoming: ids(...incoming), outgoing: ids(...outgoing) },
    learners: ids(...learners),
    learnersNext: [],
    autoLeave: false,
  };
  // In the opposite order of what is expected.
  const all = [...new Set([...learners, ...incoming, ...outgoing])].sort((a, b) => b - a);
  const progress = all.map((n): [MemberId, Progress] => {
    const isLearner = learners.includes(n);
    return [
      id(n),
      new Progress({ match: n, next: n + 1, inflights: made.newInflights(), isLearner, recentActive: false }),
    ];
  });
  made.use(configuration, new Map(progress));
  return made;
}

function activate(of: Tracker, ...numbers: number[]): boolean {
  for (const n of numbers) of.progress.get(id(n))!.recentActive = true;
  return of.quorumActive();
}

describe('Tracker', () => {
  it('visits members in the order of their numbers, each once, voters of both halves', () => {
    const made = tracker({ incoming: [10, 2], outgoing: [2, 9], learners: [1] });
    expect(made.ids).toEqual(ids(1, 2, 9, 10));
    expect(made.voters).toEqual(ids(2, 9, 10));
  });

  it('gives newcomers windows of its limits', () => {
    const made = tracker({ incoming: [1] }, { messages: 7, bytes: 70 }).newInflights();
    expect([made.size, made.maxBytes]).toEqual([7, 70]);
  });

  it('knows whether one member alone decides', () => {
    expect(tracker({ incoming: [1] }).isSingleton).toBe(true);
    expect(tracker({ incoming: [1], learners: [2] }).isSingleton).toBe(true);
    expect(tracker({ incoming: [1], outgoing: [1] }).isSingleton).toBe(false);
    expect(tracker({ incoming: [1, 2] }).isSingleton).toBe(false);
    expect(tracker({ incoming: [] }).isSingleton).toBe(false);
  });

  it('commits what voters have, not what learners have', () => {
    expect(tracker({ incoming: [1, 2, 3], learners: [8, 9] }).committed()).toBe(2);
    expect(tracker({ incoming: [7, 8, 9], outgoing: [1, 2, 3] }).committed()).toBe(2);
  });

  describe('quorumActive', () => {
    it('needs a majority of voters; learners do not count', () => {
      const made = tracker({ incoming: [1, 2, 3], learners: [4, 5, 6] });
      expect(activate(made, 1, 4, 5, 6)).toBe(false);
      expect(activate(made, 2)).toBe(true);
    });

    it('needs one of each half of a joint configuration', () => {
      const made = tracker({ incoming: [1, 2, 3], outgoing: [4, 5, 6] });
      expect(activate(made, 1, 2, 3, 4)).toBe(false);
      expect(activate(made, 5)).toBe(true);
    });
  });

  describe('votes', () => {
    it('counts the first vote of each member', () => {
      const made = tracker({ incoming: [1, 2, 3] });
      made.recordVote(id(1), true);
      made.recordVote(id(2), false);
      made.recordVote(id(2), true);
      expect(made.tally()).toBe('pending');
      made.recordVote(id(3), false);
      made.recordVote(id(3), true);
      expect(made.tally()).toBe('lost');
    });

    it('counts voters only', () => {
      const made = tracker({ incoming: [1, 2, 3], learners: [4] });
      for (const n of [1, 4, 9]) made.recordVote(id(n), true);
      expect(made.tally()).toBe('pending');
      made.recordVote(id(3), true);
      expect(made.tally()).toBe('won');
    });

    it('needs both halves of a joint configuration', () => {
      const made = tracker({ incoming: [1, 2, 3], outgoing: [3, 4, 5] });
      for (const n of [1, 2]) made.recordVote(id(n), true);
      expect(made.tally()).toBe('pending');
      for (const n of [3, 4]) made.recordVote(id(n), true);
      expect(made.tally()).toBe('won');
    });

    it('are forgotten for the next election', () => {
      const made = tracker({ incoming: [1] });
      made.recordVote(id(1), false);
      expect(made.tally()).toBe('lost');
      made.resetVotes();
      expect(made.tally()).toBe('pending');
    });
  });
});

describe('Configuration', () => {
  it('is joint while there are outgoing voters, and is kept as a ConfState', () => {
    const { configuration } = tracker({ incoming: [1, 2], outgoing: [2, 3], learners: [4] });
    expect(isJoint(configuration)).toBe(true);
    expect(isJoint(tracker({ incoming: [1] }).configuration)).toBe(false);
    expect(confStateOf({ ...configuration, learnersNext: ids(3), autoLeave: true })).toEqual({
      voters: ids(1, 2),
      votersOutgoing: ids(2, 3),
      learners: ids(4),
      learnersNext: ids(3),
      autoLeave: true,
    });
  });
});
