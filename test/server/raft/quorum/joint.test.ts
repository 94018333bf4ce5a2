import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../../src/protocol/int64.ts';
import {
  allVoters,
  committedByJoint,
  type JointVoters,
  sortedIds,
  voteOfJoint,
} from '../../../../src/server/raft/quorum/joint.ts';
import { committedByMajority, voteOfMajority } from '../../../../src/server/raft/quorum/majority.ts';
import { id, ids } from '../support.ts';

const CASES = 50_000;
const someIds = fc
  .uniqueArray(fc.integer({ min: 1, max: 10 }), { maxLength: 7 })
  .map((list) => sortedIds(ids(...list)));
const halves: fc.Arbitrary<JointVoters> = fc.record({ incoming: someIds, outgoing: someIds });
/** What each id from 1 to 10 says; undefined: nothing yet. */
const answers = <T>(answer: fc.Arbitrary<T>) => {
  return fc.array(fc.option(answer, { nil: undefined, freq: 3 }), { minLength: 10, maxLength: 10 });
};
const of =
  <T>(list: readonly (T | undefined)[]) =>
  (voter: MemberId) =>
    list[Number(voter) - 1];

/** More than half of each half. */
function agree({ incoming, outgoing }: JointVoters, yes: (voter: MemberId) => boolean): boolean {
  return [incoming, outgoing].every((half) => half.length === 0 || half.filter(yes).length * 2 > half.length);
}

/** The other way to say it: of all indexes that somebody has reached, the highest that enough have reached. */
function highestAgreed(voters: JointVoters, reached: (voter: MemberId) => number): number {
  if (allVoters(voters).length === 0) return Number.POSITIVE_INFINITY;
  const candidates = [0, ...allVoters(voters).map(reached)];
  return Math.max(...candidates.filter((index) => agree(voters, (voter) => reached(voter) >= index)));
}

describe('committedByJoint', () => {
  it(`is the highest index that both halves agree to, in ${CASES} random cases`, () => {
    fc.assert(
      fc.property(halves, answers(fc.integer({ min: 0, max: 12 })), (voters, list) => {
        const reached = of(list);
        return committedByJoint(voters, reached) === highestAgreed(voters, (voter) => reached(voter) ?? 0);
      }),
      { numRuns: CASES },
    );
  });

  it('is that of one half if the other is empty or the same, and does not tell the halves apart', () => {
    fc.assert(
      fc.property(halves, answers(fc.integer({ min: 0, max: 12 })), ({ incoming, outgoing }, list) => {
        const alone = committedByMajority(incoming, of(list));
        const joint = (a: readonly MemberId[], b: readonly MemberId[]) => {
          return committedByJoint({ incoming: a, outgoing: b }, of(list));
        };
        expect(joint(incoming, [])).toBe(alone);
        expect(joint(incoming, incoming)).toBe(alone);
        expect(joint(incoming, outgoing)).toBe(joint(outgoing, incoming));
      }),
      { numRuns: 2_000 },
    );
  });

  it('waits for the slower half', () => {
    const voters = { incoming: ids(1, 2, 3), outgoing: ids(3, 4, 5) };
    expect(committedByJoint(voters, of([9, 9, 2, 3, 1]))).toBe(2);
  });
});

describe('voteOfJoint', () => {
  it(`is decided when no missing answer can change it, in ${CASES} random cases`, () => {
    fc.assert(
      fc.property(halves, answers(fc.boolean()), (voters, list) => {
        const voted = of(list);
        const worst = agree(voters, (voter) => voted(voter) ?? false);
        const best = agree(voters, (voter) => voted(voter) ?? true);
        return voteOfJoint(voters, voted) === (worst ? 'won' : best ? 'pending' : 'lost');
      }),
      { numRuns: CASES },
    );
  });

  it('is that of one half if the other is empty', () => {
    fc.assert(
      fc.property(someIds, answers(fc.boolean()), (incoming, list) => {
        expect(voteOfJoint({ incoming, outgoing: [] }, of(list))).toBe(voteOfMajority(incoming, of(list)));
      }),
    );
  });

  it('is lost as soon as one half is, whatever the other says', () => {
    const voters = { incoming: ids(1, 2, 3), outgoing: ids(4, 5, 6) };
    expect(voteOfJoint(voters, of([true, true, true, false, false]))).toBe('lost');
    expect(voteOfJoint(voters, of([undefined, undefined, undefined, false, false]))).toBe('lost');
    expect(voteOfJoint(voters, of([true, true, true, true]))).toBe('pending');
  });
});

describe('allVoters', () => {
  it('has everybody once, in the order of the numbers, whose first digit says nothing', () => {
    const large = id((2n ** 63n) as never);
    const incoming = [id(2), id(10), large];
    expect(allVoters({ incoming, outgoing: ids(1, 2, 9) })).toEqual([...ids(1, 2, 9, 10), large]);
    expect(allVoters({ incoming, outgoing: [] })).toEqual(incoming);
  });
});

describe('sortedIds', () => {
  it('tells ids apart that are equal as doubles', () => {
    const [low, high] = [2n ** 63n, 2n ** 63n + 1n] as MemberId[];
    expect(sortedIds([high!, low!])).toEqual([low, high]);
  });
});
