import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { restoreConfiguration } from '../../../../src/server/raft/confchange/restore.ts';
import { ConfChangeError } from '../../../../src/server/raft/errors.ts';
import { confStateOf } from '../../../../src/server/raft/tracker/configuration.ts';
import type { ConfState } from '../../../../src/server/raft/types.ts';
import { confState, id, ids } from '../support.ts';
import { baseOf } from './changes.ts';

type Part = 'voter' | 'learner' | 'outgoing' | 'kept' | 'demoted' | 'none';

/** What each member from 1 on is. Only voters of the outgoing half that stay out of the incoming one are demoted. */
function stateOf(parts: readonly Part[], autoLeave: boolean): ConfState {
  const having = (...wanted: readonly Part[]) =>
    ids(...parts.flatMap((part, at) => (wanted.includes(part) ? [at + 1] : [])));
  const votersOutgoing = having('outgoing', 'kept', 'demoted');
  return {
    voters: having('voter', 'kept'),
    learners: having('learner'),
    votersOutgoing,
    learnersNext: having('demoted'),
    autoLeave: autoLeave && votersOutgoing.length > 0,
  };
}

describe('restoreConfiguration', () => {
  it('makes what the ConfState says, joint or not, 1,000 random ones', () => {
    const simple = fc.array(fc.constantFrom<Part[]>('voter', 'learner', 'none'), { maxLength: 9 });
    const joint = fc.array(fc.constantFrom<Part[]>('voter', 'learner', 'outgoing', 'kept', 'demoted', 'none'), {
      maxLength: 9,
    });
    fc.assert(
      fc.property(fc.oneof(simple, joint), fc.boolean(), (parts, autoLeave) => {
        const wanted = stateOf(['voter', ...parts], autoLeave);
        const { configuration, progress } = restoreConfiguration(baseOf(), wanted);
        expect(confStateOf(configuration)).toEqual(wanted);
        for (const [member, { isLearner }] of progress) expect(isLearner).toBe(wanted.learners.includes(member));
      }),
      { numRuns: 1_000 },
    );
  });

  it('does not mind in which order members are named', () => {
    const wanted = confState({
      voters: ids(3, 1, 2),
      votersOutgoing: ids(5, 4),
      learnersNext: ids(5),
      autoLeave: true,
    });
    expect(confStateOf(restoreConfiguration(baseOf(), wanted).configuration)).toEqual({
      voters: ids(1, 2, 3),
      learners: [],
      votersOutgoing: ids(4, 5),
      learnersNext: ids(5),
      autoLeave: true,
    });
  });

  it('of nobody is nobody', () => {
    const { configuration, progress } = restoreConfiguration(baseOf(), confState({}));
    expect(confStateOf(configuration)).toEqual(confState({}));
    expect(progress.size).toBe(0);
  });

  it('starts replication to everybody at the end of the log', () => {
    const wanted = confState({ voters: ids(1), learners: ids(2) });
    const { progress } = restoreConfiguration(baseOf(undefined, 42), wanted);
    expect(progress.get(id(2))).toMatchObject({ match: 0, next: 42, isLearner: true });
  });

  it('makes nothing that could not have come about', () => {
    expect(() => restoreConfiguration(baseOf(), confState({ learners: ids(1) }))).toThrow(ConfChangeError);
    expect(() => restoreConfiguration(baseOf(), confState({ votersOutgoing: ids(1) }))).toThrow(ConfChangeError);
  });
});
