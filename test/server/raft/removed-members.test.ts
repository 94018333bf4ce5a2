/**
 * Members that were removed, or made learners, and know it: as leaders they answer no read alone, and as voters they
 * don't leave the others behind.
 */
import { describe, expect, it } from 'vitest';
import { type ConfChangeType, LEAVE_JOINT } from '../../../src/server/raft/conf-change.ts';
import { applyConfChange } from '../../../src/server/raft/membership.ts';
import { step } from '../../../src/server/raft/step.ts';
import { proposal } from '../../../src/server/raft/types.ts';
import { bytes, entry, hup, id, ids, log, msg, newLeader, newRaft, take } from './support.ts';

const change = (type: ConfChangeType, n: number) => ({ ...LEAVE_JOINT, changes: [{ type, nodeId: id(n) }] });

/** A leader of two that has committed in its term, and then is no voter any more. */
function voterlessLeader(type: ConfChangeType) {
  const raft = newLeader(1, { voters: [1, 2] });
  take(raft);
  step(raft, msg(2, 1, 'MsgAppResp', { term: raft.term, index: raft.log.lastIndex() }));
  applyConfChange(raft, change(type, 1));
  take(raft);
  return raft;
}

describe('a leader that votes no more', () => {
  it.each(['remove', 'add-learner'] as const)(
    'asks the one voter that is left before it answers a read (%s)',
    (type) => {
      const raft = voterlessLeader(type);
      expect(raft).toMatchObject({ role: 'StateLeader', committedInTerm: true });
      expect(raft.tracker.voters).toEqual(ids(2));
      step(raft, msg(1, 1, 'MsgReadIndex', { entries: [proposal(bytes('read'))] }));
      expect(raft.readStates).toEqual([]);
      const [heartbeat] = take(raft).filter((m) => m.type === 'MsgHeartbeat' && m.to === id(2));
      const { term, context } = heartbeat!;
      step(raft, msg(2, 1, 'MsgHeartbeatResp', { term, context }));
      expect(raft.readStates).toEqual([{ index: 1, context: bytes('read') }]);
    },
  );
});

describe('who refuses a vote', () => {
  const asked = msg(1, 2, 'MsgVote', { term: 2, index: 2, logTerm: 1 });
  const hardState = { term: 1, vote: id(0), commit: 2 };
  const entries = log(1, 1, 1);

  it.each([
    ['was removed', { voters: [1] }],
    ['was made a learner', { voters: [1], learners: [2] }],
  ])('and %s says what is committed', (_why, members) => {
    const raft = newRaft(2, { ...members, entries, hardState, refusalsTellCommit: true });
    step(raft, asked);
    expect(take(raft)).toMatchObject([{ type: 'MsgVoteResp', reject: true, index: 2, logTerm: 1 }]);
    step(raft, { ...asked, type: 'MsgPreVote', term: 3 });
    expect(take(raft)).toMatchObject([{ type: 'MsgPreVoteResp', reject: true, index: 2, logTerm: 1 }]);
  });

  it.each([
    ['votes itself', { voters: [1, 2], refusalsTellCommit: true }],
    ['is not to tell it', { voters: [1] }],
  ])('and %s says nothing more, as in etcd', (_why, options) => {
    const raft = newRaft(2, { ...options, entries, hardState });
    step(raft, asked);
    expect(take(raft)).toMatchObject([{ type: 'MsgVoteResp', reject: true, index: 0, logTerm: 0 }]);
  });
});

describe('a candidate that is refused', () => {
  const refused = (index: number, logTerm: number) => {
    const raft = newRaft(1, { voters: [1, 2], entries: log(1, 1, 2), hardState: { term: 2, vote: id(0), commit: 1 } });
    step(raft, hup(1));
    take(raft);
    step(raft, msg(2, 1, 'MsgVoteResp', { term: raft.term, reject: true, index, logTerm }));
    return raft.log.committed;
  };

  it('learns what is committed, if it has it', () => {
    expect(refused(2, 1)).toBe(2);
    expect(refused(3, 2)).toBe(3);
  });

  it('does not, if it has another entry there or none', () => {
    expect(refused(3, 1)).toBe(1);
    expect(refused(4, 2)).toBe(1);
    expect(refused(0, 0)).toBe(1);
  });

  it('can be elected by what is left once that is applied', () => {
    const last = entry(2, 3, 'the removal of 2');
    const raft = newRaft(1, {
      voters: [1, 2],
      entries: [...log(1, 1), last],
      hardState: { term: 2, vote: id(0), commit: 2 },
    });
    step(raft, hup(1));
    take(raft);
    step(raft, msg(2, 1, 'MsgVoteResp', { term: raft.term, reject: true, index: 3, logTerm: 2 }));
    // It may be no member either: it does not go on with the votes that it gets.
    expect(raft.role).toBe('StateFollower');
    expect(raft.log.nextCommitted(true)).toContainEqual(last);
    raft.log.appliedTo(3, 0);
    applyConfChange(raft, change('remove', 2));
    step(raft, hup(1));
    take(raft);
    expect(raft.role).toBe('StateLeader');
  });
});
