import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../../src/protocol/int64.ts';
import { checkConfiguration } from '../../../../src/server/raft/confchange/check.ts';
import { RaftInvariantError } from '../../../../src/server/raft/errors.ts';
import { Inflights } from '../../../../src/server/raft/tracker/inflights.ts';
import { Progress } from '../../../../src/server/raft/tracker/progress.ts';
import { id, ids } from '../support.ts';

interface Members {
  readonly incoming: readonly number[];
  readonly outgoing?: readonly number[];
  readonly learners?: readonly number[];
  readonly next?: readonly number[];
  readonly auto?: boolean;
  /** Who has a progress, and who of them is marked as a learner. Default: as the configuration says. */
  readonly known?: readonly number[];
  readonly marked?: readonly number[];
}

function check({ incoming, outgoing = [], learners = [], next = [], auto = false, ...rest }: Members): void {
  const known = rest.known ?? [...incoming, ...outgoing, ...learners];
  const marked = rest.marked ?? learners;
  const progress = known.map((n): [MemberId, Progress] => {
    const isLearner = marked.includes(n);
    return [id(n), new Progress({ match: 0, next: 1, inflights: new Inflights(1), isLearner, recentActive: true })];
  });
  const voters = { incoming: ids(...incoming), outgoing: ids(...outgoing) };
  const configuration = { voters, learners: ids(...learners), learnersNext: ids(...next), autoLeave: auto };
  checkConfiguration({ configuration, progress: new Map(progress) });
}

describe('checkConfiguration', () => {
  it('finds nothing wrong with what can be', () => {
    check({ incoming: [] });
    check({ incoming: [1, 2], learners: [3] });
    check({ incoming: [1, 2], outgoing: [2, 3], learners: [4], next: [3], auto: true });
  });

  it.each<[Members, problem: RegExp]>([
    [{ incoming: [1, 2], known: [1] }, /no progress for 2/],
    [{ incoming: [1], outgoing: [2], known: [1] }, /no progress for 2/],
    [{ incoming: [1], learners: [2], known: [1] }, /no progress for 2/],
    [{ incoming: [1], outgoing: [2], next: [3] }, /no progress for 3/],
    [{ incoming: [1], outgoing: [2], next: [1] }, /1 is to become a learner, but is no outgoing voter/],
    [{ incoming: [1], outgoing: [1, 2], next: [2], marked: [2] }, /2 is marked as a learner too early/],
    [{ incoming: [1, 2], learners: [2] }, /2 is both learner and voter/],
    [{ incoming: [1], outgoing: [1, 2], learners: [2] }, /2 is both learner and voter/],
    [{ incoming: [1], learners: [2], marked: [] }, /2 is not marked as a learner/],
    [{ incoming: [1], next: [1] }, /1 is to become a learner, but is no outgoing voter/],
    [{ incoming: [1], auto: true }, /autoLeave is set outside a joint configuration/],
  ])('refuses %j', (members, problem) => {
    expect(() => check(members)).toThrow(RaftInvariantError);
    expect(() => check(members)).toThrow(problem);
  });
});
