import { describe, expect, it } from 'vitest';
import { committedByMajority, voteOfMajority } from '../../../../src/server/raft/quorum/majority.ts';
import { id, ids } from '../support.ts';

const voters = (count: number) => ids(...Array.from({ length: count }, (_, at) => at + 1));

describe('committedByMajority', () => {
  /** The index that voter 1, 2, … has reached; undefined: nothing is known of it. */
  const committed = (...reached: (number | undefined)[]) => {
    return committedByMajority(voters(reached.length), (voter) => reached[Number(voter) - 1]);
  };

  it('is infinite for nobody, so that an empty half never stands in the way', () => {
    expect(committed()).toBe(Number.POSITIVE_INFINITY);
  });

  it.each<[reached: (number | undefined)[], index: number]>([
    [[12], 12],
    [[undefined], 0],
    [[12, undefined], 0],
    [[12, 5], 5],
    [[12, undefined, undefined], 0],
    [[12, 5, undefined], 5],
    [[12, 5, 6], 6],
    [[100, 101, 99], 100],
    [[5, 5, 12, 12], 5],
    [[12, 12, 12, 5], 12],
    [[9, 1, 7, 3, 5], 5],
    [[0, 0, 0, 4, 4], 0],
  ])('of %j is %d: more than half have it', (reached, index) => {
    expect(committed(...reached)).toBe(index);
  });

  it('counts voters only', () => {
    const reached = new Map([
      [id(1), 3],
      [id(2), 1],
      [id(3), 2],
      [id(8), 9],
      [id(9), 9],
    ]);
    expect(committedByMajority(voters(3), (voter) => reached.get(voter))).toBe(2);
  });
});

describe('voteOfMajority', () => {
  const vote = (answers: string) => {
    const voted = { y: true, n: false, '-': undefined };
    return voteOfMajority(voters(answers.length), (voter) => voted[answers[Number(voter) - 1] as 'y' | 'n' | '-']);
  };

  it.each([
    ['', 'won'],
    ['y', 'won'],
    ['n', 'lost'],
    ['-', 'pending'],
    ['yy', 'won'],
    ['y-', 'pending'],
    ['n-', 'lost'],
    ['yn', 'lost'],
    ['yy-', 'won'],
    ['yn-', 'pending'],
    ['nn-', 'lost'],
    ['yynn', 'lost'],
    ['yyn-', 'pending'],
    ['yyyn', 'won'],
    ['nn--', 'lost'],
    ['yynn-', 'pending'],
    ['yyynn', 'won'],
  ])('of "%s" is %s', (answers, result) => {
    expect(vote(answers)).toBe(result);
  });
});
